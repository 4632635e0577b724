"""Blocks of a subject's trials: which there are, how long the pause before the next one lasts, and opening it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from math import ceil
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Integer,
    Interval,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    func,
    insert,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.selectable import LateralFromClause

from app.models import Block, LowResolutionImage, Pair, Probe, Subject, Tally, Trial, Vote
from app.subjects import assignment
from app.subjects.assignment import Candidate, Planned, Terms
from pipelines.protocol import Protocol

# Of a trial, where nothing is known of a subject; between a key and the next paint; and too few trials for a block.
SLOW_SECONDS, BETWEEN_SECONDS, FEWEST = 6.0, 0.2, 10


@dataclass(frozen=True)
class Pause:
    """Why there are no trials now, and how many seconds it still lasts at least."""

    reason: Literal["start", "break", "rest"]
    seconds: float


@dataclass(frozen=True)
class Moment:
    """Where a subject is who has no trial left in any block.

    Attributes:
        number: of the newest block.
        purpose: of it.
        sitting: of it.
        silent: seconds since the last vote.
        lasted: seconds since the sitting began.
        came_back: whether the subject left the newest block for as long as a rest, and came back to it.
    """

    number: int
    purpose: str
    sitting: int
    silent: float
    lasted: float
    came_back: bool = False


def moment(db: Session, subject: Subject, protocol: Protocol) -> Moment | None:
    """Where a subject is, by the clock of the database; None before the first block."""
    newest = _newest(db, subject)
    if newest is None:
        return None
    began = _sitting_began(db, subject, newest.sitting_opened, protocol)
    silent, lasted = newest.now - (subject.last_vote_at or newest.opened_at), newest.now - began
    came_back = began > newest.opened_at
    facts = (newest.number, newest.purpose, newest.sitting)
    return Moment(*facts, silent.total_seconds(), lasted.total_seconds(), came_back)


def pause(subject: Subject, protocol: Protocol, now: Moment | None) -> Pause | None:
    """What lies between a subject and the next block; nothing does before the first one, or keeps a program waiting."""
    if now is None or subject.simulated:
        return None
    if now.purpose == "training":
        return Pause("start", 0.0)
    if now.lasted >= 60 * protocol.sitting_minutes:
        return Pause("rest", max(0.0, 60 * protocol.rest_minutes - now.silent))
    if protocol.break_seconds:
        return Pause("break", max(0.0, protocol.break_seconds - now.silent))
    return None


def open_next(db: Session, subject: Subject, protocol: Protocol, now: Moment | None) -> None:
    """Hand out the trials of the subject's next block; the caller holds the lock of the study's row."""
    history = _history(db, subject)
    probes = [assignment.Probe(*row) for row in db.execute(_probes(subject))]
    number = now.number + 1 if now else 1
    training = number == 1 and protocol.training > 0 and any(probe.kind == "training" for probe in probes)
    sitting = 1 if now is None else now.sitting + _is_new_sitting(subject, protocol, now)
    if training:
        terms, candidates = Terms(0, "training", protocol.training), []
    else:
        terms = _terms(subject, protocol, history, _warm_up(db, subject, protocol, sitting))
        terms = replace(terms, tests=min(terms.tests, _that_fit(db, subject, protocol, now, sitting)))
        candidates = _candidates(db, subject, protocol)
    row = assignment.plan(terms, candidates, probes, history, seed=subject.seed, block=number)
    values = {"subject_id": subject.id, "number": number, "sitting": sitting}
    purpose = "training" if training else "trials"
    block = db.scalars(insert(Block).values(values | {"purpose": purpose}).returning(Block.id)).one()
    _insert(db, subject, block, len(history) + 1, row)


def _newest(db: Session, subject: Subject) -> Any:
    return db.execute(_newest_block(), {"subject": subject.id}).one_or_none()


# To put these together takes longer than to execute them: that is done once.
@cache
def _newest_block() -> Any:
    """The newest block, when the first one of its sitting was opened, and what time it is."""
    other = aliased(Block)
    of_sitting = (other.subject_id == Block.subject_id) & (other.sitting == Block.sitting)
    return (
        select(
            *(Block.number, Block.purpose, Block.sitting, Block.opened_at),
            select(func.min(other.opened_at)).where(of_sitting).scalar_subquery().label("sitting_opened"),
            func.now().label("now"),
        )
        .where(Block.subject_id == bindparam("subject"))
        .order_by(Block.number.desc())
        .limit(1)
    )


def _sitting_began(db: Session, subject: Subject, opened: datetime, protocol: Protocol) -> datetime:
    """When its first block was opened, or somebody came back to it who had been silent for as long as a rest."""
    if not protocol.rest_minutes:
        return opened
    rest = timedelta(minutes=protocol.rest_minutes)
    return db.scalar(_came_back(), {"subject": subject.id, "opened": opened, "rest": rest}) or opened


@cache
def _came_back() -> Any:
    """When a subject last voted after a silence as long as a rest, in a sitting that was opened at some time."""
    vote, opened = _of_trial(Vote.received_at), bindparam("opened", type_=DateTime(timezone=True))
    before = func.lag(vote.c.received_at, 1, opened).over(order_by=vote.c.received_at)
    since = (
        select(vote.c.received_at, (vote.c.received_at - before).label("gap"))
        .select_from(Trial)
        .join(vote, true())
        .where(Trial.subject_id == bindparam("subject"), vote.c.received_at > opened)
        .subquery()
    )
    return select(func.max(since.c.received_at)).where(since.c.gap >= bindparam("rest", type_=Interval))


def _of_trial(*columns: Any) -> LateralFromClause:
    """Votes on a trial, looked up for each one: without the OFFSET, the planner reads those of all subjects instead."""
    return select(*columns).where(Vote.trial_id == Trial.id).offset(0).lateral()


def _is_new_sitting(subject: Subject, protocol: Protocol, now: Moment) -> bool:
    if subject.simulated:
        return False
    rested = 0 < 60 * protocol.rest_minutes <= now.silent
    return rested or now.came_back or (now.purpose == "trials" and now.lasted >= 60 * protocol.sitting_minutes)


def _warm_up(db: Session, subject: Subject, protocol: Protocol, sitting: int) -> int:
    """How many trials come before those that count: some at a subject's first trials, fewer at each later sitting."""
    mine = (Block.subject_id == subject.id) & (Block.purpose == "trials")
    last = db.scalar(select(func.max(Block.sitting)).where(mine))
    if last is None:
        return protocol.warm_up
    return protocol.warm_up_later if last < sitting else 0


def _that_fit(db: Session, subject: Subject, protocol: Protocol, now: Moment | None, sitting: int) -> int:
    """How many trials fit into what is left of the sitting, at the pace of the subject, or a slow one at first."""
    if subject.simulated:
        return protocol.block
    mean = db.scalar(_mean_time(), {"subject": subject.id})
    pace = SLOW_SECONDS if mean is None else mean / 1000 + BETWEEN_SECONDS
    left = 60 * protocol.sitting_minutes - (now.lasted if now is not None and now.sitting == sitting else 0)
    return max(FEWEST, ceil(left / pace))


@cache
def _mean_time() -> Any:
    vote = _of_trial(Vote.response_ms)
    times = select(func.avg(vote.c.response_ms)).select_from(Trial).join(vote, true())
    return times.where(Trial.subject_id == bindparam("subject"))


def _terms(subject: Subject, protocol: Protocol, history: Sequence[Planned], warm_up: int) -> Terms:
    left = subject.total - sum(shown.kind == "test" for shown in history)
    return Terms(
        tests=min(protocol.block, left),
        opening_size=warm_up,
        gold_rate=protocol.gold_rate,
        identical_rate=protocol.identical_rate,
        repeat_rate=protocol.repeat_rate,
        repeat_distance=protocol.repeat_distance,
    )


def _history(db: Session, subject: Subject) -> list[Planned]:
    return [Planned(*row) for row in db.execute(_shown_so_far(), {"subject": subject.id})]


@cache
def _shown_so_far() -> Any:
    key = func.coalesce(Trial.pair_id, Trial.probe_id)
    content = func.coalesce(LowResolutionImage.sha256, Probe.content)
    return (
        select(Trial.kind, key, content, Trial.first_on_left)
        .outerjoin(Pair, Trial.pair_id == Pair.id)
        .outerjoin(LowResolutionImage, Pair.low_resolution_image_id == LowResolutionImage.id)
        .outerjoin(Probe, Trial.probe_id == Probe.id)
        .where(Trial.subject_id == bindparam("subject"))
        .order_by(Trial.number)
    )


def _probes(subject: Subject) -> Any:
    return select(Probe.id, Probe.kind, Probe.content).where(Probe.study_id == subject.study_id)


def _candidates(db: Session, subject: Subject, protocol: Protocol) -> list[Candidate]:
    live = _live(db, subject, protocol)
    facts = {"subject": subject.id, "study": subject.study_id, "simulated": subject.simulated}
    return [Candidate(*row, *live.get(row[0], (0, 0))) for row in db.execute(_not_asked_about(), facts)]


@cache
def _not_asked_about() -> Select[int, str, int, int, int, int]:
    seen = select(Trial.pair_id).where(Trial.subject_id == bindparam("subject"), Trial.kind == "test")
    return (
        select(
            Pair.id,
            LowResolutionImage.sha256,
            Tally.issued_first_left,
            Tally.issued_first_right,
            Tally.voted_first_left,
            Tally.voted_first_right,
        )
        .join(LowResolutionImage, Pair.low_resolution_image_id == LowResolutionImage.id)
        .join(Tally, and_(Tally.pair_id == Pair.id, Tally.simulated == bindparam("simulated")))
        .where(Pair.study_id == bindparam("study"), Pair.id.not_in(seen))
    )


def _live(db: Session, subject: Subject, protocol: Protocol) -> dict[int, tuple[int, int]]:
    """Of each pair, trials that somebody has and will still vote on, by the side of the first method.

    Of a study's trials few wait, and most of those are the last ones of their subjects: how many wait of a subject's is
    counted beforehand, and so many are looked for from the end.
    """
    lease = timedelta(minutes=protocol.lease_minutes)
    facts = {"study": subject.study_id, "simulated": subject.simulated, "lease": lease}
    return {pair: (left, right) for pair, left, right in db.execute(_live_trials(), facts)}


@cache
def _live_trials() -> Any:
    silent_since = func.now() - bindparam("lease", type_=Interval)
    newest = select(func.max(Block.opened_at)).where(Block.subject_id == Subject.id).scalar_subquery()
    issued = select(func.count()).where(Trial.subject_id == Subject.id, Trial.kind == "test").scalar_subquery()
    busy = (
        select(Subject.id, Subject.last_vote_at, func.greatest(issued - Subject.voted, 0).label("waiting"))
        .where(Subject.study_id == bindparam("study"), Subject.simulated == bindparam("simulated"))
        .where((Subject.last_vote_at > silent_since) | (newest > silent_since))
        .subquery()
    )
    waits = (
        select(Trial.pair_id, Trial.first_on_left, Trial.block_id)
        .where(Trial.subject_id == busy.c.id, Trial.kind == "test", ~_has_vote())
        .order_by(Trial.number.desc())
        .limit(busy.c.waiting)
        .lateral()
    )
    opened = select(Block.opened_at).where(Block.id == waits.c.block_id).scalar_subquery()
    on_left: ColumnElement[int] = func.count().filter(waits.c.first_on_left)
    return (
        select(waits.c.pair_id, on_left, func.count() - on_left)
        .select_from(busy)
        .join(waits, true())
        .where((busy.c.last_vote_at > silent_since) | (opened > silent_since))
        .group_by(waits.c.pair_id)
    )


def _has_vote() -> ColumnElement[bool]:
    """Whether a vote stands on a trial: its newest row has a choice. Looked up trial by trial, as above."""
    rows = select(Vote.choice).where(Vote.trial_id == Trial.id).order_by(Vote.revision.desc())
    return rows.limit(1).scalar_subquery().is_not(None)


def _insert(db: Session, subject: Subject, block: int, number: int, row: Sequence[Planned]) -> None:
    """All trials in one statement, and their sides in the counters in another."""
    pairs = [trial.key if trial.kind in ("test", "repeat") else None for trial in row]
    probes = [None if pair else trial.key for trial, pair in zip(row, pairs, strict=True)]
    columns = (
        ("kind", Text, [trial.kind for trial in row]),
        ("pair_id", BigInteger, pairs),
        ("probe_id", BigInteger, probes),
        ("number", Integer, list(range(number, number + len(row)))),
        ("first_on_left", Boolean, [trial.first_on_left for trial in row]),
    )
    values = [func.unnest(cast(literal(made, ARRAY(kind)), ARRAY(kind))) for _, kind, made in columns]
    mine = [literal(key) for key in (subject.study_id, subject.id, subject.simulated, block)]
    names = ["study_id", "subject_id", "simulated", "block_id", *(name for name, *_ in columns)]
    db.execute(insert(Trial).from_select(names, select(*mine, *values)))
    left = cast(Trial.first_on_left, Integer)
    counted = (Trial.block_id == block) & (Trial.kind == "test") & (Trial.pair_id == Tally.pair_id)
    db.execute(
        update(Tally)
        .where(counted, Tally.simulated == subject.simulated)
        .values(
            issued_first_left=Tally.issued_first_left + left,
            issued_first_right=Tally.issued_first_right + 1 - left,
        )
        .execution_options(synchronize_session=False)
    )
