"""A subject's trials: the rows are there, with their sides, before an image is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, bindparam, case, func, lateral, select, true
from sqlalchemy.orm import Session, aliased

from app.errors import RefusalError
from app.models import Block, ImageFile, LowResolutionImage, Output, Pair, Probe, Study, Subject, Trial, Vote
from app.subjects import blocks, panel
from app.subjects.blocks import Pause
from pipelines.protocol import Protocol

Side = Literal["left", "right"]
Part = Literal["left", "right", "reference"]


@dataclass(frozen=True)
class Shown:
    """A trial without a vote, as the page needs it: nothing here tells a method.

    Attributes:
        id: of the trial.
        number: among all trials of the subject, from 1.
        position: among those of its block, from 1.
        revision: that the next vote on it is to have.
        width, height: of each image, in pixels.
        better: the side that is better, in training.
        has_reference: whether a third image is shown with the two.
        webp: the parts of which there is WebP.
    """

    id: UUID
    number: int
    position: int
    revision: int
    width: int
    height: int
    better: Side | None
    has_reference: bool
    webp: frozenset[Part]


@dataclass(frozen=True)
class BlockState:
    """A block: which of about how many, from 1 (training is 0); how many trials it has."""

    number: int
    blocks: int
    size: int
    training: bool


@dataclass(frozen=True)
class Outstanding:
    """What a subject is to do next: trials of a block, or a pause before there are any, or nothing more."""

    trials: list[Shown]
    block: BlockState | None
    pause: Pause | None
    finished: bool


def outstanding(db: Session, subject: Subject, ahead: int, go_on: bool = False) -> Outstanding:
    """The subject's next trials, in order: those without a vote; where none are left, those of a new block.

    Args:
        db: the transaction that holds what is handed out.
        subject: whose trials.
        ahead: the most that are wanted.
        go_on: whether the subject wants to end a pause.

    Raises:
        RefusalError: none are left, and the study is not open.
    """
    protocol = panel.protocol_of(db, subject)
    found = _unvoted(db, subject, protocol, ahead)
    if found is None:
        # What was voted on meanwhile is no longer outstanding.
        db.refresh(subject, ["voted", "last_vote_at"])
        if subject.voted == subject.total:
            return Outstanding([], _newest_block(db, subject, protocol), None, finished=True)
        return _next_block(db, subject, protocol, ahead, go_on)
    return found


def image(db: Session, subject: Subject, trial: UUID, part: Part) -> str | None:
    """The pixel hash of a part of a trial; None where the trial is not this subject's, or has no such part."""
    if part == "reference" and panel.protocol_of(db, subject).reference == "none":
        return None
    row = db.execute(_images(), {"subject": subject.id, "trials": [trial]}).one_or_none()
    return None if row is None else row._mapping[part]


# What the page asks for with every few votes is put together once: that takes longer than to execute it.
@cache
def _images() -> Any:
    """Of some trials of a subject, the hashes of what is shown; and the size of it, where only the pair knows that."""
    first, second = aliased(Output), aliased(Output)
    firsts = func.coalesce(first.sha256, Probe.first_sha256)
    seconds = func.coalesce(second.sha256, Probe.second_sha256)
    return (
        select(
            Trial.id,
            Trial.number,
            Trial.kind,
            Trial.block_id,
            Trial.first_on_left,
            case((Trial.first_on_left, firsts), else_=seconds).label("left"),
            case((Trial.first_on_left, seconds), else_=firsts).label("right"),
            func.coalesce(LowResolutionImage.reference_sha256, Probe.reference_sha256).label("reference"),
            first.width,
            first.height,
        )
        .outerjoin(Pair, Trial.pair_id == Pair.id)
        .outerjoin(LowResolutionImage, Pair.low_resolution_image_id == LowResolutionImage.id)
        .outerjoin(first, Pair.first_output_id == first.id)
        .outerjoin(second, Pair.second_output_id == second.id)
        .outerjoin(Probe, Trial.probe_id == Probe.id)
        .where(Trial.subject_id == bindparam("subject"), Trial.id.in_(bindparam("trials", expanding=True)))
        .order_by(Trial.number)
    )


def _unvoted(db: Session, subject: Subject, protocol: Protocol, most: int) -> Outstanding | None:
    revisions: dict[UUID, int] = dict(db.execute(_waiting(), {"subject": subject.id, "most": most}).all())
    if not revisions:
        return None
    rows = db.execute(_images(), {"subject": subject.id, "trials": list(revisions)}).all()
    # An undone vote may lie in the block before: the page is shown one block at a time.
    rows = [row for row in rows if row.block_id == rows[0].block_id]
    hashes = {row._mapping[part] for row in rows for part in ("left", "right", "reference")}
    files = {file.sha256: file for file in db.execute(_files(), {"hashes": list(hashes)})}
    start, state = _block(db, subject, protocol, rows[0].block_id)
    mine = [_shown(row, start, protocol, files, revisions[row.id]) for row in rows]
    return Outstanding(mine, state, None, finished=False)


@cache
def _waiting() -> Any:
    """A subject's next trials without a vote, and the revisions that their next votes are to have."""
    newest = lateral(
        select(Vote.revision, Vote.choice).where(Vote.trial_id == Trial.id).order_by(Vote.revision.desc()).limit(1)
    )
    return (
        select(Trial.id, func.coalesce(newest.c.revision, 0) + 1)
        .outerjoin(newest, true())
        .where(Trial.subject_id == bindparam("subject"), newest.c.choice.is_(None))
        .order_by(Trial.number)
        .limit(bindparam("most"))
    )


@cache
def _files() -> Any:
    """The sizes of images, and whether there is WebP of them."""
    columns = (ImageFile.sha256, ImageFile.width, ImageFile.height, ImageFile.webp_bytes)
    return select(*columns).where(ImageFile.sha256.in_(bindparam("hashes", expanding=True)))


def _shown(row: Row[Any], start: int, protocol: Protocol, files: Mapping[str, Row[Any]], revision: int) -> Shown:
    has_reference = protocol.reference != "none" and row.reference is not None
    parts: tuple[Part, ...] = ("left", "right", "reference") if has_reference else ("left", "right")
    kept = [files.get(row._mapping[part]) for part in parts]
    better: Side | None = None
    if row.kind == "training":
        better = "left" if row.first_on_left else "right"
    return Shown(
        id=row.id,
        number=row.number,
        position=row.number - start + 1,
        revision=revision,
        width=row.width or files[row.left].width,
        height=row.height or files[row.left].height,
        better=better,
        has_reference=has_reference,
        # All or none: addresses must not tell the sides apart.
        webp=frozenset(parts if all(file is not None and file.webp_bytes is not None for file in kept) else ()),
    )


def _block(db: Session, subject: Subject, protocol: Protocol, key: int) -> tuple[int, BlockState]:
    """The number of a block's first trial, and what the page tells of the block."""
    purpose, count, start, size = db.execute(_of_block(), {"block": key}).one()
    return start, BlockState(
        number=count,
        blocks=max(count, ceil(subject.total / protocol.block)),
        size=size,
        training=purpose == "training",
    )


@cache
def _of_block() -> Any:
    """A block's purpose, which one of those after training it is, the number of its first trial, how many it has."""
    other = aliased(Block)
    number = (
        select(func.count())
        .where(other.subject_id == Block.subject_id, other.purpose == "trials", other.number <= Block.number)
        .scalar_subquery()
    )
    return (
        select(Block.purpose, number, func.min(Trial.number), func.count())
        .join(Trial, Trial.block_id == Block.id)
        .where(Block.id == bindparam("block"))
        .group_by(Block.id)
    )


def _newest_block(db: Session, subject: Subject, protocol: Protocol) -> BlockState | None:
    query = select(Block.id).where(Block.subject_id == subject.id).order_by(Block.number.desc()).limit(1)
    key = db.scalar(query)
    return None if key is None else _block(db, subject, protocol, key)[1]


def _next_block(db: Session, subject: Subject, protocol: Protocol, ahead: int, go_on: bool) -> Outstanding:
    """A pause, or the trials of a new block; one subject of a study at a time, so that no count is out of date."""
    state = db.scalar(select(Study.state).where(Study.id == subject.study_id))
    pause = blocks.pause(subject, protocol, blocks.moment(db, subject, protocol))
    if state == "open" and pause is not None and not (go_on and pause.seconds <= 0):
        return Outstanding([], _newest_block(db, subject, protocol), pause, finished=False)
    state = db.scalar(select(Study.state).where(Study.id == subject.study_id).with_for_update(key_share=True))
    # Another tab of this subject may have been handed the block while this one waited for the lock.
    if (found := _unvoted(db, subject, protocol, ahead)) is not None:
        return found
    if state != "open":
        raise RefusalError("this study is not open now; your votes are kept", 403)
    blocks.open_next(db, subject, protocol, blocks.moment(db, subject, protocol))
    opened = _unvoted(db, subject, protocol, ahead)
    if opened is None:
        raise RuntimeError(f"subject {subject.id}: {subject.voted} of {subject.total} voted, and no pair is left")
    return opened
