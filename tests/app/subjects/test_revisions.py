"""What stands of a trial's votes, and the counters: whatever is sent twice, late, at once or taken back."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app import verification
from app.errors import RefusalError
from app.models import Subject, Trial, Vote
from app.subjects import votes
from app.subjects.votes import Stored
from pipelines.errors import DiscernError
from tests.app import seats
from tests.app.seats import FACTS, UNDO

EVERY_KIND = ("training", "warm_up", "test", "gold", "test", "identical", "test", "repeat")


class Voter:
    """A subject, and what is stored of them."""

    def __init__(self, sessions: sessionmaker[Session], kinds: Any = ("test",) * 3, **settings: Any) -> None:
        self.sessions = sessions
        with sessions.begin() as db:
            self.subject = seats.take(db, kinds, **settings)
            self.trials = seats.trials(db, self.subject)

    def send(self, trial: Trial, choice: str | None = "left", revision: int = 1, **facts: Any) -> Stored:
        with self.sessions.begin() as db:
            circumstances = UNDO if choice is None else FACTS
            facts = circumstances | {"choice": choice, "revision": revision} | facts
            return votes.store(db.connection(), self.subject.id, trial.id, facts)

    def rows(self, trial: Trial | None = None) -> list[Vote]:
        with self.sessions() as db:
            query = select(Vote).order_by(Vote.id)
            return list(db.scalars(query if trial is None else query.where(Vote.trial_id == trial.id)))

    def counted(self, trial: Trial) -> tuple[int, ...]:
        """Wins of the first and of the second, neither, and votes with the first left and right."""
        with self.sessions() as db:
            tally = seats.tally(db, trial)
            names = ("wins_first", "wins_second", "not_sure", "voted_first_left", "voted_first_right")
            return tuple(getattr(tally, name) for name in names)

    @property
    def voted(self) -> int:
        with self.sessions() as db:
            return db.get_one(Subject, self.subject.id).voted


def problems(sessions: sessionmaker[Session]) -> list[str]:
    with sessions() as db:
        return verification.problems(db)


def test_a_vote_is_stored_and_counted_once_however_often_it_is_sent(study_sessions: sessionmaker[Session]) -> None:
    voter = Voter(study_sessions)
    answers = [voter.send(voter.trials[0]) for _ in range(3)]
    assert answers == [Stored(1, "left", stale=False, voted=1, total=3, finished=False)] * 3
    assert len(voter.rows()) == 1
    assert voter.counted(voter.trials[0]) == (1, 0, 0, 1, 0)
    assert problems(study_sessions) == []


def test_of_two_choices_of_one_revision_the_first_one_stands_and_the_other_is_told_so(
    study_sessions: sessionmaker[Session],
) -> None:
    voter = Voter(study_sessions)
    assert voter.send(voter.trials[0], "right").choice == "right"
    assert voter.send(voter.trials[0], "left") == Stored(1, "right", stale=True, voted=1, total=3, finished=False)
    assert voter.counted(voter.trials[0]) == (0, 1, 0, 1, 0)


def test_of_two_tabs_with_one_choice_the_first_one_s_vote_stands_and_the_other_is_told_so(
    study_sessions: sessionmaker[Session],
) -> None:
    voter = Voter(study_sessions)
    (trial, *_), tabs = voter.trials, (UUID(int=1), UUID(int=2))
    answers = [voter.send(trial, client=tab) for tab in (*tabs, *tabs)]
    assert [answer.stale for answer in answers] == [False, True, False, True]
    assert [(row.choice, row.client) for row in voter.rows()] == [("left", tabs[0])]
    assert voter.counted(trial) == (1, 0, 0, 1, 0)


def test_a_vote_that_comes_again_after_it_was_taken_back_is_stale_and_changes_nothing(
    study_sessions: sessionmaker[Session],
) -> None:
    voter = Voter(study_sessions)
    trial = voter.trials[0]
    voter.send(trial, "left", 1)  # stored, but its answer is lost
    assert voter.send(trial, None, 2) == Stored(2, None, stale=False, voted=0, total=3, finished=False)
    assert voter.counted(trial) == (0, 0, 0, 0, 0)
    assert voter.send(trial, "left", 1) == Stored(2, None, stale=True, voted=0, total=3, finished=False)
    assert (voter.counted(trial), voter.voted) == ((0, 0, 0, 0, 0), 0)
    assert voter.send(trial, "right", 3) == Stored(3, "right", stale=False, voted=1, total=3, finished=False)
    assert voter.counted(trial) == (0, 1, 0, 1, 0)
    for revision, choice in ((1, "left"), (2, None)):
        assert voter.send(trial, choice, revision).stale
    assert [(row.revision, row.choice) for row in voter.rows()] == [(1, "left"), (2, None), (3, "right")]
    assert problems(study_sessions) == []


def test_a_vote_that_is_overtaken_by_what_takes_it_back_is_never_applied(study_sessions: sessionmaker[Session]) -> None:
    voter = Voter(study_sessions)
    trial = voter.trials[0]
    assert voter.send(trial, None, 2) == Stored(2, None, stale=False, voted=0, total=3, finished=False)
    assert voter.send(trial, "left", 1) == Stored(2, None, stale=True, voted=0, total=3, finished=False)
    assert voter.send(trial, "right", 3) == Stored(3, "right", stale=False, voted=1, total=3, finished=False)
    assert [row.revision for row in voter.rows()] == [2, 3]
    assert problems(study_sessions) == []


def test_only_the_last_vote_is_taken_back_and_then_the_one_before(study_sessions: sessionmaker[Session]) -> None:
    voter = Voter(study_sessions)
    first, second, _ = voter.trials
    voter.send(first)
    voter.send(second)
    with pytest.raises(DiscernError, match="you have voted on a later trial"):
        voter.send(first, None, 2)
    with pytest.raises(DiscernError, match="you have voted on a later trial"):
        voter.send(first, "right", 2)
    assert voter.send(second, None, 2).voted == 1
    assert voter.send(first, None, 2).voted == 0
    assert (voter.counted(first), voter.counted(second)) == ((0,) * 5, (0,) * 5)
    assert voter.send(first, "right", 3).voted == 1
    assert problems(study_sessions) == []


def test_what_was_taken_back_stays_acknowledged_when_later_trials_have_votes(
    study_sessions: sessionmaker[Session],
) -> None:
    voter = Voter(study_sessions)
    first, second, _ = voter.trials
    voter.send(first)
    voter.send(first, None, 2)
    voter.send(first, "right", 3)
    voter.send(second)
    assert voter.send(first, None, 2) == Stored(3, "right", stale=True, voted=2, total=3, finished=False)


def test_there_is_nothing_to_take_back_where_nothing_stands(study_sessions: sessionmaker[Session]) -> None:
    voter = Voter(study_sessions)
    trial = voter.trials[0]
    with pytest.raises(DiscernError, match="no vote on this trial to take back"):
        voter.send(trial, None, 1)
    voter.send(trial)
    voter.send(trial, None, 2)
    assert voter.send(trial, None, 2) == Stored(2, None, stale=False, voted=0, total=3, finished=False)
    with pytest.raises(DiscernError, match="no vote on this trial to take back"):
        voter.send(trial, None, 3)
    assert len(voter.rows()) == 2


def test_nothing_is_taken_back_where_the_protocol_does_not_allow_it_nor_in_training(
    study_sessions: sessionmaker[Session],
) -> None:
    for voter in (Voter(study_sessions, undo=False), Voter(study_sessions, ("training", "test"))):
        trial = voter.trials[0]
        voter.send(trial)
        for choice in (None, "right"):
            with pytest.raises(DiscernError, match="are not taken back"):
                voter.send(trial, choice, 2)
        assert [row.revision for row in voter.rows(trial)] == [1]


def test_a_later_choice_takes_the_place_of_the_earlier_one(study_sessions: sessionmaker[Session]) -> None:
    voter = Voter(study_sessions, not_sure=True)
    trial = voter.trials[0]
    for revision, (choice, counted) in enumerate(
        [("left", (1, 0, 0, 1, 0)), ("right", (0, 1, 0, 1, 0)), ("not_sure", (0, 0, 1, 1, 0)), (None, (0,) * 5)], 1
    ):
        assert voter.send(trial, choice, revision).revision == revision
        assert (voter.counted(trial), voter.voted) == (counted, sum(counted[:3]))
        assert problems(study_sessions) == []


def test_not_sure_is_counted_where_the_protocol_allows_it_and_refused_elsewhere(
    study_sessions: sessionmaker[Session],
) -> None:
    allowed, refused = Voter(study_sessions, not_sure=True), Voter(study_sessions)
    assert allowed.send(allowed.trials[0], "not_sure").voted == 1
    assert allowed.counted(allowed.trials[0]) == (0, 0, 1, 1, 0)
    with pytest.raises(DiscernError, match="choose one"):
        refused.send(refused.trials[0], "not_sure")
    assert problems(study_sessions) == []


def test_votes_with_the_first_method_on_the_right_are_counted_on_that_side(
    study_sessions: sessionmaker[Session],
) -> None:
    Voter(study_sessions)
    voter = Voter(study_sessions)  # the second subject gets the other order of each pair
    trial = voter.trials[0]
    assert not trial.first_on_left
    voter.send(trial, "right")
    assert voter.counted(trial) == (1, 0, 0, 0, 1)


def test_votes_of_other_kinds_are_stored_and_never_counted(study_sessions: sessionmaker[Session]) -> None:
    voter = Voter(study_sessions, EVERY_KIND)
    for trial in voter.trials:
        before = voter.voted
        assert voter.send(trial).voted == before + (trial.kind == "test")
    assert [row.choice for row in voter.rows()] == ["left"] * 8
    (repeated, *_), again = [t for t in voter.trials if t.kind == "test"], voter.trials[-1]
    assert again.pair_id == repeated.pair_id
    assert sum(voter.counted(repeated)[:3]) == 1
    assert problems(study_sessions) == []


def test_a_subject_has_finished_when_no_trial_of_any_kind_is_left(study_sessions: sessionmaker[Session]) -> None:
    voter = Voter(study_sessions, ("test", "test", "gold", "repeat"))
    first, second, gold, repeat = voter.trials
    answers = [voter.send(trial).finished for trial in (first, second, gold)]
    assert answers == [False, False, False]
    assert voter.send(repeat) == Stored(1, "left", stale=False, voted=2, total=2, finished=True)
    assert voter.send(repeat, None, 2) == Stored(2, None, stale=False, voted=2, total=2, finished=False)
    assert voter.send(repeat, "right", 3).finished


@pytest.mark.parametrize("kind", ["test", "gold", "repeat", "identical"])
def test_pixels_are_verified_against_the_images_of_the_trial(study_sessions: sessionmaker[Session], kind: str) -> None:
    voter = Voter(study_sessions, ("test", kind, "test", kind) if kind != "repeat" else ("test", "test", kind, kind))
    other = "f" * 64
    for trial in voter.trials:
        with study_sessions() as db:
            left, right = seats.images(db, trial)
        for revision, (sent, verdict) in enumerate(
            [
                ((left, right), "verified"),
                ((left, other), "different"),
                ((other, None), "different"),
                ((None, right), "unverifiable"),
                ((None, None), "unverifiable"),
                ((right, left), "verified" if left == right else "different"),
            ],
            1,
        ):
            voter.send(trial, "left", revision, left_sha256=sent[0], right_sha256=sent[1])
            row = voter.rows(trial)[-1]
            assert (row.pixels, row.flags) == (verdict, ["pixels"] if verdict == "different" else [])
            assert (row.left_sha256, row.right_sha256) == sent


def test_suspicious_votes_are_kept_and_counted_with_the_reason(study_sessions: sessionmaker[Session]) -> None:
    voter = Voter(study_sessions, ("test",) * 5, fastest_ms=300)
    facts: list[tuple[dict[str, Any], list[str]]] = [
        ({"response_ms": 300.0}, []),
        ({"response_ms": 299.9}, ["fast"]),
        ({"hidden": True}, ["hidden"]),
        ({"hidden": True, "response_ms": 0.0, "left_sha256": "0" * 64}, ["pixels", "fast", "hidden"]),
    ]
    for trial, (sent, flags) in zip(voter.trials, facts, strict=False):
        voter.send(trial, **sent)
        assert voter.rows(trial)[0].flags == flags
    assert voter.voted == 4
    last = voter.trials[3]
    voter.send(last, None, 2)
    assert (voter.rows(last)[1].flags, voter.rows(last)[1].pixels) == ([], "unverifiable")


def test_all_that_the_page_knows_is_stored(study_sessions: sessionmaker[Session]) -> None:
    voter = Voter(study_sessions)
    facts: dict[str, Any] = {
        "response_ms": 1234.0625,
        "painted_at": datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC),
        "input": "click",
        "device_pixel_ratio": 1.5,
        "window_width": 1280,
        "window_height": 800,
        "screen_width": 2560,
        "screen_height": 1600,
        "hidden": True,
        "left_sha256": "1" * 64,
        "right_sha256": "2" * 64,
        "events": [{"ms": 12.5, "event": "flip"}, {"ms": 80, "event": "zoom", "factor": 2}],
        "client": uuid4(),
    }
    voter.send(voter.trials[0], "right", **facts)
    (row,) = voter.rows()
    assert {name: getattr(row, name) for name in facts} == facts
    with study_sessions() as db:
        assert db.get_one(Subject, voter.subject.id).last_vote_at == row.received_at


def test_a_trial_of_somebody_else_or_of_nobody_is_not_voted_on(study_sessions: sessionmaker[Session]) -> None:
    mine, yours = Voter(study_sessions), Voter(study_sessions)
    for trial in (yours.trials[0], Trial(id=UUID(int=0))):
        with pytest.raises(RefusalError, match="not one of your trials"):
            mine.send(trial)
    assert mine.rows() == []


def at_once(*work: Callable[[], Any]) -> None:
    """Do all of it in threads that start together; what they raise is raised here."""
    start, errors = threading.Barrier(len(work)), []

    def do(one: Callable[[], Any]) -> None:
        start.wait()
        try:
            one()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=do, args=[one]) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_votes_and_their_undos_that_race_leave_counters_that_equal_the_log(
    study_sessions: sessionmaker[Session],
) -> None:
    voter = Voter(study_sessions, ("test", "gold", "test", "repeat"), not_sure=True)
    choices: list[str | None] = ["left", None, "right", "not_sure", None, "left", None, "right"]
    for trial in voter.trials:
        # Undos whose vote did not arrive yet skip a revision, so that none of these is refused.
        sends = [
            lambda trial=trial, choice=choice, revision=revision: voter.send(trial, choice, revision)
            for revision, choice in zip((1, 3, 4, 5, 7, 8, 10, 11), choices, strict=True)
        ]
        at_once(*sends, *sends[:2])
        rows = voter.rows(trial)
        assert [row.revision for row in rows] == sorted({row.revision for row in rows})
        assert (rows[-1].revision, rows[-1].choice) == (11, "right")
        assert problems(study_sessions) == []
    assert voter.voted == 2


def test_many_subjects_who_vote_on_the_same_pairs_at_once_are_all_counted(
    study_sessions: sessionmaker[Session],
) -> None:
    voters = [Voter(study_sessions, ("test",) * 4) for _ in range(8)]
    at_once(*(lambda voter=voter: [voter.send(trial, "left") for trial in voter.trials] for voter in voters))
    assert [voter.voted for voter in voters] == [4] * 8
    for trial in voters[0].trials:
        assert voters[0].counted(trial) == (4, 4, 0, 4, 4)
    assert problems(study_sessions) == []
