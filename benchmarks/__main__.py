"""Run benchmarks and write what they find into docs/benchmarks.md; parts that are not run stay as they are."""

import argparse
import os
import platform
import re
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from benchmarks import dists, selection, super_resolution

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
HEAD = """\
# Benchmarks

Written by `make bench`. Times of one machine say little about another: read the ratios, each against a bare loop or a
peer in the same run."""

Run = Callable[[Path, argparse.Namespace], list[str]]

# Each part of the page by its heading, in its order there.
PARTS: dict[str, tuple[str, Run]] = {
    "super_resolution": (
        "Super-resolution",
        lambda folder, options: super_resolution.sections(folder, images=options.images, repeats=options.repeats),
    ),
    "selection": (
        "Selection",
        lambda _, options: [*selection.sections(images=options.images), *dists.sections(options.repeats)],
    ),
}


def main() -> None:
    """Parse what is asked for, run, write."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{' or '.join(PARTS)}; all by default")
    parser.add_argument("--images", type=int, default=10_000, help="LR images, where only their number matters")
    parser.add_argument("--repeats", type=int, default=3, help="of each comparison, interleaved")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"{min(unknown)!r} is no part; choose {' or '.join(PARTS)}")
    texts = _earlier(options.out)
    for name in options.parts or PARTS:
        heading, run = PARTS[name]
        with tempfile.TemporaryDirectory(prefix="discern-bench-") as folder:
            texts[heading] = "\n\n".join([_measured(), *run(Path(folder), options)])
        # At once: the next part may take long.
        _write(options.out, texts)
        print(f"wrote {heading} into {options.out}", flush=True)  # noqa: T201 - a command of its own


def _earlier(page: Path) -> dict[str, str]:
    """The parts that the page has, by their headings."""
    if not page.exists():
        return {}
    _, *pieces = re.split(r"^## (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {heading: text.strip() for heading, text in zip(pieces[::2], pieces[1::2], strict=True)}


def _write(page: Path, texts: dict[str, str]) -> None:
    parts = [f"## {heading}\n\n{texts[heading]}" for heading, _ in PARTS.values() if heading in texts]
    page.write_text("\n\n".join([HEAD, *parts]) + "\n", encoding="utf-8")


def _measured() -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "pillow", "ray", "piq"))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {_processor()}, {os.cpu_count()} cores, "
        f"{_memory_gib():.0f} GiB, {platform.system()}, Python {platform.python_version()}, {versions}; {gpu}."
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


if __name__ == "__main__":
    main()
