"""Blocks as they are planned: properties that hold whoever comes, in whatever order, and stops wherever."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.subjects.assignment import Candidate, Kind, Planned, Probe, Terms, plan
from app.subjects.order import fewest_alike

SEEDS = st.integers(0, 2**63 - 1)


@dataclass
class Voter:
    """Somebody who takes part: `voted` of the trials in `history` have a vote, the first ones."""

    seed: int
    history: list[Planned] = field(default_factory=list)
    voted: int = 0
    blocks: int = 0
    is_silent: bool = False

    def pairs(self, *, voted: bool) -> list[Planned]:
        part = self.history[: self.voted] if voted else self.history[self.voted :]
        return [trial for trial in part if trial.kind == "test"]


@dataclass
class Panel:
    """A study as the server keeps it, everything counted from the trials of all subjects."""

    images: list[str]
    voters: list[Voter]
    probes: tuple[Probe, ...] = ()

    def candidates(self, voter: Voter) -> list[Candidate]:
        counts = {name: Counter[tuple[int, bool]]() for name in ("issued", "voted", "live")}
        for one in self.voters:
            counts["voted"].update((t.key, t.first_on_left) for t in one.pairs(voted=True))
            unvoted = [(t.key, t.first_on_left) for t in one.pairs(voted=False)]
            counts["live"].update([] if one.is_silent else unvoted)
            counts["issued"].update(unvoted)
        counts["issued"].update(counts["voted"])
        seen = {trial.key for trial in voter.history if trial.kind == "test"}
        return [
            Candidate(
                pair, image, *(counts[n][pair, side] for n in ("issued", "voted", "live") for side in (True, False))
            )
            for pair, image in enumerate(self.images)
            if pair not in seen
        ]

    def open(self, voter: Voter, terms: Terms, candidates: Sequence[Candidate] | None = None) -> list[Planned]:
        """The voter's next block; all earlier trials have votes."""
        voter.voted = len(voter.history)
        voter.blocks += 1
        made = plan(
            terms,
            self.candidates(voter) if candidates is None else candidates,
            self.probes,
            voter.history,
            seed=voter.seed,
            block=voter.blocks,
        )
        voter.history += made
        voter.is_silent = False
        return made

    def everything(self) -> list[Candidate]:
        """All pairs with their counts, as one sees them who has been asked about none."""
        return self.candidates(Voter(0))


def lead(block: Iterable[Planned], kind: Kind = "test") -> int:
    return sum(1 if trial.first_on_left else -1 for trial in block if trial.kind == kind)


def alike(contents: Sequence[str | None]) -> int:
    return sum(one is not None and one == other for one, other in pairwise(contents))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Panel, list[Callable[[], None]]]:
    """A study and what happens to it: blocks are opened, voted on in part, given up, and some are taken up again."""
    images = [f"image {draw(st.integers(0, 5))}" for _ in range(draw(st.integers(1, 14)))]
    voters = [Voter(seed) for seed in draw(st.lists(SEEDS, min_size=1, max_size=6))]
    panel = Panel(images, voters)
    size = draw(st.integers(1, 8))

    def opens(voter: Voter) -> None:
        panel.open(voter, Terms(size))

    def votes(voter: Voter, number: int) -> None:
        voter.voted = min(voter.voted + number, len(voter.history))
        voter.is_silent = False

    def falls_silent(voter: Voter) -> None:
        voter.is_silent = True

    kinds = st.sampled_from(["opens", "opens", "votes", "falls silent"])
    events: list[Callable[[], None]] = []
    for _ in range(draw(st.integers(0, 25))):
        voter, kind = draw(st.sampled_from(voters)), draw(kinds)
        number = draw(st.integers(1, 8))
        events.append(
            {
                "opens": lambda v=voter: opens(v),
                "votes": lambda v=voter, n=number: votes(v, n),
                "falls silent": lambda v=voter: falls_silent(v),
            }[kind]
        )
    return panel, events


History = tuple[Panel, list[Callable[[], None]]]


@given(histories())
def test_no_pair_comes_twice_and_none_is_ever_off_balance(case: History) -> None:
    panel, events = case
    for event in events:
        event()
        for voter in panel.voters:
            assert len({trial.key for trial in voter.history}) == len(voter.history)
        for pair in panel.everything():
            assert abs(pair.issued_left - pair.issued_right) <= 1
            unvoted = pair.issued_left + pair.issued_right - pair.voted_left - pair.voted_right
            assert abs(pair.voted_left - pair.voted_right) <= 1 + unvoted


@given(histories(), st.integers(2, 4), SEEDS)
def test_what_was_given_up_is_made_up_for_by_those_who_come(case: History, comers: int, seed: int) -> None:
    panel, events = case
    for event in events:
        event()
    for voter in panel.voters:
        voter.is_silent = True
    given_up = {pair.pair: (pair.issued_left - pair.voted_left, pair.issued_right - pair.voted_right)
                for pair in panel.everything()}  # fmt: skip
    for number in range(comers):
        panel.voters.append(Voter(seed + number))
        panel.open(panel.voters[-1], Terms(len(panel.images)))
        panel.voters[-1].voted = len(panel.images)
    for pair in panel.everything():
        owed = abs(given_up[pair.pair][0] - given_up[pair.pair][1])
        # The orders handed out stay balanced to one, so that no more than that can be made up for.
        assert abs(pair.voted_left - pair.voted_right) <= max(1, owed)


def best_balance(candidates: Sequence[Candidate], size: int) -> int:
    """The least difference of sides that any block of the lowest levels can have."""
    last = sorted(candidate.level for candidate in candidates)[size - 1]
    sure = Counter(candidate.side for candidate in candidates if candidate.level < last)
    equal = Counter(candidate.side for candidate in candidates if candidate.level == last)
    more, best = size - sum(sure.values()), size
    for left in range(min(equal[True], more) + 1):
        for right in range(min(equal[False], more - left) + 1):
            free = more - left - right
            if free <= equal[None]:
                forced = abs(sure[True] + left - sure[False] - right)
                best = min(best, max(forced - free - sure[None], size % 2))
    return best


@given(histories(), st.integers(1, 14), SEEDS)
def test_a_block_has_the_lowest_pairs_and_among_those_the_best_balance_and_order(
    case: History, size: int, seed: int
) -> None:
    panel, events = case
    for event in events:
        event()
    comer = Voter(seed)
    panel.voters.append(comer)
    while candidates := panel.candidates(comer):
        taken, before = min(size, len(candidates)), lead(comer.history)
        last = comer.history[-1].content if comer.history else None
        block = panel.open(comer, Terms(size))
        level = {candidate.pair: candidate.level for candidate in candidates}
        assert sorted(level[trial.key] for trial in block) == sorted(level.values())[:taken]
        assert abs(lead(block)) == best_balance(candidates, taken)
        if taken % 2 and abs(lead(block)) == 1 and before and best_balance(candidates, taken) == 1:
            free = any(candidate.side is None for candidate in candidates if candidate.pair in {t.key for t in block})
            assert not free or lead(block) * before < 0 or forced_all(candidates, block) * before > 0
        for candidate in candidates:
            for trial in block:
                assert candidate.pair != trial.key or candidate.side in (None, trial.first_on_left)
        contents = [trial.content for trial in block]
        assert alike([last, *contents]) == fewest_alike(Counter(contents), last, None)


def forced_all(candidates: Sequence[Candidate], block: Sequence[Planned]) -> int:
    side = {candidate.pair: candidate.side for candidate in candidates}
    return sum(1 if side[trial.key] else -1 for trial in block if side[trial.key] is not None)


@given(
    images=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    size=st.integers(1, 10),
    seed=SEEDS,
    before=st.integers(0, 3),
)
def test_where_nothing_is_owed_each_block_and_each_subject_are_balanced_to_one(
    images: list[int], size: int, seed: int, before: int
) -> None:
    left = [Candidate(p, str(i), before, before, before, before) for p, i in enumerate(images)]
    voter, panel = Voter(seed), Panel([], [])
    while left:
        block = panel.open(voter, Terms(size), left)
        assert abs(lead(block)) <= 1
        assert abs(lead(voter.history)) <= 1
        left = [candidate for candidate in left if candidate.pair not in {trial.key for trial in block}]


@given(pairs=st.integers(1, 24), size=st.integers(1, 24), seeds=st.lists(SEEDS, min_size=1, max_size=7))
def test_one_after_another_all_blocks_are_balanced_and_all_pairs_have_as_many_votes(
    pairs: int, size: int, seeds: list[int]
) -> None:
    panel = Panel([f"image {pair % 7}" for pair in range(pairs)], [])
    for seed in seeds:
        panel.voters.append(Voter(seed))
        for _ in range(0, pairs, size):
            block = panel.open(panel.voters[-1], Terms(size))
            assert abs(lead(block)) <= 1
        assert abs(lead(panel.voters[-1].history)) <= 1
    assert {pair.level for pair in panel.everything()} == {len(seeds)}


@given(pairs=st.integers(1, 24), share=st.integers(1, 24), size=st.integers(1, 24), seeds=st.lists(SEEDS, max_size=9))
def test_shares_give_every_pair_as_many_votes_to_one(pairs: int, share: int, size: int, seeds: list[int]) -> None:
    panel = Panel([f"image {pair % 7}" for pair in range(pairs)], [])
    for seed in seeds:
        panel.voters.append(Voter(seed))
        left = min(share, pairs)
        while left:
            left -= len(panel.open(panel.voters[-1], Terms(min(size, left))))
        levels = [pair.level for pair in panel.everything()]
        assert max(levels) - min(levels) <= 1


@pytest.mark.parametrize("share", [42, 168])
def test_in_a_busy_study_nearly_every_block_is_balanced(share: int) -> None:
    """168 pairs on 37 images and 20 subjects with blocks of 21 in random turns; the seeds are fixed."""
    leads = []
    for seed in range(3):
        draw = random.Random(seed)
        panel = Panel([f"{draw.randrange(37)}" for _ in range(168)], [Voter(draw.randrange(2**63)) for _ in range(20)])
        turns = [voter for voter in panel.voters for _ in range(share // 21)]
        draw.shuffle(turns)
        leads += [abs(lead(panel.open(voter, Terms(21)))) for voter in turns]
        levels = [pair.level for pair in panel.everything()]
        assert max(levels) - min(levels) <= 2
    assert sum(one <= 1 for one in leads) >= 0.9 * len(leads)


@given(st.data())
def test_a_pair_that_was_given_up_is_due_again(data: st.DataObject) -> None:
    panel = Panel([str(pair) for pair in range(10)], [Voter(data.draw(SEEDS)), Voter(data.draw(SEEDS))])
    gone, comer = panel.voters
    given_up = {trial.key for trial in panel.open(gone, Terms(5))}
    assert not given_up & {trial.key for trial in panel.open(comer, Terms(5))}
    gone.is_silent = True
    panel.voters.append(Voter(data.draw(SEEDS)))
    assert {trial.key for trial in panel.open(panel.voters[-1], Terms(5))} == given_up


@given(st.integers(1, 30), st.integers(0, 29), SEEDS)
def test_no_image_has_more_than_half_of_a_block_where_others_are_due_as_well(size: int, others: int, seed: int) -> None:
    many = [Candidate(pair, "the same") for pair in range(30)]
    few = [Candidate(pair, f"image {pair}") for pair in range(100, 100 + others)]
    contents = [trial.content for trial in Panel([], []).open(Voter(seed), Terms(size), many + few)]
    assert 2 * contents.count("the same") <= size + 1 or others < size // 2


PROBES = tuple(
    Probe(number, kind, f"{kind} {number}")
    for kind, first in (("warm_up", 0), ("gold", 10), ("identical", 20), ("training", 30))
    for number in range(first, first + 4)
)  # fmt: skip
RATES = st.sampled_from([0, 0.01, 0.05, 0.1, 0.25, 0.5])


@given(
    pairs=st.integers(1, 60), size=st.integers(1, 30), gold=RATES, identical=RATES, repeat=RATES,
    distance=st.integers(1, 15), seed=SEEDS,
)  # fmt: skip
def test_special_trials_come_at_their_rates_and_repetitions_far_from_their_first(
    pairs: int, size: int, gold: float, identical: float, repeat: float, distance: int, seed: int
) -> None:
    panel, voter = Panel([f"image {pair % 9}" for pair in range(pairs)], [Voter(seed)], PROBES), Voter(seed)
    terms = Terms(size, "warm_up", 3, gold, identical, repeat, distance)
    for _ in range(0, pairs, size):
        block = panel.open(voter, terms)
        assert [trial.kind for trial in block[:3]] == ["warm_up"] * 3
        kinds = Counter(trial.kind for trial in voter.history)
        assert abs(kinds["gold"] - gold * kinds["test"]) <= 0.5
        assert abs(kinds["identical"] - identical * kinds["test"]) <= 0.5
        assert kinds["repeat"] <= repeat * kinds["test"] + 0.5
        assert abs(lead(voter.history, "gold")) <= 1
    place = {trial.key: index for index, trial in enumerate(voter.history) if trial.kind == "test"}
    repeats = [(index, trial) for index, trial in enumerate(voter.history) if trial.kind == "repeat"]
    assert len({trial.key for _, trial in repeats}) == len(repeats)
    for index, trial in repeats:
        first = voter.history[place[trial.key]]
        assert index - place[trial.key] >= distance
        assert (trial.content, trial.first_on_left) == (first.content, not first.first_on_left)


def test_repetitions_are_left_out_only_where_they_would_come_too_soon() -> None:
    for distance, number in ((1, 5), (20, 5), (40, 5), (41, 0), (200, 0)):
        pairs = [Candidate(pair, str(pair)) for pair in range(40)]
        block = Panel([], []).open(Voter(distance), Terms(40, repeat_rate=0.125, repeat_distance=distance), pairs)
        assert sum(trial.kind == "repeat" for trial in block) == number


@given(size=st.integers(1, 20), opening=st.integers(0, 6), images=st.integers(1, 4), seed=SEEDS)
def test_an_image_follows_itself_nowhere_in_a_block_where_no_other_order_avoids_it(
    size: int, opening: int, images: int, seed: int
) -> None:
    draw = random.Random(seed)
    probes = [Probe(number, "warm_up", f"image {draw.randrange(images)}") for number in range(6)]
    panel, voter = Panel([f"image {draw.randrange(images)}" for _ in range(20)], [], tuple(probes)), Voter(seed)
    block = panel.open(voter, Terms(size, "warm_up", opening))
    first, others = [[t.content for t in part] for part in (block[:opening], block[opening:])]
    ends = {*first} or {None}
    fewest = min(
        fewest_alike(Counter(first) - Counter([end] if end else []), None, end)
        + fewest_alike(Counter(others), end, None)
        for end in ends
    )
    assert alike([*first, *others]) == fewest


def test_probes_come_in_turn() -> None:
    voter = Voter(3)
    for _ in range(3):
        Panel([], [], PROBES).open(voter, Terms(0, "training", 4))
        Panel([], [], PROBES).open(voter, Terms(0, "warm_up", 2))
    assert set(Counter((t.kind, t.key) for t in voter.history if t.kind == "training").values()) == {3}
    assert set(Counter(t.key for t in voter.history if t.kind == "warm_up").values()) <= {1, 2}
    assert lead(voter.history, "training") == lead(voter.history, "warm_up") == 0
    assert len({tuple(t.key for t in voter.history[n : n + 4]) for n in (0, 6, 12)}) > 1


def test_obvious_trials_are_anywhere_in_a_block() -> None:
    pairs = [Candidate(pair, str(pair)) for pair in range(20)]
    places: Counter[int] = Counter()
    for seed in range(1050):
        block = Panel([], [], PROBES).open(Voter(seed), Terms(20, gold_rate=0.05), pairs)
        places.update(index for index, trial in enumerate(block) if trial.kind == "gold")
    # 50 at each of 21 places are expected, with a standard deviation of 7.
    assert set(places) == set(range(21))
    assert max(places.values()) < 50 + 4 * 7
    assert min(places.values()) > 50 - 4 * 7


@given(histories(), st.randoms(use_true_random=False), SEEDS)
def test_the_order_in_which_the_database_lists_anything_changes_nothing(
    case: History, shuffling: random.Random, seed: int
) -> None:
    panel, events = case
    for event in events:
        event()
    terms = Terms(6, "warm_up", 2, 0.2, 0.2, 0.2, 2)
    listed = panel.everything()
    expected = plan(terms, listed, PROBES, [], seed=seed, block=1)
    again = plan(
        terms, shuffling.sample(listed, len(listed)), shuffling.sample(PROBES, len(PROBES)), [], seed=seed, block=1
    )
    assert again == expected


def order(seed: int, block: int = 1) -> list[tuple[int, bool]]:
    listed = [Candidate(pair, str(pair)) for pair in range(12)]
    return [(trial.key, trial.first_on_left) for trial in plan(Terms(12), listed, [], [], seed=seed, block=block)]


def test_one_seed_gives_one_order_and_other_seeds_and_blocks_give_others() -> None:
    assert [order(seed) for seed in range(20)] == [order(seed) for seed in range(20)]
    assert len({tuple(pair for pair, _ in order(seed, block)) for seed in range(20) for block in (1, 2)}) == 40


def test_every_pair_and_either_side_is_as_likely_as_any_other_to_come_first_and_last() -> None:
    for place in (0, -1):
        found = Counter(order(seed)[place] for seed in range(1200))
        assert set(found) == {(pair, left) for pair in range(12) for left in (False, True)}
        # 50 of each are expected, with a standard deviation of 7.
        assert min(found.values()) > 50 - 4 * 7
        assert max(found.values()) < 50 + 4 * 7


def test_a_pair_with_one_order_ahead_is_shown_in_the_other_one() -> None:
    ahead = Candidate(1, "1", issued_left=3, issued_right=2)
    behind = Candidate(1, "1", issued_left=2, issued_right=3)
    given_up = Candidate(1, "1", issued_left=2, issued_right=2, voted_left=1, voted_right=2)
    awaited = replace(given_up, live_left=1)
    for seed in range(20):
        sides = [
            plan(Terms(1), [one], [], [], seed=seed, block=1)[0].first_on_left for one in (ahead, behind, given_up)
        ]
        assert sides == [False, True, True]
    assert {plan(Terms(1), [awaited], [], [], seed=s, block=1)[0].first_on_left for s in range(20)} == {True, False}
