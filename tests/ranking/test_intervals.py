"""Robust covariance against a naive loop and an independent implementation; intervals against what is known exactly."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy.stats import norm, t

from pipelines.errors import DiscernError
from pipelines.ranking.counts import Votes, count_matrix, subset
from pipelines.ranking.intervals import Intervals, RobustCovariance, intervals, two_way_covariance
from pipelines.ranking.observers import Population, simulate
from pipelines.ranking.thurstone import ThurstoneFit, fit, ratio

NAMES = ("a", "b", "c", "d")
EVERY_PAIR = [(i, j) for i in range(4) for j in range(i + 1, 4)]


def panel(subjects: int = 9, images: int = 8, seed: int = 0, image_sd: float = 0.5) -> Votes:
    """Simulated votes in which both images and subjects have tastes of their own."""
    quality = np.array([0.6, 0.2, -0.2, -0.6]) + image_sd * np.random.default_rng(seed).standard_normal((images, 4))
    return simulate(
        quality,
        [(image, i, j) for image in range(images) for i, j in EVERY_PAIR],
        methods=NAMES,
        images=[f"image {i}" for i in range(images)],
        subjects=[f"subject {s}" for s in range(subjects)],
        population=Population(taste_sd=0.4),
        seed=seed,
    )


def without(votes: Votes, *, images: bool = False, subjects: bool = False) -> Votes:
    return Votes(
        votes.methods,
        votes.winner,
        votes.loser,
        votes.count,
        images=None if images else votes.images,
        image=None if images else votes.image,
        subjects=None if subjects else votes.subjects,
        subject=None if subjects else votes.subject,
    )


def fitted(votes: Votes, ridge: float = 0.0) -> ThurstoneFit:
    return fit(count_matrix(votes), methods=votes.methods, ridge=ridge)


def naive(votes: Votes, result: ThurstoneFit, by: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Section by section as the equation reads, one vote at a time."""
    size = len(votes.methods)
    scores = []
    for winner, loser in zip(votes.winner, votes.loser, strict=True):
        vector = np.zeros(size)
        pull = float(ratio(np.array([result.scores[winner] - result.scores[loser]]))[0])
        vector[winner] += pull
        vector[loser] -= pull
        scores.append(vector)
    meat = np.zeros((size, size))
    for labels in by:
        members = sorted(set(labels.tolist()))
        for member in members:
            rows = np.flatnonzero(labels == member)
            total = sum((votes.count[row] * scores[row] for row in rows), start=np.zeros(size))
            meat += np.outer(total, total) * len(members) / (len(members) - 1)
    if len(by) == 2:
        for vector, count in zip(scores, votes.count, strict=True):
            meat -= count * np.outer(vector, vector)
    bread = np.linalg.pinv(result.information)
    values, vectors = np.linalg.eigh(bread @ meat @ bread)
    return np.asarray(vectors @ np.diag(values.clip(0)) @ vectors.T, dtype=np.float64)


def test_two_ways_against_a_loop_over_votes() -> None:
    votes = panel()
    result = fitted(votes)
    assert votes.subject is not None
    assert votes.image is not None
    robust = two_way_covariance(votes, result)
    np.testing.assert_allclose(robust.matrix, naive(votes, result, [votes.subject, votes.image]), atol=1e-12)
    assert robust.clusters == "9 subjects x 8 images"
    assert robust.degrees_of_freedom == 7


def test_aggregated_rows_count_each_of_their_votes() -> None:
    votes = panel()
    rows = np.arange(len(votes.winner)) % 3 == 0
    votes = Votes(
        **{name: getattr(votes, name) for name in ("methods", "images", "image", "subjects", "subject")},
        winner=votes.winner,
        loser=votes.loser,
        count=np.where(rows, 4, 1),
    )
    index = np.repeat(np.arange(len(rows)), votes.count)
    assert votes.image is not None
    assert votes.subject is not None
    expanded = Votes(
        votes.methods,
        votes.winner[index],
        votes.loser[index],
        np.ones(len(index), dtype=np.int64),
        images=votes.images,
        image=votes.image[index],
        subjects=votes.subjects,
        subject=votes.subject[index],
    )
    robust, same = (two_way_covariance(table, fitted(table)) for table in (votes, expanded))
    np.testing.assert_allclose(robust.matrix, same.matrix, atol=1e-12)
    np.testing.assert_allclose(robust.matrix, naive(votes, fitted(votes), [votes.subject, votes.image]), atol=1e-12)


@pytest.mark.parametrize("kind", ["images", "subjects"])
def test_one_way_against_an_independent_cluster_robust_regression(kind: str) -> None:
    votes = panel()
    labels = votes.image if kind == "images" else votes.subject
    assert labels is not None
    other = without(votes, subjects=kind == "images", images=kind == "subjects")
    robust = two_way_covariance(other, fitted(other))
    first, second = np.minimum(votes.winner, votes.loser), np.maximum(votes.winner, votes.loser)
    design = (np.eye(4)[first] - np.eye(4)[second])[:, 1:]
    # Its own correction would also scale by (n - 1) / (n - k): switched off, and S / (S - 1) multiplied in below.
    model = sm.Probit((votes.winner == first).astype(float), design).fit(
        disp=0, tol=1e-14, cov_type="cluster", cov_kwds={"groups": labels, "use_correction": False}
    )
    centre = (np.eye(4) - 0.25)[:, 1:]
    clusters = len(set(labels.tolist()))
    expected = centre @ model.cov_params() @ centre.T * clusters / (clusters - 1)
    np.testing.assert_allclose(robust.matrix, expected, atol=1e-9)
    assert robust.degrees_of_freedom == clusters - 1
    assert robust.clusters.startswith(f"{clusters} {kind} (no ")


def test_without_clusters_the_covariance_is_fishers_and_says_so() -> None:
    votes = without(panel(), images=True, subjects=True)
    result = fitted(votes)
    robust = two_way_covariance(votes, result)
    np.testing.assert_array_equal(robust.matrix, result.covariance)
    assert robust.degrees_of_freedom == np.inf
    assert "independent" in robust.clusters


def test_negative_eigenvalues_are_clipped() -> None:
    """Two subjects and two images who all but cancel out: the difference of the terms is not positive by itself."""
    smallest = []
    for seed in range(20):
        votes = panel(subjects=2, images=2, seed=seed)
        robust = two_way_covariance(votes, fitted(votes, ridge=0.1))
        smallest.append(np.linalg.eigvalsh(robust.matrix)[0])
    assert min(smallest) > -1e-12


@pytest.mark.parametrize(("images", "too_few"), [(4, True), (5, False)])
def test_clusters_are_too_few_unless_they_outnumber_the_methods(images: int, too_few: bool) -> None:
    votes = panel(subjects=9, images=images)
    assert two_way_covariance(votes, fitted(votes)).too_few_clusters is too_few


def test_only_clusters_with_votes_count() -> None:
    votes = panel()
    assert votes.image is not None
    part = subset(votes, votes.image < 5)
    assert two_way_covariance(part, fitted(part)).clusters == "9 subjects x 5 images"


@pytest.mark.parametrize(("subjects", "images"), [(1, 5), (5, 1)])
def test_a_single_cluster_shows_nothing_and_is_left_out_with_a_word(subjects: int, images: int) -> None:
    votes = panel(subjects, images)
    one_way = replace(votes, subject=None, subjects=None) if subjects == 1 else replace(votes, image=None, images=None)
    both, one = (two_way_covariance(v, fitted(v, ridge=0.1)) for v in (votes, one_way))
    np.testing.assert_allclose(both.matrix, one.matrix)
    assert both.degrees_of_freedom == one.degrees_of_freedom == 4
    single = "subject" if subjects == 1 else "image"
    assert both.clusters.endswith(f"(only one {single})")


def test_a_single_subject_on_a_single_image_leaves_fisher_and_says_so() -> None:
    votes = panel(1, 1)
    fit = fitted(votes, ridge=0.1)
    robust = two_way_covariance(votes, fit)
    np.testing.assert_array_equal(robust.matrix, fit.covariance)
    assert "too narrow" in robust.clusters


def test_a_fit_of_other_votes_is_refused() -> None:
    votes = panel()
    part = subset(votes, np.arange(len(votes.winner)) > 5)
    with pytest.raises(DiscernError, match="pass the same votes"):
        two_way_covariance(part, fitted(votes))
    with pytest.raises(DiscernError, match="the fit ranks"):
        two_way_covariance(votes, fit(count_matrix(votes), methods=["a", "b", "c", "e"]))


def independent(sd: list[float], degrees: float = np.inf) -> RobustCovariance:
    return RobustCovariance(np.diag(np.square(sd)), degrees, "test")


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_score_intervals_use_t_quantiles(level: float) -> None:
    scores = np.array([0.5, 0.0, -0.5])
    result = intervals(scores, independent([0.1, 0.2, 0.3], degrees=4), level=level)
    half = t.ppf(0.5 + level / 2, 4) * np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(result.lower, scores - half)
    np.testing.assert_allclose(result.upper, scores + half)
    endless = intervals(scores, independent([0.1, 0.2, 0.3]), level=level)
    np.testing.assert_allclose(endless.upper - scores, norm.ppf(0.5 + level / 2) * np.array([0.1, 0.2, 0.3]))


def test_rank_intervals_of_a_clear_and_an_unclear_order() -> None:
    result: Intervals = intervals(np.array([-1.0, 0.01, 0.0, 1.0]), independent([0.01, 0.1, 0.1, 0.01]))
    assert result.rank_lower.tolist() == [4, 2, 2, 1]
    assert result.rank_upper.tolist() == [4, 3, 3, 1]
    assert result.rank_lower.dtype == np.int64


def test_rank_intervals_hold_their_level_of_the_draws() -> None:
    """Three exchangeable methods: each rank has probability 1/3, so 30 % needs one rank and 50 % needs two."""
    result = intervals(np.zeros(3), independent([1.0, 1.0, 1.0]), level=0.5, draws=20_000)
    assert (result.rank_upper - result.rank_lower).tolist() == [2, 2, 2]
    assert intervals(np.zeros(3), independent([1.0] * 3), level=0.2).rank_lower.tolist() == [2, 2, 2]


def test_probability_above() -> None:
    covariance = np.array([[0.04, 0.03, -0.07], [0.03, 0.09, -0.12], [-0.07, -0.12, 0.19]])
    result = intervals(np.array([0.1, 0.0, -0.1]), RobustCovariance(covariance, 5, "test"))
    assert result.probability_above[0, 1] == pytest.approx(norm.cdf(0.1 / np.sqrt(0.04 + 0.09 - 0.06)))
    np.testing.assert_allclose(result.probability_above + result.probability_above.T, 1)
    np.testing.assert_array_equal(np.diagonal(result.probability_above), 0.5)


def test_probabilities_agree_with_draws() -> None:
    covariance = np.array([[0.04, 0.03, -0.07], [0.03, 0.09, -0.12], [-0.07, -0.12, 0.19]])
    scores = np.array([0.1, 0.0, -0.1])
    draws = np.random.default_rng(3).multivariate_normal(scores, covariance, 100_000)
    result = intervals(scores, RobustCovariance(covariance, 5, "test"))
    np.testing.assert_allclose(
        (draws[:, :, None] > draws[:, None, :]).mean(axis=0) + np.eye(3) / 2, result.probability_above, atol=0.01
    )


def test_rank_intervals_agree_with_ranks_counted_from_other_draws() -> None:
    factor = np.random.default_rng(4).normal(0, 0.3, (6, 6))
    scores, covariance = np.linspace(0.6, -0.6, 6), factor @ factor.T
    result = intervals(scores, RobustCovariance(covariance, 9, "test"), level=0.8, draws=40_000)
    drawn = np.random.default_rng(5).multivariate_normal(scores, covariance, 40_000)
    ranks = 1 + (drawn[:, None, :] > drawn[:, :, None]).sum(axis=2)
    below = (ranks < result.rank_lower).mean(axis=0)
    above = (ranks > result.rank_upper).mean(axis=0)
    # A tail outside holds at most a tenth of the draws, and would hold more if the interval were one rank shorter.
    assert (below < 0.1 + 0.01).all()
    assert (above < 0.1 + 0.01).all()
    assert ((ranks <= result.rank_lower).mean(axis=0) > 0.1 - 0.01).all()
    assert ((ranks >= result.rank_upper).mean(axis=0) > 0.1 - 0.01).all()


def test_without_variance_the_order_is_certain() -> None:
    result = intervals(np.array([1.0, -0.5, -0.5]), independent([0.0, 0.0, 0.0]))
    assert result.probability_above.tolist() == [[0.5, 1, 1], [0, 0.5, 0.5], [0, 0.5, 0.5]]


def test_rank_draws_follow_the_correlation() -> None:
    """Two methods that move together: their order is sure although each score is not."""
    together = np.full((2, 2), 1.0) + 1e-6 * np.eye(2)
    result = intervals(np.array([0.05, 0.0]), RobustCovariance(together, 9, "test"))
    assert result.rank_upper.tolist() == [1, 2]
    assert result.upper[0] > 1


def test_the_seed_decides_the_draws() -> None:
    scores = np.linspace(0.5, -0.5, 12)
    runs = [intervals(scores, independent([0.3] * 12), draws=40, seed=seed).rank_lower for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, float("nan")])
def test_bad_level(level: float) -> None:
    with pytest.raises(DiscernError, match="level must"):
        intervals(np.zeros(2), independent([1.0, 1.0]), level=level)


def test_bad_draws_and_shapes() -> None:
    with pytest.raises(DiscernError, match="draws must"):
        intervals(np.zeros(2), independent([1.0, 1.0]), draws=0)
    with pytest.raises(DiscernError, match="do not fit"):
        intervals(np.zeros(3), independent([1.0, 1.0]))


def test_robust_intervals_cover_where_fisher_intervals_do_not() -> None:
    """Images with strong tastes, drawn anew each time; the truth is where Eq. (2) settles over all images."""
    truth = np.array([0.6, 0.2, -0.2, -0.6]) / np.sqrt(1 + 2 * 0.8**2 + 2 * 0.4**2)
    covered = {"robust": 0, "fisher": 0}
    for seed in range(60):
        votes = panel(subjects=12, images=15, seed=seed, image_sd=0.8)
        result = fitted(votes)
        robust = two_way_covariance(votes, result)
        fisher = RobustCovariance(result.covariance, np.inf, "fisher")
        for name, covariance in (("robust", robust), ("fisher", fisher)):
            spread = intervals(result.scores, covariance, draws=1)
            covered[name] += int(((spread.lower < truth) & (truth < spread.upper)).sum())
    assert covered["robust"] / 240 > 0.85
    assert covered["fisher"] / 240 < 0.7
