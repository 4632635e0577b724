"""Which step of the session comes next: what the protocol asks for, in a fixed order, less what is done.

Nothing of it is kept in the browser but whether its device was checked: whoever reloads, closes the page, or goes on
at another computer comes to the first step that is not done.
"""

from collections.abc import Set
from typing import Literal

from sqlalchemy.orm import Session

from app.models import LoginSession, Subject
from app.subjects import answers, panel
from pipelines.protocol import Protocol

Step = Literal["questions", "device", "acuity", "colour_vision", "instructions", "trial", "thanks"]

PATHS: dict[Step, str] = {
    "questions": "/questions",
    "device": "/device",
    "acuity": "/acuity",
    "colour_vision": "/colour-vision",
    "instructions": "/instructions",
    "trial": "/trial",
    "thanks": "/thanks",
}

DOOR = "/i/"


def needs_session(path: str) -> bool:
    """Whether an address is one that subjects alone open, page or API, after the door."""
    return path in ("/session", *PATHS.values()) or path.startswith(("/api/subject/", "/trials/"))


def is_of_subjects(path: str) -> bool:
    """Whether an address is one that subjects open."""
    return path.startswith(DOOR) or needs_session(path)


def steps(protocol: Protocol) -> tuple[Step, ...]:
    """The steps before the trials that a protocol asks for, in order."""
    asked: dict[Step, bool] = {
        "questions": bool(protocol.questions),
        "device": protocol.device_check,
        "acuity": protocol.acuity,
        "colour_vision": protocol.colour_vision,
        "instructions": protocol.training > 0,
    }
    return tuple(step for step, is_asked in asked.items() if is_asked)


def next_step(protocol: Protocol, done: Set[str], *, device_checked: bool, is_over: bool) -> Step:
    """The first step that is not done.

    Args:
        protocol: by which the subject goes.
        done: steps that the subject has done, at whichever computer; a device is checked for each browser anew, so
            that it does not matter whether "device" is among them.
        device_checked: whether this browser's was.
        is_over: whether the session is; nothing is asked after that.
    """
    if is_over:
        return "thanks"
    open_steps = (step for step in steps(protocol) if not (device_checked if step == "device" else step in done))
    return next(open_steps, "trial")


def current_step(db: Session, subject: Subject, browser: LoginSession) -> Step:
    """The step at which a subject goes on in a browser."""
    return next_step(
        panel.protocol_of(db, subject),
        answers.done(db, subject),
        device_checked=browser.device_checked,
        is_over=answers.is_session_over(db, subject),
    )


def next_page(db: Session, subject: Subject, browser: LoginSession) -> str:
    """The path of the page of that step."""
    return PATHS[current_step(db, subject, browser)]
