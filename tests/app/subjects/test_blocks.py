"""Blocks on a real PostgreSQL: sittings, breaks and rests by its clock, leases, and what each block holds."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Select, func, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from app import verification
from app.errors import RefusalError
from app.models import Block, ImageFile, LowResolutionImage, Probe, Study, Subject, Tally, Trial, Vote
from app.subjects import blocks, panel, trials
from app.subjects.blocks import Pause
from app.subjects.trials import BlockState
from tests.app.desk import Desk, image_row

PAIRS = 12
MINUTE, HOUR = 60, 3600


@pytest.fixture
def desk(study_sessions: sessionmaker[Session]) -> Iterator[Desk]:
    """The small study, open, on a database of its own."""
    yield Desk(study_sessions)
    with study_sessions() as db:
        assert verification.problems(db) == []


def counters(desk: Desk) -> list[tuple[int, int]]:
    """How often each pair was handed out to people with its first method left, and right."""
    with desk.sessions() as db:
        query = select(Tally.issued_first_left, Tally.issued_first_right).where(~Tally.simulated)
        return [(left, right) for left, right in db.execute(query.order_by(Tally.pair_id))]


def test_the_first_block_opens_at_once_and_its_trials_are_there_before_a_vote(desk: Desk) -> None:
    subject = desk.come(block=5)
    found = desk.ask(subject, 3)
    assert (found.pause, found.finished) == (None, False)
    assert found.block == BlockState(number=1, blocks=3, size=5, training=False)
    rows = desk.trials(subject)
    assert [trial.id for trial in found.trials] == [row.id for row in rows][:3]
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert [(trial.number, trial.position, trial.revision) for trial in found.trials] == [
        (1, 1, 1),
        (2, 2, 1),
        (3, 3, 1),
    ]
    assert desk.ask(subject, 3) == found
    assert sum(map(sum, counters(desk))) == 5


def test_a_block_is_shown_to_its_end_before_the_next_one_is_opened(desk: Desk) -> None:
    subject = desk.come(block=5)
    shown = desk.ask(subject).trials
    for trial in (*shown[:2], *shown[3:]):
        desk.vote(subject, trial)
    assert desk.ask(subject).trials == [shown[2]]
    desk.vote(subject, shown[2])
    found = desk.ask(subject)
    assert found.block == BlockState(2, 3, 5, training=False)
    assert [trial.position for trial in found.trials] == [1, 2, 3, 4, 5]
    desk.vote_all(subject)
    assert desk.ask(subject).block == BlockState(3, 3, 2, training=False)
    desk.vote_all(subject)
    assert desk.ask(subject).finished
    assert [block.number for block in desk.blocks(subject)] == [1, 2, 3]
    assert len({trial.pair_id for trial in desk.trials(subject)}) == PAIRS


def test_a_break_lasts_as_long_as_the_protocol_says_and_ends_when_the_subject_wants(desk: Desk) -> None:
    subject = desk.come(block=5, break_seconds=300)
    desk.vote_all(subject)
    found = desk.ask(subject, go_on=True)
    assert found.trials == []
    assert found.pause is not None
    assert found.pause.reason == "break"
    assert 280 < found.pause.seconds <= 300
    desk.wait(subject, 200)
    pause = desk.ask(subject, go_on=True).pause
    assert pause is not None
    assert 80 < pause.seconds <= 100
    desk.wait(subject, 100)
    assert desk.ask(subject).pause == Pause("break", 0)
    assert len(desk.blocks(subject)) == 1
    assert len(desk.ask(subject, go_on=True).trials) == 5
    # Whoever reloads the page is in the block, and no longer in the pause.
    assert len(desk.ask(subject).trials) == 5


def test_after_a_sitting_comes_a_rest_and_a_new_sitting_with_fewer_warm_ups(desk: Desk) -> None:
    desk.probes("warm_up", 6)
    subject = desk.come(block=3, warm_up=4, warm_up_later=2, sitting_minutes=25, rest_minutes=15, break_seconds=5)
    first = desk.ask(subject)
    assert first.block == BlockState(1, 4, 7, training=False)
    desk.vote_all(subject)
    desk.wait(subject, 5)
    assert desk.ask(subject, go_on=True).block == BlockState(2, 4, 3, training=False)
    desk.wait(subject, 14 * MINUTE)
    desk.vote_all(subject, 2)
    desk.wait(subject, 11 * MINUTE)
    desk.vote_all(subject)
    pause = desk.ask(subject, go_on=True).pause
    assert pause is not None
    assert pause.reason == "rest"
    assert 14.9 * MINUTE < pause.seconds <= 15 * MINUTE
    desk.wait(subject, 15 * MINUTE)
    assert desk.ask(subject).pause == Pause("rest", 0)
    assert desk.ask(subject, go_on=True).block == BlockState(3, 4, 5, training=False)
    desk.vote_all(subject)
    desk.wait(subject, 5)
    assert desk.ask(subject, go_on=True).block == BlockState(4, 4, 3, training=False)
    assert [block.sitting for block in desk.blocks(subject)] == [1, 1, 2, 2]
    kinds = [trial.kind for trial in desk.trials(subject)]
    assert kinds == ["warm_up"] * 4 + ["test"] * 6 + ["warm_up"] * 2 + ["test"] * 6


def test_who_was_silent_for_as_long_as_a_rest_begins_a_new_sitting(desk: Desk) -> None:
    desk.probes("warm_up", 3)
    subject = desk.come(block=4, warm_up_later=1, sitting_minutes=60, rest_minutes=15, break_seconds=5)
    desk.vote_all(subject)
    desk.wait(subject, 16 * MINUTE)
    assert desk.ask(subject).pause == Pause("break", 0)
    assert desk.ask(subject, go_on=True).block == BlockState(2, 3, 5, training=False)
    assert [block.sitting for block in desk.blocks(subject)] == [1, 2]


def test_who_comes_back_into_a_block_the_next_day_need_not_rest_after_it(desk: Desk) -> None:
    subject = desk.come(block=4, break_seconds=5, sitting_minutes=25, rest_minutes=15)
    desk.vote_all(subject, 2)
    desk.wait(subject, 24 * HOUR)
    desk.vote_all(subject)
    pause = desk.ask(subject).pause
    assert pause is not None
    assert pause.reason == "break"


def test_a_sitting_can_end_without_a_rest(desk: Desk) -> None:
    desk.probes("warm_up", 1)
    subject = desk.come(block=4, sitting_minutes=25, rest_minutes=0, warm_up_later=1)
    desk.wait(subject, 0)
    desk.ask(subject)
    desk.wait(subject, 26 * MINUTE)
    desk.vote_all(subject)
    assert desk.ask(subject).pause == Pause("rest", 0)
    assert desk.ask(subject, go_on=True).block == BlockState(2, 3, 5, training=False)
    assert [block.sitting for block in desk.blocks(subject)] == [1, 2]


def test_training_comes_first_alone_and_the_trials_when_the_subject_is_ready(desk: Desk) -> None:
    desk.probes("training", 5)
    desk.probes("warm_up", 2)
    subject = desk.come(training=4, warm_up=2, block=6)
    found = desk.ask(subject)
    assert found.block == BlockState(0, 2, 4, training=True)
    rows = desk.trials(subject)
    assert [row.kind for row in rows] == ["training"] * 4
    assert [trial.better for trial in found.trials] == ["left" if row.first_on_left else "right" for row in rows]
    assert Counter(trial.better for trial in found.trials) == {"left": 2, "right": 2}
    desk.vote_all(subject)
    assert desk.ask(subject).pause == Pause("start", 0)
    found = desk.ask(subject, go_on=True)
    assert found.block == BlockState(1, 2, 8, training=False)
    assert {trial.better for trial in found.trials} == {None}
    assert [trial.number for trial in found.trials] == list(range(5, 13))
    assert [trial.position for trial in found.trials] == list(range(1, 9))
    assert [block.purpose for block in desk.blocks(subject)] == ["training", "trials"]
    assert sum(map(sum, counters(desk))) == 6


def test_a_study_without_probes_has_trials_all_the_same(desk: Desk) -> None:
    subject = desk.come(training=4, warm_up=5, gold_rate=0.1, identical_rate=0.1)
    assert desk.ask(subject).block == BlockState(1, 1, PAIRS, training=False)


def test_programs_are_not_kept_waiting(desk: Desk) -> None:
    desk.probes("training", 2)
    desk.probes("warm_up", 2)
    settings = {"training": 2, "warm_up": 2, "warm_up_later": 1, "break_seconds": 60, "block": 5}
    subject = desk.come(simulated=True, **settings)
    while found := desk.ask(subject):
        assert found.pause is None
        if found.finished:
            break
        desk.vote_all(subject)
        desk.wait(subject, HOUR)
    kinds = [trial.kind for trial in desk.trials(subject)]
    assert kinds == ["training"] * 2 + ["warm_up"] * 2 + ["test"] * PAIRS
    assert {block.sitting for block in desk.blocks(subject)} == {1}
    assert counters(desk) == [(0, 0)] * PAIRS


def test_a_share_that_was_given_up_goes_to_others_when_its_lease_ends(desk: Desk) -> None:
    gone = desk.come(total=6, lease_minutes=120)
    desk.vote_all(gone, 2)
    abandoned = {trial.pair_id for trial in desk.trials(gone)[2:]}
    desk.wait(gone, 119 * MINUTE)
    others = desk.come(total=6)
    assert desk.ask(others).trials
    assert not abandoned & {trial.pair_id for trial in desk.trials(others)}
    desk.vote_all(others)
    desk.wait(gone, 2 * MINUTE)
    third = desk.come(total=4)
    desk.ask(third)
    assert {trial.pair_id for trial in desk.trials(third)} == abandoned
    # Whoever comes back finds the own trials, as they were.
    assert {trial.pair_id for trial in desk.trials(gone)[2:]} == abandoned
    assert len(desk.ask(gone).trials) == 4
    assert all(abs(left - right) <= 1 for left, right in counters(desk))


@pytest.mark.parametrize("seed", range(3))
def test_trials_that_somebody_will_vote_on_are_counted_whatever_was_voted_taken_back_or_given_up(
    desk: Desk, seed: int
) -> None:
    draw = random.Random(seed)
    desk.probes("gold", 2)
    settings = {"block": 4, "gold_rate": 0.3, "repeat_rate": 0.3, "repeat_distance": 2, "sitting_minutes": 10_000}
    subjects = [desk.come(lease_minutes=60, simulated=number == 4, **settings) for number in range(5)]
    seen = set()
    for _ in range(60):
        act(desk, draw.choice(subjects), draw)
        with desk.sessions() as db:
            for subject in (db.get_one(Subject, subjects[0]), db.get_one(Subject, subjects[4])):
                found = blocks._live(db, subject, panel.protocol_of(db, subject))
                assert found == live(db, subject)
                seen.add(sum(map(sum, found.values())))
    assert len(seen) > 5


def act(desk: Desk, subject: int, draw: random.Random) -> None:
    """Asks for trials, votes on any of them, takes the last vote back, or is silent for a while."""
    desk.ask(subject)
    with desk.sessions() as db:
        newest = {trial: db.scalars(newest_vote(trial)).first() for trial in desk.trials(subject)}
    voted = [trial for trial, vote in newest.items() if vote is not None and vote.choice is not None]
    waiting = [trial for trial in newest if trial not in voted]
    match draw.choice(["vote", "vote", "vote", "undo", "wait"]):
        case "vote" if waiting:
            trial = draw.choice(waiting)
            vote = newest[trial]
            desk.vote(subject, trial.id, draw.choice(["left", "right"]), revision=vote.revision + 1 if vote else 1)
        case "undo" if voted:
            desk.vote(subject, voted[-1].id, None, revision=newest[voted[-1]].revision + 1)
        case "wait":
            desk.wait(subject, draw.choice([10, 50]) * MINUTE)


def newest_vote(trial: Trial) -> Select[Vote]:
    return select(Vote).where(Vote.trial_id == trial.id).order_by(Vote.revision.desc()).limit(1)


def live(db: Session, asking: Subject) -> dict[int, tuple[int, int]]:
    """What `blocks._live` finds, by looking at every trial."""
    found: dict[int, list[int]] = {}
    since = db.scalars(select(func.now())).one() - timedelta(minutes=60)
    for trial, block, subject in db.execute(
        select(Trial, Block, Subject)
        .join(Block, Trial.block_id == Block.id)
        .join(Subject, Block.subject_id == Subject.id)
        .where(Trial.kind == "test", Subject.simulated == asking.simulated)
    ):
        vote = db.scalars(newest_vote(trial)).first()
        heard_of = max(block.opened_at, subject.last_vote_at or block.opened_at)
        if heard_of > since and (vote is None or vote.choice is None):
            found.setdefault(trial.pair_id, [0, 0])[not trial.first_on_left] += 1
    return {pair: (left, right) for pair, (left, right) in found.items()}


def test_completed_shares_give_every_pair_as_many_votes(desk: Desk) -> None:
    for _ in range(8):
        desk.finish(desk.come(total=5, block=3))
        with desk.sessions() as db:
            voted = list(db.scalars(select(Tally.voted_first_left + Tally.voted_first_right).where(~Tally.simulated)))
        assert max(voted) - min(voted) <= 1
    assert all(abs(left - right) <= 1 for left, right in counters(desk))


def test_a_vote_that_was_taken_back_is_shown_again_even_from_the_block_before(desk: Desk) -> None:
    subject = desk.come(block=4)
    shown = desk.ask(subject).trials
    desk.vote_all(subject)
    opened = desk.ask(subject)
    desk.vote(subject, shown[-1].id, None, revision=2)
    found = desk.ask(subject)
    assert [(trial.id, trial.revision) for trial in found.trials] == [(shown[-1].id, 3)]
    assert found.block == BlockState(1, 3, 4, training=False)
    desk.vote(subject, found.trials[0], "right")
    assert desk.ask(subject) == opened


def test_a_closed_study_opens_no_block(desk: Desk) -> None:
    subject = desk.come(block=4, break_seconds=30)
    shown = desk.ask(subject).trials
    with desk.sessions.begin() as db:
        db.execute(update(Study).values(state="closed"))
    assert desk.ask(subject).trials == shown
    desk.vote_all(subject)
    with pytest.raises(RefusalError, match="this study is not open now"):
        desk.ask(subject)
    assert len(desk.blocks(subject)) == 1


def test_special_trials_come_at_their_rates_over_all_blocks(desk: Desk) -> None:
    for kind in ("gold", "identical"):
        desk.probes(kind, 2)
    subject = desk.come(block=4, gold_rate=0.25, identical_rate=0.1, repeat_rate=0.3, repeat_distance=3)
    desk.finish(subject)
    rows = desk.trials(subject)
    kinds = Counter(row.kind for row in rows)
    assert kinds == {"test": PAIRS, "gold": 3, "identical": 1, "repeat": 4}
    asked = {row.pair_id: row for row in rows if row.kind == "test"}
    for row in rows:
        if row.kind == "repeat":
            first = asked[row.pair_id]
            assert row.number - first.number >= 3
            assert row.first_on_left != first.first_on_left
    with desk.sessions() as db:
        assert db.scalar(text("SELECT voted FROM subjects")) == PAIRS


def test_tabs_and_subjects_that_ask_at_once_get_blocks_of_their_own(desk: Desk) -> None:
    subjects = [desk.come(total=6) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(desk.ask, subjects * 2))
    assert found[:4] == found[4:]
    assert [len(desk.blocks(subject)) for subject in subjects] == [1] * 4
    assert {left + right for left, right in counters(desk)} == {2}
    assert {left - right for left, right in counters(desk)} == {0}


def test_the_images_of_a_probe_are_those_of_its_row_on_the_sides_of_the_trial(desk: Desk) -> None:
    desk.probes("training", 2)
    subject, stranger = desk.come(training=2), desk.come()
    shown = desk.ask(subject).trials
    assert [(trial.width, trial.height) for trial in shown] == [(64, 56)] * 2
    rows = {row.id: row for row in desk.trials(subject)}
    with desk.sessions() as db:
        for trial in shown:
            probe = db.get_one(Probe, rows[trial.id].probe_id)
            sides = {part: trials.image(db, db.get_one(Subject, subject), trial.id, part) for part in ("left", "right")}
            worse = "right" if trial.better == "left" else "left"
            assert (sides[str(trial.better)], sides[worse]) == (probe.first_sha256, probe.second_sha256)
            assert trials.image(db, db.get_one(Subject, stranger), trial.id, "left") is None


def test_a_reference_is_shown_where_the_protocol_has_one_and_webp_where_all_parts_have_it(desk: Desk) -> None:
    with desk.sessions.begin() as db:
        reference = image_row(db, "reference", webp=True)
        db.execute(update(LowResolutionImage).values(reference_sha256=reference))
        db.execute(update(ImageFile).where(ImageFile.sha256 != reference).values(webp_bytes=ImageFile.png_bytes - 1))
    without, having = desk.come(), desk.come(reference="interpolation:bicubic")
    for subject, has_reference in ((without, False), (having, True)):
        for trial in desk.ask(subject).trials:
            assert trial.has_reference == has_reference
            assert trial.webp == {"left", "right", *(["reference"] if has_reference else [])}
            with desk.sessions() as db:
                found = trials.image(db, db.get_one(Subject, subject), trial.id, "reference")
                assert found == (reference if has_reference else None)
    with desk.sessions.begin() as db:
        one = db.scalars(select(ImageFile.sha256).where(ImageFile.sha256 != reference).limit(1)).one()
        db.execute(update(ImageFile).where(ImageFile.sha256 == one).values(webp_bytes=None))
    # The address of one side alone would tell it from the other.
    assert {len(trial.webp) for trial in desk.ask(having).trials} == {0, 3}


def test_a_block_is_no_longer_than_what_is_left_of_a_sitting(desk: Desk) -> None:
    subject = desk.come(block=1000, sitting_minutes=1)
    assert len(desk.ask(subject).trials) == 10  # of twelve, at six seconds each, while nothing is known of the subject


def test_who_comes_back_in_mid_block_finishes_it_and_then_begins_a_new_sitting(desk: Desk) -> None:
    subject = desk.come(block=6, rest_minutes=15, break_seconds=0, sitting_minutes=60)
    desk.vote_all(subject, 3)
    desk.wait(subject, HOUR)
    desk.vote_all(subject, 3)
    desk.ask(subject, go_on=True)
    assert [block.sitting for block in desk.blocks(subject)] == [1, 2]
