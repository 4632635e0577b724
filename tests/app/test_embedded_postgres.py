"""The embedded PostgreSQL: it comes back after a crash, of the machine too."""

import os
import signal
from pathlib import Path

import psutil
import psycopg
import pytest

from app import embedded_postgres
from pipelines.errors import DiscernError
from tests.app.conftest import wait_for


def pid_in(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().split()[0])


def test_an_id_that_another_process_has_now_is_not_taken_for_the_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with embedded_postgres.running(data) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        crashed = psutil.Process(pid_in(data))
        lines = (data / "postmaster.pid").read_text().splitlines()
        crashed.send_signal(signal.SIGKILL)
        wait_for(lambda: not server.is_running, what="the end of PostgreSQL")
        # After a crash of the machine the file is there, and its number may be anybody's: here, this process's.
        (data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        assert not server.is_running
        server.revive()
        assert pid_in(data) != os.getpid()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]


def test_a_holder_that_was_killed_does_not_keep_the_server_running(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with embedded_postgres.running(data):
        dead = max(psutil.pids()) + 100_000
        (data / ".handle_pids.json").write_text(f"[{dead}, {os.getpid()}]")
        process = psutil.Process(pid_in(data))
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, what="the stop")
    assert not (data / "postmaster.pid").exists()


def test_a_folder_that_cannot_hold_a_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DiscernError, match=r"file/data: cannot hold a database .* set DISCERN_HOME"),
        embedded_postgres.running(tmp_path / "file" / "data"),
    ):
        pass
