"""Rate and time left, from what the rows of parts and jobs say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admins.prerun_progress import WINDOW, Outcome, OutputsPart, TimeLeft, per_minute, time_left

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def part(status: str = "running", **changes: Any) -> OutputsPart:
    """Ten outputs of a method, begun a minute ago."""
    values: dict[str, Any] = {"method": "a", "queue": "cpu", "images": 10, "total": 0, "done": 0, "outcome": None}
    values |= {"started_at": None if status == "queued" else ago(60), "finished_at": None}
    return OutputsPart(status=status, **values | changes)


def ended(new: int, left_out: int = 0, *, began: float = 60, end: float = 0, **changes: Any) -> OutputsPart:
    """A part that succeeded."""
    return part(
        "succeeded", outcome=Outcome(new, left_out), started_at=ago(began), finished_at=ago(end), done=new, **changes
    )


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("given_part", "made", "left"),
    [
        (part("queued"), 0, 10),
        # It has not yet said what is missing.
        (part(), 0, 10),
        (part(total=10, done=4), 4, 6),
        # The second attempt has only eight to make, as two were there.
        (part(total=8, done=3), 5, 5),
        # Put back: it waits with what it has.
        (part("queued", total=8, done=3), 5, 5),
        (part("cancelled", total=10, done=4), 4, 0),
        (part("failed"), 0, 0),
        (part("failed", outcome=Outcome(0, 10)), 0, 0),
        (ended(7, 3), 7, 0),
        # Others were there before.
        (ended(2), 10, 0),
    ],
)
def test_what_is_made_and_what_is_left(given_part: OutputsPart, made: int, left: int) -> None:
    assert (given_part.made, given_part.left) == (made, left)


def test_the_rate_is_outputs_by_minutes() -> None:
    assert per_minute([], NOW) == 0
    assert per_minute([part("queued")], NOW) == 0
    assert per_minute([part(total=10, done=4)], NOW) == pytest.approx(4)
    # Two workers at once.
    assert per_minute([part(total=10, done=4), ended(10)], NOW) == pytest.approx(14)
    # What could not be made took its time, too.
    assert per_minute([ended(3, 3)], NOW) == pytest.approx(6)
    # One after the other, in two minutes.
    assert per_minute([ended(10, began=120, end=60), part(total=10, done=4)], NOW) == pytest.approx(7)


def test_the_rate_is_that_of_the_last_minutes() -> None:
    long_ago = ended(1000, began=7200, end=3600)
    window = WINDOW.total_seconds()
    assert per_minute([long_ago], NOW) == 0
    assert per_minute([long_ago, part(total=10, done=5)], NOW) == pytest.approx(5 / (window / 60))
    # Half of it lies in the window.
    assert per_minute([ended(20, began=2 * window)], NOW) == pytest.approx(10 / (window / 60))


def test_the_time_left_is_what_is_left_by_what_an_output_took_and_by_those_at_work() -> None:
    assert time_left([], NOW) is None
    assert time_left([ended(10)], NOW) is None
    # 15 s for one of the four; six are left.
    assert time_left([part(total=10, done=4)], NOW) == TimeLeft(90, at_least=False)
    # The next part waits for the same worker, or for either of two.
    assert time_left([part(total=10, done=4), part("queued")], NOW) == TimeLeft(240, at_least=False)
    two = [part(total=10, done=4), part(total=10, done=4), part("queued")]
    assert time_left(two, NOW) == TimeLeft(165, at_least=False)


def test_the_slower_queue_decides() -> None:
    cpu = [ended(10, began=10), part(total=10, done=5, started_at=ago(5))]
    gpu = [part(method="b", queue="gpu", total=10, done=1)]
    assert time_left(cpu, NOW) == TimeLeft(5, at_least=False)
    assert time_left([*cpu, *gpu], NOW) == TimeLeft(540, at_least=False)


def test_where_something_is_unknown_the_time_is_at_least_so_long() -> None:
    known = part(total=10, done=4)
    assert time_left([part()], NOW) is None
    assert time_left([known, part("queued", method="b")], NOW) == TimeLeft(90, at_least=True)
    # A queue that nobody works on.
    assert time_left([known, part("queued", queue="gpu")], NOW) == TimeLeft(90, at_least=True)
    # A queue whose worker has just gone still has a rest.
    stopped = part("queued", total=10, done=4)
    assert time_left([stopped, ended(4)], NOW) == TimeLeft(90, at_least=True)


@given(st.data())
def test_the_rate_never_exceeds_what_was_made(data: st.DataObject) -> None:
    """Over its window, no more outputs are counted than were tried; and numbers stay numbers."""
    seconds = st.floats(0, 10_000)
    parts = []
    for _ in range(data.draw(st.integers(0, 5))):
        end, length, new = data.draw(seconds), data.draw(seconds), data.draw(st.integers(0, 100))
        parts.append(ended(new, began=end + length, end=end, images=100))
    rate = per_minute(parts, NOW)
    first = min((one.started_at for one in parts if one.started_at and one.tried), default=NOW)
    minutes = min(NOW - first, WINDOW) / timedelta(minutes=1)
    assert 0 <= rate * minutes <= sum(one.tried for one in parts) * (1 + 1e-9)
