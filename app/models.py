"""The tables, in flow order: from LR images to votes, rankings, calibrations, pre-runs and jobs; then who may do what.

What must always hold is a constraint of the database, not only of this code.
"""

from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship

Key = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
Now = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Count = Annotated[int, mapped_column(Integer, server_default=text("0"))]
SHA256 = "~ '^[0-9a-f]{64}$'"


def _study() -> Mapped[int]:
    return mapped_column(BigInteger, ForeignKey("studies.id"))


def _check(rule: str, name: str) -> CheckConstraint:
    return CheckConstraint(rule, name=name)


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {str: Text, datetime: DateTime(timezone=True), float: Double, dict[str, Any]: JSONB}


class Study(Base):
    """An imported workspace: what is voted on, and the terms."""

    __tablename__ = "studies"
    __table_args__ = (
        UniqueConstraint("name"),
        _check("name ~ '^[a-z0-9][a-z0-9-]{0,62}$'", "name"),
        _check("state IN ('draft', 'open', 'closed')", "state"),
        _check("trials_per_subject > 0", "trials_per_subject"),
    )

    id: Mapped[Key]
    name: Mapped[str]
    title: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="draft")
    # The study file as it was read, and its workspace: workers calibrate from them.
    description: Mapped[dict[str, Any]]
    workspace: Mapped[str]
    # A share for each subject; all pairs where it is null.
    trials_per_subject: Mapped[int | None]
    created_at: Mapped[Now]

    methods: Mapped[list["Method"]] = relationship(order_by="Method.position", viewonly=True)


class Consent(Base):
    """A version of what subjects agree to; the newest one counts, the others stay for those who agreed to them."""

    __tablename__ = "consents"
    __table_args__ = (UniqueConstraint("id", "study_id"), Index(None, "study_id"))

    id: Mapped[Key]
    study_id: Mapped[int] = _study()
    language: Mapped[str] = mapped_column(server_default="en")
    text: Mapped[str]
    created_at: Mapped[Now]


class Protocol(Base):
    """A version of how subjects are asked; each subject goes by the one that was newest when they came."""

    __tablename__ = "protocols"
    __table_args__ = (UniqueConstraint("id", "study_id"), Index(None, "study_id"))

    id: Mapped[Key]
    study_id: Mapped[int] = _study()
    # As `pipelines.protocol.Protocol` writes it.
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[Now]


class ImageFile(Base):
    """An image in the store, by the hash of its pixels; lossless WebP stands beside PNG where it is smaller."""

    __tablename__ = "image_files"
    __table_args__ = (
        _check(f"sha256 {SHA256}", "sha256"),
        _check("width > 0 AND height > 0", "size"),
        _check("png_bytes > 0 AND webp_bytes > 0 AND webp_bytes < png_bytes", "bytes"),
    )

    sha256: Mapped[str] = mapped_column(primary_key=True)
    width: Mapped[int]
    height: Mapped[int]
    png_bytes: Mapped[int]
    webp_bytes: Mapped[int | None]


class LowResolutionImage(Base):
    """An LR image x of the study that some pair shows."""

    __tablename__ = "low_resolution_images"
    __table_args__ = (
        UniqueConstraint("study_id", "stem"),
        UniqueConstraint("id", "study_id"),
        _check(f"sha256 {SHA256}", "sha256"),
        _check("width > 0 AND height > 0", "size"),
    )

    id: Mapped[Key]
    study_id: Mapped[int] = _study()
    stem: Mapped[str]
    sha256: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    # What the protocol shows beside its outputs, if anything: it, enlarged, or a method's output.
    reference_sha256: Mapped[str | None]


class Method(Base):
    """A super-resolution method f; `position` is its place in study order."""

    __tablename__ = "methods"
    __table_args__ = (
        UniqueConstraint("study_id", "name"),
        UniqueConstraint("study_id", "position"),
        UniqueConstraint("id", "study_id", "position"),
    )

    id: Mapped[Key]
    study_id: Mapped[int] = _study()
    position: Mapped[int]
    name: Mapped[str]


class Output(Base):
    """f(x): one method's output of one LR image."""

    __tablename__ = "outputs"
    __table_args__ = (
        UniqueConstraint("low_resolution_image_id", "method_position"),
        UniqueConstraint("id", "study_id", "low_resolution_image_id", "method_position"),
        ForeignKeyConstraint(
            ["low_resolution_image_id", "study_id"], ["low_resolution_images.id", "low_resolution_images.study_id"]
        ),
        ForeignKeyConstraint(["study_id", "method_position"], ["methods.study_id", "methods.position"]),
        Index(None, "study_id", "sha256"),
        _check(f"sha256 {SHA256}", "sha256"),
        _check("width > 0 AND height > 0", "size"),
    )

    id: Mapped[Key]
    study_id: Mapped[int] = mapped_column(BigInteger)
    low_resolution_image_id: Mapped[int] = mapped_column(BigInteger)
    method_position: Mapped[int]
    sha256: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]


class Pair(Base):
    """Two outputs of one LR image that subjects are asked about; `first` comes before `second` in study order."""

    __tablename__ = "pairs"
    __table_args__ = (
        UniqueConstraint("low_resolution_image_id", "first", "second"),
        UniqueConstraint("id", "study_id"),
        ForeignKeyConstraint(
            ["first_output_id", "study_id", "low_resolution_image_id", "first"],
            ["outputs.id", "outputs.study_id", "outputs.low_resolution_image_id", "outputs.method_position"],
            name="fk_pairs_first_output",
        ),
        ForeignKeyConstraint(
            ["second_output_id", "study_id", "low_resolution_image_id", "second"],
            ["outputs.id", "outputs.study_id", "outputs.low_resolution_image_id", "outputs.method_position"],
            name="fk_pairs_second_output",
        ),
        Index(None, "study_id", "first", "second"),
        _check("first < second", "order"),
        _check("rank > 0", "rank"),
    )

    id: Mapped[Key]
    study_id: Mapped[int] = mapped_column(BigInteger)
    low_resolution_image_id: Mapped[int] = mapped_column(BigInteger)
    first: Mapped[int]
    second: Mapped[int]
    first_output_id: Mapped[int] = mapped_column(BigInteger)
    second_output_id: Mapped[int] = mapped_column(BigInteger)
    group: Mapped[str]
    rank: Mapped[int]
    distance: Mapped[float]
    semantics: Mapped[float]
    score: Mapped[float]


class Probe(Base):
    """Two images that are shown for another purpose than to compare methods; votes on them never count.

    Of a training or gold pair, `first` is the better one beyond doubt; an identical pair is one image twice; a warm-up
    pair is two outputs of an LR image, of two methods, like any other.
    """

    __tablename__ = "probes"
    __table_args__ = (
        UniqueConstraint("study_id", "kind", "first_sha256", "second_sha256"),
        UniqueConstraint("id", "study_id"),
        _check("kind IN ('training', 'warm_up', 'gold', 'identical')", "kind"),
        _check("(kind = 'identical') = (first_sha256 = second_sha256)", "identical"),
    )

    id: Mapped[Key]
    study_id: Mapped[int] = _study()
    kind: Mapped[str]
    # The LR image that both come from; it need not be one that is voted on.
    content: Mapped[str]
    first_sha256: Mapped[str] = mapped_column(ForeignKey("image_files.sha256"))
    second_sha256: Mapped[str] = mapped_column(ForeignKey("image_files.sha256"))
    reference_sha256: Mapped[str | None] = mapped_column(ForeignKey("image_files.sha256"))
    # How the images were made, in words.
    made: Mapped[str]


class Invite(Base):
    """A link that makes its holder a subject: one subject, or (shared) as many as use it.

    The token is kept as it is, so that an admin can hand the link out again; all that it opens is a subject's page.
    """

    __tablename__ = "invites"
    __table_args__ = (
        UniqueConstraint("token"),
        UniqueConstraint("id", "study_id", "simulated"),
        Index(None, "study_id"),
        _check("kind IN ('single', 'shared')", "kind"),
    )

    id: Mapped[Key]
    study_id: Mapped[int] = _study()
    token: Mapped[str]
    kind: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    simulated: Mapped[bool] = mapped_column(server_default=text("false"))
    revoked: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[Now]


class Subject(Base):
    """Somebody, or some program, who has agreed to vote. Neither a name nor an address is recorded."""

    __tablename__ = "subjects"
    __table_args__ = (
        UniqueConstraint("study_id", "simulated", "number"),
        UniqueConstraint("id", "study_id", "simulated"),
        ForeignKeyConstraint(
            ["invite_id", "study_id", "simulated"], ["invites.id", "invites.study_id", "invites.simulated"]
        ),
        ForeignKeyConstraint(["consent_id", "study_id"], ["consents.id", "consents.study_id"]),
        ForeignKeyConstraint(["protocol_id", "study_id"], ["protocols.id", "protocols.study_id"]),
        Index(None, "invite_id"),
        _check("number > 0", "number"),
        _check("total > 0 AND voted >= 0 AND voted <= total", "progress"),
    )

    id: Mapped[Key]
    study_id: Mapped[int] = mapped_column(BigInteger)
    invite_id: Mapped[int] = mapped_column(BigInteger)
    number: Mapped[int]
    simulated: Mapped[bool]
    # The order of this subject's trials follows from it.
    seed: Mapped[int] = mapped_column(BigInteger)
    consent_id: Mapped[int] = mapped_column(BigInteger)
    consented_at: Mapped[Now]
    protocol_id: Mapped[int] = mapped_column(BigInteger)
    language: Mapped[str] = mapped_column(server_default="en")
    completion_code: Mapped[str]
    # How many trials that count are asked for; how many are voted on is counted in the vote's own transaction.
    total: Mapped[int]
    voted: Mapped[Count]
    last_vote_at: Mapped[datetime | None]

    @property
    def name(self) -> str:
        """What the subject is called in tables: S7, or simulated-7."""
        return f"simulated-{self.number}" if self.simulated else f"S{self.number}"


class Recruit(Base):
    """Who sent a subject, and the id they have there, for payment alone: it stands in no table of votes."""

    __tablename__ = "recruits"
    __table_args__ = (
        UniqueConstraint("subject_id"),
        UniqueConstraint("invite_id", "platform", "participant"),
        _check("platform IN ('prolific', 'mturk', 'sona')", "platform"),
    )

    id: Mapped[Key]
    subject_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("subjects.id"))
    invite_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("invites.id"))
    platform: Mapped[str]
    participant: Mapped[str]
    # The other parameters of the platform's link, such as its study and session.
    parameters: Mapped[dict[str, Any]]
    created_at: Mapped[Now]


class Answer(Base):
    """What a subject did before the trials: questions, checks of device and vision, instructions. Append-only."""

    __tablename__ = "answers"
    __table_args__ = (
        Index(None, "subject_id"),
        _check("step IN ('questions', 'device', 'acuity', 'colour_vision', 'instructions')", "step"),
    )

    id: Mapped[Key]
    subject_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("subjects.id"))
    step: Mapped[str]
    content: Mapped[dict[str, Any]]
    created_at: Mapped[Now]


class Block(Base):
    """Trials between two breaks, handed out together; sittings are the visits that they fall into."""

    __tablename__ = "blocks"
    __table_args__ = (
        UniqueConstraint("subject_id", "number"),
        UniqueConstraint("id", "subject_id"),
        _check("purpose IN ('training', 'trials')", "purpose"),
        _check("number > 0 AND sitting > 0", "number"),
    )

    id: Mapped[Key]
    subject_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("subjects.id"))
    number: Mapped[int]
    sitting: Mapped[int]
    purpose: Mapped[str]
    opened_at: Mapped[Now]


class Trial(Base):
    """Two images shown to one subject; the row, with the sides, is there before the images are, and never changes.

    Votes on trials of kind `test` count. Those of kind `repeat` show a pair again, sides swapped; the others show a
    probe.
    """

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("subject_id", "pair_id", "kind"),
        UniqueConstraint("subject_id", "number"),
        ForeignKeyConstraint(["block_id", "subject_id"], ["blocks.id", "blocks.subject_id"]),
        ForeignKeyConstraint(["probe_id", "study_id"], ["probes.id", "probes.study_id"]),
        _check("kind IN ('training', 'warm_up', 'test', 'gold', 'identical', 'repeat')", "kind"),
        _check(
            "CASE WHEN kind IN ('test', 'repeat') THEN pair_id IS NOT NULL AND probe_id IS NULL "
            "ELSE pair_id IS NULL AND probe_id IS NOT NULL END",
            "of_a_pair_or_a_probe",
        ),
        ForeignKeyConstraint(
            ["subject_id", "study_id", "simulated"], ["subjects.id", "subjects.study_id", "subjects.simulated"]
        ),
        ForeignKeyConstraint(["pair_id", "study_id"], ["pairs.id", "pairs.study_id"]),
        Index(None, "pair_id"),
        Index(None, "block_id"),
        _check("number > 0", "number"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    study_id: Mapped[int] = mapped_column(BigInteger)
    subject_id: Mapped[int] = mapped_column(BigInteger)
    simulated: Mapped[bool]
    block_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(server_default="test")
    pair_id: Mapped[int | None] = mapped_column(BigInteger)
    probe_id: Mapped[int | None] = mapped_column(BigInteger)
    number: Mapped[int]
    first_on_left: Mapped[bool]
    issued_at: Mapped[Now]


class Vote(Base):
    """What a subject chose. The log is append-only: a trigger refuses every update, delete and truncation.

    Of the rows of a trial the one with the highest revision stands; one without a choice takes the vote back.
    """

    __tablename__ = "votes"
    __table_args__ = (
        UniqueConstraint("trial_id", "revision"),
        Index(None, "received_at"),
        _check("revision > 0", "revision"),
        _check("choice IN ('left', 'right', 'not_sure')", "choice"),
        _check("input IN ('key', 'click')", "input"),
        _check("response_ms >= 0 AND response_ms < 'Infinity'", "response_ms"),
        _check("device_pixel_ratio > 0 AND device_pixel_ratio < 'Infinity'", "device_pixel_ratio"),
        _check(
            "choice IS NULL OR num_nulls(response_ms, input, device_pixel_ratio, window_width, window_height, "
            "screen_width, screen_height, hidden) = 0",
            "complete",
        ),
        _check("pixels IN ('verified', 'different', 'unverifiable')", "pixels"),
        _check(f"left_sha256 {SHA256} AND right_sha256 {SHA256}", "sha256"),
    )

    id: Mapped[Key]
    trial_id: Mapped[UUID] = mapped_column(ForeignKey("trials.id"))
    revision: Mapped[int] = mapped_column(server_default=text("1"))
    choice: Mapped[str | None]
    # From the paint to the input, on the page's monotonic clock; the paint itself by the computer's calendar.
    response_ms: Mapped[float | None]
    painted_at: Mapped[datetime | None]
    input: Mapped[str | None]
    device_pixel_ratio: Mapped[float | None]
    window_width: Mapped[int | None]
    window_height: Mapped[int | None]
    screen_width: Mapped[int | None]
    screen_height: Mapped[int | None]
    hidden: Mapped[bool | None]
    # What the page says it decoded, and whether that is what the store holds.
    left_sha256: Mapped[str | None]
    right_sha256: Mapped[str | None]
    pixels: Mapped[str] = mapped_column(server_default="unverifiable")
    # Flips, pans, zooms, losses of focus: {"ms": since the paint, "event": name, ...}.
    events: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    # Of the load of the page that it was cast on.
    client: Mapped[UUID | None]
    # Why an experimenter should look at it.
    flags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    received_at: Mapped[Now]

    @classmethod
    def stands(cls, up_to: int | None = None) -> ColumnElement[bool]:
        """Whether a row is a choice that no later row has superseded; with `up_to`, by the rows up to that key."""
        later = aliased(cls)
        superseded = (later.trial_id == cls.trial_id) & (later.revision > cls.revision)
        within: ColumnElement[bool] = true()
        if up_to is not None:
            superseded, within = superseded & (later.id <= up_to), cls.id <= up_to
        return cls.choice.is_not(None) & within & ~select(later.id).where(superseded).exists()


class Tally(Base):
    """Counters of one pair, for people and for simulated subjects apart, changed in the transaction that they count.

    Trials of kind `test` alone, and of their votes those that stand.
    """

    __tablename__ = "tallies"
    __table_args__ = (
        _check("issued_first_left >= 0 AND issued_first_right >= 0", "issued"),
        _check("abs(issued_first_left - issued_first_right) <= 1", "counterbalanced"),
        _check("voted_first_left >= 0 AND voted_first_right >= 0", "voted"),
        _check(
            "voted_first_left <= issued_first_left AND voted_first_right <= issued_first_right",
            "votes_are_on_issued_trials",
        ),
        _check("wins_first >= 0 AND wins_second >= 0 AND not_sure >= 0", "wins"),
        _check("wins_first + wins_second + not_sure = voted_first_left + voted_first_right", "every_vote_counts"),
    )

    pair_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("pairs.id"), primary_key=True)
    simulated: Mapped[bool] = mapped_column(primary_key=True)
    issued_first_left: Mapped[Count]
    issued_first_right: Mapped[Count]
    # Trials with a vote, by the side of the first method.
    voted_first_left: Mapped[Count]
    voted_first_right: Mapped[Count]
    wins_first: Mapped[Count]
    wins_second: Mapped[Count]
    not_sure: Mapped[Count]


class Ranking(Base):
    """A fitted ranking, as it was on the votes of its time."""

    __tablename__ = "rankings"
    __table_args__ = (
        UniqueConstraint("id", "study_id"),
        Index(None, "study_id"),
        _check("voters IN ('people', 'simulated')", "voters"),
        _check("votes > 0", "votes"),
        _check("ridge >= 0 AND level > 0 AND level < 1", "settings"),
    )

    id: Mapped[Key]
    study_id: Mapped[int] = _study()
    voters: Mapped[str]
    # The group of pairs whose votes were ranked; those of all pairs where it is null.
    group: Mapped[str | None]
    votes: Mapped[int]
    # The votes up to this one, no later ones.
    last_vote_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("votes.id"))
    ridge: Mapped[float]
    level: Mapped[float]
    result: Mapped[dict[str, Any]]
    created_by: Mapped[str]
    created_at: Mapped[Now]


class Calibration(Base):
    """A quality model calibrated with a ranking; result and model come together, when its job succeeds."""

    __tablename__ = "calibrations"
    __table_args__ = (
        ForeignKeyConstraint(["ranking_id", "study_id"], ["rankings.id", "rankings.study_id"]),
        Index(None, "study_id"),
        _check("(result IS NULL) = (model IS NULL)", "result_with_model"),
    )

    id: Mapped[Key]
    study_id: Mapped[int] = _study()
    ranking_id: Mapped[int] = mapped_column(BigInteger)
    options: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    model: Mapped[str | None]  # key of the zip file in the store
    created_by: Mapped[str]
    created_at: Mapped[Now]

    ranking: Mapped[Ranking] = relationship(viewonly=True)
    # Read in one statement: between two, a job may succeed, and would be told without its result.
    job: Mapped["Job"] = relationship(back_populates="calibration", lazy="joined")


class Prerun(Base):
    """A pre-run: a study file whose missing outputs workers make, and whose pairs are then selected.

    What is made lies in the workspace; here stands who asked for it, and, part by part, how far it is.
    """

    __tablename__ = "preruns"
    __table_args__ = (
        _check("images_per_part > 0", "images_per_part"),
        _check("round > 0", "round"),
    )

    id: Mapped[Key]
    study_file: Mapped[str]
    # The study file as it was read for this round, and its workspace: all workers make outputs from one description.
    title: Mapped[str]
    description: Mapped[dict[str, Any]]
    workspace: Mapped[str]
    images_per_part: Mapped[int]
    # Whoever finds it in the workspace works on the same file system; it also names this pre-run in the store.
    token: Mapped[str]
    # Counts up whenever the pre-run is resumed.
    round: Mapped[int] = mapped_column(server_default=text("1"))
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    created_by: Mapped[str]
    created_at: Mapped[Now]


class PrerunPart(Base):
    """What one worker does of a round: prepares it, makes outputs of one method on some LR images, or selects pairs."""

    __tablename__ = "prerun_parts"
    __table_args__ = (
        UniqueConstraint("prerun_id", "round", "method", "slot"),
        # The last part of a round to end begins the selection; whoever ends at the same moment finds it begun.
        Index(None, "prerun_id", "round", "step", unique=True, postgresql_where=text("step <> 'outputs'")),
        _check("step IN ('prepare', 'outputs', 'select')", "step"),
        _check("num_nonnulls(method, slot) = CASE step WHEN 'outputs' THEN 2 ELSE 0 END", "outputs_of_a_method"),
        _check("(step = 'outputs') = (cardinality(images) > 0)", "outputs_of_images"),
    )

    id: Mapped[Key]
    prerun_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("preruns.id"))
    round: Mapped[int]
    step: Mapped[str]
    method: Mapped[str | None]
    # A part of the images; its name, and so an external program's folder, stays when a pre-run is resumed.
    slot: Mapped[str | None]
    images: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    result: Mapped[dict[str, Any] | None]

    job: Mapped["Job"] = relationship(back_populates="part")


class Job(Base):
    """Work on a worker: how far it is, and how it ended. `attempt` says whose reports count after a crash."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("calibration_id"),
        UniqueConstraint("part_id"),
        _check("num_nonnulls(calibration_id, part_id) = 1", "one_purpose"),
        _check("queue IN ('cpu', 'gpu')", "queue"),
        _check("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", "status"),
        _check("(status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", "finished"),
        _check("(status = 'failed') = (error IS NOT NULL)", "error"),
        _check("done >= 0 AND total >= 0 AND done <= total", "progress"),
    )

    id: Mapped[Key]
    calibration_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("calibrations.id"))
    part_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("prerun_parts.id"))
    queue: Mapped[str] = mapped_column(server_default="cpu")
    status: Mapped[str] = mapped_column(server_default="queued")
    attempt: Mapped[Count]
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    # The name of the worker that does it, or did it last.
    worker: Mapped[str | None]
    task: Mapped[str] = mapped_column(server_default="")
    done: Mapped[Count]
    total: Mapped[Count]
    log: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    error: Mapped[str | None]
    created_at: Mapped[Now]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    calibration: Mapped[Calibration | None] = relationship(back_populates="job")
    part: Mapped[PrerunPart | None] = relationship(back_populates="job")


class User(Base):
    """Somebody who signs in."""

    __tablename__ = "users"
    __table_args__ = (
        _check("role IN ('experimenter', 'admin')", "role"),
        Index(None, func.lower(text("name")), unique=True),
    )

    id: Mapped[Key]
    name: Mapped[str]
    password_hash: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[Now]


class SetUpLink(Base):
    """A one-time link with which somebody chooses a name and a password; only the hash of its token is kept."""

    __tablename__ = "set_up_links"
    __table_args__ = (_check("role IN ('experimenter', 'admin')", "role"),)

    token_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    role: Mapped[str]
    created_at: Mapped[Now]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class LoginSession(Base):
    """A browser that is signed in, as a user or as a subject; only the hash of its token is kept."""

    __tablename__ = "sessions"
    __table_args__ = (
        _check("num_nonnulls(user_id, subject_id) = 1", "one_owner"),
        Index(None, "expires_at"),
    )

    token_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    subject_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("subjects.id"))
    # Whether this browser's screen and window were found fit, where the protocol asks for that.
    device_checked: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[Now]
    expires_at: Mapped[datetime]
