"""Orders of trials against every order that there is."""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, permutations

from hypothesis import given
from hypothesis import strategies as st

from app.subjects.order import alike_if_inserted, arranged, fewest_alike, majority

IMAGES = st.sampled_from("abcd")
ENDS = st.sampled_from([None, "a", "b", "z"])


def alike(row: Sequence[str | None]) -> int:
    return sum(one is not None and one == other for one, other in pairwise(row))


@given(st.lists(IMAGES, max_size=6), ENDS, ENDS, st.randoms(use_true_random=False))
def test_no_order_has_fewer_neighbours_alike(
    contents: list[str], after: str | None, before: str | None, draw: random.Random
) -> None:
    best = min(alike([after, *order, before]) for order in permutations(contents))
    assert fewest_alike(Counter(contents), after, before) == best
    order = arranged(contents, draw, after=after, before=before)
    assert sorted(order) == list(range(len(contents)))
    assert alike([after, *(contents[place] for place in order), before]) == best


@given(st.lists(st.integers(0, 40), min_size=30, max_size=400), st.randoms(use_true_random=False))
def test_the_bound_is_reached_for_many_trials_too(images: list[int], draw: random.Random) -> None:
    contents = [str(max(image - 20, 0)) for image in images]
    order = arranged(contents, draw, after="0")
    most = Counter(contents)["0"]
    assert alike(["0", *(contents[place] for place in order)]) == max(0, 2 * most - len(contents))


def test_every_order_without_neighbours_alike_comes_up() -> None:
    found = {tuple("aabbc"[i] for i in arranged("aabbc", random.Random(seed))) for seed in range(2000)}
    assert found == {order for order in permutations("aabbc") if alike(order) == 0}


@given(st.lists(IMAGES, max_size=7), IMAGES, ENDS, st.data())
def test_what_an_insertion_costs(contents: list[str], new: str, after: str | None, data: st.DataObject) -> None:
    slot = data.draw(st.integers(0, len(contents)))
    more = [*contents[:slot], new, *contents[slot:]]
    assert alike_if_inserted(contents, slot, new, after) == alike([after, *more]) - alike([after, *contents])


@given(st.lists(IMAGES, max_size=8))
def test_a_majority_is_what_an_order_must_begin_with(contents: list[str]) -> None:
    image = majority(contents)
    for first in "abcd":
        costs = fewest_alike(Counter(contents), first, None) > fewest_alike(Counter(contents), None, None)
        assert costs == (first == image)
