"""Simulated subjects: that each parameter does what it says, and that a planted order is found again."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from pipelines.errors import DiscernError
from pipelines.ranking.counts import Votes, count_matrix
from pipelines.ranking.observers import Observers, Population, draw, first_is_left, quality_of, simulate, vote
from pipelines.ranking.thurstone import fit

IDEAL = Population(sensitivity_log_sd=0, taste_sd=0, side_bias_sd=0, lapse_rate=0)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def one(**changes: Any) -> Observers:
    fields: dict[str, Any] = {
        "sensitivity": np.ones(1),
        "taste": np.zeros((1, 2)),
        "side_bias": np.zeros(1),
        "lapse_rate": 0.0,
    }
    return Observers(**(fields | changes))


def share_left(observers: Observers, quality: list[float], trials: int = 20_000) -> float:
    shown = np.tile([0, 0, 0, 1], (trials, 1))
    return float(vote(observers, [quality], shown, generator()).mean())


def example(
    subjects: int = 10,
    population: Population | None = IDEAL,
    seed: int = 0,
    images: int = 6,
    groups: list[str] | None = None,
) -> Votes:
    quality = np.tile([0.9, 0.1, -1.0], (images, 1))
    pairs = [(image, i, j) for image in range(images) for i, j in ((0, 1), (0, 2), (2, 1))]
    return simulate(
        quality,
        pairs,
        methods=["a", "b", "c"],
        images=[f"{index}" for index in range(images)],
        subjects=[f"s{index}" for index in range(subjects)],
        groups=groups,
        population=population,
        seed=seed,
    )


@pytest.mark.parametrize("difference", [-1.0, 0.0, 0.6745])
def test_an_ideal_observer_is_thurstones(difference: float) -> None:
    assert share_left(one(), [difference, 0.0]) == pytest.approx(norm.cdf(difference), abs=0.015)


def test_sensitivity_taste_and_side_bias_enter_as_written() -> None:
    sensitive = one(sensitivity=np.array([2.0]), taste=np.array([[0.2, -0.1]]), side_bias=np.array([-0.5]))
    assert share_left(sensitive, [0.4, 0.1]) == pytest.approx(norm.cdf(2 * 0.6 - 0.5), abs=0.015)


def test_lapses_mix_in_a_coin() -> None:
    assert share_left(one(lapse_rate=0.4), [3.0, -3.0]) == pytest.approx(0.8, abs=0.015)


def test_a_panel_that_always_lapses_flips_coins() -> None:
    counts = count_matrix(example(subjects=400, population=Population(lapse_rate=1), images=8))
    shares = counts[np.triu_indices(3, 1)] / 3200
    np.testing.assert_allclose(shares, 0.5, atol=0.04)


def test_votes_use_each_trials_own_subject_image_and_sides() -> None:
    observers = Observers(np.full(2, 50.0), np.array([[0.0, 0, 0], [0, 9, 0]]), np.zeros(2), 0.0)
    quality = np.array([[1.0, 0, -1], [-1, 0, 1]])
    trials = np.array([(0, 0, 0, 2), (0, 0, 2, 0), (0, 1, 0, 2), (1, 0, 0, 1), (0, 0, 0, 1)])
    assert vote(observers, quality, trials, generator()).tolist() == [True, False, False, False, True]


def test_a_population_has_the_statistics_it_states() -> None:
    population = Population(sensitivity=1.5, sensitivity_log_sd=0.5, taste_sd=0.3, side_bias_sd=0.2, lapse_rate=0.1)
    observers = draw(population, 20_000, 3, generator())
    assert observers.sensitivity.mean() == pytest.approx(1.5, rel=0.03)
    assert np.log(observers.sensitivity).std() == pytest.approx(0.5, rel=0.03)
    assert observers.taste.shape == (20_000, 3)
    assert observers.taste.std() == pytest.approx(0.3, rel=0.03)
    assert np.abs(np.asarray(np.corrcoef(observers.taste.T))[~np.eye(3, dtype=bool)]).max() < 0.03
    assert observers.side_bias.std() == pytest.approx(0.2, rel=0.03)
    assert observers.lapse_rate == 0.1


@pytest.mark.parametrize("subjects", [1, 2, 7, 8])
def test_sides_are_counterbalanced_over_subjects(subjects: int) -> None:
    sides = first_is_left(500, subjects, generator())
    left = sides.sum(axis=0)
    assert sides.shape == (subjects, 500)
    assert np.abs(2 * left - subjects).max() == subjects % 2
    assert left.sum() / sides.size == pytest.approx(0.5, abs=0.07)


def test_sides_are_random_for_every_subject_and_pair() -> None:
    sides = first_is_left(2000, 8, generator()).astype(float)
    np.testing.assert_allclose(sides.mean(axis=1), 0.5, atol=0.05)
    # Counterbalancing ties two subjects by -1/7, nothing more.
    np.testing.assert_allclose(np.corrcoef(sides)[~np.eye(8, dtype=bool)], -1 / 7, atol=0.08)


def test_side_bias_cancels_over_a_counterbalanced_panel() -> None:
    biased = Population(sensitivity=0, sensitivity_log_sd=0, taste_sd=0, side_bias_sd=5, lapse_rate=0)
    counts = count_matrix(example(subjects=100, population=biased, images=8))
    np.testing.assert_allclose(counts[np.triu_indices(3, 1)] / 800, 0.5, atol=0.1)


def test_every_subject_judges_every_pair_once() -> None:
    votes = example(subjects=5)
    assert votes.image is not None
    assert votes.subject is not None
    seen = {
        (int(s), int(i), *sorted((int(w), int(v))))
        for s, i, w, v in zip(votes.subject, votes.image, votes.winner, votes.loser, strict=True)
    }
    assert len(votes.winner) == len(seen) == 5 * 6 * 3
    assert (votes.count == 1).all()
    assert votes.simulated
    assert votes.methods == ("a", "b", "c")
    assert votes.subjects == ("s0", "s1", "s2", "s3", "s4")


def test_a_planted_quality_is_recovered() -> None:
    scores = fit(count_matrix(example(subjects=150, images=20))).scores
    np.testing.assert_allclose(scores, [0.9, 0.1, -1.0], atol=0.06)


def columns(votes: Votes) -> list[NDArray[np.int64]]:
    assert votes.image is not None
    assert votes.subject is not None
    return [votes.winner, votes.loser, votes.image, votes.subject]


def test_the_seed_decides_everything() -> None:
    once, again, other = (columns(example(population=None, seed=seed)) for seed in (4, 4, 5))
    assert all((a == b).all() for a, b in zip(once, again, strict=True))
    assert (once[0] != other[0]).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"taste_sd": -0.1}, "taste_sd must be a finite number of at least 0, got -0.1"),
        ({"sensitivity": float("nan")}, "sensitivity must"),
        ({"side_bias_sd": float("inf")}, "side_bias_sd must"),
        ({"sensitivity_log_sd": -1}, "sensitivity_log_sd must"),
        ({"lapse_rate": 1.01}, "lapse_rate must be at most 1"),
    ],
)
def test_bad_populations(changes: dict[str, float], message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        Population(**changes)


@pytest.mark.parametrize(("subjects", "methods"), [(0, 3), (2, 1)])
def test_nobody_to_draw(subjects: int, methods: int) -> None:
    with pytest.raises(DiscernError, match="at least 1 subject"):
        draw(Population(), subjects, methods, generator())


@pytest.mark.parametrize(
    ("quality", "pairs", "message"),
    [
        ([[0.0, 1]], [(0, 0, 1)], r"quality must be \(2, 2\)"),
        ([[0.0, 1], [float("nan"), 0]], [(0, 0, 1)], "got nan for image 1, method 0"),
        ([[0.0, 1], [0, 1]], [(2, 0, 1)], "the image must be below 2"),
        ([[0.0, 1], [0, 1]], [(0, 0, 1), (0, 0, 2)], "row 1 is"),
        ([[0.0, 1], [0, 1]], [(0, 1, 1)], "two different ones"),
        ([[0.0, 1], [0, 1]], [(0, -1, 1)], "row 0 is"),
        ([[0.0, 1], [0, 1]], [(0, 1)], r"shape \(P, 3\)"),
        ([[0.0, 1], [0, 1]], [(0.0, 0.0, 1.0)], "integers"),
        ([[0.0, 1], [0, 1]], np.empty((0, 3), dtype=int), "integers of shape"),
    ],
)
def test_bad_simulations(quality: Any, pairs: Any, message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        simulate(quality, pairs, methods=["a", "b"], images=["x", "y"], subjects=["s"])


def test_quality_of_a_metric_forgets_the_images_and_keeps_the_methods() -> None:
    scores = np.array([[0.2, 0.4, 0.6], [0.7, 0.9, 0.8]])
    quality = quality_of(scores)
    np.testing.assert_allclose(quality.mean(axis=1), 0, atol=1e-12)
    assert quality.std() == pytest.approx(1)
    np.testing.assert_allclose(quality, quality_of(3 * scores + [[5.0], [-2.0]]), atol=1e-9)
    assert (np.argsort(quality[0]) == np.argsort(scores[0])).all()
    with pytest.raises(DiscernError, match="no difference between the methods"):
        quality_of(np.ones((2, 3)))


def test_votes_carry_the_groups_of_their_pairs_and_are_otherwise_the_same() -> None:
    votes, grouped = example(images=2), example(images=2, groups=["random", "mad", "mad"] * 2)
    assert votes.groups is None
    assert grouped.groups == ("mad", "random")
    assert grouped.group is not None
    assert grouped.group.tolist() == [1, 0, 0] * 20
    assert grouped.winner.tolist() == votes.winner.tolist()
    # Of each three pairs the first, which is in the group random, compares these two.
    assert {tuple(sorted(row)) for row in np.stack([grouped.winner, grouped.loser], 1)[grouped.group == 1]} == {(0, 1)}
    with pytest.raises(DiscernError, match="one for each of 6 pairs, got 1"):
        example(images=2, groups=["mad"])
