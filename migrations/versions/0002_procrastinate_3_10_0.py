"""The tables of the job queue, as procrastinate 3.10.0 makes them.

It does not record its own version: an upgrade of the library is a revision of its own, which applies the migrations
that it ships for that step.
"""

from importlib import metadata

from alembic import op
from procrastinate.schema import SchemaManager

from pipelines.errors import DiscernError

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PROCRASTINATE = "3.10.0"


def upgrade() -> None:
    """Apply the SQL that the library ships.

    Raises:
        DiscernError: the installed library is of another version, whose tables these would not be.
    """
    installed = metadata.version("procrastinate")
    if installed != PROCRASTINATE:
        raise DiscernError(f"procrastinate {installed} is installed, the tables are of {PROCRASTINATE}: install that")
    # A cursor of the driver: `%` in PL/pgSQL is no parameter.
    op.get_bind().connection.cursor().execute(SchemaManager.get_schema())


def downgrade() -> None:
    """Drop whatever carries the library's name."""
    op.execute(
        """
DO $$
DECLARE item record;
BEGIN
    FOR item IN SELECT oid::regclass AS name FROM pg_class WHERE relkind = 'r' AND relname LIKE 'procrastinate\\_%' LOOP
        EXECUTE 'DROP TABLE ' || item.name || ' CASCADE';
    END LOOP;
    FOR item IN SELECT oid::regprocedure AS name FROM pg_proc WHERE proname LIKE 'procrastinate\\_%' LOOP
        EXECUTE 'DROP FUNCTION ' || item.name || ' CASCADE';
    END LOOP;
    FOR item IN SELECT oid::regtype AS name FROM pg_type WHERE typname LIKE 'procrastinate\\_%' LOOP
        EXECUTE 'DROP TYPE ' || item.name || ' CASCADE';
    END LOOP;
END $$
"""
    )
