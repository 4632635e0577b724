"""Processes that this one starts, and that must not outlive it.

A child holds the reading end of a pipe whose writing end only its parent has. When the parent is gone, however it went,
the child reads the end of the pipe and stops as if it had been asked to.
"""

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence

_LIFELINE = "DISCERN_LIFELINE"


class Lifeline:
    """The pipe of one parent; every child gets the same reading end."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()

    def environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        """The environment of a child: this process's, some changes, and where the pipe is."""
        return {**os.environ, **changes, _LIFELINE: str(self.reading)}

    def close(self) -> None:
        """Let every child that still runs stop."""
        os.close(self._writing)
        os.close(self.reading)


def command(*arguments: str) -> Sequence[str]:
    """The command line of a `discern` verb; whatever lies in the current folder is not imported."""
    return [sys.executable, "-P", "-m", "app", *arguments]


def follow_parent() -> None:
    """In a child: stop when the parent is gone; does nothing in a process that was started by hand."""
    reading = os.environ.pop(_LIFELINE, None)
    if reading is not None:
        threading.Thread(target=_wait_for_end, args=(int(reading),), name="lifeline", daemon=True).start()


def _wait_for_end(reading: int) -> None:
    os.read(reading, 1)
    os.kill(os.getpid(), signal.SIGTERM)
