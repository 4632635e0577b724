"""Users, their passwords, and the one-time links with which they choose them. There is no default password."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from pwdlib import PasswordHash
from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from app.errors import UnknownError
from app.models import LoginSession, SetUpLink, User
from app.security.sessions import digest, new_token
from pipelines.errors import DiscernError

Role = Literal["experimenter", "admin"]
LINK_LIFETIME = timedelta(days=7)
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 1024

_passwords = PasswordHash.recommended()
# Compared with when the name is unknown, so that the time of an answer does not tell which names exist.
_NOBODY = _passwords.hash("nobody")


def any_admin(db: Session) -> bool:
    """Whether an admin can sign in yet."""
    return bool(db.scalar(select(exists().where(User.role == "admin"))))


def new_link(db: Session, role: Role) -> tuple[str, datetime]:
    """A one-time set-up link: its token, which is not stored, and when it expires."""
    token, expires_at = new_token(), datetime.now(UTC) + LINK_LIFETIME
    db.add(SetUpLink(token_sha256=digest(token), role=role, expires_at=expires_at))
    return token, expires_at


def first_admin_link(db: Session) -> str | None:
    """The token of a link for the first admin, in the place of those printed earlier; None once there is one."""
    if any_admin(db):
        return None
    db.execute(delete(SetUpLink).where(SetUpLink.used_at.is_(None), SetUpLink.role == "admin"))
    return new_link(db, "admin")[0]


def usable_link(db: Session, token: str, *, lock: bool = False) -> SetUpLink | None:
    """The set-up link of a token, unless it is unknown, used, or too old."""
    query = select(SetUpLink).where(
        SetUpLink.token_sha256 == digest(token), SetUpLink.used_at.is_(None), SetUpLink.expires_at > datetime.now(UTC)
    )
    return db.scalar(query.with_for_update() if lock else query)


def use_link(db: Session, token: str, name: str, password: str) -> User:
    """Make the user that a link stands for, and use it up.

    Raises:
        DiscernError: the link cannot be used, the name is taken or empty, or the password too short.
    """
    name = name.strip()
    link = usable_link(db, token, lock=True)
    if link is None:
        raise DiscernError("this link was used already, or is too old; ask an admin for a new one")
    if not 1 <= len(name) <= 100:
        raise DiscernError("a name is needed, of at most 100 characters")
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise DiscernError(
            f"a password needs {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters, this one has {len(password)}"
        )
    if find(db, name) is not None:
        raise DiscernError(f"the name {name!r} is taken; choose another one")
    user = User(name=name, password_hash=_passwords.hash(password), role=link.role)
    link.used_at = datetime.now(UTC)
    db.add(user)
    db.flush()
    return user


def everybody(db: Session) -> list[User]:
    """All users, in the order in which they came."""
    return list(db.scalars(select(User).order_by(User.id)))


def remove(db: Session, name: str, *, by: User) -> None:
    """End somebody's access, and every session of theirs.

    Raises:
        UnknownError: there is nobody of this name.
        DiscernError: it is whoever asks: the last admin could lock everybody out.
    """
    user = find(db, name)
    if user is None:
        raise UnknownError(f"there is no user {name!r}")
    if user.id == by.id:
        raise DiscernError("you cannot remove yourself; ask another admin")
    db.execute(delete(LoginSession).where(LoginSession.user_id == user.id))
    db.delete(user)


def find(db: Session, name: str) -> User | None:
    """The user of a name, in whatever case."""
    return db.scalar(select(User).where(func.lower(User.name) == func.lower(name.strip())))


def check(db: Session, name: str, password: str) -> User | None:
    """The user whose name and password these are, if they are somebody's."""
    user = find(db, name)
    right = _passwords.verify(password[:LONGEST_PASSWORD], user.password_hash if user else _NOBODY)
    return user if user and right else None
