"""What the trial page asks for and sends: trials, their images, votes."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, model_validator
from starlette.responses import Response

from app.errors import RefusalError
from app.requests import Images, Transaction
from app.security import roles
from app.security.roles import Voter, VotersBrowser
from app.subjects import flow, trials, votes
from app.subjects.trials import Part

router = APIRouter(tags=["subjects"], dependencies=[Depends(roles.subject)])
# Votes come by the hundred a second. Each dependency would cost the change to another thread and back: the one request
# that must be cheap asks by itself who votes, and does all in one thread.
vote_router = APIRouter(tags=["subjects"])

FAR_AHEAD = 50
MOST_EVENTS = 500
MEDIA_TYPES = {"png": "image/png", "webp": "image/webp"}
IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
Pixels = Annotated[int, Field(ge=0, le=100_000)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Choice = Literal["left", "right", "not_sure"]


class Ahead(BaseModel):
    """How many trials the page wants to hold, and whether the subject has ended a pause."""

    ahead: int = Field(default=4, ge=1, le=FAR_AHEAD)
    go_on: bool = False


class TrialView(BaseModel):
    """A trial to show: images of one size, behind addresses that tell nothing.

    Attributes:
        id: of the trial.
        number: among all trials of this subject, from 1.
        position: among those of its block, from 1.
        revision: that the next vote on it is to have.
        left, right: addresses of the images; `reference` too, where the protocol shows one.
        width, height: of each image, in pixels.
        better: the side that training says is better; of no other trial does the page know that.
    """

    id: UUID
    number: int
    position: int
    revision: int
    left: str
    right: str
    reference: str | None
    width: int
    height: int
    better: Literal["left", "right"] | None


class BlockView(BaseModel):
    """Where the subject is: which block of about how many, how many trials it has, and whether they are training."""

    number: int
    blocks: int
    size: int
    training: bool


class PauseView(BaseModel):
    """Why there are no trials now: what comes is to be begun, a break, or the rest until the next sitting.

    Attributes:
        reason: which of them.
        seconds: that it still lasts at least; then `go_on` ends it.
    """

    reason: Literal["start", "break", "rest"]
    seconds: float


class Trials(BaseModel):
    """The next trials, in order, and how far the subject is: `voted` of `total` trials that count."""

    trials: list[TrialView]
    block: BlockView | None
    pause: PauseView | None
    voted: int
    total: int
    finished: bool


class VoteIn(BaseModel):
    """A choice and how it was made, or, without a choice, that the last vote on the trial is taken back.

    Times in milliseconds, `response_ms` and those of events from the paint of the images; sizes in CSS pixels.
    """

    revision: int = Field(default=1, ge=1, le=10_000)
    choice: Choice | None
    response_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    painted_at: datetime | None = None
    input: Literal["key", "click"] | None = None
    device_pixel_ratio: float | None = Field(default=None, gt=0, le=100, allow_inf_nan=False)
    window_width: Pixels | None = None
    window_height: Pixels | None = None
    screen_width: Pixels | None = None
    screen_height: Pixels | None = None
    hidden: bool | None = None
    left_sha256: Sha256 | None = None
    right_sha256: Sha256 | None = None
    events: list[dict[str, Any]] = Field(default=[], max_length=MOST_EVENTS)
    client: UUID | None = None

    @model_validator(mode="after")
    def _choice_has_circumstances(self) -> "VoteIn":
        needed = ("response_ms", "input", "device_pixel_ratio", "window_width", "window_height", "screen_width")
        missing = [name for name in (*needed, "screen_height", "hidden") if getattr(self, name) is None]
        if self.choice is not None and missing:
            raise ValueError(f"{missing[0]}: missing")
        return self


class VoteOut(BaseModel):
    """What stands now; `stale` where that is not what was sent, which came too late, and has changed nothing.

    A vote that is sent again is not stale. The same choice cast on another load of the page is: of two tabs with one
    trial, the second learns that the first has voted on it.
    """

    trial: UUID
    revision: int
    choice: Choice | None
    stale: bool
    voted: int
    total: int
    finished: bool


@router.post("/api/subject/trials")
def next_trials(wanted: Ahead, request: Request, db: Transaction, subject: Voter, browser: VotersBrowser) -> Trials:
    """Hand out the next trials; those without a vote come again, in the same order.

    The steps before them come first, whatever page asks; simulated subjects, who have no device, are not asked to.
    """
    _check_page(request, subject.id)
    step = "trial" if subject.simulated else flow.current_step(db, subject, browser)
    if step not in ("trial", "thanks"):
        raise RefusalError("a step before the trials is not done: {path}", path=flow.PATHS[step])
    found = trials.outstanding(db, subject, wanted.ahead, go_on=wanted.go_on)
    return Trials(
        trials=[_view(trial) for trial in found.trials],
        block=None if found.block is None else BlockView.model_validate(found.block, from_attributes=True),
        pause=None if found.pause is None else PauseView.model_validate(found.pause, from_attributes=True),
        voted=subject.voted,
        total=subject.total,
        finished=found.finished,
    )


def _check_page(request: Request, subject: int) -> None:
    """Refuse what comes from the page of an earlier subject, left open in the same browser; programs need not say.

    Raises:
        RefusalError: 401, at which the page stops and keeps its votes.
    """
    if request.headers.get("X-Discern-Subject", str(subject)) != str(subject):
        raise roles.session_ended()


def _view(trial: trials.Shown) -> TrialView:
    def address(part: Part) -> str:
        return f"/trials/{trial.id}/{part}.{'webp' if part in trial.webp else 'png'}"

    return TrialView(
        id=trial.id,
        number=trial.number,
        position=trial.position,
        revision=trial.revision,
        left=address("left"),
        right=address("right"),
        reference=address("reference") if trial.has_reference else None,
        width=trial.width,
        height=trial.height,
        better=trial.better,
    )


@router.get(
    "/trials/{trial}/{part}.{encoding}",
    responses={200: {"content": {"image/png": {}, "image/webp": {}}}},
    response_class=Response,
)
def trial_image(
    trial: UUID, part: Part, encoding: Literal["png", "webp"], db: Transaction, store: Images, subject: Voter
) -> Response:
    """One image of one of the subject's own trials, lossless."""
    sha256 = trials.image(db, subject, trial, part)
    if sha256 is None:
        raise RefusalError("this is not one of your trials", 404)
    return Response(store.image(sha256, encoding), media_type=MEDIA_TYPES[encoding], headers=IMMUTABLE)


@vote_router.put("/api/subject/trials/{trial}/vote")
def vote(trial: UUID, sent: VoteIn, request: Request) -> VoteOut:
    """Store a vote, or take one back; any number of sends give one vote and one answer."""
    with roles.voting(request) as (db, subject):
        _check_page(request, subject)
        stored = votes.store(db, subject, trial, sent.model_dump())
    return VoteOut(trial=trial, **vars(stored))
