"""Errors as subjects are told them: in their language, on a page of theirs, or beside the English of the API."""

from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from app.errors import RefusalError
from app.models import Invite, Subject
from app.requests import asked_language, subject_page, wants_page
from app.security import sessions
from app.subjects import flow, languages, panel

# What is said of an error whose own words were not written for subjects, by its status.
GENERAL = {
    refusal.status: refusal
    for refusal in (
        RefusalError("this page is not for subjects", 403),
        RefusalError("there is nothing at this address", 404),
        RefusalError("this cannot be done now; load the page again", 409),
        RefusalError("the server cannot read what was sent", 422),
        RefusalError("this is a fault of the server, not yours; load the page again in a moment", 500),
        RefusalError("the server does not answer now; load the page again in a moment", 503),
    )
}


@dataclass(frozen=True)
class Reader:
    """Who is told of an error.

    Attributes:
        language: in which.
        study_title: of the study that it is about; empty where that is not known, or not to be told.
        is_subject: whether it is known who they are.
    """

    language: str
    study_title: str = ""
    is_subject: bool = False


def reader(request: Request, status: int) -> Reader | None:
    """Who is told of an error, if that is a subject, or may become one; None for staff and their programs.

    Nobody in particular is taken for a subject at the addresses of subjects, and at those that there are not.
    """
    of_subjects = flow.is_of_subjects(request.url.path)
    if not (of_subjects or wants_page(request)):
        return None
    try:
        with request.app.state.sessions() as db:
            return _reader(db, request, status, of_subjects)
    except SQLAlchemyError:  # it may be what the error is about; then nothing is known of who reads it
        return Reader(asked_language(request, languages.spoken())) if of_subjects else None


def answer(request: Request, told: Reader, status: int, message: str, refusal: RefusalError | None) -> Response:
    """An error in the words of a refusal, or, without one, in general ones; the API says in English what it is."""
    said = _said(told.language, refusal or GENERAL.get(status) or RefusalError("error {number}", number=status))
    at_the_door = request.url.path.startswith(flow.DOOR)
    if not (at_the_door or wants_page(request)):
        return JSONResponse({"detail": message} | ({"said": said} if told.is_subject else {}), status_code=status)
    return subject_page(
        request,
        told.language,
        "subjects/refusal.html",
        status=status,
        study_title=told.study_title,
        at_the_door=at_the_door,
        may_go_on=told.is_subject,
        said=said,
    )


def _reader(db: Session, request: Request, status: int, of_subjects: bool) -> Reader | None:
    subject = sessions.subject_of(db, request)
    if sessions.user_of(db, request) is not None and not (of_subjects and subject is not None):
        return None
    is_there = "endpoint" in request.scope
    if subject is None and not of_subjects and is_there:
        return None
    token = request.path_params.get("token") if of_subjects else None
    invite = None if token is None else panel.find_invite(db, token)
    language = asked_language(request, panel.languages_of(db, invite)) if subject is None else subject.language
    about: Invite | Subject | None = subject if token is None else invite
    title = "" if about is None or status == 404 else panel.study_of(db, about).title
    return Reader(language, title, subject is not None)


def _said(language: str, refusal: RefusalError) -> str:
    return languages.translated(language, refusal.text).format(**refusal.values)
