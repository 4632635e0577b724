"""A subject's trials: the rows are there, with their sides, before an image is shown."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session, aliased

from app.models import Output, Pair, Study, Subject, Tally, Trial, Vote
from app.subjects import assignment
from app.subjects.assignment import Candidate

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Shown:
    """A trial without a vote, as the page needs it: nothing here tells a method."""

    id: UUID
    number: int
    width: int
    height: int


class StudyClosedError(Exception):
    """No more trials are handed out."""


def outstanding(db: Session, subject: Subject, ahead: int) -> list[Shown]:
    """The subject's next trials, in order: those without a vote, then as many new ones as `ahead` leaves room for.

    Raises:
        StudyClosedError: none are left, and the study is not open.
    """
    unvoted = _unvoted(db, subject, ahead)
    if len(unvoted) < ahead and _issued(db, subject) < subject.total:
        is_open = _issue(db, subject, ahead)
        unvoted = _unvoted(db, subject, ahead)
        if not unvoted and not is_open:
            raise StudyClosedError
    return unvoted


def image(db: Session, subject: Subject, trial: UUID, side: Side) -> str | None:
    """The pixel hash of what is on a side of a trial; None where the trial is not this subject's."""
    first, second = aliased(Output), aliased(Output)
    query = (
        select(Trial.first_on_left, first.sha256, second.sha256)
        .join(Pair, Trial.pair_id == Pair.id)
        .join(first, Pair.first_output_id == first.id)
        .join(second, Pair.second_output_id == second.id)
        .where(Trial.id == trial, Trial.subject_id == subject.id)
    )
    row = db.execute(query).one_or_none()
    if row is None:
        return None
    first_on_left, first_sha256, second_sha256 = row
    return str(first_sha256 if first_on_left == (side == "left") else second_sha256)


def _unvoted(db: Session, subject: Subject, most: int) -> list[Shown]:
    query = (
        select(Trial.id, Trial.number, Output.width, Output.height)
        .join(Pair, Trial.pair_id == Pair.id)
        .join(Output, Pair.first_output_id == Output.id)
        .outerjoin(Vote, Vote.trial_id == Trial.id)
        .where(Trial.subject_id == subject.id, Vote.id.is_(None))
        .order_by(Trial.number)
        .limit(most)
    )
    return [Shown(*row) for row in db.execute(query)]


def _issued(db: Session, subject: Subject) -> int:
    return db.scalar(select(func.count()).select_from(Trial).where(Trial.subject_id == subject.id)) or 0


def _issue(db: Session, subject: Subject, ahead: int) -> bool:
    """Hand out new trials, one subject of a study at a time, so that counts and sides cannot be out of date.

    Returns:
        Whether the study is open; nothing is handed out where it is not.
    """
    state = db.scalar(select(Study.state).where(Study.id == subject.study_id).with_for_update(key_share=True))
    if state != "open":
        return False
    # Another tab of this subject may have been handed the same trials while this one waited for the lock.
    wanted = ahead - len(_unvoted(db, subject, ahead))
    number, lead, previous_image = _so_far(db, subject)
    candidates = {candidate.pair: candidate for candidate in _unseen(db, subject)}
    for _ in range(min(wanted, subject.total - number)):
        number += 1
        chosen = assignment.choose(
            list(candidates.values()), seed=subject.seed, number=number, lead=lead, previous_image=previous_image
        )
        lead += 1 if chosen.first_on_left else -1
        previous_image = chosen.candidate.image
        del candidates[chosen.candidate.pair]
        _insert(db, subject, number, chosen)
    return True


def _so_far(db: Session, subject: Subject) -> tuple[int, int, int | None]:
    """How many trials the subject was handed, the lead of "first on the left" among them, and the last LR image."""
    query = (
        select(Trial.first_on_left, Pair.low_resolution_image_id)
        .join(Pair, Trial.pair_id == Pair.id)
        .where(Trial.subject_id == subject.id)
        .order_by(Trial.number)
    )
    rows = db.execute(query).all()
    lead = sum(1 if first_on_left else -1 for first_on_left, _ in rows)
    return len(rows), lead, rows[-1][1] if rows else None


def _unseen(db: Session, subject: Subject) -> list[Candidate]:
    seen = select(Trial.pair_id).where(Trial.subject_id == subject.id)
    query = (
        select(Pair.id, Pair.low_resolution_image_id, Tally.issued_first_left, Tally.issued_first_right)
        .join(Tally, Tally.pair_id == Pair.id)
        .where(Pair.study_id == subject.study_id, Tally.simulated == subject.simulated, Pair.id.not_in(seen))
    )
    return [Candidate(*row) for row in db.execute(query)]


def _insert(db: Session, subject: Subject, number: int, chosen: assignment.Assignment) -> None:
    db.execute(
        insert(Trial).values(
            study_id=subject.study_id,
            subject_id=subject.id,
            simulated=subject.simulated,
            pair_id=chosen.candidate.pair,
            number=number,
            first_on_left=chosen.first_on_left,
        )
    )
    issued = Tally.issued_first_left if chosen.first_on_left else Tally.issued_first_right
    mine = (Tally.pair_id == chosen.candidate.pair) & (Tally.simulated == subject.simulated)
    db.execute(update(Tally).where(mine).values({issued: issued + 1}))
