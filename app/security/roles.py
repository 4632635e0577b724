"""Who may enter a room: one dependency for each audience, set on its router, so that no route can forget it."""

from typing import Annotated

from fastapi import Depends, HTTPException, Request

from app.models import Subject, User
from app.requests import Transaction
from app.security import sessions


def experimenter(request: Request, db: Transaction) -> User:
    """The signed-in experimenter or admin.

    Raises:
        HTTPException: 401 for nobody, 403 for a subject.
    """
    user = sessions.user_of(db, request)
    if user is None:
        if sessions.subject_of(db, request) is not None:
            raise HTTPException(403, "this page is not for subjects")
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
        HTTPException: 401 for nobody, 403 for somebody who is signed in but does not vote.
    """
    found = sessions.subject_of(db, request)
    if found is None:
        if sessions.user_of(db, request) is not None:
            raise HTTPException(403, "this page is for subjects; open an invitation link to vote")
        raise HTTPException(401, "this session has ended; open your invitation link again")
    return found


Admin = Annotated[User, Depends(admin)]
Voter = Annotated[Subject, Depends(subject)]
