"""Rankings of the votes on a single group of pairs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; the rankings that there are were made from the votes on all pairs."""
    op.add_column("rankings", sa.Column("group", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take back; rankings of single groups, which would look like those of all votes, go with their calibrations."""
    op.execute(
        "DELETE FROM procrastinate_jobs WHERE (args ->> 'job_id')::bigint IN (SELECT jobs.id FROM jobs "
        "JOIN calibrations ON calibrations.id = calibration_id JOIN rankings ON rankings.id = ranking_id "
        "WHERE rankings.group IS NOT NULL)"
    )
    op.execute(
        "DELETE FROM jobs USING calibrations JOIN rankings ON rankings.id = ranking_id "
        "WHERE calibrations.id = calibration_id AND rankings.group IS NOT NULL"
    )
    op.execute("DELETE FROM calibrations USING rankings WHERE rankings.id = ranking_id AND rankings.group IS NOT NULL")
    op.execute("DELETE FROM rankings WHERE rankings.group IS NOT NULL")
    op.drop_column("rankings", "group")
