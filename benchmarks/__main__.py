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

from benchmarks import dists, long_session, selection, super_resolution, trial_page, votes

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
HEAD = """\
# Benchmarks

Written by `make bench`. Times of one machine say little about another: read the ratios, each against a bare loop or a
peer in the same run."""

Run = Callable[[Path, argparse.Namespace], list[str]]

# Each part by its heading, in the order of the page; parts that share one can be measured on different days.
PARTS: dict[str, tuple[str, Run]] = {
    "super_resolution": (
        "Super-resolution",
        lambda folder, options: super_resolution.sections(folder, images=options.images, repeats=options.repeats),
    ),
    "selection": (
        "Selection",
        lambda _, options: [*selection.sections(images=options.images), *dists.sections(options.repeats)],
    ),
    "paint-512": ("The instrument", lambda folder, _: trial_page.sections(folder, side=512)),
    "paint-1024": ("The instrument", lambda folder, _: trial_page.sections(folder, side=1024)),
    "paint-2048": ("The instrument", lambda folder, _: trial_page.sections(folder, side=2048)),
    "memory": ("The instrument", lambda folder, _: long_session.sections(folder)),
    "votes": ("The instrument", lambda folder, _: votes.sections(folder)),
}
GROUPS = {"instrument": ["paint-512", "paint-1024", "paint-2048", "memory", "votes"]}


def main() -> None:
    """Parse what is asked for, run, write."""
    names = [*PARTS, *GROUPS]
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{' or '.join(names)}; all by default")
    parser.add_argument("--images", type=int, default=10_000, help="LR images, where only their number matters")
    parser.add_argument("--repeats", type=int, default=3, help="of each comparison, interleaved")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args()
    unknown = set(options.parts) - set(names)
    if unknown:
        parser.error(f"{min(unknown)!r} is no part; choose {' or '.join(names)}")
    texts = _earlier(options.out)
    for name in [part for chosen in options.parts or PARTS for part in GROUPS.get(chosen, [chosen])]:
        heading, run = PARTS[name]
        with tempfile.TemporaryDirectory(prefix="discern-bench-") as folder:
            sections = run(Path(folder), options)
        texts[heading] = _joined(texts.get(heading, ""), sections) if _is_shared(heading) else _whole(sections)
        # At once: the next part may take long.
        _write(options.out, texts)
        print(f"wrote {name} into {options.out}", flush=True)  # noqa: T201 - a command of its own


def _is_shared(heading: str) -> bool:
    return sum(heading == other for other, _ in PARTS.values()) > 1


def _whole(sections: list[str]) -> str:
    return "\n\n".join([_measured(), *sections])


def _joined(earlier: str, sections: list[str]) -> str:
    """What stood under a heading with these sections in their place, each with the day and machine of its own."""
    texts = {_title(text): text.strip() for text in re.split(r"^(?=### )", earlier, flags=re.MULTILINE) if text.strip()}
    for section in sections:
        title = _title(section)
        texts[title] = section.replace(title, f"{title}\n\n{_measured()}", 1)
    return "\n\n".join(texts.values())


def _title(section: str) -> str:
    return section.splitlines()[0]


def _earlier(page: Path) -> dict[str, str]:
    """The parts that the page has, by their headings."""
    if not page.exists():
        return {}
    _, *pieces = re.split(r"^## (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {heading: text.strip() for heading, text in zip(pieces[::2], pieces[1::2], strict=True)}


def _write(page: Path, texts: dict[str, str]) -> None:
    headings = dict.fromkeys(heading for heading, _ in PARTS.values())
    parts = [f"## {heading}\n\n{texts[heading]}" for heading in headings if heading in texts]
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
