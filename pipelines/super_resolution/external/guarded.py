"""The parent's side of `guardian`: start a program under it, wait, stop, and learn how it ended."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pipelines.super_resolution.external import guardian

GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes:
        status: exit status, or minus the number of the signal that ended it; None if it could not be started, or if
            its guardian was killed.
        peak_memory: bytes, of the largest of its processes.
        problem: why it could not be started.
    """

    status: int | None = None
    peak_memory: int | None = None
    problem: str | None = None

    def __str__(self) -> str:
        if self.problem is not None:
            return f"it cannot be started ({self.problem})"
        if self.status is None:
            return "its guardian was killed"
        if self.status < 0:
            hint = "; the system does that when memory runs out" if self.status == -signal.SIGKILL else ""
            return f"ended by signal {-self.status} ({signal.strsignal(-self.status)}{hint})"
        return f"exit status {self.status}"


class Guarded:
    """A running program; used as a context manager, it does not run after the block.

    Args:
        arguments: of the program; no shell reads them.
        folder: its working directory.
        environment: all its environment variables.
        log: open file to which its standard output and errors are appended, by the program itself.
    """

    def __init__(
        self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: BinaryIO
    ) -> None:
        # -I: what our environment says about Python is not the guardian's business, and neither are our modules.
        self._guardian = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-I", guardian.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the program in order
        )
        job = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
        self._tell(json.dumps(job | {"grace": GRACE_SECONDS}))
        self.ending: Ending | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self, seconds: float) -> bool:
        """Wait so long for its end; whether it has ended, and `ending` is known."""
        if self.ending is None:
            with suppress(subprocess.TimeoutExpired):
                self._guardian.wait(seconds)
                self._conclude()
        return self.ending is not None

    def stop(self) -> None:
        """End it and all that it started: SIGTERM, and after `GRACE_SECONDS` SIGKILL."""
        if self.ending is None:
            self._guardian.terminate()
            self._guardian.wait()
            self._conclude()

    def _tell(self, line: str) -> None:
        assert self._guardian.stdin is not None
        self._guardian.stdin.write(line.encode() + b"\n")
        self._guardian.stdin.flush()

    def _conclude(self) -> None:
        assert self._guardian.stdin is not None
        assert self._guardian.stdout is not None
        with self._guardian.stdin, self._guardian.stdout:
            lines = self._guardian.stdout.read().splitlines()
        facts: dict[str, Any] = {}
        for line in lines:
            facts |= json.loads(line)
        if "pid" in facts and "status" not in facts:
            # The guardian itself was killed: its work falls to us.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(facts["pid"], signal.SIGKILL)
        self.ending = Ending(facts.get("status"), facts.get("peak_memory"), facts.get("problem"))
