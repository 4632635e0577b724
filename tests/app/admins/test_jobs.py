"""The machinery of jobs: whose entry the queue keeps, and what becomes of the jobs of workers that died."""

import asyncio
import threading
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import httpx
import procrastinate
import pytest
from sqlalchemy import func, select, text, update

from app import database
from app.admins import jobs, preruns
from app.models import Job, PrerunPart
from tests.app.admins.conftest import METHODS, PrerunStudy, start
from tests.app.conftest import Site


@pytest.mark.parametrize(
    ("error", "attempts", "again"),
    [
        # The worker was stopped.
        (asyncio.CancelledError(), 0, True),
        (asyncio.CancelledError(), 1000, True),
        # Something is wrong with the host.
        (OSError("no more processes"), 0, True),
        (OSError("no more processes"), jobs.MOST_ATTEMPTS - 1, True),
        (OSError("no more processes"), jobs.MOST_ATTEMPTS, False),
    ],
)
def test_a_job_is_given_up_after_errors_but_not_for_its_workers_being_stopped(
    error: BaseException, attempts: int, again: bool
) -> None:
    entry = procrastinate.jobs.Job(queue="cpu", lock=None, queueing_lock=None, task_name="run_job", attempts=attempts)
    decision = jobs.run_job.get_retry_exception(error, entry)
    assert (decision is not None) is again


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ("error: lr/a.png: damaged\n", "lr/a.png: damaged"),
        ("error: two of them:\nerror: a.png\nerror: b.png\n", "two of them:\na.png\nb.png"),
        ("Traceback:\n  error: 7\nValueError: error: 8", "Traceback:\n  error: 7\nValueError: error: 8"),
        ("x" * 9999 + "the end", "x" * (jobs.ERROR_TAIL - 7) + "the end"),
        (" \n", "the process ended with status -9 and said nothing"),
    ],
)
def test_a_failure_is_told_in_the_words_of_the_process(errors: str, reason: str) -> None:
    assert jobs.why_failed(errors, -9) == reason


@pytest.mark.parametrize("moment", ["_begin", "_start"])
def test_a_worker_that_is_stopped_while_it_begins_a_job_puts_it_back(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    start(admin, prerun_study)
    with site.sessions() as db:
        job = db.scalars(select(Job.id).order_by(Job.id)).first()
    reached, stopped, begin = threading.Event(), threading.Event(), jobs._begin

    def begin_slowly(*arguments: Any) -> int | None:
        attempt = begin(*arguments)
        reached.set()
        assert stopped.wait(30)
        return attempt

    async def start_never(*arguments: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(jobs, moment, {"_begin": begin_slowly, "_start": start_never}[moment])

    async def stop_at_the_moment() -> None:
        given = {"sessions": site.sessions, "environment": {}, "follow_up": preruns.follow_up}
        context = SimpleNamespace(worker_name="worker", additional_context=given)
        running = asyncio.create_task(jobs.run_job.func(context, job))
        assert await asyncio.to_thread(reached.wait, 30)
        running.cancel()
        stopped.set()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(stop_at_the_moment())
    with site.sessions() as db:
        left = db.get_one(Job, job)
        assert (left.status, left.attempt) == ("queued", 1)


@pytest.fixture
def dead(site: Site, admin: httpx.Client, prerun_study: PrerunStudy) -> str:
    """The address of a pre-run whose first job was begun by a worker that is gone."""
    address = start(admin, prerun_study)
    with site.sessions.begin() as db:
        db.execute(text("UPDATE jobs SET status = 'running', attempt = 1, worker = 'gone', started_at = now()"))
        db.execute(text("UPDATE procrastinate_jobs SET status = 'doing'"))
    return address


def sweep(site: Site, monkeypatch: pytest.MonkeyPatch, until: Callable[[], Any]) -> None:
    """What a worker of another queue does beside its jobs."""
    monkeypatch.setattr(jobs, "HEARTBEAT_SECONDS", 0.02)

    async def look() -> None:
        connector = procrastinate.PsycopgConnector(conninfo=database.psycopg_url(site.database_url))
        async with asyncio.timeout(30), jobs.app.with_connector(connector).open_async() as worker:
            sweeping = asyncio.create_task(jobs.sweep_for_ever(worker, site.sessions, preruns.follow_up))
            while not await asyncio.to_thread(until):
                assert not sweeping.done(), sweeping.result()
                await asyncio.sleep(0.02)
            sweeping.cancel()

    asyncio.run(look())


def entries(site: Site) -> list[tuple[str, str]]:
    """What the queue holds, oldest first."""
    with site.sessions() as db:
        rows = db.execute(text("SELECT queue_name, status::text FROM procrastinate_jobs ORDER BY id"))
        return [(row[0], row[1]) for row in rows]


def test_the_job_of_a_dead_worker_waits_again_though_nobody_is_there_who_could_take_it_and_can_be_cancelled(
    site: Site, admin: httpx.Client, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [part["worker"] for part in admin.get(dead).json()["running"]] == ["gone"]
    sweep(site, monkeypatch, lambda: not admin.get(dead).json()["running"])
    assert admin.get(dead).json()["waiting"] == {"cpu": 1}
    assert entries(site) == [("cpu", "failed"), ("cpu", "todo")]
    # The attempt of a worker that had only slept.
    with site.sessions.begin() as db, pytest.raises(jobs.SupersededError):
        jobs.write(db, db.scalars(select(Job.id)).one(), 1, {Job.task: "awake"})
    assert admin.post(f"{dead}/cancel").json()["status"] == "cancelled"
    assert admin.post(f"{dead}/resume").json()["status"] == "queued"


def test_a_job_whose_cancelling_was_asked_for_before_its_worker_was_known_to_be_dead_ends(
    site: Site, admin: httpx.Client, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert admin.post(f"{dead}/cancel").json()["status"] == "running"
    sweep(site, monkeypatch, lambda: admin.get(dead).json()["status"] == "cancelled")
    assert admin.get(dead).json()["finished_at"] is not None
    assert entries(site) == [("cpu", "failed")]
    assert admin.post(f"{dead}/resume").json()["status"] == "queued"


def test_a_cancelled_job_leaves_nothing_on_the_queue_that_a_worker_would_have_to_begin(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    address = start(admin, prerun_study)
    assert admin.post(f"{address}/cancel").json()["status"] == "cancelled"
    assert entries(site) == [("cpu", "cancelled")]
    assert admin.post(f"{address}/resume").json()["status"] == "queued"
    assert entries(site) == [("cpu", "cancelled"), ("cpu", "todo")]


def test_a_wish_to_cancel_that_came_too_late_hides_no_success(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    address = start(admin, prerun_study)
    with site.sessions.begin() as db:
        made = preruns.find(db, int(address.rpartition("/")[2]))
        preruns.add(db, preruns.part(made, "cpu", step="select"))
        prepared = {"images": 6, "missing": dict.fromkeys(METHODS, 0), "facts": {}, "problems": []}
        selected = {"outputs": 18, "pairs": 6, "images": 6, "problems": []}
        for part in db.scalars(select(PrerunPart)):
            part.result = prepared if part.step == "prepare" else selected
        db.execute(update(Job).values(status="succeeded", attempt=1, started_at=func.now(), finished_at=func.now()))
        made.cancel_requested = True
    view = admin.get(address).json()
    assert (view["status"], view["pairs"]) == ("succeeded", 6)


def test_after_a_pause_nobody_is_taken_for_dead_at_once(
    site: Site, admin: httpx.Client, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that slept, or a database that was away, is no sign of others' death: they get time for a heartbeat."""
    clock = count(1)
    monkeypatch.setattr(jobs, "time", SimpleNamespace(time=lambda: 1e6 * next(clock)))
    sweep(site, monkeypatch, lambda: next(clock) > 10)
    assert [part["worker"] for part in admin.get(dead).json()["running"]] == ["gone"]
    assert entries(site) == [("cpu", "doing")]
