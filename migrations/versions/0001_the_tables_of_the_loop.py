"""The tables of the loop, and the triggers that keep trials and votes append-only."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The vote log is the truth: what was stored stays as it was stored, whoever is connected; and so does what a vote
# means, which the sides of its trial say.
APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'trials and votes are append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER votes_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON votes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER trials_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON trials
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "set_up_links",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('experimenter', 'admin')", name=op.f("ck_set_up_links_role")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_set_up_links")),
    )
    op.create_table(
        "studies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("description", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("trials_per_subject", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f("ck_studies_name")),
        sa.CheckConstraint("state IN ('draft', 'open', 'closed')", name=op.f("ck_studies_state")),
        sa.CheckConstraint("trials_per_subject > 0", name=op.f("ck_studies_trials_per_subject")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("name", name=op.f("uq_studies_name")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('experimenter', 'admin')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index(op.f("ix_users_"), "users", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "consents",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_consents_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consents")),
        sa.UniqueConstraint("id", "study_id", name=op.f("uq_consents_id_study_id")),
    )
    op.create_index(op.f("ix_consents_study_id"), "consents", ["study_id"], unique=False)
    op.create_table(
        "invites",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("simulated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("revoked", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('single', 'shared')", name=op.f("ck_invites_kind")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_invites_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invites")),
        sa.UniqueConstraint("id", "study_id", "simulated", name=op.f("uq_invites_id_study_id_simulated")),
        sa.UniqueConstraint("token", name=op.f("uq_invites_token")),
    )
    op.create_index(op.f("ix_invites_study_id"), "invites", ["study_id"], unique=False)
    op.create_table(
        "low_resolution_images",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("stem", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_low_resolution_images_sha256")),
        sa.CheckConstraint("width > 0 AND height > 0", name=op.f("ck_low_resolution_images_size")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_low_resolution_images_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_low_resolution_images")),
        sa.UniqueConstraint("id", "study_id", name=op.f("uq_low_resolution_images_id_study_id")),
        sa.UniqueConstraint("study_id", "stem", name=op.f("uq_low_resolution_images_study_id_stem")),
    )
    op.create_table(
        "methods",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_methods_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_methods")),
        sa.UniqueConstraint("id", "study_id", "position", name=op.f("uq_methods_id_study_id_position")),
        sa.UniqueConstraint("study_id", "name", name=op.f("uq_methods_study_id_name")),
        sa.UniqueConstraint("study_id", "position", name=op.f("uq_methods_study_id_position")),
    )
    op.create_table(
        "outputs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("low_resolution_image_id", sa.BigInteger(), nullable=False),
        sa.Column("method_position", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_outputs_sha256")),
        sa.CheckConstraint("width > 0 AND height > 0", name=op.f("ck_outputs_size")),
        sa.ForeignKeyConstraint(
            ["low_resolution_image_id", "study_id"],
            ["low_resolution_images.id", "low_resolution_images.study_id"],
            name=op.f("fk_outputs_low_resolution_image_id_study_id"),
        ),
        sa.ForeignKeyConstraint(
            ["study_id", "method_position"],
            ["methods.study_id", "methods.position"],
            name=op.f("fk_outputs_study_id_method_position"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outputs")),
        sa.UniqueConstraint(
            "id",
            "study_id",
            "low_resolution_image_id",
            "method_position",
            name=op.f("uq_outputs_id_study_id_low_resolution_image_id_method_position"),
        ),
        sa.UniqueConstraint(
            "low_resolution_image_id",
            "method_position",
            name=op.f("uq_outputs_low_resolution_image_id_method_position"),
        ),
    )
    op.create_index(op.f("ix_outputs_study_id_sha256"), "outputs", ["study_id", "sha256"], unique=False)
    op.create_table(
        "subjects",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("invite_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("consent_id", sa.BigInteger(), nullable=False),
        sa.Column("consented_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("completion_code", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("voted", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_vote_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("number > 0", name=op.f("ck_subjects_number")),
        sa.CheckConstraint("total > 0 AND voted >= 0 AND voted <= total", name=op.f("ck_subjects_progress")),
        sa.ForeignKeyConstraint(
            ["consent_id", "study_id"],
            ["consents.id", "consents.study_id"],
            name=op.f("fk_subjects_consent_id_study_id"),
        ),
        sa.ForeignKeyConstraint(
            ["invite_id", "study_id", "simulated"],
            ["invites.id", "invites.study_id", "invites.simulated"],
            name=op.f("fk_subjects_invite_id_study_id_simulated"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subjects")),
        sa.UniqueConstraint("id", "study_id", "simulated", name=op.f("uq_subjects_id_study_id_simulated")),
        sa.UniqueConstraint("study_id", "simulated", "number", name=op.f("uq_subjects_study_id_simulated_number")),
    )
    op.create_index(op.f("ix_subjects_invite_id"), "subjects", ["invite_id"], unique=False)
    op.create_table(
        "pairs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("low_resolution_image_id", sa.BigInteger(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("second", sa.Integer(), nullable=False),
        sa.Column("first_output_id", sa.BigInteger(), nullable=False),
        sa.Column("second_output_id", sa.BigInteger(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("distance", sa.Double(), nullable=False),
        sa.Column("semantics", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.CheckConstraint("first < second", name=op.f("ck_pairs_order")),
        sa.CheckConstraint("rank > 0", name=op.f("ck_pairs_rank")),
        sa.ForeignKeyConstraint(
            ["first_output_id", "study_id", "low_resolution_image_id", "first"],
            ["outputs.id", "outputs.study_id", "outputs.low_resolution_image_id", "outputs.method_position"],
            name="fk_pairs_first_output",
        ),
        sa.ForeignKeyConstraint(
            ["second_output_id", "study_id", "low_resolution_image_id", "second"],
            ["outputs.id", "outputs.study_id", "outputs.low_resolution_image_id", "outputs.method_position"],
            name="fk_pairs_second_output",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pairs")),
        sa.UniqueConstraint("id", "study_id", name=op.f("uq_pairs_id_study_id")),
        sa.UniqueConstraint(
            "low_resolution_image_id", "first", "second", name=op.f("uq_pairs_low_resolution_image_id_first_second")
        ),
    )
    op.create_index(op.f("ix_pairs_study_id_first_second"), "pairs", ["study_id", "first", "second"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("subject_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("num_nonnulls(user_id, subject_id) = 1", name=op.f("ck_sessions_one_owner")),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name=op.f("fk_sessions_subject_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"], unique=False)
    op.create_table(
        "tallies",
        sa.Column("pair_id", sa.BigInteger(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("issued_first_left", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("issued_first_right", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("wins_first", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("wins_second", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("abs(issued_first_left - issued_first_right) <= 1", name=op.f("ck_tallies_counterbalanced")),
        sa.CheckConstraint("issued_first_left >= 0 AND issued_first_right >= 0", name=op.f("ck_tallies_issued")),
        sa.CheckConstraint(
            "wins_first + wins_second <= issued_first_left + issued_first_right",
            name=op.f("ck_tallies_votes_are_on_issued_trials"),
        ),
        sa.CheckConstraint("wins_first >= 0 AND wins_second >= 0", name=op.f("ck_tallies_wins")),
        sa.ForeignKeyConstraint(["pair_id"], ["pairs.id"], name=op.f("fk_tallies_pair_id")),
        sa.PrimaryKeyConstraint("pair_id", "simulated", name=op.f("pk_tallies")),
    )
    op.create_table(
        "trials",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("pair_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first_on_left", sa.Boolean(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("number > 0", name=op.f("ck_trials_number")),
        sa.ForeignKeyConstraint(
            ["pair_id", "study_id"], ["pairs.id", "pairs.study_id"], name=op.f("fk_trials_pair_id_study_id")
        ),
        sa.ForeignKeyConstraint(
            ["subject_id", "study_id", "simulated"],
            ["subjects.id", "subjects.study_id", "subjects.simulated"],
            name=op.f("fk_trials_subject_id_study_id_simulated"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
        sa.UniqueConstraint("subject_id", "number", name=op.f("uq_trials_subject_id_number")),
        sa.UniqueConstraint("subject_id", "pair_id", name=op.f("uq_trials_subject_id_pair_id")),
    )
    op.create_index(op.f("ix_trials_pair_id"), "trials", ["pair_id"], unique=False)
    op.create_table(
        "votes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("trial_id", sa.Uuid(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("response_ms", sa.Double(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("device_pixel_ratio", sa.Double(), nullable=False),
        sa.Column("window_width", sa.Integer(), nullable=False),
        sa.Column("window_height", sa.Integer(), nullable=False),
        sa.Column("screen_width", sa.Integer(), nullable=False),
        sa.Column("screen_height", sa.Integer(), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("choice IN ('left', 'right')", name=op.f("ck_votes_choice")),
        sa.CheckConstraint(
            "device_pixel_ratio > 0 AND device_pixel_ratio < 'Infinity'", name=op.f("ck_votes_device_pixel_ratio")
        ),
        sa.CheckConstraint("input IN ('key', 'click')", name=op.f("ck_votes_input")),
        sa.CheckConstraint("response_ms >= 0 AND response_ms < 'Infinity'", name=op.f("ck_votes_response_ms")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_votes_trial_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_votes")),
        sa.UniqueConstraint("trial_id", name=op.f("uq_votes_trial_id")),
    )
    op.create_index(op.f("ix_votes_received_at"), "votes", ["received_at"], unique=False)
    op.create_table(
        "rankings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("voters", sa.Text(), nullable=False),
        sa.Column("votes", sa.Integer(), nullable=False),
        sa.Column("last_vote_id", sa.BigInteger(), nullable=False),
        sa.Column("ridge", sa.Double(), nullable=False),
        sa.Column("level", sa.Double(), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("voters IN ('people', 'simulated')", name=op.f("ck_rankings_voters")),
        sa.CheckConstraint("ridge >= 0 AND level > 0 AND level < 1", name=op.f("ck_rankings_settings")),
        sa.CheckConstraint("votes > 0", name=op.f("ck_rankings_votes")),
        sa.ForeignKeyConstraint(["last_vote_id"], ["votes.id"], name=op.f("fk_rankings_last_vote_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_rankings_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rankings")),
        sa.UniqueConstraint("id", "study_id", name=op.f("uq_rankings_id_study_id")),
    )
    op.create_index(op.f("ix_rankings_study_id"), "rankings", ["study_id"], unique=False)
    op.create_table(
        "calibrations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("ranking_id", sa.BigInteger(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(result IS NULL) = (model IS NULL)", name=op.f("ck_calibrations_result_with_model")),
        sa.ForeignKeyConstraint(
            ["ranking_id", "study_id"],
            ["rankings.id", "rankings.study_id"],
            name=op.f("fk_calibrations_ranking_id_study_id"),
        ),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_calibrations_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibrations")),
    )
    op.create_index(op.f("ix_calibrations_study_id"), "calibrations", ["study_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("calibration_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("task", sa.Text(), server_default="", nullable=False),
        sa.Column("done", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("total", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("log", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name=op.f("ck_jobs_error")),
        sa.CheckConstraint(
            "(status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_finished"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_jobs_status")
        ),
        sa.CheckConstraint("done >= 0 AND total >= 0 AND done <= total", name=op.f("ck_jobs_progress")),
        sa.ForeignKeyConstraint(["calibration_id"], ["calibrations.id"], name=op.f("fk_jobs_calibration_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("calibration_id", name=op.f("uq_jobs_calibration_id")),
    )
    op.execute(APPEND_ONLY)


def downgrade() -> None:
    """Take back."""
    op.drop_table("jobs")
    op.drop_index(op.f("ix_calibrations_study_id"), table_name="calibrations")
    op.drop_table("calibrations")
    op.drop_index(op.f("ix_rankings_study_id"), table_name="rankings")
    op.drop_table("rankings")
    op.drop_index(op.f("ix_votes_received_at"), table_name="votes")
    op.drop_table("votes")
    op.drop_index(op.f("ix_trials_pair_id"), table_name="trials")
    op.drop_table("trials")
    op.drop_table("tallies")
    op.drop_index(op.f("ix_sessions_expires_at"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_index(op.f("ix_pairs_study_id_first_second"), table_name="pairs")
    op.drop_table("pairs")
    op.drop_index(op.f("ix_subjects_invite_id"), table_name="subjects")
    op.drop_table("subjects")
    op.drop_index(op.f("ix_outputs_study_id_sha256"), table_name="outputs")
    op.drop_table("outputs")
    op.drop_table("methods")
    op.drop_table("low_resolution_images")
    op.drop_index(op.f("ix_invites_study_id"), table_name="invites")
    op.drop_table("invites")
    op.drop_index(op.f("ix_consents_study_id"), table_name="consents")
    op.drop_table("consents")
    op.drop_index(op.f("ix_users_"), table_name="users")
    op.drop_table("users")
    op.drop_table("studies")
    op.drop_table("set_up_links")
    op.execute("DROP FUNCTION refuse_change()")
