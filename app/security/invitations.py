"""Set-up links made at the terminal: for the first admin, and for the demo."""

from app import database
from app.security import users
from app.security.users import Role


def first_admin(database_url: str, url: str) -> str | None:
    """A one-time link for the first admin; None once an admin can sign in."""
    with database.transaction(database_url) as db:
        token = users.first_admin_link(db)
    return None if token is None else f"{url}/set-up/{token}"


def set_up_link(database_url: str, url: str, role: Role) -> str:
    """A one-time link for somebody of a role."""
    with database.transaction(database_url) as db:
        return f"{url}/set-up/{users.new_link(db, role)[0]}"
