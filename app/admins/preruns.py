"""Pre-runs: a study file's missing outputs, made by workers on any host, part by part; then its pairs are selected.

A round of a pre-run is a job that prepares it, a job for each part of its outputs, and a job that selects. What is
finished lies in the workspace, so that a round does only what is missing: a pre-run is resumed by another round, and
`discern run` on the same study file goes on where a pre-run stopped, and the other way round.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.admins import jobs
from app.admins.jobs import Queue
from app.errors import UnknownError
from app.models import Job, Prerun, PrerunPart
from pipelines import study as study_files
from pipelines.errors import DiscernError
from pipelines.study import Study

ACTIVE = ("queued", "running")
BEGIN_LOCK = 0x50524552  # any number that nobody else takes


def find(db: Session, key: int, *, lock: bool = False) -> Prerun:
    """A pre-run; locked, nobody else begins, ends or cancels a round of it until the transaction ends.

    Raises:
        UnknownError: there is none.
    """
    query = select(Prerun).where(Prerun.id == key)
    # What somebody else has changed while this transaction waited for the lock is read anew.
    prerun = db.scalar(query.with_for_update().execution_options(populate_existing=True) if lock else query)
    if prerun is None:
        raise UnknownError(f"there is no pre-run {key}")
    return prerun


def all_preruns(db: Session) -> Sequence[Prerun]:
    """Every pre-run, newest first."""
    return db.scalars(select(Prerun).order_by(Prerun.id.desc())).all()


def start(db: Session, study_file: Path, *, images_per_part: int, created_by: str) -> Prerun:
    """Begin a pre-run.

    Args:
        db: the job that prepares it is there if the transaction commits.
        study_file: where it lies for this host and for the workers.
        images_per_part: how many LR images a worker is given at a time.
        created_by: who asks for it.

    Raises:
        DiscernError: the study file cannot be used, or another pre-run works in its workspace.
    """
    # Workers check that all it names is there: this host need not see that.
    study = in_one_line(study_files.read, study_file)
    _claim(db, study.workspace)
    prerun = Prerun(
        study_file=str(study_file),
        images_per_part=images_per_part,
        token=secrets.token_hex(16),
        created_by=created_by,
    )
    describe(prerun, study)
    db.add(prerun)
    db.flush()
    db.refresh(prerun)
    add(db, part(prerun, "cpu", step="prepare"))
    return prerun


def resume(db: Session, key: int) -> Prerun:
    """Begin another round of a pre-run, from its study file as it is now.

    Raises:
        UnknownError: there is no such pre-run.
        DiscernError: it has not ended, its study file cannot be used, or another one works in its workspace.
    """
    study = in_one_line(study_files.read, Path(find(db, key).study_file))
    _claim(db, study.workspace, but=key)
    prerun = find(db, key, lock=True)
    if is_active(db, prerun):
        raise DiscernError(f"pre-run {key} has not ended yet; cancel it first, or wait a moment until it has stopped")
    describe(prerun, study)
    prerun.round, prerun.cancel_requested = prerun.round + 1, False
    add(db, part(prerun, "cpu", step="prepare"))
    return prerun


def cancel(db: Session, key: int) -> Prerun:
    """Stop all jobs of a pre-run, and let none begin; what is finished is kept. One that has ended stays as it is.

    Raises:
        UnknownError: there is no such pre-run.
    """
    prerun = find(db, key, lock=True)
    if is_active(db, prerun):
        prerun.cancel_requested = True
        mine = (PrerunPart.prerun_id == key) & Job.status.in_(ACTIVE)
        jobs.cancel(db, *db.scalars(select(Job.id).join(PrerunPart).where(mine)))
    return prerun


def describe(prerun: Prerun, study: Study) -> None:
    """Let a pre-run be about a study as its file describes it now."""
    prerun.title, prerun.workspace = study.name, str(study.workspace)
    prerun.description = study.model_dump(mode="json")


def in_one_line(read: Callable[[Path], Study], study_file: Path) -> Study:
    """A study file read by `study.read` or `study.load`; all that is wrong with it in one line.

    Raises:
        DiscernError: it cannot be used.
    """
    try:
        return read(study_file)
    except study_files.StudyError as error:
        raise DiscernError("; ".join(str(error).splitlines())) from error


def part(
    prerun: Prerun,
    queue: Queue,
    *,
    step: str,
    method: str | None = None,
    slot: str | None = None,
    images: Sequence[str] = (),
) -> Job:
    """A part of the current round, as a job that is to be added."""
    job = Job(queue=queue)
    job.part = PrerunPart(
        prerun_id=prerun.id, round=prerun.round, step=step, method=method, slot=slot, images=list(images)
    )
    return job


def add(db: Session, *parts: Job) -> None:
    """Queue parts, however many, in a few round trips."""
    db.add_all(parts)
    db.flush()
    jobs.enqueue(db, *parts)


def queue_for(kind: str, device: str) -> Queue:
    """Upstream programs, and networks of a study whose device is a GPU, are for workers that have one.

    Args:
        kind: of the method.
        device: of the study's execution.
    """
    on_gpu = device.startswith("cuda") and kind not in ("interpolation", "folder")
    return "gpu" if on_gpu or kind == "external" else "cpu"


def is_active(db: Session, prerun: Prerun) -> bool:
    """Whether the round has not ended: a job of it waits or runs, or its selection is about to be queued."""
    statuses = _statuses(db, prerun)
    return any(set(found) & set(ACTIVE) for found in statuses.values()) or _may_select(prerun, statuses)


def follow_up(sessions: sessionmaker[Session]) -> None:
    """Queue the selection of every pre-run whose outputs have all been tried; see `jobs.FollowUp`.

    Its transaction begins after those that ended the jobs, so that whoever ended the last one finds the selection due;
    of several who do, one queues it.
    """
    with sessions() as db:
        due = [prerun.id for prerun in db.scalars(_UNSELECTED) if _may_select(prerun, _statuses(db, prerun))]
    for key in due:
        with sessions.begin() as db:
            prerun = find(db, key, lock=True)
            if _may_select(prerun, _statuses(db, prerun)):
                add(db, part(prerun, "cpu", step="select"))


_PREPARED = (
    select(PrerunPart.prerun_id, PrerunPart.round)
    .join(Job)
    .where((PrerunPart.step == "prepare") & (Job.status == "succeeded"))
)
_SELECTED = select(PrerunPart.prerun_id, PrerunPart.round).where(PrerunPart.step == "select")
_ROUND = func.row(Prerun.id, Prerun.round)
_UNSELECTED = select(Prerun).where(~Prerun.cancel_requested, _ROUND.in_(_PREPARED), _ROUND.not_in(_SELECTED))


def _may_select(prerun: Prerun, statuses: dict[str, list[str]]) -> bool:
    tried = not set(statuses["outputs"]) & set(ACTIVE)
    return tried and statuses["prepare"] == ["succeeded"] and not statuses["select"] and not prerun.cancel_requested


def _statuses(db: Session, prerun: Prerun) -> dict[str, list[str]]:
    """How far the jobs of the round are, by step."""
    mine = (PrerunPart.prerun_id == prerun.id) & (PrerunPart.round == prerun.round)
    found: dict[str, list[str]] = defaultdict(list)
    for step, status in db.execute(select(PrerunPart.step, Job.status).join(Job).where(mine)):
        found[step].append(status)
    return found


def _claim(db: Session, workspace: Path, *, but: int | None = None) -> None:
    """Refuse a workspace in which another pre-run works; of two that begin at once, the second waits and sees that."""
    db.execute(select(func.pg_advisory_xact_lock(BEGIN_LOCK)))
    there = (Prerun.workspace == str(workspace)) & Prerun.id.is_distinct_from(but)
    for other in db.scalars(select(Prerun).where(there)).all():
        if is_active(db, other):
            raise DiscernError(f"{workspace}: pre-run {other.id} works in this workspace; wait for it, or cancel it")
