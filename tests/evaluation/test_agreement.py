"""2AFC scores and their companions: by hand, by brute force over single votes, and on the released votes."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pipelines.errors import DiscernError
from pipelines.evaluation import agreement
from pipelines.ranking import tables
from pipelines.ranking.counts import Votes, pairs, subset
from pipelines.ranking.observers import simulate

tallies = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda pair: sum(pair) >= 2), min_size=1)


def test_the_score_of_single_pairs() -> None:
    scores = agreement.two_afc_by_pair([3, 3, 3, 0], [1, 1, 1, 2], [2.0, 1.0, 5.0, 9.0], [1.0, 2.0, 5.0, 1.0])
    assert scores.tolist() == [0.75, 0.25, 0.5, 0.0]
    assert agreement.two_afc([3, 3, 3, 0], [1, 1, 1, 2], [2, 1, 5, 9], [1, 2, 5, 1]) == 0.375


def test_every_pair_counts_the_same_however_many_votes_it_has() -> None:
    assert agreement.two_afc([1, 0], [0, 100], [1, 1], [0, 0]) == 0.5


def test_infinite_quality_is_compared() -> None:
    infinite = [float("inf"), float("inf"), float("-inf")]
    assert agreement.two_afc_by_pair([1, 1, 1], [0, 0, 0], infinite, [1, float("inf"), 0]).tolist() == [1, 0.5, 0]


@given(tallies, st.integers(0, 99))
def test_exchanging_the_sides_changes_nothing_and_negating_mirrors(votes: list[tuple[int, int]], seed: int) -> None:
    first, second = np.transpose(votes)
    one, other = np.random.default_rng(seed).integers(0, 3, (2, len(votes)))
    score = agreement.two_afc(first, second, one, other)
    assert agreement.two_afc(second, first, other, one) == pytest.approx(score)
    assert agreement.two_afc(first, second, -one, -other) == pytest.approx(1 - score)
    assert score <= agreement.oracle(first, second) + 1e-12
    assert agreement.two_afc(first, second, first, second) == pytest.approx(agreement.oracle(first, second))


@given(tallies)
def test_people_against_brute_force_over_single_votes(votes: list[tuple[int, int]]) -> None:
    predicted, agreed = [], []
    for first, second in votes:
        people = [1] * first + [-1] * second
        credit = []
        for index, person in enumerate(people):
            others = sum(people[:index] + people[index + 1 :])
            credit.append(0.5 if others == 0 else float(others * person > 0))
        predicted.append(np.mean(credit))
        agreed.append(np.mean([one == other for one, other in combinations(people, 2)]))
    wins = np.transpose(votes)
    assert agreement.leave_one_out_human(*wins) == pytest.approx(float(np.mean(predicted)))
    assert agreement.two_random_humans(*wins) == pytest.approx(float(np.mean(agreed)))


def test_pairs_with_a_single_vote_are_left_out_of_human_agreement() -> None:
    assert agreement.two_random_humans([3, 1], [0, 0]) == 1
    assert agreement.two_random_humans([2, 0], [2, 1]) == pytest.approx(1 / 3)
    assert agreement.leave_one_out_human([3, 1], [0, 0]) == 1
    for function in (agreement.two_random_humans, agreement.leave_one_out_human):
        with pytest.raises(DiscernError, match="no pair has two votes"):
            function([1, 0], [0, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0], [0, 0], [1, 1], [0, 0]), "pair 1 has 0 and 0 votes"),
        (([1, -1], [0, 2], [1, 1], [0, 0]), "pair 1 has -1 and 2 votes"),
        (([1, float("nan")], [0, 2], [1, 1], [0, 0]), "pair 1 has nan"),
        (([1], [0, 2], [1, 1], [0, 0]), "two arrays of one length"),
        (([], [], [], []), "two arrays of one length"),
        (([1, 1], [0, 0], [1, float("nan")], [0, 0]), "quality is NaN in 1 pairs, first in pair 1"),
        (([1, 1], [0, 0], [1, 1], [float("nan"), 0]), "quality is NaN in 1 pairs, first in pair 0"),
        (([1, 1], [0, 0], [1], [0, 0]), "quality must be"),
        (([1, 1], [0, 0], [1, 1], 0.0), "quality must be"),
    ],
)
def test_bad_pairs(arguments: tuple[Any, Any, Any, Any], message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        agreement.two_afc(*arguments)


def panel(quality: list[float], images: int = 10, subjects: int = 7, spread: float = 0.3, seed: int = 0) -> Votes:
    random = np.random.default_rng(seed)
    methods = len(quality)
    return simulate(
        np.array(quality) + spread * random.standard_normal((images, methods)),
        [(x, i, j) for x in range(images) for i in range(methods) for j in range(i + 1, methods)],
        methods=[f"m{i}" for i in range(methods)],
        images=[f"x{i}" for i in range(images)],
        subjects=[f"s{i}" for i in range(subjects)],
        seed=seed,
    )


def test_ranking_only_prefers_the_planted_order() -> None:
    votes = panel([2.0, 0.0, -2.0])
    found = pairs(votes)
    # Methods are indexed from best to worst, and the first of a pair has the smaller index.
    expected = agreement.two_afc(found.wins_first, found.wins_second, -found.first, -found.second)
    assert agreement.ranking_only(votes) == expected
    assert agreement.ranking_only_cross_validated(votes) == pytest.approx(expected)


def test_cross_validation_sees_no_vote_on_the_held_out_image() -> None:
    """On each image another method wins everything, so the votes on the other image always point the wrong way."""
    votes = Votes(
        ("a", "b"),
        np.array([0, 1]),
        np.array([1, 0]),
        np.array([5, 5]),
        images=("x", "y"),
        image=np.array([0, 1]),
    )
    assert agreement.ranking_only_cross_validated(votes, folds=2) == 0
    assert agreement.ranking_only(votes) == 0.5


def test_cross_validation_deals_by_seed_and_copes_with_names_without_votes() -> None:
    votes = panel([0.05, 0.0, -0.05], images=30, subjects=2, spread=1.0)
    assert votes.image is not None
    part = subset(votes, votes.image % 2 == 1)
    scores = [agreement.ranking_only_cross_validated(part, folds=3, seed=seed, deals=1) for seed in (0, 0, 1, 2, 3)]
    assert scores[0] == scores[1]
    assert len(set(scores)) > 1


@pytest.mark.parametrize("folds", [1, 11, 0])
def test_bad_folds(folds: int) -> None:
    with pytest.raises(DiscernError, match="folds must be between 2 and the number of LR images, 10"):
        agreement.ranking_only_cross_validated(panel([1.0, 0.0]), folds=folds)


def test_a_ranking_needs_images_to_be_scored_by() -> None:
    bare = Votes(("a", "b"), np.array([0]), np.array([1]), np.array([1]))
    for function in (agreement.ranking_only, agreement.ranking_only_cross_validated):
        with pytest.raises(DiscernError, match="no LR image"):
            function(bare)


def test_bootstrap_of_a_constant_difference_has_no_width() -> None:
    result = agreement.paired_bootstrap([0.9, 0.7, 0.6], [0.8, 0.6, 0.5], [4, 4, 9], draws=50)
    assert [result.difference, result.lower, result.upper] == pytest.approx([0.1, 0.1, 0.1])
    assert result.images == 2


def test_bootstrap_agrees_with_the_standard_error_over_images() -> None:
    random = np.random.default_rng(1)
    by_image = random.normal(0.02, 0.1, 400)
    result = agreement.paired_bootstrap(np.repeat(by_image, 3), np.zeros(1200), np.repeat(np.arange(400), 3))
    error = by_image.std() / 20
    # Three pairs of an image say the same: only the images count.
    assert result.difference == pytest.approx(by_image.mean())
    assert result.upper - by_image.mean() == pytest.approx(1.96 * error, rel=0.06)
    assert by_image.mean() - result.lower == pytest.approx(1.96 * error, rel=0.06)
    narrow = agreement.paired_bootstrap(by_image, np.zeros(400), np.arange(400), level=0.5)
    assert narrow.upper - narrow.lower == pytest.approx(2 * 0.6745 * error, rel=0.06)


def test_bootstrap_weighs_images_by_their_pairs() -> None:
    """Of two images one has three of four pairs; a resample has both once, or one of them twice."""
    result = agreement.paired_bootstrap([1, 1, 1, 0], np.zeros(4), [0, 0, 0, 1], level=0.4)
    assert [result.difference, result.lower, result.upper] == [0.75, 0.75, 0.75]
    wide = agreement.paired_bootstrap([1, 1, 1, 0], np.zeros(4), [0, 0, 0, 1])
    assert [wide.lower, wide.upper] == [0, 1]


def test_bootstrap_is_antisymmetric_and_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    a, b, image = random.random(60), random.random(60), np.arange(60) // 4
    one, again = (agreement.paired_bootstrap(a, b, image, draws=501, seed=3) for _ in range(2))
    other = agreement.paired_bootstrap(b, a, image, draws=501, seed=3)
    assert one == again
    assert [other.difference, other.lower, other.upper] == pytest.approx([-one.difference, -one.upper, -one.lower])
    assert agreement.paired_bootstrap(a, b, image, draws=501, seed=4) != one
    # Drawing in parts that hold few resamples each gives the same draws.
    monkeypatch.setattr(agreement, "_WEIGHTS_AT_ONCE", 100)
    assert agreement.paired_bootstrap(a, b, image, draws=501, seed=3) == one


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": 1.0}, "level must"),
        ({"draws": 0}, "draws be at least 1"),
        ({"image": [1, 1]}, "at least 2 of them, got 1"),
        ({"image": [1, 2, 3]}, "for the same pairs"),
        ({"scores_b": [0.5]}, "for the same pairs"),
        ({"scores_a": [0.5, float("nan")]}, "NaN"),
    ],
)
def test_bad_bootstraps(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"scores_a": [0.5, 1.0], "scores_b": [0.5, 0.5], "image": [0, 1]}
    with pytest.raises(DiscernError, match=message):
        agreement.paired_bootstrap(**(arguments | changes))


def test_spearman() -> None:
    first, second = np.random.default_rng(0).integers(0, 6, (2, 20))
    assert agreement.spearman(first, second) == pytest.approx(float(spearmanr(first, second).statistic))
    assert agreement.spearman([1, 2, 3], [1, 10, 100]) == pytest.approx(1)
    assert agreement.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 2], [1, 2, 3], "one length"),
        ([1], [1], "at least 2"),
        ([1, float("nan")], [1, 2], "not NaN"),
        ([1, 2], [3, 3], "not all the same"),
    ],
)
def test_bad_correlations(first: list[float], second: list[float], message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        agreement.spearman(first, second)


def test_known_figures_of_realsr_1k(sample_data: Path) -> None:
    votes = tables.read(sample_data / "realsr1k" / "votes.csv")
    found = pairs(votes)
    wins = found.wins_first, found.wins_second
    assert agreement.oracle(*wins) == pytest.approx(0.77668, abs=5e-6)
    assert agreement.leave_one_out_human(*wins) == pytest.approx(0.7589, abs=5e-5)
    assert agreement.two_random_humans(*wins) == pytest.approx(0.6885, abs=5e-5)
    assert agreement.ranking_only(votes) == pytest.approx(0.6958, abs=5e-5)
    # The dealing of images into folds moves the figure in the third decimal.
    assert agreement.ranking_only_cross_validated(votes) == pytest.approx(0.692, abs=0.002)
    one_deal = [agreement.ranking_only_cross_validated(votes, seed=seed, deals=1) for seed in range(10)]
    assert np.mean(one_deal) == pytest.approx(0.692, abs=0.004)
    assert max(one_deal) <= agreement.ranking_only(votes) + 1e-3
