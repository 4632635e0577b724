"""What admins see of invitations: links, QR codes, and who was sent by a platform."""

import csv
import io
from datetime import datetime
from typing import Literal

import segno
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app import studies
from app.errors import UnknownError
from app.models import Study
from app.subjects import answers, recruitment

COLUMNS = (
    "platform",
    "participant",
    "study",
    "session",
    "parameters",
    "completion_code",
    "state",
    "agreed_at",
)


class InviteView(BaseModel):
    """An invitation; its link makes whoever opens it a subject."""

    id: int
    kind: Literal["single", "shared"]
    note: str
    link: str
    simulated: bool
    subjects: int
    created_at: datetime
    revoked: bool


def views(db: Session, study: Study, base: str) -> list[InviteView]:
    """The study's invitations, newest first; `base` is how browsers reach the server."""
    facts = ("id", "kind", "note", "simulated", "created_at", "revoked")
    return [
        InviteView(
            link=f"{base}/i/{invite.token}", subjects=subjects, **{fact: getattr(invite, fact) for fact in facts}
        )
        for invite, subjects in studies.invitations(db, study)
    ]


def usable_link(db: Session, study: Study, key: int, base: str) -> str:
    """The link of an invitation, to hand out.

    Raises:
        UnknownError: the study has no such invitation, or it was revoked.
    """
    found = next((view for view in views(db, study, base) if view.id == key and not view.revoked), None)
    if found is None:
        raise UnknownError(f"study {study.name!r} has no invitation {key}, or it was revoked")
    return found.link


def qr_code(link: str) -> str:
    """A link as a QR code: SVG, black on white in both colour schemes, with the quiet zone that scanners need."""
    drawn = io.BytesIO()
    segno.make_qr(link, error="m").save(drawn, kind="svg", xmldecl=False, border=4, scale=8, light="#fff", title=link)
    return drawn.getvalue().decode()


def recruits_csv(db: Session, study: Study) -> str:
    """Whom platforms have sent, for payment: no votes in it, and nothing of it in the vote log."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for recruit, subject in recruitment.everybody(db, study):
        parts = recruitment.parts(recruit)
        row = {
            "platform": recruit.platform,
            "participant": recruit.participant,
            "study": parts["study"],
            "session": parts["session"],
            "parameters": "&".join(f"{name}={value}" for name, value in sorted(recruit.parameters.items())),
            "completion_code": subject.completion_code,
            "state": "finished" if answers.is_session_over(db, subject) else "started",
            "agreed_at": subject.consented_at.isoformat(),
        }
        writer.writerow(row)
    return text.getvalue()
