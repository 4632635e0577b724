"""Runs of `discern run` in a process of their own, to be killed while they are at work."""

import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path


def start(study: Path, *options: str) -> "subprocess.Popen[bytes]":
    """Begin a run."""
    arguments = [sys.executable, "-c", "from app.cli import main; main()", "run", str(study), *options]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def journals(workspace: Path, manifest: str) -> set[Path]:
    """What the processes that are or were at work on a manifest have written."""
    return set((workspace / "manifests" / manifest).glob("*.jsonl"))


def wait_for_rows(
    process: "subprocess.Popen[bytes]", workspace: Path, manifest: str, wanted: int, old: Collection[Path] = ()
) -> None:
    """Wait until so many rows of a manifest are recorded in journals that are not the `old` ones."""
    deadline = time.monotonic() + 300  # machines are busy, and Ray takes its time
    while sum(path.read_bytes().count(b"\n") for path in journals(workspace, manifest) - set(old)) < wanted:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run made no progress"
