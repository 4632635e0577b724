"""The instrument: protocols, steps before the trials, blocks, probes, and votes that can be taken back."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Of a vote that takes another one back, only the revision and the time are known.
OF_A_CHOICE = (
    "choice", "response_ms", "input", "device_pixel_ratio", "window_width", "window_height", "screen_width",
    "screen_height", "hidden",
)  # fmt: skip

# What the trial page asked for before there were protocols: consent, then all trials without a break.
EARLIER_PROTOCOL = (
    '{"languages": ["en"], "device_check": false, "training": 0, "warm_up": 0, "warm_up_later": 0, "undo": false, '
    '"block": 1000, "break_seconds": 0, "sitting_minutes": 1000000, "rest_minutes": 0, "fastest_ms": 0}'
)
CHECKS = {
    "tallies": {
        "voted": "voted_first_left >= 0 AND voted_first_right >= 0",
        "votes_are_on_issued_trials": "voted_first_left <= issued_first_left "
        "AND voted_first_right <= issued_first_right",
        "wins": "wins_first >= 0 AND wins_second >= 0 AND not_sure >= 0",
        "every_vote_counts": "wins_first + wins_second + not_sure = voted_first_left + voted_first_right",
    },
    "trials": {
        "kind": "kind IN ('training', 'warm_up', 'test', 'gold', 'identical', 'repeat')",
        "of_a_pair_or_a_probe": "CASE WHEN kind IN ('test', 'repeat') THEN pair_id IS NOT NULL AND probe_id IS NULL "
        "ELSE pair_id IS NULL AND probe_id IS NOT NULL END",
    },
    "votes": {
        "revision": "revision > 0",
        "choice": "choice IN ('left', 'right', 'not_sure')",
        "complete": "choice IS NULL OR num_nulls(response_ms, input, device_pixel_ratio, window_width, window_height, "
        "screen_width, screen_height, hidden) = 0",
        "pixels": "pixels IN ('verified', 'different', 'unverifiable')",
        "sha256": "left_sha256 ~ '^[0-9a-f]{64}$' AND right_sha256 ~ '^[0-9a-f]{64}$'",
    },
}
EARLIER_CHECKS = {
    "tallies": {
        "votes_are_on_issued_trials": "wins_first + wins_second <= issued_first_left + issued_first_right",
        "wins": "wins_first >= 0 AND wins_second >= 0",
    },
    "trials": {},
    "votes": {"choice": "choice IN ('left', 'right')"},
}
APPEND_ONLY = """
CREATE TRIGGER answers_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON answers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
STANDS = (
    "choice IS NOT NULL AND NOT EXISTS (SELECT FROM votes later "
    "WHERE later.trial_id = votes.trial_id AND later.revision > votes.revision)"
)


def upgrade() -> None:
    """Apply; subjects who have begun go on as they began, all their trials in one block."""
    op.create_table(
        "image_files",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("png_bytes", sa.Integer(), nullable=False),
        sa.Column("webp_bytes", sa.Integer(), nullable=True),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_image_files_sha256")),
        sa.CheckConstraint(
            "png_bytes > 0 AND webp_bytes > 0 AND webp_bytes < png_bytes", name=op.f("ck_image_files_bytes")
        ),
        sa.CheckConstraint("width > 0 AND height > 0", name=op.f("ck_image_files_size")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_image_files")),
    )
    op.create_table(
        "probes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("first_sha256", sa.Text(), nullable=False),
        sa.Column("second_sha256", sa.Text(), nullable=False),
        sa.Column("reference_sha256", sa.Text(), nullable=True),
        sa.Column("made", sa.Text(), nullable=False),
        sa.CheckConstraint("(kind = 'identical') = (first_sha256 = second_sha256)", name=op.f("ck_probes_identical")),
        sa.CheckConstraint("kind IN ('training', 'warm_up', 'gold', 'identical')", name=op.f("ck_probes_kind")),
        sa.ForeignKeyConstraint(["first_sha256"], ["image_files.sha256"], name=op.f("fk_probes_first_sha256")),
        sa.ForeignKeyConstraint(["reference_sha256"], ["image_files.sha256"], name=op.f("fk_probes_reference_sha256")),
        sa.ForeignKeyConstraint(["second_sha256"], ["image_files.sha256"], name=op.f("fk_probes_second_sha256")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_probes_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_probes")),
        sa.UniqueConstraint("id", "study_id", name=op.f("uq_probes_id_study_id")),
        sa.UniqueConstraint(
            "study_id",
            "kind",
            "first_sha256",
            "second_sha256",
            name=op.f("uq_probes_study_id_kind_first_sha256_second_sha256"),
        ),
    )
    op.create_table(
        "protocols",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_protocols_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_protocols")),
        sa.UniqueConstraint("id", "study_id", name=op.f("uq_protocols_id_study_id")),
    )
    op.create_index(op.f("ix_protocols_study_id"), "protocols", ["study_id"], unique=False)
    op.create_table(
        "answers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "step IN ('questions', 'device', 'acuity', 'colour_vision', 'instructions')", name=op.f("ck_answers_step")
        ),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name=op.f("fk_answers_subject_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_answers")),
    )
    op.create_index(op.f("ix_answers_subject_id"), "answers", ["subject_id"], unique=False)
    op.create_table(
        "blocks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sitting", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("purpose IN ('training', 'trials')", name=op.f("ck_blocks_purpose")),
        sa.CheckConstraint("number > 0 AND sitting > 0", name=op.f("ck_blocks_number")),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name=op.f("fk_blocks_subject_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blocks")),
        sa.UniqueConstraint("id", "subject_id", name=op.f("uq_blocks_id_subject_id")),
        sa.UniqueConstraint("subject_id", "number", name=op.f("uq_blocks_subject_id_number")),
    )
    op.create_table(
        "recruits",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("invite_id", sa.BigInteger(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("platform IN ('prolific', 'mturk', 'sona')", name=op.f("ck_recruits_platform")),
        sa.ForeignKeyConstraint(["invite_id"], ["invites.id"], name=op.f("fk_recruits_invite_id")),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name=op.f("fk_recruits_subject_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recruits")),
        sa.UniqueConstraint(
            "invite_id", "platform", "participant", name=op.f("uq_recruits_invite_id_platform_participant")
        ),
        sa.UniqueConstraint("subject_id", name=op.f("uq_recruits_subject_id")),
    )
    op.add_column("consents", sa.Column("language", sa.Text(), server_default="en", nullable=False))
    op.add_column("low_resolution_images", sa.Column("reference_sha256", sa.Text(), nullable=True))
    op.add_column(
        "sessions", sa.Column("device_checked", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    _upgrade_subjects()
    _upgrade_trials()
    _upgrade_votes()
    _replace_checks(EARLIER_CHECKS, CHECKS)
    op.execute(APPEND_ONLY)


def _upgrade_subjects() -> None:
    op.add_column("subjects", sa.Column("language", sa.Text(), server_default="en", nullable=False))
    op.add_column("subjects", sa.Column("protocol_id", sa.BigInteger(), nullable=True))
    op.execute(f"INSERT INTO protocols (study_id, settings) SELECT id, '{EARLIER_PROTOCOL}' FROM studies")
    op.execute(
        "UPDATE subjects SET protocol_id = protocols.id FROM protocols WHERE protocols.study_id = subjects.study_id"
    )
    op.alter_column("subjects", "protocol_id", nullable=False)
    op.create_foreign_key(
        op.f("fk_subjects_protocol_id_study_id"),
        "subjects",
        "protocols",
        ["protocol_id", "study_id"],
        ["id", "study_id"],
    )


def _upgrade_trials() -> None:
    op.add_column("trials", sa.Column("block_id", sa.BigInteger(), nullable=True))
    op.add_column("trials", sa.Column("kind", sa.Text(), server_default="test", nullable=False))
    op.add_column("trials", sa.Column("probe_id", sa.BigInteger(), nullable=True))
    op.execute(
        "INSERT INTO blocks (subject_id, number, sitting, purpose, opened_at) "
        "SELECT subject_id, 1, 1, 'trials', min(issued_at) FROM trials GROUP BY subject_id"
    )
    op.execute("ALTER TABLE trials DISABLE TRIGGER trials_are_append_only")
    op.execute("UPDATE trials SET block_id = blocks.id FROM blocks WHERE blocks.subject_id = trials.subject_id")
    op.execute("ALTER TABLE trials ENABLE TRIGGER trials_are_append_only")
    op.alter_column("trials", "block_id", nullable=False)
    op.alter_column("trials", "pair_id", nullable=True)
    op.drop_constraint(op.f("uq_trials_subject_id_pair_id"), "trials", type_="unique")
    op.create_unique_constraint(op.f("uq_trials_subject_id_pair_id_kind"), "trials", ["subject_id", "pair_id", "kind"])
    op.create_foreign_key(
        op.f("fk_trials_block_id_subject_id"), "trials", "blocks", ["block_id", "subject_id"], ["id", "subject_id"]
    )
    op.create_index(op.f("ix_trials_block_id"), "trials", ["block_id"], unique=False)
    op.create_foreign_key(
        op.f("fk_trials_probe_id_study_id"), "trials", "probes", ["probe_id", "study_id"], ["id", "study_id"]
    )


def _upgrade_votes() -> None:
    op.add_column("votes", sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("votes", sa.Column("painted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("votes", sa.Column("left_sha256", sa.Text(), nullable=True))
    op.add_column("votes", sa.Column("right_sha256", sa.Text(), nullable=True))
    op.add_column("votes", sa.Column("pixels", sa.Text(), server_default="unverifiable", nullable=False))
    empty = {"server_default": sa.text("'[]'"), "nullable": False}
    op.add_column("votes", sa.Column("events", postgresql.JSONB(astext_type=sa.Text()), **empty))
    op.add_column("votes", sa.Column("client", sa.Uuid(), nullable=True))
    op.add_column(
        "votes", sa.Column("flags", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )
    for column in OF_A_CHOICE:
        op.alter_column("votes", column, nullable=True)
    op.drop_constraint(op.f("uq_votes_trial_id"), "votes", type_="unique")
    op.create_unique_constraint(op.f("uq_votes_trial_id_revision"), "votes", ["trial_id", "revision"])
    for column in ("voted_first_left", "voted_first_right", "not_sure"):
        op.add_column("tallies", sa.Column(column, sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.execute(
        "UPDATE tallies SET voted_first_left = counted.on_left, voted_first_right = counted.on_right FROM ("
        "SELECT pair_id, simulated, count(*) FILTER (WHERE first_on_left) AS on_left, "
        "count(*) FILTER (WHERE NOT first_on_left) AS on_right "
        "FROM trials JOIN votes ON votes.trial_id = trials.id GROUP BY pair_id, simulated) AS counted "
        "WHERE counted.pair_id = tallies.pair_id AND counted.simulated = tallies.simulated"
    )


def _replace_checks(old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]) -> None:
    for table, checks in old.items():
        for name in checks:
            op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    for table, checks in new.items():
        for name, rule in checks.items():
            op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, rule)


def downgrade() -> None:
    """Take back; trials that do not count, and votes that do not stand or choose neither, have no place there."""
    op.execute("ALTER TABLE votes DISABLE TRIGGER votes_are_append_only")
    op.execute("ALTER TABLE trials DISABLE TRIGGER trials_are_append_only")
    kept = f"{STANDS} AND choice <> 'not_sure' AND trial_id IN (SELECT id FROM trials WHERE kind = 'test')"
    op.execute(
        "UPDATE rankings SET last_vote_id = coalesce((SELECT max(id) FROM votes "
        f"WHERE id <= last_vote_id AND {kept}), (SELECT min(id) FROM votes WHERE {kept}))"
    )
    op.execute(f"DELETE FROM votes WHERE NOT ({kept})")
    op.execute("DELETE FROM trials WHERE kind <> 'test'")
    op.execute("ALTER TABLE trials ENABLE TRIGGER trials_are_append_only")
    op.execute("ALTER TABLE votes ENABLE TRIGGER votes_are_append_only")
    op.execute(
        "UPDATE subjects SET voted = (SELECT count(*) FROM trials JOIN votes ON votes.trial_id = trials.id "
        "WHERE trials.subject_id = subjects.id)"
    )
    _replace_checks(CHECKS, {})
    op.drop_constraint(op.f("uq_votes_trial_id_revision"), "votes", type_="unique")
    op.create_unique_constraint(op.f("uq_votes_trial_id"), "votes", ["trial_id"])
    for column in OF_A_CHOICE:
        op.alter_column("votes", column, nullable=False)
    for column in ("flags", "client", "events", "pixels", "right_sha256", "left_sha256", "painted_at", "revision"):
        op.drop_column("votes", column)
    for column in ("not_sure", "voted_first_right", "voted_first_left"):
        op.drop_column("tallies", column)
    op.drop_constraint(op.f("uq_trials_subject_id_pair_id_kind"), "trials", type_="unique")
    op.create_unique_constraint(op.f("uq_trials_subject_id_pair_id"), "trials", ["subject_id", "pair_id"])
    op.alter_column("trials", "pair_id", nullable=False)
    for table, columns in {
        "trials": ("probe_id", "kind", "block_id"),
        "subjects": ("language", "protocol_id"),
        "sessions": ("device_checked",),
        "low_resolution_images": ("reference_sha256",),
        "consents": ("language",),
    }.items():
        for column in columns:
            op.drop_column(table, column)
    for table in ("recruits", "blocks", "answers", "protocols", "probes", "image_files"):
        op.drop_table(table)
    _replace_checks({}, EARLIER_CHECKS)
