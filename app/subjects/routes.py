"""The subject's pages around the trials: invitation and consent, what comes next, the trials' page, thanks."""

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from app import terms
from app.models import Invite, Subject
from app.requests import Transaction, asked_language, subject_page
from app.security import roles, sessions
from app.security.roles import Voter, VotersBrowser
from app.subjects import flow, languages, panel, recruitment
from app.subjects.recruitment import Recruitment

open_door = APIRouter(tags=["subjects"])
router = APIRouter(tags=["subjects"], dependencies=[Depends(roles.subject)])

Problem = Literal["consent", "changed"]


@dataclass(frozen=True)
class Arrival:
    """Somebody at the door: by which invitation, sent by whom, in which language, and whom we know them as."""

    invite: Invite
    who: Recruitment | None
    language: str
    subject: Subject | None


@open_door.get("/i/{token}", include_in_schema=False)
def welcome(token: str, request: Request, db: Transaction, instead_of: int = 0) -> Response:
    """What the study is and asks; nothing is recorded before somebody agrees.

    Whoever sits at this computer now is not the subject `instead_of` whom they come, who used a shared invitation here
    before. Such an address says nothing about anybody who comes after them, however long it is kept.
    """
    return _welcome(request, db, _arrival(request, db, token, instead_of))


@open_door.post("/i/{token}", include_in_schema=False)
def agree(
    token: str,
    request: Request,
    db: Transaction,
    instead_of: int = 0,
    consent: Annotated[str, Form()] = "",
    version: Annotated[str, Form()] = "",
) -> Response:
    """Become a subject, or go on as one; `version` is of the text that was read."""
    arrival = _arrival(request, db, token, instead_of, lock=True)
    subject = arrival.subject
    if subject is None:
        panel.check_open(db, arrival.invite)
        if arrival.who is not None and arrival.who.is_preview:
            return _welcome(request, db, arrival)
        current = terms.consent(db, panel.study_of(db, arrival.invite), arrival.language)
        if version not in ("", str(current.id)):
            return _welcome(request, db, arrival, problem="changed")
        if consent != "yes":
            return _welcome(request, db, arrival, problem="consent")
        subject = panel.enrol(db, arrival.invite, arrival.language, consent=current, who=arrival.who)
    response = RedirectResponse("/session", status_code=303)
    sessions.set_cookie(response, request, sessions.SUBJECT, sessions.open_for_subject(db, subject))
    return response


@router.get("/session", include_in_schema=False)
def session(db: Transaction, subject: Voter, browser: VotersBrowser) -> Response:
    """Wherever the subject is in the session."""
    return RedirectResponse(flow.next_page(db, subject, browser), status_code=303)


@router.get("/trial", include_in_schema=False)
def trial_page(request: Request, db: Transaction, subject: Voter, browser: VotersBrowser) -> Response:
    """The page on which trials are shown."""
    if flow.current_step(db, subject, browser) != "trial":
        return RedirectResponse("/session", status_code=303)
    return subject_page(
        request,
        subject.language,
        "subjects/trial.html",
        study_title=panel.study_of(db, subject).title,
        subject=subject,
        protocol=panel.for_scripts(panel.protocol_of(db, subject)),
    )


@router.get("/thanks", include_in_schema=False)
def thanks(request: Request, db: Transaction, subject: Voter, browser: VotersBrowser) -> Response:
    """The end, with a code that proves it."""
    if flow.current_step(db, subject, browser) != "thanks":
        return RedirectResponse("/session", status_code=303)
    address, platform = recruitment.way_back(db, subject, panel.protocol_of(db, subject).return_url) or ("", "")
    return subject_page(
        request,
        subject.language,
        "subjects/thanks.html",
        study_title=panel.study_of(db, subject).title,
        subject=subject,
        return_address=address,
        return_to=platform or urlsplit(address).hostname,
    )


def _arrival(request: Request, db: Transaction, token: str, instead_of: int, *, lock: bool = False) -> Arrival:
    """Who is at the door.

    Raises:
        RefusalError: there is no such invitation, or the address has parameters of a platform that cannot be.
    """
    invite = panel.find_invite(db, token, lock=lock)
    if invite is None:
        raise panel.unknown_invite()
    who = recruitment.read(request.query_params.multi_items())
    current = sessions.subject_of(db, request)
    is_gone = current is not None and current.id == instead_of
    subject = panel.returning(db, invite, None if is_gone else current, who)
    return Arrival(invite, who, subject.language if subject else _language(request, db, invite), subject)


def _language(request: Request, db: Transaction, invite: Invite) -> str:
    return asked_language(request, panel.languages_of(db, invite))


def _welcome(request: Request, db: Transaction, arrival: Arrival, *, problem: Problem | None = None) -> Response:
    subject, study = arrival.subject, panel.study_of(db, arrival.invite)
    if subject is None:
        panel.check_open(db, arrival.invite)
        consent = terms.consent(db, study, arrival.language)
        offered = terms.protocol(db, study).languages
    else:
        consent, offered = panel.consent_of(db, subject), ()
    return subject_page(
        request,
        arrival.language,
        "subjects/welcome.html",
        status=422 if problem else 200,
        study_title=study.title,
        choices=_choices(request, offered),
        consent=consent,
        preview=arrival.who is not None and arrival.who.is_preview,
        returning=subject,
        may_be_another=arrival.invite.kind == "shared" and arrival.who is None,
        simulated=arrival.invite.simulated,
        problem=problem,
    )


def _choices(request: Request, offered: tuple[str, ...]) -> list[dict[str, str]]:
    """The languages to choose from: each a link to this page, whose address keeps everything else."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "lang"]
    return [
        {"tag": one, "name": languages.name(one), "address": "?" + urlencode([*kept, ("lang", one)])} for one in offered
    ]
