"""The subject's pages and requests: invitation, consent, trials, thanks."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from app import studies
from app.errors import UnknownError
from app.models import Invite, Subject
from app.requests import Images, Transaction, page
from app.security import roles, sessions
from app.security.roles import Voter
from app.subjects import panel, trials, votes
from app.subjects.trials import Side

open_door = APIRouter(tags=["subjects"])
router = APIRouter(tags=["subjects"], dependencies=[Depends(roles.subject)])

FAR_AHEAD = 20
Pixels = Annotated[int, Field(ge=0, le=100_000)]


class Ahead(BaseModel):
    """How many trials the page wants to hold."""

    ahead: int = Field(default=4, ge=1, le=FAR_AHEAD)


class TrialView(BaseModel):
    """A trial to show: two images of one size, behind addresses that tell nothing."""

    id: UUID
    number: int
    left: str
    right: str
    width: int
    height: int


class Trials(BaseModel):
    """The next trials, in order, and how far the subject is."""

    trials: list[TrialView]
    voted: int
    total: int
    finished: bool


class VoteIn(BaseModel):
    """A choice and how it was made; times in milliseconds from the paint of the images, sizes in CSS pixels."""

    choice: Literal["left", "right"]
    response_ms: float = Field(ge=0, allow_inf_nan=False)
    input: Literal["key", "click"]
    device_pixel_ratio: float = Field(gt=0, le=100, allow_inf_nan=False)
    window_width: Pixels
    window_height: Pixels
    screen_width: Pixels
    screen_height: Pixels
    hidden: bool = False


class VoteOut(BaseModel):
    """What is stored; the first choice that arrived counts."""

    trial: UUID
    choice: Literal["left", "right"]
    voted: int
    total: int
    finished: bool


@open_door.get("/i/{token}", include_in_schema=False)
def welcome(token: str, request: Request, db: Transaction, new: bool = False) -> Response:
    """What the study is and asks; nothing is recorded before somebody agrees.

    With `new`, whoever sits at this computer is not the subject who used a shared invitation here before.
    """
    return _welcome(request, db, _invite(db, token), new=new)


@open_door.post("/i/{token}", include_in_schema=False)
def agree(
    token: str, request: Request, db: Transaction, new: bool = False, consent: Annotated[str, Form()] = ""
) -> Response:
    """Become a subject, or go on as one."""
    invite = _invite(db, token, lock=True)
    subject = _returning(request, db, invite, new)
    if subject is None:
        if consent != "yes":
            return _welcome(
                request, db, invite, new=new, problem="Please tick the box if you agree; nothing starts without it."
            )
        subject = panel.enrol(db, invite)
    response = RedirectResponse("/trial", status_code=303)
    sessions.set_cookie(response, request, sessions.SUBJECT, sessions.open_for_subject(db, subject))
    return response


@router.get("/trial", include_in_schema=False)
def trial_page(request: Request, db: Transaction, subject: Voter) -> Response:
    """The page on which trials are shown."""
    if subject.voted == subject.total:
        return RedirectResponse("/thanks", status_code=303)
    study = panel.study_of(db, subject)
    return page(request, None, "subjects/trial.html", study_title=study.title, subject=subject)


@router.get("/thanks", include_in_schema=False)
def thanks(request: Request, db: Transaction, subject: Voter) -> Response:
    """The end, with a code that proves it."""
    if subject.voted < subject.total:
        return RedirectResponse("/trial", status_code=303)
    study = panel.study_of(db, subject)
    return page(
        request,
        None,
        "subjects/thanks.html",
        study_title=study.title,
        code=subject.completion_code,
        voted=subject.voted,
        total=subject.total,
    )


@router.post("/api/subject/trials")
def next_trials(wanted: Ahead, db: Transaction, subject: Voter) -> Trials:
    """Hand out the next trials; those without a vote come again, in the same order."""
    try:
        shown = trials.outstanding(db, subject, wanted.ahead)
    except trials.StudyClosedError:
        raise HTTPException(403, "this study is not open now; your votes are kept") from None
    views = [
        TrialView(
            id=trial.id,
            number=trial.number,
            left=f"/trials/{trial.id}/left.png",
            right=f"/trials/{trial.id}/right.png",
            width=trial.width,
            height=trial.height,
        )
        for trial in shown
    ]
    return Trials(trials=views, voted=subject.voted, total=subject.total, finished=subject.voted == subject.total)


@router.get("/trials/{trial}/{side}.png", responses={200: {"content": {"image/png": {}}}}, response_class=Response)
def trial_image(trial: UUID, side: Side, db: Transaction, store: Images, subject: Voter) -> Response:
    """One side of one of the subject's own trials, lossless."""
    sha256 = trials.image(db, subject, trial, side)
    if sha256 is None:
        raise HTTPException(404, "this is not one of your trials")
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return Response(store.image(sha256), media_type="image/png", headers=headers)


@router.put("/api/subject/trials/{trial}/vote")
def vote(trial: UUID, sent: VoteIn, db: Transaction, subject: Voter) -> VoteOut:
    """Store a vote; any number of sends give one vote and one answer."""
    try:
        stored = votes.store(db, subject, trial, sent.model_dump())
    except votes.NotYourTrialError:
        raise HTTPException(404, "this is not one of your trials") from None
    return VoteOut.model_validate(
        {
            "trial": trial,
            "choice": stored.choice,
            "voted": stored.voted,
            "total": stored.total,
            "finished": stored.voted == stored.total,
        }
    )


def _invite(db: Transaction, token: str, *, lock: bool = False) -> Invite:
    invite = panel.find_invite(db, token, lock=lock)
    if invite is None:
        raise UnknownError(panel.UNKNOWN)
    return invite


def _returning(request: Request, db: Transaction, invite: Invite, new: bool) -> Subject | None:
    current = None if new else sessions.subject_of(db, request)
    return panel.returning(db, invite, current)


def _welcome(request: Request, db: Transaction, invite: Invite, *, new: bool, problem: str | None = None) -> Response:
    study = panel.study_of(db, invite)
    subject = _returning(request, db, invite, new)
    if subject is None and invite.revoked:
        raise UnknownError(panel.UNKNOWN)
    if subject is None and study.state != "open":
        raise HTTPException(403, "this study is not open now; ask the person who invited you")
    return page(
        request,
        None,
        "subjects/welcome.html",
        status=422 if problem else 200,
        study_title=study.title,
        consent_paragraphs=studies.consent(db, study).text.split("\n\n"),
        returning=subject is not None,
        shared=invite.kind == "shared",
        simulated=invite.simulated,
        problem=problem,
    )
