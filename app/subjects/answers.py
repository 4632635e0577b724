"""The steps before the trials: what is stored of them, and what their pages need to know of the study."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Answer, LoginSession, Output, Study, Subject, Trial, Vote


def done(db: Session, subject: Subject) -> frozenset[str]:
    """The steps that a subject has done."""
    return frozenset(db.scalars(select(Answer.step).where(Answer.subject_id == subject.id)))


def is_session_over(db: Session, subject: Subject) -> bool:
    """Whether no trial waits for its vote, and none will come: all that count are voted on, or the study is closed.

    Experimenters see less in "complete": all that count are voted on (`app.experimenters.views.SubjectView`).
    """
    if subject.voted < subject.total and (subject.voted == 0 or is_open(db, subject)):
        return False
    voted = select(Vote.id).where(Vote.trial_id == Trial.id, Vote.stands())
    waiting = select(Trial.id).where(Trial.subject_id == subject.id, ~voted.exists())
    return db.scalar(waiting.limit(1)) is None


def is_open(db: Session, subject: Subject) -> bool:
    """Whether the subject's study hands out trials."""
    return db.scalar(select(Study.state).where(Study.id == subject.study_id)) == "open"


def record(db: Session, subject: Subject, step: str, content: dict[str, Any]) -> bool:
    """Store that a step is done, once however often it is sent; returns whether it is this time."""
    _lock(db, subject)
    if step in done(db, subject):
        return False
    db.add(Answer(subject_id=subject.id, step=step, content=content))
    return True


def record_device(db: Session, subject: Subject, browser: LoginSession, facts: dict[str, Any]) -> bool:
    """Likewise for the check of a device, which every browser is asked for."""
    _lock(db, subject)
    db.refresh(browser, ["device_checked"])
    if browser.device_checked:
        return False
    db.add(Answer(subject_id=subject.id, step="device", content=facts))
    browser.device_checked = True
    return True


def largest_size(db: Session, subject: Subject) -> tuple[int, int]:
    """The greatest width and the greatest height among the images that the subject may be shown."""
    query = select(func.max(Output.width), func.max(Output.height)).where(Output.study_id == subject.study_id)
    width, height = db.execute(query).one()
    return width, height


def _lock(db: Session, subject: Subject) -> None:
    """Two sends of one step, from two tabs, come one after the other."""
    db.execute(select(Subject.id).where(Subject.id == subject.id).with_for_update(key_share=True))
