"""How Alembic runs the revisions: on the connection that it is given, or on DATABASE_URL from the command line."""

import os

from alembic import context

from app import database
from app.models import Base

# Procrastinate's tables come from its own SQL, not from our models.
NOT_OURS = "procrastinate_"


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and (name or "").startswith(NOT_OURS))


def _run(connection: object) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, include_name=_is_ours, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with database.engine(os.environ["DATABASE_URL"]).begin() as opened:
        _run(opened)
