"""A small program that runs another one, and ends it with all that it started when its own parent is gone.

Discern starts an upstream program through it, so that even `kill -9` of Discern leaves nothing running that writes into
a working folder. It is run as a file by Discern's own Python and imports the standard library alone.

Standard input: one line of JSON, the job; then nothing, and its end means that the parent is gone.
    arguments, folder, environment    of the program
    grace                             seconds between SIGTERM and SIGKILL when this process is asked to stop (SIGTERM)
Standard error: the log, which is also the program's standard output and standard error.
Standard output: the report, lines of JSON.
    {"pid": ...}                          once the program runs; its process group has the same number
    {"status": ..., "peak_memory": ...}   at the end: as `Popen.returncode`; bytes, the largest of its processes
    {"problem": ...}                      instead of both, when it cannot be started
The exit status is the program's (128 + N after signal N, as in a shell).
"""

import json
import os
import resource
import select
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

CANNOT_START = 127

# The parent is gone, and the next run may begin at any moment: enough for a container's client to pass SIGTERM on.
ORPHAN_GRACE_SECONDS = 1.0


def main() -> int:
    """Run the job; see the module."""
    job = json.loads(sys.stdin.buffer.readline() or "null")
    if job is None:  # the parent died before it said what to do
        return CANNOT_START
    wake = _wake_on_signals()
    try:
        child = _start(job)
    except (OSError, ValueError) as error:
        _report({"problem": str(error)})
        return CANNOT_START
    _report({"pid": child.pid})
    is_orphan = _wait(child, wake)
    _end(child, ORPHAN_GRACE_SECONDS if is_orphan else job["grace"])
    status = child.wait()
    _report({"status": status, "peak_memory": _peak_memory()})
    return status if status >= 0 else 128 - status


def _wake_on_signals() -> int:
    """A descriptor from which the number of every signal that came can be read."""
    wake, alarm = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return wake


def _start(job: dict[str, Any]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - an argument list; no shell reads it
        job["arguments"],
        cwd=job["folder"],
        env=job["environment"],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        start_new_session=True,
    )


def _wait(child: "subprocess.Popen[bytes]", wake: int) -> bool:
    """Return when the program has ended, or when it has to; whether that is because the parent is gone."""
    while child.poll() is None:
        ready, _, _ = select.select([sys.stdin.fileno(), wake], [], [])
        if sys.stdin.fileno() in ready:
            return True
        if set(os.read(wake, 1024)) - {signal.SIGCHLD}:
            return False
    return False


def _end(child: "subprocess.Popen[bytes]", grace: float) -> None:
    """End the program, politely first, and then what is left of its process group."""
    if child.poll() is None:
        _signal_group(child, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(grace)
    _signal_group(child, signal.SIGKILL)


def _signal_group(child: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    # Linux says that an empty group does not exist, macOS that it may not be signalled.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _peak_memory() -> int:
    # Kibibytes on Linux, bytes on macOS. Read here and not in Discern, whose other children would count too.
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _report(facts: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # nobody is left to read it
        os.write(sys.stdout.fileno(), json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
