"""How far the outputs of a pre-run are, how fast they are made, how long the rest takes: from its jobs' rows alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.admins.jobs import QUEUES

# The rate is that of this time: workers come and go.
WINDOW = timedelta(minutes=10)


@dataclass(frozen=True)
class Outcome:
    """What a part that has ended has made, and what it had to leave out."""

    new: int
    left_out: int


@dataclass(frozen=True)
class OutputsPart:
    """A part of the outputs of one method, and how far its job is.

    Attributes:
        method: its id.
        queue: of the workers that may take it.
        status: of its job.
        images: how many outputs it is about.
        total: how many of them its last attempt has to make; 0 until it knows.
        done: how many of those it has tried.
        outcome: at its end; None where it was stopped, or where something else than the outputs went wrong.
        started_at: the last attempt.
        finished_at: the part.
    """

    method: str
    queue: str
    status: str
    images: int
    total: int
    done: int
    outcome: Outcome | None
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def made(self) -> int:
        """Outputs that are there."""
        if self.outcome is not None:
            return self.images - self.outcome.left_out
        return self.images - (self.total - self.done) if self.total else 0

    @property
    def left(self) -> int:
        """Outputs that this round will still make."""
        return self.images - self.made if self.status in ("queued", "running") else 0

    @property
    def tried(self) -> int:
        """What the last attempt has made, or found that it cannot make."""
        if self.status == "queued":  # put back: nobody knows how long it took
            return 0
        return self.done if self.outcome is None else self.outcome.new + self.outcome.left_out

    def worked(self, now: datetime) -> timedelta:
        """How long the last attempt took, or has taken until now."""
        return timedelta() if self.started_at is None else (self.finished_at or now) - self.started_at

    def worked_since(self, begin: datetime, now: datetime) -> timedelta:
        """How much of that was after some moment."""
        end = self.finished_at or now
        return timedelta() if self.started_at is None else max(end - max(self.started_at, begin), timedelta())


@dataclass(frozen=True)
class TimeLeft:
    """Seconds until all outputs are made; at least so many where nobody knows how long some of them take."""

    seconds: float
    at_least: bool


def per_minute(parts: Iterable[OutputsPart], now: datetime) -> float:
    """Outputs per minute within the last `WINDOW`, or since the first was begun, if each part keeps an even pace."""
    begun = [(part, part.started_at) for part in parts if part.started_at is not None and part.tried]
    begin = max(min((started for _, started in begun), default=now), now - WINDOW)
    made = sum(part.tried * part.worked_since(begin, now) / worked for part, _ in begun if (worked := part.worked(now)))
    minutes = (now - begin) / timedelta(minutes=1)
    return made / minutes if minutes > 0 else 0.0


def time_left(parts: Sequence[OutputsPart], now: datetime) -> TimeLeft | None:
    """How long the rest takes if each queue keeps the workers that it has now; None without a rest, or without a guess.

    Args:
        parts: of all methods of the round.
        now: by the clock of the database, whose times the parts have.
    """
    guesses = [_left_of([part for part in parts if part.queue == queue], now) for queue in QUEUES]
    seconds = max(guess.seconds for guess in guesses)
    return TimeLeft(seconds, any(guess.at_least for guess in guesses)) if seconds > 0 else None


def _left_of(parts: Sequence[OutputsPart], now: datetime) -> TimeLeft:
    """The rest of a queue, by what an output of the same method took until now, shared by the workers at it."""
    workers = sum(part.status == "running" for part in parts)
    took = _seconds_per_output(parts, now)
    waiting = [part for part in parts if part.left]
    seconds = sum(part.left * took.get(part.method, 0.0) for part in waiting) / max(workers, 1)
    unknown = any(part.method not in took for part in waiting)
    return TimeLeft(seconds, unknown or (bool(waiting) and not workers))


def _seconds_per_output(parts: Sequence[OutputsPart], now: datetime) -> Mapping[str, float]:
    tried = [part for part in parts if part.tried]
    by_method = {part.method: [other for other in tried if other.method == part.method] for part in tried}
    return {
        method: sum(part.worked(now).total_seconds() for part in same) / sum(part.tried for part in same)
        for method, same in by_method.items()
    }
