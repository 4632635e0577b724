"""Eq. (1): equal to a brute-force search, ties included; every limit and mistake has a stated outcome."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.errors import DiscernError
from pipelines.selection import mad


def brute_force(
    distance: NDArray[np.float64],
    embeddings: NDArray[np.float64],
    per_pair: int,
    trade_off: float,
    aggregate: str,
    forbidden: frozenset[int] = frozenset(),
) -> list[int]:
    """The definition, word by word: for every step, score every image that is left and take the first best one."""
    chosen: list[int] = []
    for _ in range(per_pair):
        best, best_score = -1, -np.inf
        for x in range(len(distance)):
            if x in chosen or x in forbidden or np.isnan(distance[x]):
                continue
            apart = [float(np.mean((embeddings[x] - embeddings[s]) ** 2)) for s in chosen]
            d2 = 0.0 if not apart else (sum(apart) / len(apart) if aggregate == "mean" else min(apart))
            score = distance[x] + trade_off * d2
            if score > best_score + mad.TIE:
                best, best_score = x, score
        chosen.append(best)
    return chosen


@st.composite
def problems(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.float64], int, float, str]:
    """Few different values, so that ties are common; gaps where an output is missing."""
    images = draw(st.integers(1, 12))
    values = st.sampled_from([0.0, 0.1, 0.25, 0.5])
    distance = np.array(draw(st.lists(values | st.just(float("nan")), min_size=images, max_size=images)))
    embeddings = np.array(draw(st.lists(st.lists(values, min_size=2, max_size=2), min_size=images, max_size=images)))
    usable = int(np.sum(~np.isnan(distance)))
    per_pair = draw(st.integers(1, max(1, usable)))
    return (
        distance,
        embeddings,
        per_pair,
        draw(st.sampled_from([0.0, 0.1, 1.0, 10.0])),
        draw(st.sampled_from(["mean", "min"])),
    )


@given(problems())
@settings(max_examples=300)
def test_a_selection_equals_brute_force(problem: tuple) -> None:
    distance, embeddings, per_pair, trade_off, aggregate = problem
    if np.isnan(distance).all():
        with pytest.raises(DiscernError):
            mad.select(distance, embeddings, per_pair=per_pair, trade_off=trade_off, aggregate=aggregate)
        return
    chosen = mad.select(distance, embeddings, per_pair=per_pair, trade_off=trade_off, aggregate=aggregate)
    assert chosen.tolist() == brute_force(distance, embeddings, per_pair, trade_off, aggregate)


@pytest.mark.parametrize("aggregate", ["mean", "min"])
@pytest.mark.parametrize("trade_off", [0.0, 0.1, 2.0])
def test_all_pairs_are_chosen_as_each_one_alone(aggregate: mad.Aggregate, trade_off: float) -> None:
    random = np.random.default_rng(0)
    distances, embeddings = random.random((6, 40)), random.random((40, 5))
    distances[2, ::3] = np.nan
    everything = mad.select_all(distances, embeddings, per_pair=8, trade_off=trade_off, aggregate=aggregate)
    for row, chosen in zip(distances, everything.indices, strict=True):
        alone = mad.select(row, embeddings, per_pair=8, trade_off=trade_off, aggregate=aggregate)
        np.testing.assert_array_equal(chosen, alone)
        assert alone.tolist() == brute_force(row, embeddings, 8, trade_off, aggregate)


def test_without_trade_off_the_largest_distances_are_chosen_in_order() -> None:
    distance = np.array([0.2, 0.9, np.nan, 0.5, 0.7])
    chosen = mad.select(distance, np.eye(5), per_pair=4, trade_off=0)
    assert chosen.tolist() == [1, 4, 3, 0]


def test_diversity_prefers_an_unlike_image() -> None:
    distance = np.array([1.0, 0.9, 0.8])
    embeddings = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    assert mad.select(distance, embeddings, per_pair=2, trade_off=0).tolist() == [0, 1]
    assert mad.select(distance, embeddings, per_pair=2, trade_off=1).tolist() == [0, 2]


def test_mean_and_min_differ_where_they_should() -> None:
    # After 0 and 1 are chosen, 2 is a copy of 1 but far from 0; 3 lies between.
    distance = np.array([1.0, 0.99, 0.0, 0.0])
    embeddings = np.array([[0.0], [10.0], [10.0], [5.0]])
    assert mad.select(distance, embeddings, per_pair=3, trade_off=1, aggregate="mean").tolist() == [0, 1, 2]
    assert mad.select(distance, embeddings, per_pair=3, trade_off=1, aggregate="min").tolist() == [0, 1, 3]


def test_values_within_the_tolerance_tie_and_the_smallest_index_wins() -> None:
    distance = np.array([0.5, 0.5 + 0.5e-9, 0.5 + 2e-9])
    assert mad.select(distance, np.zeros((3, 1)), per_pair=1, trade_off=0).tolist() == [2]
    assert mad.select(distance[:2], np.zeros((2, 1)), per_pair=1, trade_off=0).tolist() == [0]


def test_d2_is_reported_as_it_was_when_an_image_was_chosen() -> None:
    random = np.random.default_rng(1)
    distances, embeddings = random.random((2, 10)), random.random((10, 3))
    result = mad.select_all(distances, embeddings, per_pair=4, trade_off=0.5)
    for chosen, d2 in zip(result.indices, result.semantics, strict=True):
        assert d2[0] == 0
        for k in range(1, 4):
            apart = [np.mean((embeddings[chosen[k]] - embeddings[s]) ** 2) for s in chosen[:k]]
            assert d2[k] == pytest.approx(np.mean(apart), abs=1e-12)


@given(st.integers(1, 4), st.integers(0, 100))
@settings(max_examples=50)
def test_a_reuse_limit_holds_and_first_choices_come_first(limit: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    distances, embeddings = random.random((4, 12)), random.random((12, 3))
    result = mad.select_all(distances, embeddings, per_pair=3, trade_off=0.3, reuse_limit=limit)
    assert np.bincount(result.indices.ravel()).max() <= limit
    assert all(len(set(row)) == 3 for row in result.indices.tolist())
    # Pairs choose in turn: a first choice is only ever limited by the first choices of the pairs before.
    taken: list[int] = []
    for row, first in zip(distances, result.indices[:, 0].tolist(), strict=True):
        full = frozenset(image for image in taken if taken.count(image) >= limit)
        assert brute_force(row, embeddings, 1, 0.3, "mean", full) == [first]
        taken.append(first)


def test_a_limit_that_does_not_bind_changes_nothing() -> None:
    random = np.random.default_rng(2)
    distances, embeddings = random.random((3, 9)), random.random((9, 2))
    free = mad.select_all(distances, embeddings, per_pair=4, trade_off=0.1)
    limited = mad.select_all(distances, embeddings, per_pair=4, trade_off=0.1, reuse_limit=3)
    np.testing.assert_array_equal(free.indices, limited.indices)


def test_the_same_images_in_another_order_are_chosen() -> None:
    random = np.random.default_rng(3)
    distance, embeddings = random.random(15), random.random((15, 4))
    order = random.permutation(15)
    chosen = mad.select(distance, embeddings, per_pair=6, trade_off=0.7)
    shuffled = mad.select(distance[order], embeddings[order], per_pair=6, trade_off=0.7)
    assert order[shuffled].tolist() == chosen.tolist()


def test_scores_fall_only_where_diversity_is_not_at_work() -> None:
    distance = np.random.default_rng(4).random(20)
    chosen = mad.select(distance, np.zeros((20, 1)), per_pair=20, trade_off=1)
    assert all(distance[a] >= distance[b] for a, b in pairwise(chosen))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_pair": 0}, "per_pair must be at least 1, got 0"),
        ({"per_pair": 4}, "only 3 images to choose from, per_pair asks for 4"),
        ({"trade_off": -0.1}, "trade_off must be a finite number of at least 0, got -0.1"),
        ({"trade_off": float("nan")}, "trade_off must be a finite number"),
        ({"aggregate": "max"}, "aggregate must be 'mean' or 'min', got 'max'"),
        ({"reuse_limit": 0}, "reuse_limit must be at least 1, got 0"),
        ({"distance": [[0.1, 0.2, 0.3]]}, "distance must be one-dimensional"),
        ({"distance": [0.1, float("inf"), 0.3]}, "must not be infinite"),
        ({"embeddings": [[1.0], [2.0]]}, "one row for each image, got 2 for"),
        ({"embeddings": [[1.0], [2.0], [float("nan")]]}, "embeddings must be finite"),
    ],
)
def test_a_mistake_is_refused(change: dict, message: str) -> None:
    arguments = {"distance": [0.1, 0.2, 0.3], "embeddings": [[1.0], [2.0], [3.0]], "per_pair": 2, "trade_off": 0.1}
    arguments |= change
    distance, embeddings = arguments.pop("distance"), arguments.pop("embeddings")
    with pytest.raises(DiscernError, match=message.replace("(", r"\(")):
        mad.select(distance, embeddings, **arguments)


def test_a_reuse_limit_that_leaves_too_little_says_so() -> None:
    with pytest.raises(DiscernError, match=r"within the reuse limit of 1.*raise reuse_limit"):
        mad.select_all(np.ones((3, 4)), np.zeros((4, 1)), per_pair=2, trade_off=0, reuse_limit=1)


@pytest.mark.parametrize("aggregate", ["mean", "min"])
def test_an_offset_of_the_embeddings_changes_nothing(aggregate: mad.Aggregate) -> None:
    random = np.random.default_rng(5)
    distances, embeddings = random.random((3, 30)), random.random((30, 7))
    near = mad.select_all(distances, embeddings, per_pair=6, trade_off=2, aggregate=aggregate)
    far = mad.select_all(distances, embeddings + 1e6, per_pair=6, trade_off=2, aggregate=aggregate)
    np.testing.assert_array_equal(near.indices, far.indices)
    np.testing.assert_allclose(near.semantics, far.semantics, atol=1e-8)


def test_differences_are_the_mean_squared_ones_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = np.random.default_rng(6).normal(3, 2, (23, 11)).astype(np.float32)
    expected = np.mean((embeddings[:, None].astype(np.float64) - embeddings[None]) ** 2, axis=2)
    for block in (1, 40, 1 << 22):
        monkeypatch.setattr(mad, "_BLOCK", block)
        differences = mad.Differences(embeddings)
        differences.learn([3, 3, 7])
        for image in (3, 7, 22):
            np.testing.assert_allclose(differences.to(image), expected[image], atol=1e-13)
            assert differences.to(image)[image] == 0


def test_to_select_again_from_the_same_differences_changes_nothing() -> None:
    random = np.random.default_rng(7)
    distances, embeddings = random.random((4, 25)), random.random((25, 6))
    differences = mad.Differences(embeddings)
    for trade_off in (0.1, 5.0):
        shared = mad.select_all(distances, differences, per_pair=5, trade_off=trade_off)
        alone = mad.select_all(distances, embeddings, per_pair=5, trade_off=trade_off)
        np.testing.assert_array_equal(shared.indices, alone.indices)


def test_a_reuse_limit_counts_what_was_chosen_before() -> None:
    distances = np.array([[0.9, 0.8, 0.7, 0.1]])
    chosen = mad.select_all(
        distances, np.zeros((4, 1)), per_pair=2, trade_off=0, reuse_limit=2, used=np.array([2, 1, 0, 0])
    )
    assert chosen.indices.tolist() == [[1, 2]]


def test_what_takes_long_tells_how_far_it_is() -> None:
    told = []
    mad.select_all(
        np.ones((2, 5)),
        np.zeros((5, 1)),
        per_pair=3,
        trade_off=0,
        progress=lambda _, done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
