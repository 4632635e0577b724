"""Becoming a subject: from an invitation and a consent to a row with a seed of its own."""

import secrets

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import studies
from app.errors import UnknownError
from app.models import Invite, Pair, Study, Subject
from pipelines.errors import DiscernError

UNKNOWN = "this invitation is not known, or was withdrawn; ask the person who sent it"


def find_invite(db: Session, token: str, *, lock: bool = False) -> Invite | None:
    """The invitation of a link; a revoked one lets those in who have used it, and nobody else."""
    query = select(Invite).where(Invite.token == token)
    return db.scalar(query.with_for_update() if lock else query)


def returning(db: Session, invite: Invite, current: Subject | None) -> Subject | None:
    """Who comes back with an invitation: the holder of a single one, or, to a shared one, this browser's subject."""
    if invite.kind == "single":
        return db.scalar(select(Subject).where(Subject.invite_id == invite.id))
    return current if current is not None and current.invite_id == invite.id else None


def study_of(db: Session, member: Invite | Subject) -> Study:
    """The study that an invitation or a subject belongs to."""
    return db.get_one(Study, member.study_id)


def enrol(db: Session, invite: Invite) -> Subject:
    """A new subject, who has just agreed to the current consent.

    Raises:
        UnknownError: the invitation was revoked.
        DiscernError: the study is not open.
    """
    if invite.revoked:
        raise UnknownError(UNKNOWN)
    # Locked, so that two people who come at once do not get one number.
    study = db.scalars(select(Study).where(Study.id == invite.study_id).with_for_update(key_share=True)).one()
    if study.state != "open":
        raise DiscernError("this study is not open now; ask the person who invited you")
    alike = (Subject.study_id == study.id) & (Subject.simulated == invite.simulated)
    number = db.scalar(select(func.max(Subject.number)).where(alike)) or 0
    pairs = db.scalar(select(func.count()).select_from(Pair).where(Pair.study_id == study.id)) or 0
    subject = Subject(
        study_id=study.id,
        invite_id=invite.id,
        simulated=invite.simulated,
        number=number + 1,
        seed=secrets.randbits(63),
        consent_id=studies.consent(db, study).id,
        completion_code=secrets.token_hex(4).upper(),
        total=min(study.trials_per_subject or pairs, pairs),
    )
    db.add(subject)
    db.flush()
    return subject
