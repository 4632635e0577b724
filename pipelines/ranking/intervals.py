"""How sure the scores are: two-way cluster-robust covariance, intervals of scores and ranks, order probabilities.

Votes share subjects and LR images, so the Fisher covariance, which takes them as independent, is far too narrow
(Cameron, Gelbach and Miller 2011):

    V = H^-1 (G_subject + G_image - G_vote) H^-1

H is the observed information, G_subject the sum over subjects of outer products of their summed score vectors, times
S / (S - 1); G_image the same over LR images (one LR image serves many pairs of methods, so it is the cluster, not the
pair); G_vote the sum over single votes. The intervals speak of images selected like these: MAD picks extremes, and the
votes on a group of images drawn at random, ranked apart, speak of ordinary ones.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from pipelines.errors import DiscernError
from pipelines.ranking.counts import Integers, Votes
from pipelines.ranking.thurstone import Floats, ThurstoneFit, ratio

KINDS = ("subjects", "images")


@dataclass(frozen=True, eq=False)
class RobustCovariance:
    """Covariance of the scores, and what it was clustered by.

    Attributes:
        matrix: (N, N) float64, positive semi-definite; rows sum to 0.
        degrees_of_freedom: of the t quantiles: the smaller number of clusters, less 1; infinite without clusters.
        clusters: for people to read, such as "23 subjects x 500 images".
    """

    matrix: Floats
    degrees_of_freedom: float
    clusters: str

    @property
    def too_few_clusters(self) -> bool:
        """Whether there are no more clusters of one kind than methods: some contrasts then seem surer than they are."""
        return self.degrees_of_freedom < len(self.matrix)


@dataclass(frozen=True, eq=False)
class Intervals:
    """What can be said about N methods at one confidence level.

    Attributes:
        lower: (N,) float64, lower end of each score.
        upper: (N,) float64, upper end.
        rank_lower: (N,) int64, best rank that is credible; 1 is the highest score.
        rank_upper: (N,) int64, worst rank that is credible.
        probability_above: (N, N) float64, in [0, 1]: that the method of the row is above the method of the column;
            .5 on the diagonal.
    """

    lower: Floats
    upper: Floats
    rank_lower: Integers
    rank_upper: Integers
    probability_above: Floats


def two_way_covariance(votes: Votes, fit: ThurstoneFit) -> RobustCovariance:
    """Covariance of the scores that allows for shared subjects and shared LR images.

    Clusters by whatever the votes name: subjects and images, one of them, or none, which leaves the Fisher covariance.
    From a single subject, or a single image, nothing can be learned about how subjects, or images, differ: that kind of
    cluster is left out, and `clusters` says so. An aggregated row of c votes adds c s s' to G_vote.

    Args:
        votes: those that `fit` was fitted to.
        fit: from `thurstone.fit`.

    Raises:
        DiscernError: the fit belongs to other votes.
    """
    _check_same(votes, fit)
    named = [(kind, labels) for kind, labels in _labels(votes) if labels is not None]
    numbers = {kind: len(np.unique(labels)) for kind, labels in named}
    kinds = [labels for kind, labels in named if numbers[kind] > 1]
    if not kinds:
        return RobustCovariance(fit.covariance, np.inf, _describe(numbers))
    pulls = ratio(fit.scores[votes.winner] - fit.scores[votes.loser])
    meat = sum((_clustered(votes, pulls, labels) for labels in kinds), start=np.zeros_like(fit.covariance))
    if len(kinds) == 2:
        # Both cluster terms hold every vote's product with itself; it belongs there once.
        meat -= _single(votes, pulls)
    matrix = _clip(fit.covariance @ meat @ fit.covariance)
    fewest = min(number for number in numbers.values() if number > 1)
    return RobustCovariance(matrix, fewest - 1, _describe(numbers))


def intervals(
    scores: Floats, covariance: RobustCovariance, *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> Intervals:
    """Intervals of scores by t quantiles, of ranks by draws of N(mu, V), and probabilities of order.

    The probability that i is above j under N(mu, V) is Phi((mu_i - mu_j) / sd_ij), which needs no draws. The interval
    of a rank holds at least `level` of the drawn ranks.

    Args:
        scores: (N,) float64, mu.
        covariance: (N, N), from `two_way_covariance`.
        level: confidence, in (0, 1).
        draws: number of draws for the ranks, at least 1.
        seed: of the draws.

    Raises:
        DiscernError: level, draws or the shapes are not as described.
    """
    _check_request(scores, covariance, level, draws)
    tails = ((1 - level) / 2, (1 + level) / 2)
    half = stdtrit(covariance.degrees_of_freedom, tails[1]) * np.sqrt(np.diagonal(covariance.matrix))
    ranks = _drawn_ranks(scores, covariance.matrix, draws, seed)
    rank_lower, rank_upper = np.quantile(ranks, tails, axis=0, method="inverted_cdf").astype(np.int64)
    above = _probability_above(scores, covariance.matrix)
    return Intervals(scores - half, scores + half, rank_lower, rank_upper, above)


def _check_same(votes: Votes, fit: ThurstoneFit) -> None:
    if votes.methods != fit.methods:
        raise DiscernError(f"the fit ranks {', '.join(fit.methods)}; the votes compare {', '.join(votes.methods)}")
    if votes.count.sum() != fit.number_of_votes:
        raise DiscernError(
            f"the fit was made from {fit.number_of_votes:g} votes, these are {votes.count.sum()}: pass the same votes"
        )


def _labels(votes: Votes) -> list[tuple[str, Integers | None]]:
    return list(zip(KINDS, (votes.subject, votes.image), strict=True))


def _clustered(votes: Votes, pulls: Floats, labels: Integers) -> Floats:
    """G of one kind of cluster, with its factor: (N, N)."""
    _, cluster = np.unique(labels, return_inverse=True)
    number = int(cluster.max()) + 1
    summed = np.zeros((number, len(votes.methods)))
    np.add.at(summed, (cluster, votes.winner), votes.count * pulls)
    np.add.at(summed, (cluster, votes.loser), -votes.count * pulls)
    return summed.T @ summed * (number / (number - 1))


def _single(votes: Votes, pulls: Floats) -> Floats:
    """G_vote, (N, N): a vote's score vector is r (e_winner - e_loser), so the sum is the Laplacian of weights r^2."""
    weights = np.zeros((len(votes.methods), len(votes.methods)))
    np.add.at(weights, (votes.winner, votes.loser), votes.count * pulls**2)
    weights += weights.T
    return np.diag(weights.sum(axis=1)) - weights


def _clip(matrix: Floats) -> Floats:
    """The nearest positive semi-definite matrix; the two-way difference can leave small negative eigenvalues."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    clipped: Floats = (vectors * np.maximum(values, 0)) @ vectors.T
    return clipped


def _describe(numbers: dict[str, int]) -> str:
    """The clusters in words, with what the votes do not show."""
    used = [f"{number} {kind}" for kind, number in numbers.items() if number > 1]
    blind = [f"no {kind} named" for kind in KINDS if kind not in numbers]
    blind += [f"only one {kind.removesuffix('s')}" for kind, number in numbers.items() if number == 1]
    if not used:
        return f"nothing: votes are taken as independent, the intervals are too narrow ({', '.join(blind)})"
    return " x ".join(used) + (f" ({', '.join(blind)})" if blind else "")


def _check_request(scores: Floats, covariance: RobustCovariance, level: float, draws: int) -> None:
    if covariance.matrix.shape != (len(scores), len(scores)):
        raise DiscernError(f"{len(scores)} scores do not fit a covariance of shape {covariance.matrix.shape}")
    if not 0 < level < 1:
        raise DiscernError(f"level must lie between 0 and 1, such as 0.95, got {level}")
    if draws < 1:
        raise DiscernError(f"draws must be at least 1, got {draws}")


def _drawn_ranks(scores: Floats, matrix: Floats, draws: int, seed: int) -> Integers:
    """(draws, N) int64 ranks, 1 for the highest score."""
    values, vectors = np.linalg.eigh(matrix)
    noise = np.random.default_rng(seed).standard_normal((draws, len(scores)))
    drawn = scores + noise * np.sqrt(np.maximum(values, 0)) @ vectors.T
    return np.argsort(np.argsort(-drawn, axis=1, kind="stable"), axis=1, kind="stable") + 1


def _probability_above(scores: Floats, matrix: Floats) -> Floats:
    variances = np.diagonal(matrix)
    variance = variances[:, None] + variances[None, :] - 2 * matrix
    difference = scores[:, None] - scores[None, :]
    # Where nothing varies the order is certain, or the two are equal.
    certain = np.where(difference == 0, 0, np.copysign(np.inf, difference))
    spread = np.sqrt(np.maximum(variance, 0))
    standardised = np.divide(difference, spread, out=certain, where=spread > 0)
    return np.asarray(ndtr(standardised), dtype=np.float64)
