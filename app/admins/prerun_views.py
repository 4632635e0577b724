"""What the API says of a pre-run."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.admins import prerun_progress, preruns
from app.admins.jobs import Queue
from app.admins.prerun_progress import Outcome, OutputsPart
from app.admins.preruns import ACTIVE
from app.models import Job, Prerun, PrerunPart, Study

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Step = Literal["prepare", "outputs", "select"]
MOST_PROBLEMS = 50


class MethodView(BaseModel):
    """How far the outputs of a method are; `total` is null until the round is prepared."""

    method: str
    kind: str
    queue: Queue
    done: int
    total: int | None
    left_out: int
    per_minute: float
    parts: dict[Status, int]


class PartView(BaseModel):
    """A job of the round that a worker is at; `done` of `total` in its present task."""

    step: Step
    method: str | None
    slot: str | None
    images: int
    queue: Queue
    attempt: int
    worker: str
    task: str
    done: int
    total: int


class FailureView(BaseModel):
    """Parts of one method, or one step, that failed alike; `error` is that of the first."""

    step: Step
    method: str | None
    parts: int
    images: int
    workers: list[str]
    error: str


class PrerunView(BaseModel):
    """A pre-run and how far its current round is; `problems` are the first of what was left out."""

    id: int
    title: str
    study_file: str
    workspace: str
    images_per_part: int
    created_by: str
    created_at: datetime
    round: int
    status: Status
    cancel_requested: bool
    started_at: datetime | None
    finished_at: datetime | None
    done: int
    total: int | None
    per_minute: float
    seconds_left: float | None
    seconds_left_at_least: bool
    methods: list[MethodView]
    running: list[PartView]
    failed: list[FailureView]
    waiting: dict[Queue, int]
    left_out: int
    problems: list[str]
    pairs: int | None
    studies: list[str]


def prerun(db: Session, found: Prerun) -> PrerunView:
    """A pre-run and how far its current round is."""
    parts = _parts(db, found)
    status = _status(found, parts)
    finished_at = None if status in ACTIVE else max((part.finished_at for part in parts), default=None)
    now = finished_at or db.scalar(select(func.now()))
    assert now is not None
    methods = _methods(found, parts, now)
    outputs = [_outputs_part(part) for part in parts if part.step == "outputs"]
    left = prerun_progress.time_left(outputs, now)
    reasons = [problem["reason"] for part in parts if part.result for problem in part.result["problems"]]
    return PrerunView(
        status=status,
        started_at=min((part.started_at for part in parts if part.started_at), default=None),
        finished_at=finished_at,
        done=sum(method.done for method in methods),
        total=None if any(method.total is None for method in methods) else sum(m.total or 0 for m in methods),
        per_minute=prerun_progress.per_minute(outputs, now),
        seconds_left=left.seconds if left else None,
        seconds_left_at_least=left is not None and left.at_least,
        methods=methods,
        running=[_part(part) for part in parts if part.status == "running"],
        failed=failures(parts),
        waiting=Counter(part.queue for part in parts if part.status == "queued"),
        left_out=len(reasons),
        problems=reasons[:MOST_PROBLEMS],
        pairs=next((part.result["pairs"] for part in parts if part.step == "select" and part.result), None),
        studies=_studies(db, found),
        **{fact: getattr(found, fact) for fact in _FACTS},
    )


def failures(parts: Sequence[Any]) -> list[FailureView]:
    """The parts that failed, those together that failed alike: a method that is not in order fails everywhere.

    Args:
        parts: with `step`, `method`, `images`, `status`, `worker`, `error`, and the `result` if outputs were tried.
    """
    alike: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for part in parts:
        if part.status == "failed":
            # Of outputs that were tried, each message names an image of its own; others have sizes and process ids.
            reason = None if part.result else re.sub(r"\d+", "", part.error)
            alike[part.step, part.method, reason].append(part)
    return [
        FailureView(
            step=same[0].step,
            method=same[0].method,
            parts=len(same),
            images=sum(part.images for part in same),
            workers=sorted({part.worker for part in same if part.worker}),
            error=same[0].error,
        )
        for same in alike.values()
    ]


def all_preruns(db: Session) -> list[PrerunView]:
    """Every pre-run, newest first."""
    return [prerun(db, found) for found in preruns.all_preruns(db)]


_FACTS = (
    "id",
    "title",
    "study_file",
    "workspace",
    "images_per_part",
    "created_by",
    "created_at",
    "round",
    "cancel_requested",
)


def _parts(db: Session, found: Prerun) -> Sequence[Any]:
    """The parts of the round with their jobs, oldest first; of their images, only how many."""
    of_job = [getattr(Job, fact) for fact in (*_OF_JOB, "started_at", "finished_at")]
    of_part = [PrerunPart.step, PrerunPart.method, PrerunPart.slot, PrerunPart.result]
    mine = (PrerunPart.prerun_id == found.id) & (PrerunPart.round == found.round)
    query = select(*of_part, func.cardinality(PrerunPart.images).label("images"), *of_job).join(Job).where(mine)
    return db.execute(query.order_by(PrerunPart.id)).all()


_OF_JOB = ("queue", "status", "attempt", "worker", "task", "done", "total", "error")


def _part(part: Any) -> PartView:
    return PartView(**{fact: getattr(part, fact) for fact in PartView.model_fields})


def _outputs_part(part: Any) -> OutputsPart:
    outcome = Outcome(part.result["new"], len(part.result["problems"])) if part.result else None
    facts = ("method", "queue", "status", "images", "total", "done", "started_at", "finished_at")
    return OutputsPart(outcome=outcome, **{fact: getattr(part, fact) for fact in facts})


def _methods(found: Prerun, parts: Sequence[Any], now: datetime) -> list[MethodView]:
    # Read as it was stored, unchecked: this version may not know a key that an old pre-run has.
    device = found.description["execution"]["device"]
    prepared = next((part.result for part in parts if part.step == "prepare"), None)
    outputs = [_outputs_part(part) for part in parts if part.step == "outputs"]
    return [
        _method(method, device, prepared, [part for part in outputs if part.method == method["id"]], now)
        for method in found.description["methods"]
    ]


def _method(
    method: dict[str, Any], device: str, prepared: dict[str, Any] | None, parts: Sequence[OutputsPart], now: datetime
) -> MethodView:
    """Outputs that were there before the round count as done."""
    total = prepared["images"] if prepared else None
    before = total - prepared["missing"][method["id"]] if prepared and total else 0
    return MethodView(
        method=method["id"],
        kind=method["kind"],
        queue=preruns.queue_for(method["kind"], device),
        done=before + sum(part.made for part in parts),
        total=total,
        left_out=sum(part.outcome.left_out for part in parts if part.outcome),
        per_minute=prerun_progress.per_minute(parts, now),
        parts=Counter(part.status for part in parts),
    )


def _status(found: Prerun, parts: Sequence[Any]) -> Status:
    of_step = {part.step: part.status for part in parts}
    if any(part.status in ACTIVE for part in parts):
        return "running" if any(part.started_at for part in parts) else "queued"
    if found.cancel_requested and of_step.get("select") != "succeeded":  # it may have come too late
        return "cancelled"
    if of_step["prepare"] == "succeeded" and "select" not in of_step:
        return "running"  # until a worker has seen that all outputs were tried
    status: Status = of_step.get("select", of_step["prepare"])
    return status


def _studies(db: Session, found: Prerun) -> list[str]:
    query = select(Study.name).where(Study.workspace == found.workspace)
    return list(db.scalars(query.order_by(Study.id)))
