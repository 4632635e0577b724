"""What the jobs of a pre-run do, each in a process of its own: prepare a round, make outputs, select pairs."""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app import database
from app.admins import agreement, jobs, preruns, splitting
from app.admins.exchange import Exchange
from app.admins.remote import Errand
from app.admins.splitting import Share
from app.admins.waiting import locked
from app.config import Settings
from app.models import Job, Prerun, PrerunPart
from pipelines import ingest, probe
from pipelines import study as study_files
from pipelines.errors import DiscernError
from pipelines.problems import Problem
from pipelines.progress import Progress
from pipelines.study import Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace

HERE = f"the worker on {platform.node()}"


@dataclass(frozen=True)
class Order:
    """A part and its pre-run as the database has them when an attempt begins, and the study as it was described.

    Attributes:
        facts: of the part's method, as the preparation found them; see `agreement`.
    """

    job: int
    attempt: int
    part: PrerunPart
    prerun: Prerun
    study: Study
    facts: Any


@dataclass(frozen=True)
class Prepared:
    """What a round has to do; `facts` determine the outputs of each method, wherever they are made."""

    study: Study
    images: ingest.Report
    shares: tuple[Share, ...]
    facts: dict[str, Any]


End = Callable[[Session], None]


def run(sessions: sessionmaker[Session], settings: Settings, job_id: int, attempt: int) -> None:
    """Do a job of a pre-run.

    Raises:
        SupersededError: the job was cancelled, or another attempt has begun.
        DiscernError: it cannot be done; the message says what is missing, and on which host.
    """
    order = database.persist(partial(_read_order, sessions, job_id, attempt))
    exchange = Exchange(settings.store_url, order.prerun.token)
    progress = jobs.reporter(sessions, job_id, attempt, time.monotonic)
    if order.part.step == "prepare":
        end: End = partial(_begin_outputs, order, prepare(order, exchange, progress))
    elif order.part.step == "outputs":
        end = partial(_end_outputs, order, make_outputs(order, exchange, settings.home, progress))
    else:
        left_out = database.persist(partial(_left_out, sessions, order.prerun))
        end = partial(_end, order, select_pairs(order, exchange, left_out, progress))
    database.persist(partial(_write, sessions, end))


def prepare(order: Order, exchange: Exchange, progress: Progress) -> Prepared:
    """Ingest the LR images, and find out what is missing.

    Raises:
        DiscernError: the study file or something that it names cannot be used on this host.
    """
    # Imported here: it brings torch, which takes seconds, and jobs that make outputs can do without.
    from pipelines.selection import stage as selection

    file = Path(order.prerun.study_file)
    if not file.is_file():
        raise DiscernError(f"{file}: {HERE} does not see the study file; {_remedy()}")
    study = preruns.in_one_line(study_files.load, file)
    selection.check(study)
    workspace = Workspace(study.workspace)
    with locked(workspace, progress):
        prints = super_resolution.fingerprints(study)
        exchange.take_back(workspace, super_resolution.manifest(workspace), prints, progress)
        images = ingest.run(study, workspace, progress)
        hashes = [row["sha256"] for row in ingest.manifest(workspace).rows()]
        missing = super_resolution.plan(study, workspace)
        facts = agreement.keep(study, workspace, [part.method for part in missing])
        probe.leave(workspace.root, order.prerun.token)
        if missing:
            exchange.lend(workspace, ingest.manifest(workspace), progress)
    return Prepared(study, images, splitting.shares(study, hashes, missing, order.prerun.images_per_part), facts)


def make_outputs(order: Order, exchange: Exchange, home: Path, progress: Progress) -> dict[str, Any]:
    """Make the outputs of a part, in the study's workspace, or through the store where this host does not see that.

    Args:
        order: the part.
        exchange: with hosts that share no file system with the workspace's.
        home: folder of this host for what only it needs.
        progress: see there.

    Returns:
        What is kept with the part.

    Raises:
        DiscernError: neither is possible, or the method is not on this host as it was where the round was prepared.
    """
    study, part = order.study, order.part
    assert part.method is not None
    assert part.slot is not None
    agreement.check(study, part.method, order.facts, HERE)
    if probe.found(study.workspace, order.prerun.token):
        workspace, through = Workspace(study.workspace), "workspace"
        with locked(workspace, progress, shared=True):
            report = super_resolution.run_part(study, workspace, part.method, part.images, progress, slot=part.slot)
    else:
        _check_lent(order, exchange)
        scratch, through = home / "scratch" / order.prerun.token / f"part-{part.id}", "store"
        errand = Errand(exchange, scratch, part.id, order.attempt)
        report = errand.run(study, part.method, part.images, progress, slot=part.slot)
    return {"new": report.new, "through": through, "problems": [asdict(problem) for problem in report.problems]}


def select_pairs(order: Order, exchange: Exchange, left_out: tuple[Problem, ...], progress: Progress) -> dict[str, Any]:
    """Take back what came through the store, record all outputs, and select pairs; what failed is not tried again.

    Returns:
        What is kept with the part.

    Raises:
        DiscernError: this host does not see the workspace, or too little was made to select from.
    """
    from app import runs

    study = order.study
    if not probe.found(study.workspace, order.prerun.token):
        raise DiscernError(f"{study.workspace}: {HERE} does not see the workspace; {_remedy()}")
    workspace = Workspace(study.workspace)
    with locked(workspace, progress):
        prints = super_resolution.fingerprints(study)
        lost = exchange.take_back(workspace, super_resolution.manifest(workspace), prints, progress)
        lost_outputs = _lost_in_the_store(workspace, lost)
        left_out = (*left_out, *lost_outputs)
        of_outputs = [problem for problem in left_out if problem.method]
        outputs = super_resolution.conclude(study, workspace, of_outputs)
        pairs = runs.conclude(study, workspace, left_out, progress).pairs
    exchange.clear()
    return {
        "outputs": outputs.outputs,
        "pairs": pairs.pairs,
        "images": pairs.images,
        "problems": [asdict(problem) for problem in (*lost_outputs, *pairs.problems)],
    }


def _lost_in_the_store(workspace: Workspace, rows: list[dict[str, Any]]) -> list[Problem]:
    stems = {row["sha256"]: row["stem"] for row in ingest.manifest(workspace).rows()}
    places = [(stems[row["image"]], row["method"]) for row in rows if row["image"] in stems]
    return [
        Problem("super-resolution", stem, method, f"{method}: {stem!r}: its output was lost in the store; resume")
        for stem, method in places
    ]


def _check_lent(order: Order, exchange: Exchange) -> None:
    if not exchange.has_lent():
        raise DiscernError(
            f"{order.study.workspace}: {HERE} sees neither the workspace nor, in the store {exchange.url!r}, the LR "
            "images; mount the workspace at the same path, or give all hosts one object store as DISCERN_STORE"
        )


def _remedy() -> str:
    return (
        "mount it at the same path on every host that takes the cpu queue; "
        "hosts that do not see it can take the other one (discern worker --queue gpu)"
    )


def _read_order(sessions: sessionmaker[Session], job_id: int, attempt: int) -> Order:
    with sessions() as db:
        part = db.scalars(select(PrerunPart).join(Job).where(Job.id == job_id)).one()
        prerun = db.get_one(Prerun, part.prerun_id)
        facts = (_prepared(db, prerun) or {}).get("facts", {}).get(part.method)
        return Order(job_id, attempt, part, prerun, _described(prerun), facts)


def _described(prerun: Prerun) -> Study:
    try:
        return Study.model_validate(prerun.description)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        key = ".".join(map(str, wrong["loc"]))
        raise DiscernError(
            f"pre-run {prerun.id}: {HERE} does not understand its study, as another version of Discern stored it "
            f"({key}: {wrong['msg']}); install the same version on every host, and resume the pre-run"
        ) from error


def _prepared(db: Session, prerun: Prerun) -> dict[str, Any] | None:
    step = (PrerunPart.prerun_id == prerun.id) & (PrerunPart.round == prerun.round) & (PrerunPart.step == "prepare")
    return db.scalar(select(PrerunPart.result).where(step))


def _left_out(sessions: sessionmaker[Session], prerun: Prerun) -> tuple[Problem, ...]:
    """Everything that the round has left out until now; of a part that failed, what it failed of."""
    mine = (PrerunPart.prerun_id == prerun.id) & (PrerunPart.round == prerun.round)
    query = select(PrerunPart.method, PrerunPart.result, Job.error).join(Job).where(mine).order_by(PrerunPart.id)
    found = []
    with sessions() as db:
        for method, result, error in db.execute(query):
            found += [Problem(**problem) for problem in (result or {}).get("problems", [])]
            if error is not None and not result:
                found.append(Problem("super-resolution", "", method or "", error))
    return tuple(found)


def _write(sessions: sessionmaker[Session], end: End) -> None:
    with sessions.begin() as db:
        end(db)


def _begin_outputs(order: Order, prepared: Prepared, db: Session) -> None:
    """End the preparation and queue what it found, in one transaction."""
    prerun = preruns.find(db, order.prerun.id, lock=True)
    ended = {Job.status: "cancelled" if prerun.cancel_requested else "succeeded", Job.finished_at: func.now()}
    jobs.write(db, order.job, order.attempt, ended)
    if prerun.cancel_requested:
        return
    preruns.describe(prerun, prepared.study)
    missing = dict.fromkeys(prepared.study.method_ids, 0)
    for share in prepared.shares:
        missing[share.method] += len(share.images)
    preruns.add(db, *(_part(prerun, share) for share in prepared.shares))
    db.get_one(PrerunPart, order.part.id).result = {
        "images": prepared.images.images,
        "missing": missing,
        "facts": prepared.facts,
        "problems": [asdict(problem) for problem in prepared.images.problems],
    }


def _part(prerun: Prerun, share: Share) -> Job:
    return preruns.part(prerun, share.queue, step="outputs", method=share.method, slot=share.slot, images=share.images)


def _end_outputs(order: Order, result: dict[str, Any], db: Session) -> None:
    """A part whose every image was left out has failed: its method is not in order, rather than the images."""
    lost, images = result["problems"], len(order.part.images)
    nothing = f"none of the {images} outputs could be made; the first: {lost[0]['reason']}" if lost else None
    _end(order, result, db, error=nothing if len(lost) == images else None)


def _end(order: Order, result: dict[str, Any], db: Session, *, error: str | None = None) -> None:
    status = "failed" if error else "succeeded"
    jobs.write(db, order.job, order.attempt, {Job.status: status, Job.error: error, Job.finished_at: func.now()})
    db.get_one(PrerunPart, order.part.id).result = result
