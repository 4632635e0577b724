"""Pre-runs: study files whose outputs workers make, part by part."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_preruns()
    _create_parts()
    op.add_column("jobs", sa.Column("part_id", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("queue", sa.Text(), server_default="cpu", nullable=False))
    op.add_column("jobs", sa.Column("worker", sa.Text(), nullable=True))
    op.alter_column("jobs", "calibration_id", nullable=True)
    op.create_foreign_key(op.f("fk_jobs_part_id"), "jobs", "prerun_parts", ["part_id"], ["id"])
    op.create_unique_constraint(op.f("uq_jobs_part_id"), "jobs", ["part_id"])
    op.create_check_constraint(op.f("ck_jobs_one_purpose"), "jobs", "num_nonnulls(calibration_id, part_id) = 1")
    op.create_check_constraint(op.f("ck_jobs_queue"), "jobs", "queue IN ('cpu', 'gpu')")
    # Until now the queue stood in its own tables alone.
    op.execute(
        "UPDATE jobs SET queue = 'gpu' WHERE id IN "
        "(SELECT (args ->> 'job_id')::bigint FROM procrastinate_jobs WHERE queue_name = 'gpu')"
    )


def _create_preruns() -> None:
    op.create_table(
        "preruns",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_file", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("images_per_part", sa.Integer(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("images_per_part > 0", name=op.f("ck_preruns_images_per_part")),
        sa.CheckConstraint("round > 0", name=op.f("ck_preruns_round")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preruns")),
    )


def _create_parts() -> None:
    op.create_table(
        "prerun_parts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("prerun_id", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("slot", sa.Text(), nullable=True),
        sa.Column("images", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint("step IN ('prepare', 'outputs', 'select')", name=op.f("ck_prerun_parts_step")),
        sa.CheckConstraint(
            "num_nonnulls(method, slot) = CASE step WHEN 'outputs' THEN 2 ELSE 0 END",
            name=op.f("ck_prerun_parts_outputs_of_a_method"),
        ),
        sa.CheckConstraint(
            "(step = 'outputs') = (cardinality(images) > 0)", name=op.f("ck_prerun_parts_outputs_of_images")
        ),
        sa.ForeignKeyConstraint(["prerun_id"], ["preruns.id"], name=op.f("fk_prerun_parts_prerun_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prerun_parts")),
        sa.UniqueConstraint(
            "prerun_id", "round", "method", "slot", name=op.f("uq_prerun_parts_prerun_id_round_method_slot")
        ),
    )
    op.create_index(
        op.f("ix_prerun_parts_prerun_id_round_step"),
        "prerun_parts",
        ["prerun_id", "round", "step"],
        unique=True,
        postgresql_where=sa.text("step <> 'outputs'"),
    )


def downgrade() -> None:
    """Take back; pre-runs are forgotten, what they made stays in their workspaces."""
    op.execute(
        "DELETE FROM procrastinate_jobs WHERE (args ->> 'job_id')::bigint IN "
        "(SELECT id FROM jobs WHERE part_id IS NOT NULL)"
    )
    op.execute("DELETE FROM jobs WHERE part_id IS NOT NULL")
    op.drop_constraint(op.f("ck_jobs_queue"), "jobs")
    op.drop_constraint(op.f("ck_jobs_one_purpose"), "jobs")
    op.drop_column("jobs", "worker")
    op.drop_column("jobs", "queue")
    op.drop_column("jobs", "part_id")
    op.alter_column("jobs", "calibration_id", nullable=False)
    op.drop_index(op.f("ix_prerun_parts_prerun_id_round_step"), table_name="prerun_parts")
    op.drop_table("prerun_parts")
    op.drop_table("preruns")
