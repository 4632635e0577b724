"""A stand-in for an upstream program: copied into a repository, and run there by a Python that has no packages.

Its outputs are images of one colour, which depends on the LR file and, with --noise, on what it has done before. `--on
STEM ACTION` makes it misbehave at an image.
"""

import argparse
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

CHATTER = b"\xff\xfe 50%\r\x1b[31m" + b"x" * 99 + b"\x00\n"


def png(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """An 8-bit RGB image of one colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\x00" + bytes(colour) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def size_of(content: bytes) -> tuple[int, int]:
    """Width and height of a PNG file, which has to be 8-bit RGB."""
    width, height, depth, kind = struct.unpack(">IIBB", content[16:26])
    assert (depth, kind) == (8, 2)
    return width, height


def colour_of(content: bytes, noise: int = 0) -> tuple[int, int, int]:
    """The colour of the output for an LR file."""
    digest = hashlib.sha256(content + bytes([noise])).digest()
    return digest[0], digest[1], digest[2]


def super_resolve(options: argparse.Namespace, source: Path, noise: int) -> None:
    actions = [action for stem, action in options.on if stem in (source.stem, "all")]
    target = Path(options.output) / f"{source.stem}{options.suffix}.png"
    width, height = (side * options.scale for side in size_of(source.read_bytes()))
    content = png(width, height, colour_of(source.read_bytes(), noise))
    if "crash" in actions:
        raise SystemExit(f"cannot do {source.stem}")
    if "skip" in actions:
        print(f"out of memory at {source.stem}")
        return
    if "hang" in actions:
        options.record(hangs=source.stem)
        while True:
            signal.pause()
    if "small" in actions:
        content = png(width // 2, height, (0, 0, 0))
    if "half" in actions:
        content = content[: len(content) // 2]
    if "twice" in actions:
        target.write_bytes(png(width, height, (0, 0, 0)))
    target.write_bytes(content)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--scale", type=int, required=True)
    parser.add_argument("--events", required=True)
    parser.add_argument("--suffix", default="")
    parser.add_argument("--config")
    parser.add_argument("--on", nargs=2, action="append", default=[])
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--stray", action="store_true")
    parser.add_argument("--chatter", type=int, default=0)
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--exit", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parse()

    def record(**facts: object) -> None:
        with Path(options.events).open("a") as file:
            file.write(json.dumps({"pid": os.getpid()} | facts) + "\n")

    options.record = record
    sources = sorted(Path(options.input).iterdir())
    record(
        seen=[source.stem for source in sources],
        prefix=sys.prefix,
        folder=str(Path.cwd()),
        environment=dict(os.environ),
        config=options.config and Path(options.config).read_text(),
        can_ask=not os.path.samestat(os.fstat(sys.stdin.fileno()), Path(os.devnull).stat()),
    )
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # A process of its own, as a data loader's worker is; it hears nothing of a SIGTERM to its parent.
        wait = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); signal.pause()"
        worker = subprocess.Popen([sys.executable, "-c", wait], stdout=subprocess.PIPE)
        assert worker.stdout is not None
        worker.stdout.readline()
        record(worker=worker.pid)
    for _ in range(options.chatter):
        sys.stdout.buffer.write(CHATTER)
    Path(options.output).mkdir(parents=True, exist_ok=True)
    if options.stray:
        (Path(options.output) / ".DS_Store").write_bytes(b"stray")
        (Path(options.output) / "prompt.csv").write_text("image,prompt\n")
        (Path(options.output) / "txt").mkdir()
    for number, source in enumerate(sources, 1):
        super_resolve(options, source, number if options.noise else 0)
    sys.exit(options.exit)


if __name__ == "__main__":
    main()
