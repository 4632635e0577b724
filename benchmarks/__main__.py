"""Run all benchmarks and write docs/benchmarks.md."""

import argparse
import os
import platform
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks import super_resolution

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> None:
    """Parse the size, run, write."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--images", type=int, default=10_000, help="small images for the bookkeeping")
    parser.add_argument("--repeats", type=int, default=3, help="of each comparison, interleaved")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="discern-bench-") as folder:
        sections = super_resolution.sections(Path(folder), images=options.images, repeats=options.repeats)
    options.out.write_text("\n\n".join([_head(), *sections]) + "\n", encoding="utf-8")
    print(f"wrote {options.out}")  # noqa: T201 - a command of its own


def _head() -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "pillow", "ray"))
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`. Times of one machine say little about another: read the ratios, each against a bare "
        "loop in the same run, alternating with it.\n\n"
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {_processor()}, {os.cpu_count()} cores, "
        f"{_memory_gib():.0f} GiB, {platform.system()}, Python {platform.python_version()}, {versions}; no GPU."
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


if __name__ == "__main__":
    main()
