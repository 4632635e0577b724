"""Becoming a subject: from an invitation and a consent to a row with a seed of its own."""

import secrets
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import models, terms
from app.errors import RefusalError
from app.models import Consent, Invite, Pair, Study, Subject
from app.subjects import languages, recruitment
from app.subjects.recruitment import Recruitment
from pipelines.protocol import Protocol


def find_invite(db: Session, token: str, *, lock: bool = False) -> Invite | None:
    """The invitation of a link; a revoked one lets those in who have used it, and nobody else."""
    query = select(Invite).where(Invite.token == token)
    return db.scalar(query.with_for_update() if lock else query)


def unknown_invite() -> RefusalError:
    """Why somebody is not let in whose invitation there is not, or not any more."""
    return RefusalError("this invitation is not known, or was withdrawn; ask the person who sent it", 404)


def returning(db: Session, invite: Invite, current: Subject | None, who: Recruitment | None) -> Subject | None:
    """Who comes back with an invitation.

    Args:
        db: its transaction.
        invite: a single one has one holder.
        current: this browser's subject, whom a shared one knows again.
        who: whom a platform has sent; to a shared one, that counts for more than the browser.

    Raises:
        RefusalError: the holder of a single one is somebody else.
    """
    if invite.kind == "single":
        holder = db.scalar(select(Subject).where(Subject.invite_id == invite.id))
        if holder is not None and who is not None and recruitment.find(db, invite, who) is None:
            raise RefusalError("this link is for one person, who has used it already; ask for one of your own", 403)
        return holder
    if who is not None:
        return recruitment.find(db, invite, who)
    return current if current is not None and current.invite_id == invite.id else None


def study_of(db: Session, member: Invite | Subject) -> Study:
    """The study that an invitation or a subject belongs to."""
    return db.get_one(Study, member.study_id)


def protocol_of(db: Session, subject: Subject) -> Protocol:
    """How a subject is asked: by the protocol that was the newest when they came."""
    return Protocol.model_validate(db.get_one(models.Protocol, subject.protocol_id).settings)


def for_scripts(protocol: Protocol) -> dict[str, Any]:
    """What the pages that show images, or measure the room for them, know of a protocol: as much as they need."""
    reference = "method" if protocol.reference_method else "enlarged"
    return protocol.model_dump(mode="json", include={"display", "pan", "zoom", "not_sure", "undo", "phones"}) | {
        "reference": None if protocol.reference == "none" else reference
    }


def consent_of(db: Session, subject: Subject) -> Consent:
    """The text that a subject has agreed to."""
    return db.get_one(Consent, subject.consent_id)


def check_open(db: Session, invite: Invite) -> None:
    """Whether an invitation lets somebody new in.

    Raises:
        RefusalError: it was revoked, or the study is not open.
    """
    if invite.revoked:
        raise unknown_invite()
    if study_of(db, invite).state != "open":
        raise RefusalError("this study is not open now; ask the person who invited you", 403)


def enrol(
    db: Session, invite: Invite, language: str, *, consent: Consent | None = None, who: Recruitment | None = None
) -> Subject:
    """A new subject, who has just agreed.

    Args:
        db: its transaction.
        invite: by which they come.
        language: that they have chosen.
        consent: to which they have agreed; by default, the current one of the language.
        who: whom a platform has sent.

    Raises:
        RefusalError: the invitation was revoked, or the study is not open.
    """
    # Locked, so that two people who come at once do not get one number.
    locked = select(Study).where(Study.id == invite.study_id).with_for_update(key_share=True)
    study = db.scalars(locked.execution_options(populate_existing=True)).one()
    check_open(db, invite)
    alike = (Subject.study_id == study.id) & (Subject.simulated == invite.simulated)
    number = db.scalar(select(func.max(Subject.number)).where(alike)) or 0
    pairs = db.scalar(select(func.count()).select_from(Pair).where(Pair.study_id == study.id)) or 0
    subject = Subject(
        study_id=study.id,
        invite_id=invite.id,
        simulated=invite.simulated,
        number=number + 1,
        seed=secrets.randbits(63),
        consent_id=(consent or terms.consent(db, study, language)).id,
        protocol_id=terms.newest(db, study).id,
        language=language,
        completion_code=secrets.token_hex(4).upper(),
        total=min(study.trials_per_subject or pairs, pairs),
    )
    db.add(subject)
    db.flush()
    if who is not None:
        recruitment.record(db, invite, subject, who)
        db.flush()
    return subject


def languages_of(db: Session, invite: Invite | None) -> tuple[str, ...]:
    """Those that somebody can choose from who has not agreed yet: the study's, or, without one, those of the pages."""
    return languages.spoken() if invite is None else terms.protocol(db, study_of(db, invite)).languages
