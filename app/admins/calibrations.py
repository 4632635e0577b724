"""Calibrations: launched from a ranking, run on a worker, kept with their figures and their model."""

import io
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app import database
from app.admins import jobs
from app.admins.waiting import locked
from app.experimenters import tallies
from app.experimenters.tallies import Voters
from app.models import Calibration, Job, Ranking, Study
from app.store import Store
from pipelines import study as study_files
from pipelines.errors import DiscernError
from pipelines.progress import Progress
from pipelines.ranking.counts import Votes, among
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Order:
    """What a calibration works with, read from the database before it begins."""

    key: int
    study: study_files.Study
    ranking: dict[str, Any]
    votes: Votes


def launch(db: Session, study: Study, ranking_id: int, *, created_by: str) -> Calibration:
    """Queue a calibration with a ranking of the study.

    Raises:
        DiscernError: there is no such ranking, or the study names nothing to learn from.
    """
    ranking = db.get(Ranking, ranking_id)
    if ranking is None or ranking.study_id != study.id:
        raise DiscernError(f"ranking: study {study.name!r} has no ranking {ranking_id}; fit one first")
    description = study_files.Study.model_validate(study.description)
    if description.calibration.rated is None or description.images.unlabelled is None:
        raise DiscernError(
            f"study {study.name!r} cannot be calibrated: its study file names no calibration.rated, "
            "or no images.unlabelled, to learn from; add them, run it, and import it under another name"
        )
    options = description.calibration.model_dump(mode="json", exclude={"rated"})
    calibration = Calibration(study_id=study.id, ranking_id=ranking.id, options=options, created_by=created_by)
    db.add(calibration)
    db.flush()
    queue = "gpu" if description.execution.device.startswith("cuda") else "cpu"
    calibration.job = Job(calibration_id=calibration.id, queue=queue)
    db.flush()
    jobs.enqueue(db, calibration.job)
    db.refresh(calibration)
    return calibration


def run(sessions: sessionmaker[Session], store: Store, job_id: int, attempt: int) -> None:
    """The work of a job, in a process of its own: both stages, the evaluation, and the model into the store.

    Raises:
        SupersededError: the job was cancelled, or another attempt has begun.
        DiscernError: the stages say what is missing.
    """
    started = time.monotonic()
    order = database.persist(partial(_order, sessions, job_id))
    if not order.study.workspace.is_dir():
        raise DiscernError(
            f"{order.study.workspace}: this worker does not see the workspace; mount it at the same path on every host"
        )
    progress = jobs.reporter(sessions, job_id, attempt, time.monotonic)
    result, folder = _calibrate(order, progress)
    model = store.put_model(_zip(folder))
    result["seconds"] = round(time.monotonic() - started, 1)
    database.persist(partial(_keep, sessions, job_id, attempt, order, result, model))


def _keep(
    sessions: sessionmaker[Session], job_id: int, attempt: int, order: Order, result: dict[str, Any], model: str
) -> None:
    """Store the result with the end of its job: there is no success without one."""
    with sessions.begin() as db:
        jobs.write(db, job_id, attempt, {Job.status: "succeeded", Job.finished_at: func.now()})
        calibration = db.get_one(Calibration, order.key)
        calibration.result, calibration.model = result, model


def _order(sessions: sessionmaker[Session], job_id: int) -> Order:
    with sessions() as db:
        return _read_order(db, job_id)


def _read_order(db: Session, job_id: int) -> Order:
    calibration = db.scalars(select(Calibration).join(Job).where(Job.id == job_id)).one()
    study, ranking = db.get_one(Study, calibration.study_id), calibration.ranking
    voters: Voters = "simulated" if ranking.voters == "simulated" else "people"
    # The votes that the ranking was fitted to: later ones would make its figures look different from what they are.
    votes = tallies.votes(db, study, voters, group=ranking.group, up_to=ranking.last_vote_id)
    assert votes is not None, "a ranking has votes"
    description = study_files.Study.model_validate(study.description)
    description = description.model_copy(update={"workspace": Path(study.workspace)})
    ranked = {row["method"] for row in ranking.result["methods"]}
    votes = among(votes, [name for name in votes.methods if name in ranked])
    return Order(calibration.id, _of_methods(description, ranked), ranking.result | {"id": ranking.id}, votes)


def _of_methods(study: study_files.Study, ranked: set[str]) -> study_files.Study:
    """The study as it was when the ranking was fitted: methods that were added since are not in it."""
    methods = tuple(method for method in study.methods if method.id in ranked)
    anchors = {name: others for name, others in study.selection.anchors.items() if name in ranked}
    selection = study.selection.model_copy(update={"anchors": anchors})
    return study.model_copy(update={"methods": methods, "selection": selection})


def _calibrate(order: Order, progress: Progress) -> tuple[dict[str, Any], Path]:
    """Stage one, stage two, evaluation; returns the figures and the folder of the model."""
    # The science is imported here, so that a web host without torch can launch what another host will run.
    from pipelines.calibration import pretraining
    from pipelines.calibration import stage as calibration
    from pipelines.evaluation import stage as evaluation
    from pipelines.quality.model import QualityModel

    study = order.study
    workspace = Workspace(study.workspace)
    name = f"calibration-{order.key}"
    with locked(workspace, progress):
        fit = pretraining.run(study, workspace, progress)
        scores = {row["method"]: row["score"] for row in order.ranking["methods"]}
        made = calibration.run(study, workspace, fit.model, scores, ranking=order.ranking, name=name, progress=progress)
        models: Mapping[str, QualityModel] = {"before": fit.model, "after": made.model}
        figures = evaluation.run(study, workspace, order.votes, models, progress)
    result = {
        "two_afc": figures.as_dict(),
        "quality_model": {"cross_validated_srcc": fit.srcc},
        "training": {
            "batch": made.training.batch,
            "epochs": len(made.training.history) - 1,
            "chosen_epoch": made.training.chosen,
            "unlabelled_images": made.unlabelled_images,
        },
    }
    return result, workspace.root / "models" / name


def _zip(folder: Path) -> bytes:
    """A folder as a zip file whose bytes follow from its contents alone."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            packed.writestr(zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder)}"), path.read_bytes())
    return archive.getvalue()
