"""Jobs on workers: queued in the transaction that asks for them, run in a process of their own, reported in a table.

Our table says what is wanted and how far it is; procrastinate says which worker is at it. Each start of a job counts up
its `attempt`, and only the current attempt may report, so that a worker that was taken for dead changes nothing.
"""

import asyncio
import contextlib
import logging
import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import procrastinate
from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.exceptions import ConnectorException
from procrastinate.types import JSONDict
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from app import children, database
from app.models import Job
from pipelines.progress import Progress

Queue = Literal["cpu", "gpu"]
QUEUES: tuple[Queue, ...] = ("cpu", "gpu")
# Begins what follows from jobs that have ended; called after every job and every few seconds, so it may find nothing.
FollowUp = Callable[[sessionmaker[Session]], None]

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 10.0
HEARTBEAT_SECONDS = 3.0
STALLED_SECONDS = 12.0
REPORT_SECONDS = 0.25
MOST_ATTEMPTS = 5
ERROR_TAIL = 4000

_log = logging.getLogger(__name__)

app = procrastinate.App(connector=procrastinate.PsycopgConnector())


class SupersededError(Exception):
    """The job was cancelled, or another attempt has begun: this one must stop and write nothing."""


def enqueue(db: Session, *new: Job) -> None:
    """Put jobs on their queues; they are there if the transaction commits."""
    connection = db.connection().connection.driver_connection
    for queue in QUEUES:
        entries: list[JSONDict] = [{"job_id": job.id} for job in new if job.queue == queue]
        if entries:
            run_job.configure(queue=queue, connection=connection).batch_defer(*entries)


def cancel(db: Session, *job_ids: int) -> None:
    """Stop jobs, or keep them from starting; those that have ended stay as they are."""
    active = select(Job.id, Job.status).where(Job.id.in_(job_ids), Job.status.in_(("queued", "running")))
    found = db.execute(active.order_by(Job.id).with_for_update()).all()
    waiting = [job.id for job in found if job.status == "queued"]
    running = [job.id for job in found if job.status == "running"]
    ended = {Job.status: "cancelled", Job.cancel_requested: True, Job.finished_at: func.now()}
    db.execute(update(Job).where(Job.id.in_(waiting)).values(ended))
    db.execute(update(Job).where(Job.id.in_(running)).values(cancel_requested=True))
    db.execute(_WITHDRAW, {"ids": waiting})


# Nobody has to begin them to find that they ended.
_WITHDRAW = text(
    "UPDATE procrastinate_jobs SET status = 'cancelled' "
    "WHERE status = 'todo' AND (args ->> 'job_id')::bigint = ANY(:ids)"
)


def reporter(sessions: sessionmaker[Session], job_id: int, attempt: int, clock: Callable[[], float]) -> Progress:
    """Progress of an attempt into its row, at most a few times a second; a line of the log for each task.

    Raises:
        SupersededError: by the reporter, when this attempt is no longer the current one.
    """
    current, reported = "", 0.0

    def report(task: str, done: int, total: int) -> None:
        nonlocal current, reported
        if task == current and done < total and clock() - reported < REPORT_SECONDS:
            return
        values: dict[Any, Any] = {Job.task: task, Job.done: done, Job.total: total}
        if task != current:
            line = f"{datetime.now(UTC):%H:%M:%S} UTC  {task}" + (f" ({total})" if total else "")
            values[Job.log] = func.array_append(Job.log, line)
        try:
            with sessions.begin() as db:
                write(db, job_id, attempt, values)
        except OperationalError:  # the database is away for a moment: the next report says it all
            return
        current, reported = task, clock()

    return report


def write(db: Session, job_id: int, attempt: int, values: dict[Any, Any]) -> None:
    """Change the row of a running job.

    Raises:
        SupersededError: this attempt is not the current one.
    """
    mine = (Job.id == job_id) & (Job.attempt == attempt) & (Job.status == "running")
    if db.execute(update(Job).where(mine).values(values).returning(Job.id)).first() is None:
        raise SupersededError


class Retry(BaseRetryStrategy):
    """A job whose worker was stopped goes to the next one, however often that happens; other errors are limited."""

    def get_retry_decision(self, *, exception: BaseException, job: procrastinate.jobs.Job) -> RetryDecision | None:
        """Whether the queue keeps its entry; `job.attempts` counts the starts before this one, whatever ended them."""
        stopped = isinstance(exception, asyncio.CancelledError)
        return RetryDecision() if stopped or job.attempts < MOST_ATTEMPTS else None


@app.task(name="run_job", queue="cpu", pass_context=True, retry=Retry())
async def run_job(context: JobContext, job_id: int) -> None:
    """Run a job in a process of its own until it ends, is cancelled, or this worker stops."""
    sessions: sessionmaker[Session] = context.additional_context["sessions"]
    begin = partial(_begin, sessions, job_id, str(context.worker_name))
    beginning = asyncio.create_task(asyncio.to_thread(database.persist, begin))
    try:
        attempt = await asyncio.shield(beginning)
        if attempt is None:
            return
        process, cancelled, errors = await _run(sessions, job_id, attempt, context.additional_context["environment"])
    except asyncio.CancelledError:
        # At whatever moment this worker is stopped, the job waits for the next one.
        if (attempt := await beginning) is not None:
            await asyncio.to_thread(_put_back, sessions, job_id, attempt)
        raise
    end = partial(_end, sessions, job_id, attempt, cancelled, process.returncode, errors)
    await asyncio.to_thread(database.persist, end)
    await asyncio.to_thread(database.persist, partial(context.additional_context["follow_up"], sessions))


def why_failed(errors: str, status: int | None) -> str:
    """What a process says of its failure: the end of its standard error, without what each line of it begins with."""
    reason = re.sub(r"^error: ", "", errors.strip(), flags=re.MULTILINE)
    return reason[-ERROR_TAIL:] or f"the process ended with status {status} and said nothing"


async def sweep_for_ever(worker: procrastinate.App, sessions: sessionmaker[Session], follow_up: FollowUp) -> None:
    """Take up jobs whose worker died, close those that the queue has given up, and begin what follows from others."""
    looked = 0.0
    while True:
        try:
            found = await worker.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS)
            # After this host has slept, or the database was away, all look dead until their next heartbeat.
            paused, looked = time.time() - looked > STALLED_SECONDS, time.time()
            for stalled in () if paused else found:
                await asyncio.to_thread(_take_up, sessions, stalled)
            await asyncio.to_thread(_close_lost, sessions)
            await asyncio.to_thread(follow_up, sessions)
        except (OperationalError, ConnectorException) as error:
            _log.warning("the database does not answer (%s); looking for stalled jobs again soon", error)
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def _run(
    sessions: sessionmaker[Session], job_id: int, attempt: int, environment: dict[str, str]
) -> tuple[asyncio.subprocess.Process, bool, str]:
    """A job's process, when it has ended; whether it was cancelled, and what it wrote of errors."""
    lifeline = children.Lifeline()
    try:
        process = await _start(job_id, attempt, lifeline, environment)
        try:
            return process, *await _watch(process, sessions, job_id)
        except asyncio.CancelledError:
            await _stop(process)
            raise
    finally:
        lifeline.close()


async def _start(
    job_id: int, attempt: int, lifeline: children.Lifeline, environment: dict[str, str]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *children.command("job", str(job_id), str(attempt)),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=(lifeline.reading,),
        env=lifeline.environment(environment),
        start_new_session=True,
    )


def _begin(sessions: sessionmaker[Session], job_id: int, worker: str) -> int | None:
    """Start an attempt; None where the job has ended, or was cancelled."""
    with sessions.begin() as db:
        job = db.scalar(select(Job).where(Job.id == job_id).with_for_update())
        if job is None or job.status not in ("queued", "running"):
            return None
        if job.cancel_requested:
            job.status, job.finished_at = "cancelled", func.now()
            return None
        job.attempt, job.worker = job.attempt + 1, worker
        job.status, job.started_at, job.task, job.done, job.total = "running", func.now(), "", 0, 0
        if job.attempt > 1:
            job.log = [*job.log, f"started again, attempt {job.attempt}"]
        return job.attempt


async def _watch(process: asyncio.subprocess.Process, sessions: sessionmaker[Session], job_id: int) -> tuple[bool, str]:
    """Wait for the end of a process, or for the wish to cancel it; returns that, and what it wrote of errors."""
    assert process.stderr is not None
    reading = asyncio.create_task(process.stderr.read())
    cancelled = False
    while not reading.done():
        await asyncio.wait({reading}, timeout=LOOK_SECONDS)
        # A database that does not answer for a moment is no reason to give up hours of work.
        with contextlib.suppress(OperationalError):
            if not cancelled and await asyncio.to_thread(_cancel_requested, sessions, job_id):
                cancelled = True
                await _stop(process)
    await process.wait()
    return cancelled, reading.result().decode(errors="replace")


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()


def _cancel_requested(sessions: sessionmaker[Session], job_id: int) -> bool:
    with sessions() as db:
        return bool(db.scalar(select(Job.cancel_requested).where(Job.id == job_id)))


def _put_back(sessions: sessionmaker[Session], job_id: int, attempt: int) -> None:
    with contextlib.suppress(SupersededError), sessions.begin() as db:
        write(db, job_id, attempt, {Job.status: "queued"})
        _end_if_wished(db, job_id)


def _end_if_wished(db: Session, job_id: int) -> bool:
    """Whether a job that waits again was to be cancelled, and is now: there may be nobody who would begin it."""
    wished = bool(db.scalar(select(Job.cancel_requested).where(Job.id == job_id)))
    if wished:
        cancel(db, job_id)
    return wished


def _end(
    sessions: sessionmaker[Session], job_id: int, attempt: int, cancelled: bool, status: int | None, errors: str
) -> None:
    """Record the end of a process that did not record it itself: a success is stored together with its result."""
    if cancelled:
        values: dict[Any, Any] = {Job.status: "cancelled"}
    else:
        values = {Job.status: "failed", Job.error: why_failed(errors, status)}
    with contextlib.suppress(SupersededError), sessions.begin() as db:
        write(db, job_id, attempt, values | {Job.finished_at: func.now()})


_GIVE_UP = text("UPDATE procrastinate_jobs SET status = 'failed' WHERE id = :id AND status = 'doing' RETURNING id")


def _take_up(sessions: sessionmaker[Session], stalled: procrastinate.jobs.Job) -> None:
    """Queue a stalled job anew, or end it if that is wished.

    A worker that only slept may still end its old entry, and its attempt may report: neither changes anything then.
    """
    with sessions.begin() as db:
        if db.scalar(_GIVE_UP, {"id": stalled.id}) is None:
            return
        job = db.scalars(select(Job).where(Job.id == stalled.task_kwargs["job_id"]).with_for_update()).one()
        if job.status not in ("queued", "running"):
            return
        job.status = "queued"
        db.flush()
        if not _end_if_wished(db, job.id):
            enqueue(db, job)


_LOST = text(
    """
    UPDATE jobs SET status = 'failed', finished_at = now(), error = 'no worker could finish it; look at their logs'
    WHERE status IN ('queued', 'running') AND NOT EXISTS (
        SELECT 1 FROM procrastinate_jobs AS queued
        WHERE (queued.args ->> 'job_id')::bigint = jobs.id AND queued.status IN ('todo', 'doing'))
    """
)


def _close_lost(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as db:
        db.execute(_LOST)
