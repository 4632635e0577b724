"""The steps before the trials: questions, checks of device and vision, instructions.

A page that is opened before its turn, or after it, leads to where the subject is. What is sent out of turn changes
nothing, and the answer says where to go on.
"""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from app.models import LoginSession, Subject
from app.requests import Transaction, subject_page
from app.security import roles
from app.security.roles import Voter, VotersBrowser
from app.subjects import answers, flow, panel, questions, screening
from app.subjects.flow import Step
from pipelines.protocol import in_language

router = APIRouter(tags=["subjects"], dependencies=[Depends(roles.subject)])

Size = Annotated[int, Field(ge=0, le=100_000)]
Ratio = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # a subject may be away for hours
Direction = Literal["up", "right", "down", "left"]
# What subjects answer: a direction, or that they see none.
Seen = Literal["up", "right", "down", "left", "none"]


class DeviceIn(BaseModel):
    """What the page found of screen, window and browser; sizes in CSS pixels.

    Attributes:
        device_pixel_ratio: device pixels to a CSS pixel, by zoom and scaling together.
        page_zoom: an estimate of the browser's own zoom; none where it cannot be told.
        gamut: the widest that the screen says it covers.
        coarse_pointer: whether fingers are the only pointers.
        frame_ms: the median time from one frame to the next.
        pixels: whether what a canvas is read back as can be trusted.
        storage: whether votes outlive a reload.
        notes: the checks that did not simply pass.
        browser: family and major version, such as "Firefox 140".
    """

    device_pixel_ratio: Ratio
    page_zoom: Ratio | None = None
    window_width: Size
    window_height: Size
    screen_width: Size
    screen_height: Size
    colour_depth: int = Field(ge=0, le=256)
    gamut: Literal["srgb", "p3", "rec2020", "unknown"] = "unknown"
    touch_points: int = Field(ge=0, le=256)
    coarse_pointer: bool = False
    frame_ms: Milliseconds | None = None
    pixels: Literal["verifiable", "unverifiable"]
    storage: bool
    notes: list[Annotated[str, Field(pattern="^[a-z_]{1,20}$")]] = Field(default=[], max_length=20)
    browser: str = Field(default="", pattern=r"^([A-Za-z ]{1,30}( \d{1,4})?)?$")


class LetterIn(BaseModel):
    """One letter E of the chart.

    Attributes:
        logmar: its size: the logarithm of the minutes of arc that a stroke covers.
        stroke_px: the width of a stroke, in device pixels.
        direction: in which it points.
        answer: what was seen.
        ms: until the answer.
    """

    logmar: float = Field(ge=-3, le=3, allow_inf_nan=False)
    stroke_px: int = Field(ge=1, le=10_000)
    direction: Direction
    answer: Seen
    ms: Milliseconds


class AcuityIn(BaseModel):
    """What the chart of tumbling E gave.

    Attributes:
        px_per_mm: device pixels to a millimetre of the screen.
        sized: whether that was measured with a card; otherwise it is the browser's assumption of 96 to an inch.
        distance_cm: at which the subject was asked to sit.
        device_pixel_ratio: at the time.
        logmar: the smallest size that was passed; none if the largest was not.
        limit_logmar: the smallest size that this screen can draw at this distance.
        letters: as they were shown.
    """

    px_per_mm: float = Field(gt=0.1, le=200, allow_inf_nan=False)
    sized: bool
    distance_cm: float = Field(ge=10, le=1000, allow_inf_nan=False)
    device_pixel_ratio: Ratio
    logmar: float | None = Field(ge=-3, le=3, allow_inf_nan=False)
    limit_logmar: float = Field(ge=-3, le=3, allow_inf_nan=False)
    letters: list[LetterIn] = Field(min_length=1, max_length=200)


class PlateIn(BaseModel):
    """One plate: what it showed, and what was seen."""

    kind: Literal["control", "protan", "deutan"]
    direction: Direction
    answer: Seen
    ms: Milliseconds


class ColourVisionIn(BaseModel):
    """What the plates gave; `strength` is their distance from grey in CIE 1976 u'v'."""

    strength: float = Field(gt=0, le=1, allow_inf_nan=False)
    gamut: Literal["srgb", "p3", "rec2020", "unknown"] = "unknown"
    plates: list[PlateIn] = Field(min_length=1, max_length=60)


class Onward(BaseModel):
    """Whether what was sent is stored, and the page where the session goes on."""

    stored: bool
    next: str


async def _form(request: Request) -> FormData:
    return await request.form(max_fields=200, max_files=0)


Form = Annotated[FormData, Depends(_form)]


@router.get("/questions", include_in_schema=False)
def questions_page(request: Request, db: Transaction, subject: Voter, browser: VotersBrowser) -> Response:
    """What the study asks of everybody."""
    return _page(request, db, subject, browser, "questions", filled=questions.Filled())


@router.post("/questions", include_in_schema=False)
def answer_questions(request: Request, db: Transaction, subject: Voter, browser: VotersBrowser, form: Form) -> Response:
    """Store the answers, or say what is the matter with them."""
    if flow.current_step(db, subject, browser) == "questions":
        filled = questions.read(panel.protocol_of(db, subject), form)
        if filled.problems:
            return _page(request, db, subject, browser, "questions", status=422, filled=filled)
        answers.record(db, subject, "questions", filled.answers)
    return _onward()


@router.get("/device", include_in_schema=False)
def device_page(request: Request, db: Transaction, subject: Voter, browser: VotersBrowser) -> Response:
    """Whether screen, window and browser can show the images as they are."""
    width, height = answers.largest_size(db, subject)
    protocol = panel.for_scripts(panel.protocol_of(db, subject))
    return _page(request, db, subject, browser, "device", width=width, height=height, for_scripts=protocol)


@router.post("/api/subject/steps/device")
def check_device(sent: DeviceIn, db: Transaction, subject: Voter, browser: VotersBrowser) -> Onward:
    """Store what the page found; this browser is asked no more."""
    is_turn = flow.current_step(db, subject, browser) == "device"
    stored = is_turn and answers.record_device(db, subject, browser, sent.model_dump())
    return Onward(stored=stored, next=flow.next_page(db, subject, browser))


@router.get("/acuity", include_in_schema=False)
def acuity_page(request: Request, db: Transaction, subject: Voter, browser: VotersBrowser) -> Response:
    """A chart of tumbling E."""
    return _page(request, db, subject, browser, "acuity")


@router.post("/api/subject/steps/acuity")
def store_acuity(sent: AcuityIn, db: Transaction, subject: Voter, browser: VotersBrowser) -> Onward:
    """Store what the chart gave; it turns nobody away."""
    return _store(db, subject, browser, "acuity", sent.model_dump())


@router.get("/colour-vision", include_in_schema=False)
def colour_vision_page(request: Request, db: Transaction, subject: Voter, browser: VotersBrowser) -> Response:
    """Plates of coloured dots."""
    return _page(request, db, subject, browser, "colour_vision", seed=screening.plates_seed(subject.seed))


@router.post("/api/subject/steps/colour-vision")
def store_colour_vision(sent: ColourVisionIn, db: Transaction, subject: Voter, browser: VotersBrowser) -> Onward:
    """Store what was seen on the plates; it turns nobody away."""
    content = sent.model_dump() | {"right": screening.right_by_kind(sent.model_dump()["plates"])}
    return _store(db, subject, browser, "colour_vision", content)


@router.get("/instructions", include_in_schema=False)
def instructions_page(request: Request, db: Transaction, subject: Voter, browser: VotersBrowser) -> Response:
    """What will be asked, and with which keys it is answered."""
    return _page(request, db, subject, browser, "instructions", total=subject.total)


@router.post("/instructions", include_in_schema=False)
def instructions_read(db: Transaction, subject: Voter, browser: VotersBrowser) -> Response:
    """Go on to the training."""
    _store(db, subject, browser, "instructions", {})
    return _onward()


def _page(
    request: Request,
    db: Transaction,
    subject: Subject,
    browser: LoginSession,
    step: Step,
    /,
    *,
    status: int = 200,
    **context: Any,
) -> Response:
    """The page of a step, if it is its turn."""
    if flow.current_step(db, subject, browser) != step:
        return _onward()
    protocol = panel.protocol_of(db, subject)
    asked = flow.steps(protocol)
    return subject_page(
        request,
        subject.language,
        f"subjects/{step}.html",
        status=status,
        study_title=panel.study_of(db, subject).title,
        protocol=protocol,
        said=partial(in_language, language=subject.language),
        step=asked.index(step) + 1,
        steps=len(asked),
        **context,
    )


def _store(db: Transaction, subject: Subject, browser: LoginSession, step: Step, content: dict[str, Any]) -> Onward:
    is_turn = flow.current_step(db, subject, browser) == step
    stored = is_turn and answers.record(db, subject, step, content)
    db.flush()
    return Onward(stored=stored, next=flow.next_page(db, subject, browser))


def _onward() -> Response:
    return RedirectResponse("/session", status_code=303)
