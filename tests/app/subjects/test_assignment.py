"""The order of trials and their sides: properties that hold whoever comes, in whatever order, and stops wherever."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.subjects.assignment import Assignment, Candidate, choose


@dataclass
class Voter:
    seed: int
    seen: list[int] = field(default_factory=list)
    lead: int = 0
    previous_image: int | None = None


@dataclass
class Panel:
    """The study as the server keeps it: counters of each pair, and what each subject was handed."""

    images: list[int]
    voters: list[Voter]
    first_left: Counter[int] = field(default_factory=Counter)
    first_right: Counter[int] = field(default_factory=Counter)

    def candidates(self, voter: Voter) -> list[Candidate]:
        return [
            Candidate(pair, image, self.first_left[pair], self.first_right[pair])
            for pair, image in enumerate(self.images)
            if pair not in voter.seen
        ]

    def next(self, voter: Voter) -> Assignment:
        made = choose(
            self.candidates(voter),
            seed=voter.seed,
            number=len(voter.seen) + 1,
            lead=voter.lead,
            previous_image=voter.previous_image,
        )
        (self.first_left if made.first_on_left else self.first_right)[made.candidate.pair] += 1
        voter.seen.append(made.candidate.pair)
        voter.lead += 1 if made.first_on_left else -1
        voter.previous_image = made.candidate.image
        return made

    def issued(self, pair: int) -> int:
        return self.first_left[pair] + self.first_right[pair]


@st.composite
def panels(draw: st.DrawFn) -> tuple[Panel, list[Voter]]:
    """A study, its subjects, and who asks for a trial when; somebody who is asked for no more has been interrupted."""
    images = draw(st.lists(st.integers(0, 5), min_size=1, max_size=12))
    voters = [Voter(seed) for seed in draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6))]
    requests = draw(st.lists(st.integers(0, len(voters) - 1), max_size=60))
    left = Counter({index: len(images) for index in range(len(voters))})
    schedule = []
    for index in requests:
        if left[index]:
            left[index] -= 1
            schedule.append(voters[index])
    return Panel(images, voters), schedule


@given(panels())
def test_no_pair_comes_twice_for_a_subject_and_none_is_ever_off_balance(case: tuple[Panel, list[Voter]]) -> None:
    panel, schedule = case
    for voter in schedule:
        panel.next(voter)
        assert len(set(voter.seen)) == len(voter.seen)
        assert all(abs(panel.first_left[p] - panel.first_right[p]) <= 1 for p in range(len(panel.images)))


@given(panels())
def test_every_pair_is_handed_out_once_before_any_is_handed_out_twice(case: tuple[Panel, list[Voter]]) -> None:
    panel, schedule = case
    for voter in schedule:
        unseen = panel.candidates(voter)
        chosen = panel.next(voter).candidate
        assert chosen.issued == min(candidate.issued for candidate in unseen)
        issued = [panel.issued(pair) for pair in range(len(panel.images))]
        assert max(issued) == 1 or min(issued) >= 1


@given(panels())
def test_an_image_stands_in_consecutive_trials_only_where_no_other_is_due(case: tuple[Panel, list[Voter]]) -> None:
    panel, schedule = case
    for voter in schedule:
        unseen, previous = panel.candidates(voter), voter.previous_image
        chosen = panel.next(voter).candidate
        due = {candidate.image for candidate in unseen if candidate.issued == chosen.issued}
        assert chosen.image != previous or due == {previous}


@given(panels())
def test_a_lead_of_a_side_grows_only_where_no_due_pair_allows_the_other_side(case: tuple[Panel, list[Voter]]) -> None:
    panel, schedule = case
    for voter in schedule:
        unseen, before, previous = panel.candidates(voter), voter.lead, voter.previous_image
        chosen = panel.next(voter).candidate
        if before and abs(voter.lead) > abs(before):
            due = [candidate for candidate in unseen if candidate.issued == chosen.issued]
            fresh = [candidate for candidate in due if candidate.image != previous] or due
            assert {candidate.side for candidate in fresh} == {before > 0}


@given(
    images=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    seed=st.integers(0, 2**63 - 1),
    before=st.integers(0, 3),
)
def test_where_nothing_is_owed_the_sides_of_a_subject_never_differ_by_more_than_one(
    images: list[int], seed: int, before: int
) -> None:
    panel, voter = Panel(images, []), Voter(seed)
    panel.first_left.update(dict.fromkeys(range(len(images)), before))
    panel.first_right.update(dict.fromkeys(range(len(images)), before))
    for _ in images:
        panel.next(voter)
        assert abs(voter.lead) <= 1


@given(pairs=st.integers(1, 20), seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=7))
def test_one_after_another_on_distinct_images_nobody_has_a_lead_of_more_than_one(pairs: int, seeds: list[int]) -> None:
    panel = Panel(list(range(pairs)), [])
    for voter in map(Voter, seeds):
        for _ in range(pairs):
            panel.next(voter)
            assert abs(voter.lead) <= 1
    assert {panel.issued(pair) for pair in range(pairs)} == {len(seeds)}


@pytest.mark.parametrize(("share", "most", "mean"), [(40, 2, 0.5), (168, 16, 3.0)])
def test_in_a_busy_study_the_lead_of_a_side_stays_small(share: int, most: int, mean: float) -> None:
    """168 pairs on 37 images and 20 subjects in random turns, three times; the seeds are fixed."""
    leads = []
    for seed in range(3):
        draw = random.Random(seed)
        panel = Panel([draw.randrange(37) for _ in range(168)], [Voter(draw.randrange(2**63)) for _ in range(20)])
        turns = [voter for voter in panel.voters for _ in range(share)]
        draw.shuffle(turns)
        for voter in turns:
            panel.next(voter)
        leads += [abs(voter.lead) for voter in panel.voters]
    assert max(leads) <= most
    assert sum(leads) / len(leads) <= mean


@given(panels(), st.randoms(use_true_random=False))
def test_the_order_in_which_the_database_lists_pairs_changes_nothing(
    case: tuple[Panel, list[Voter]], shuffling: random.Random
) -> None:
    panel, schedule = case
    for voter in schedule:
        listed = panel.candidates(voter)
        shuffling.shuffle(listed)
        again = choose(
            listed,
            seed=voter.seed,
            number=len(voter.seen) + 1,
            lead=voter.lead,
            previous_image=voter.previous_image,
        )
        assert panel.next(voter) == again


def order(seed: int) -> list[tuple[int, bool]]:
    panel, voter = Panel(list(range(12)), []), Voter(seed)
    made = [panel.next(voter) for _ in range(12)]
    return [(assignment.candidate.pair, assignment.first_on_left) for assignment in made]


def test_one_seed_gives_one_order_and_other_seeds_give_others() -> None:
    assert [order(seed) for seed in range(20)] == [order(seed) for seed in range(20)]
    assert len({tuple(pair for pair, _ in order(seed)) for seed in range(20)}) == 20


def test_every_pair_and_either_side_is_as_likely_as_any_other_to_come_first() -> None:
    firsts = Counter(order(seed)[0] for seed in range(1200))
    assert set(firsts) == {(pair, left) for pair in range(12) for left in (False, True)}
    # 50 of each are expected, with a standard deviation of 7.
    assert min(firsts.values()) > 50 - 4 * 7
    assert max(firsts.values()) < 50 + 4 * 7


def test_a_pair_with_one_order_ahead_is_shown_in_the_other_one() -> None:
    for seed in range(20):
        made = choose([Candidate(1, 1, 3, 2)], seed=seed, number=1, lead=-5, previous_image=None)
        assert not made.first_on_left
        made = choose([Candidate(1, 1, 2, 3)], seed=seed, number=1, lead=5, previous_image=1)
        assert made.first_on_left
