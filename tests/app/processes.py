"""Processes of the `discern` command for tests: each one is ended with all that it started, whatever the test does."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from app import children
from tests.app.conftest import wait_for

START_SECONDS = 90.0
STOP_SECONDS = 60.0


class Process:
    """A `discern` verb that runs, and what it has printed so far."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `running`
        self.popen = subprocess.Popen(
            children.command(*map(str, arguments)),
            env=_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self.popen.pid

    @property
    def printed(self) -> str:
        """Standard output and errors."""
        return os.pread(self._printed.fileno(), 10_000_000, 0).decode(errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def child(self, verb: str) -> psutil.Process:
        """The process of a verb among those that it started, once it is there."""
        verbs = f" -m app {verb}"
        found = wait_for(
            lambda: [process for process in children_of(self.pid) if verbs in command_line(process)],
            seconds=START_SECONDS,
            what=f"a {verb} process",
        )
        assert len(found) == 1, f"{verb}: {found}\n{self.printed}"
        return found[0]

    def wait_until_printed(self, pattern: str, *, seconds: float = START_SECONDS) -> str:
        """The first group of a pattern, once it was printed."""

        def look() -> re.Match[str] | None:
            assert self.is_running or re.search(pattern, self.printed), self.printed
            return re.search(pattern, self.printed)

        return str(wait_for(look, seconds=seconds, what=f"printing {pattern!r}")[1])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        self.popen.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """The exit status, once it has ended."""
        try:
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.pid} does not end\n{self.printed}") from None

    def end(self) -> None:
        """Kill it and its children where they still run."""
        processes = children_of(self.pid) if self.is_running else []
        if self.is_running:
            self.popen.kill()
        self.popen.wait()
        kill(processes)
        self._printed.close()


@contextmanager
def running(*arguments: object, **environment: str) -> Iterator[Process]:
    """A `discern` verb that runs as long as it is needed."""
    process = Process(*arguments, **environment)
    try:
        yield process
    finally:
        process.end()


def discern(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A `discern` verb that ends by itself."""
    return subprocess.run(
        children.command(*map(str, arguments)),
        env=_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refused(result: "subprocess.CompletedProcess[str]") -> str:
    """The one message of a run that was refused."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line]
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("error: ")
    return errors[0].removeprefix("error: ")


def children_of(pid: int) -> list[psutil.Process]:
    """All that a process started, directly or not."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def processes_of(home: Path) -> list[psutil.Process]:
    """All processes that work in a server's home, PostgreSQL included."""
    found = {process for process in psutil.process_iter() if _works_in(process, home)}
    return sorted(found | {child for process in found for child in children_of(process.pid)}, key=lambda p: p.pid)


def kill(processes: "list[psutil.Process]") -> None:
    """Kill processes and wait until they are gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until_accepted(send: Callable[[], httpx.Response], *, seconds: float = 60) -> httpx.Response:
    """Send again and again until the server says yes, as the trial page does."""

    def attempt() -> httpx.Response | None:
        try:
            answer = send()
        except httpx.TransportError:
            return None
        assert answer.is_success or answer.status_code >= 500, answer.text
        return answer if answer.is_success else None

    accepted: httpx.Response = wait_for(attempt, seconds=seconds, what="an answer of the server")
    return accepted


def _environment(changes: dict[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and name[:8] != "DISCERN_"}
    return {**own, **changes}


def _works_in(process: psutil.Process, home: Path) -> bool:
    try:
        in_home: Any = process.environ().get("DISCERN_HOME") == str(home)
        return not is_gone(process) and (in_home or f"-D {home}/postgres" in command_line(process))
    except psutil.Error:
        return False


def command_line(process: psutil.Process) -> str:
    """What a process was started as; empty where it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
