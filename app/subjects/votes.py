"""Votes: stored once however often they are sent, together with the counters that follow from them."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import database
from app.models import Subject, Tally, Trial, Vote


@dataclass(frozen=True)
class Stored:
    """What is in the log now: the choice that came first, and the subject's progress."""

    choice: str
    voted: int
    total: int


class NotYourTrialError(Exception):
    """The trial is not one of this subject's."""


def store(db: Session, subject: Subject, trial_id: UUID, facts: dict[str, Any]) -> Stored:
    """Store a vote, or find it stored already.

    Args:
        db: the transaction that holds the vote and its counters.
        subject: who votes.
        trial_id: on what.
        facts: the other columns of `Vote`.

    Raises:
        NotYourTrialError: the trial is not one of this subject's.
    """
    trial = db.scalar(select(Trial).where(Trial.id == trial_id, Trial.subject_id == subject.id))
    if trial is None:
        raise NotYourTrialError
    statement = insert(Vote).values(trial_id=trial_id, **facts).on_conflict_do_nothing(index_elements=["trial_id"])
    if db.scalar(statement.returning(Vote.id)) is not None:
        _count(db, trial, facts["choice"])
    choice = db.scalars(select(Vote.choice).where(Vote.trial_id == trial_id)).one()
    db.refresh(subject, ["voted", "total"])
    return Stored(choice, subject.voted, subject.total)


def _count(db: Session, trial: Trial, choice: str) -> None:
    wins = Tally.wins_first if trial.first_on_left == (choice == "left") else Tally.wins_second
    mine = (Tally.pair_id == trial.pair_id) & (Tally.simulated == trial.simulated)
    db.execute(update(Tally).where(mine).values({wins: wins + 1}))
    progress = {"voted": Subject.voted + 1, "last_vote_at": func.now()}
    db.execute(update(Subject).where(Subject.id == trial.subject_id).values(progress))
    database.notify_vote(db, trial.study_id)
