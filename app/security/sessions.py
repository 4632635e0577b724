"""Sessions of browsers: random tokens in cookies, their hashes in a table, so that they can be ended from here."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from fastapi import Request, Response
from sqlalchemy import Connection, and_, bindparam, delete, select
from sqlalchemy.orm import Session

from app.models import LoginSession, Subject, User

STAFF, SUBJECT = "discern_staff", "discern_subject"
STAFF_LIFETIME, SUBJECT_LIFETIME = timedelta(days=7), timedelta(days=30)
_VALID = and_(LoginSession.token_sha256 == bindparam("token"), LoginSession.expires_at > bindparam("now"))
_SUBJECT_ID = select(LoginSession.subject_id).where(_VALID)


def new_token() -> str:
    """A token nobody can guess: 256 bits."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """What is stored of a token; it is long and random, so a plain hash suffices."""
    return hashlib.sha256(token.encode()).digest()


def open_for_user(db: Session, user: User) -> str:
    """Sign a user in; returns the token for the cookie."""
    return _open(db, STAFF_LIFETIME, user_id=user.id)


def open_for_subject(db: Session, subject: Subject) -> str:
    """Let a browser vote as a subject; returns the token for the cookie."""
    return _open(db, SUBJECT_LIFETIME, subject_id=subject.id)


def user_of(db: Session, request: Request) -> User | None:
    """Who is signed in."""
    query = select(User).join(LoginSession, LoginSession.user_id == User.id)
    token = request.cookies.get(cookie_name(STAFF, request))
    return db.scalar(query.where(_VALID), _holding(token)) if token else None


def browser_of_subject(db: Session, request: Request) -> LoginSession | None:
    """The session in which somebody votes in this browser."""
    token = request.cookies.get(cookie_name(SUBJECT, request))
    query = select(LoginSession).where(_VALID, LoginSession.subject_id.is_not(None))
    return db.scalar(query, _holding(token)) if token else None


def subject_of(db: Session, request: Request) -> Subject | None:
    """Who votes in this browser."""
    query = select(Subject).join(LoginSession, LoginSession.subject_id == Subject.id)
    token = request.cookies.get(cookie_name(SUBJECT, request))
    return db.scalar(query.where(_VALID), _holding(token)) if token else None


def subject_id_of(db: Connection, request: Request) -> int | None:
    """The id of who votes in this browser: less work than `subject_of`."""
    token = request.cookies.get(cookie_name(SUBJECT, request))
    return db.scalar(_SUBJECT_ID, _holding(token)) if token else None


def end(db: Session, request: Request, response: Response) -> None:
    """Sign out: the token opens nothing from now on, wherever it was copied to."""
    name = cookie_name(STAFF, request)
    token = request.cookies.get(name)
    if token:
        db.execute(delete(LoginSession).where(LoginSession.token_sha256 == digest(token)))
    response.delete_cookie(name, secure=_secure(request), httponly=True, samesite="lax")


def set_cookie(response: Response, request: Request, name: str, token: str) -> None:
    """Hand the token to the browser, out of reach of scripts and of other sites."""
    lifetime = STAFF_LIFETIME if name == STAFF else SUBJECT_LIFETIME
    response.set_cookie(
        cookie_name(name, request),
        token,
        max_age=int(lifetime.total_seconds()),
        secure=_secure(request),
        httponly=True,
        samesite="lax",
    )


def cookie_name(name: str, request: Request) -> str:
    """Behind TLS the prefix keeps other hosts of the domain from setting the cookie."""
    return f"__Host-{name}" if _secure(request) else name


def _secure(request: Request) -> bool:
    public_url = request.app.state.settings.public_url
    return public_url.startswith("https:") if public_url else request.url.scheme == "https"


def _open(db: Session, lifetime: timedelta, *, user_id: int | None = None, subject_id: int | None = None) -> str:
    now = datetime.now(UTC)
    db.execute(delete(LoginSession).where(LoginSession.expires_at < now))
    token = new_token()
    db.add(LoginSession(token_sha256=digest(token), user_id=user_id, subject_id=subject_id, expires_at=now + lifetime))
    return token


def _holding(token: str) -> dict[str, object]:
    return {"token": digest(token), "now": datetime.now(UTC)}
