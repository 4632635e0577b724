"""Who may enter a room: one dependency for each audience, set on its router, so that no route can forget it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.errors import RefusalError
from app.models import LoginSession, Subject, User
from app.requests import Transaction
from app.security import sessions


def experimenter(request: Request, db: Transaction) -> User:
    """The signed-in experimenter or admin.

    Raises:
        HTTPException: 401 for nobody.
        RefusalError: 403 for a subject.
    """
    user = sessions.user_of(db, request)
    if user is None:
        if sessions.subject_of(db, request) is not None:
            raise RefusalError("this page is not for subjects", 403)
        raise HTTPException(401, "sign in first")
    return user


def admin(user: Annotated[User, Depends(experimenter)]) -> User:
    """The signed-in admin.

    Raises:
        HTTPException: 401 for nobody, 403 for anybody else.
    """
    if user.role != "admin":
        raise HTTPException(403, "this is for admins; ask one")
    return user


def subject(request: Request, db: Transaction) -> Subject:
    """The subject who votes in this browser.

    Raises:
        RefusalError: 401 for nobody, 403 for somebody who is signed in but does not vote.
    """
    found = sessions.subject_of(db, request)
    if found is None:
        raise _no_subject(db, request)
    return found


def session_ended() -> RefusalError:
    """What somebody is told who was a subject in this browser, and is none now."""
    return RefusalError("this session has ended; open your invitation link again", 401)


def nobody(request: Request) -> RefusalError | None:
    """What `subject` would raise: for requests whose body cannot be read, which happens before it is asked."""
    with request.app.state.sessions() as db:
        return None if sessions.subject_of(db, request) is not None else _no_subject(db, request)


def _no_subject(db: Session, request: Request) -> RefusalError:
    if sessions.user_of(db, request) is not None:
        return RefusalError("this page is for subjects; open an invitation link to vote", 403)
    return session_ended()


def subject_browser(request: Request, db: Transaction) -> LoginSession:
    """The session in which the subject votes in this browser.

    Raises:
        RefusalError: 401 for nobody.
    """
    found = sessions.browser_of_subject(db, request)
    if found is None:
        raise session_ended()
    return found


@contextmanager
def voting(request: Request) -> Iterator[tuple[Connection, int]]:
    """What `Transaction` and `subject` are, for the route that must be cheap: a transaction, and the subject's id.

    Raises:
        RefusalError: see `subject`.
    """
    with request.app.state.sessions.kw["bind"].begin() as connection:
        found = sessions.subject_id_of(connection, request)
        if found is None:
            raise _no_subject(Session(connection), request)
        yield connection, found


Admin = Annotated[User, Depends(admin)]
Voter = Annotated[Subject, Depends(subject)]
VotersBrowser = Annotated[LoginSession, Depends(subject_browser)]
