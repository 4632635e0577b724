"""What the API says of a study, its votes, rankings and calibrations."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import UnknownError
from app.experimenters import conduct, tallies
from app.experimenters.conduct import Conduct
from app.experimenters.tallies import Voters
from app.models import Calibration, LowResolutionImage, Pair, Ranking, Study, Subject


class StudyView(BaseModel):
    """A study at a glance."""

    name: str
    title: str
    state: Literal["draft", "open", "closed"]
    methods: list[str]
    groups: list[str]
    images: int
    pairs: int
    trials_per_subject: int | None
    votes_by: dict[Voters, int]
    created_at: datetime


class Matrix(BaseModel):
    """The count matrix C: `counts[i][j]` is how often method i was preferred to method j.

    `votes_by` counts the votes on pairs of this group (null: of all groups) by each kind of voters, `votes_by_group`
    those by these voters on each group. Answers that name neither image are in none of them; `not_sure` counts those.
    """

    study: str
    voters: Voters
    group: str | None
    methods: list[str]
    counts: list[list[int]]
    votes: int
    not_sure: int
    votes_by: dict[Voters, int]
    votes_by_group: dict[str, int]


class SubjectView(BaseModel):
    """How far a subject is, and what their votes look like.

    A subject is complete when all trials that count have a vote; others, such as repetitions, may still wait for one.
    The numbers below `state` are of votes that stand, on trials of every kind: flags; trials with an obvious answer and
    how many were answered rightly; trials that show one image twice and how often the left one was chosen; trials shown
    a second time and how many were answered alike.
    """

    number: int
    name: str
    simulated: bool
    voted: int
    total: int
    last_vote_at: datetime | None
    state: Literal["started", "complete"]
    sitting: int
    blocks: int
    fast: int
    hidden: int
    pixels_different: int
    pixels_unverifiable: int
    gold: int
    gold_right: int
    identical: int
    identical_left: int
    repeats: int
    repeats_agreeing: int


class RankingView(BaseModel):
    """A stored ranking; `result` has the methods, best first, with scores, intervals and ranks.

    It is of the votes on pairs of the group, or on all pairs where that is null, that stood when the row `last_vote_id`
    was the last one of the log.
    """

    id: int
    created_at: datetime
    created_by: str
    voters: Voters
    group: str | None
    votes: int
    last_vote_id: int
    ridge: float
    level: float
    result: dict[str, Any]
    chart: str


class CalibrationView(BaseModel):
    """A calibration and its job."""

    id: int
    ranking: int
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    task: str
    done: int
    total: int
    log: list[str]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    created_by: str
    cancel_requested: bool
    options: dict[str, Any]
    simulated: bool
    group: str | None
    result: dict[str, Any] | None
    model: str | None


def study(db: Session, found: Study) -> StudyView:
    """A study at a glance."""
    images = select(func.count()).select_from(LowResolutionImage).where(LowResolutionImage.study_id == found.id)
    pairs = select(func.count()).select_from(Pair).where(Pair.study_id == found.id)
    return StudyView.model_validate(
        {
            "name": found.name,
            "title": found.title,
            "state": found.state,
            "methods": [method.name for method in found.methods],
            "groups": tallies.groups(db, found),
            "images": db.scalar(images),
            "pairs": db.scalar(pairs),
            "trials_per_subject": found.trials_per_subject,
            "votes_by": tallies.number_by_voters(db, found),
            "created_at": found.created_at,
        }
    )


def all_studies(db: Session) -> list[StudyView]:
    """Every study, newest first."""
    return [study(db, found) for found in db.scalars(select(Study).order_by(Study.id.desc()))]


def matrix(db: Session, found: Study, voters: Voters | None, group: str | None = None) -> Matrix:
    """The count matrix of some voters and a group of pairs; all groups by default.

    See `tallies.default_voters` for the voters' default.
    """
    chosen = voters or tallies.default_voters(tallies.number_by_voters(db, found))
    numbers = tallies.number_by_voters(db, found, group)
    return Matrix.model_validate(
        {
            "study": found.name,
            "voters": chosen,
            "group": group,
            "methods": [method.name for method in found.methods],
            "counts": tallies.count_matrix(db, found, chosen, group),
            "votes": numbers[chosen],
            "not_sure": tallies.number_not_sure(db, found, chosen, group),
            "votes_by": numbers,
            "votes_by_group": tallies.number_by_group(db, found, chosen),
        }
    )


def subjects(db: Session, found: Study, voters: Voters) -> list[SubjectView]:
    """How far subjects are, and what their votes look like, in the order in which they came."""
    seen, nothing = conduct.by_subject(db, found, voters), Conduct()
    return [_subject(one, seen.get(one.id, nothing)) for one in tallies.subjects(db, found, voters)]


def _subject(found: Subject, seen: Conduct) -> SubjectView:
    state: Literal["started", "complete"] = "complete" if found.voted == found.total else "started"
    facts = ("number", "name", "simulated", "voted", "total", "last_vote_at")
    return SubjectView(state=state, **{fact: getattr(found, fact) for fact in facts}, **asdict(seen))


def ranking(found: Ranking, study_name: str) -> RankingView:
    """A stored ranking."""
    facts = ("id", "created_at", "created_by", "voters", "group", "votes", "last_vote_id", "ridge", "level", "result")
    chart = f"/api/studies/{study_name}/rankings/{found.id}/chart"
    return RankingView(chart=chart, **{fact: getattr(found, fact) for fact in facts})


def find_ranking(db: Session, found: Study, key: int) -> Ranking:
    """A ranking of the study.

    Raises:
        UnknownError: it has no such ranking.
    """
    row = db.get(Ranking, key)
    if row is None or row.study_id != found.id:
        raise UnknownError(f"study {found.name!r} has no ranking {key}")
    return row


def find_calibration(db: Session, found: Study, key: int) -> Calibration:
    """A calibration of the study.

    Raises:
        UnknownError: it has no such calibration.
    """
    row = db.get(Calibration, key)
    if row is None or row.study_id != found.id:
        raise UnknownError(f"study {found.name!r} has no calibration {key}")
    return row


def rankings(db: Session, found: Study) -> list[RankingView]:
    """The study's rankings, newest first."""
    query = select(Ranking).where(Ranking.study_id == found.id).order_by(Ranking.id.desc())
    return [ranking(row, found.name) for row in db.scalars(query)]


def calibration(found: Calibration, study_name: str) -> CalibrationView:
    """A calibration and its job."""
    of_job = ("status", "task", "done", "total", "log", "error", "started_at", "finished_at", "cancel_requested")
    own = ("id", "created_at", "created_by", "options", "result")
    link = f"/api/studies/{study_name}/calibrations/{found.id}/model.zip" if found.model else None
    return CalibrationView(
        ranking=found.ranking_id,
        simulated=found.ranking.voters == "simulated",
        group=found.ranking.group,
        model=link,
        **{fact: getattr(found.job, fact) for fact in of_job},
        **{fact: getattr(found, fact) for fact in own},
    )


def calibrations(db: Session, found: Study) -> list[CalibrationView]:
    """The study's calibrations, newest first."""
    query = select(Calibration).where(Calibration.study_id == found.id).order_by(Calibration.id.desc())
    return [calibration(row, found.name) for row in db.scalars(query)]
