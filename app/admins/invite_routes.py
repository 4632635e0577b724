"""Invitations: made, listed, withdrawn, handed out on paper; and whom platforms have sent with them."""

from typing import Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app import studies, terms
from app.admins import invites
from app.admins.invites import InviteView
from app.experimenters.routes import Found
from app.requests import Transaction, base_url, subject_page
from app.security import roles
from app.subjects import languages

router = APIRouter(tags=["admins"], dependencies=[Depends(roles.admin)])


class Invitation(BaseModel):
    """The invitations to make."""

    kind: Literal["single", "shared"] = "single"
    count: int = Field(default=1, ge=1, le=500, description="How many single ones.")
    note: str = Field(default="", max_length=200)


class Invites(BaseModel):
    """Invitations that were made."""

    invites: list[InviteView]


@router.get("/api/studies/{study}/invites")
def list_invites(request: Request, db: Transaction, found: Found) -> Invites:
    """The study's invitations, newest first."""
    return Invites(invites=invites.views(db, found, base_url(request)))


@router.post("/api/studies/{study}/invites", status_code=201)
def make_invites(wanted: Invitation, request: Request, db: Transaction, found: Found) -> Invites:
    """Make invitations: single ones for one subject each, or one to share."""
    count = wanted.count if wanted.kind == "single" else 1
    made = {studies.invite(db, found, wanted.kind, note=wanted.note).id for _ in range(count)}
    return Invites(invites=[view for view in invites.views(db, found, base_url(request)) if view.id in made])


@router.delete("/api/studies/{study}/invites/{invite}", status_code=204)
def revoke_invite(db: Transaction, found: Found, invite: int) -> None:
    """Withdraw an invitation; who has used it may finish."""
    studies.revoke(db, found, invite)


@router.get("/studies/{study}/invites/{invite}", include_in_schema=False)
def handout(request: Request, db: Transaction, found: Found, invite: int, lang: str = "") -> Response:
    """An invitation on a sheet of paper, for subjects: the link, and its QR code."""
    offered = terms.protocol(db, found).languages
    return subject_page(
        request,
        languages.match(lang, offered) or offered[0],
        "subjects/handout.html",
        study_title=found.title,
        link=invites.usable_link(db, found, invite, base_url(request)),
        code=f"/studies/{found.name}/invites/{invite}/qr.svg",
        choices=[
            {"tag": one, "name": languages.name(one), "address": "?" + urlencode({"lang": one})} for one in offered
        ],
    )


@router.get("/studies/{study}/invites/{invite}/qr.svg", include_in_schema=False)
def qr_code(request: Request, db: Transaction, found: Found, invite: int) -> Response:
    """The QR code of an invitation's link."""
    drawn = invites.qr_code(invites.usable_link(db, found, invite, base_url(request)))
    return Response(drawn, media_type="image/svg+xml")


@router.get("/api/studies/{study}/recruits.csv", response_class=Response)
def read_recruits(db: Transaction, found: Found) -> Response:
    """Whom Prolific, Mechanical Turk or Sona have sent, their completion codes, and who has finished; no votes."""
    headers = {"Content-Disposition": f'attachment; filename="{found.name}-recruits.csv"'}
    return Response(invites.recruits_csv(db, found), media_type="text/csv; charset=utf-8", headers=headers)
