"""The 2AFC score of a metric, and the figures without which it misleads: oracle, human agreement, ranking-only.

    score of a pair = p q + (1 - p) (1 - q)

p is the share of votes for the first of the two outputs; q is 1 where the metric prefers the first, 0 where it prefers
the second, 1/2 at a tie. A metric's score is the mean over pairs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pipelines.errors import DiscernError
from pipelines.ranking import thurstone
from pipelines.ranking.counts import Integers, PairTallies, Votes, count_matrix, pairs, subset

Floats = NDArray[np.float64]

# Lets a fold without some comparison be fitted; a prior of sd 32 leaves scores of any size as the votes have them.
RIDGE = 1e-3

# Resampling weights held in memory at once: 32 MB.
_WEIGHTS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Difference:
    """How much one metric scores above another.

    Attributes:
        difference: mean score of the first less that of the second, over pairs.
        lower: lower end of the interval.
        upper: upper end.
        images: how many LR images were resampled.
    """

    difference: float
    lower: float
    upper: float
    images: int


def two_afc(
    wins_first: ArrayLike, wins_second: ArrayLike, quality_first: ArrayLike, quality_second: ArrayLike
) -> float:
    """2AFC score of a metric, in [0, 1]: the mean of `two_afc_by_pair`, which describes the arguments and errors."""
    return float(two_afc_by_pair(wins_first, wins_second, quality_first, quality_second).mean())


def two_afc_by_pair(
    wins_first: ArrayLike, wins_second: ArrayLike, quality_first: ArrayLike, quality_second: ArrayLike
) -> Floats:
    """2AFC score of a metric on every pair.

    Args:
        wins_first: (P,) votes for the first output of each pair.
        wins_second: (P,) votes for the second.
        quality_first: (P,) what the metric says of the first; higher is better, no NaN.
        quality_second: (P,) of the second.

    Returns:
        (P,) float64, in [0, 1].

    Raises:
        DiscernError: shapes that differ, no pairs, a pair without votes, negative votes, or a quality that is NaN.
    """
    first, second = _valid_wins(wins_first, wins_second)
    share = first / (first + second)
    preferred = _preference(quality_first, quality_second, share.shape)
    return share * preferred + (1 - share) * (1 - preferred)


def oracle(wins_first: ArrayLike, wins_second: ArrayLike) -> float:
    """The most that any metric can score on these votes: mean of max(p, 1 - p). It has seen what it predicts."""
    first, second = _valid_wins(wins_first, wins_second)
    return float((np.maximum(first, second) / (first + second)).mean())


def leave_one_out_human(wins_first: ArrayLike, wins_second: ArrayLike) -> float:
    """How well the majority of the others predicts one person; a majority that is tied earns half.

    Of k votes for one output and n - k for the other, each of the k is predicted by k - 1 against n - k. Pairs with a
    single vote are left out: there are no others.

    Raises:
        DiscernError: as in `two_afc_by_pair`, or no pair has two votes.
    """
    first, second = _with_two_votes(wins_first, wins_second)
    predicted = first * _majority(first - 1, second) + second * _majority(second - 1, first)
    return float((predicted / (first + second)).mean())


def two_random_humans(wins_first: ArrayLike, wins_second: ArrayLike) -> float:
    """How often two different people agree on a pair; pairs with a single vote are left out.

    Raises:
        DiscernError: as in `leave_one_out_human`.
    """
    first, second = _with_two_votes(wins_first, wins_second)
    total = first + second
    return float(((first * (first - 1) + second * (second - 1)) / (total * (total - 1))).mean())


def ranking_only(votes: Votes) -> float:
    """2AFC score, in sample, of preferring the method of the higher mu without looking at a pixel.

    mu is fitted to the same votes with the ridge `RIDGE`, as in the cross-validated figure.

    Raises:
        DiscernError: the votes name no LR images, or there are none.
    """
    tallies = pairs(votes)
    return float(_ranking_scores(_ranking(votes), tallies).mean())


def ranking_only_cross_validated(votes: Votes, folds: int = 5, seed: int = 0, deals: int = 10) -> float:
    """`ranking_only` with mu fitted on other LR images than those of the pair; with the ridge `RIDGE`.

    Args:
        votes: with LR images.
        folds: how many parts the images are dealt into, at least 2.
        seed: of the dealing.
        deals: how often the images are dealt anew, at least 1; the mean is returned. One deal of RealSR-1K may give
            anything from .688 to .696.

    Raises:
        DiscernError: the votes name no LR images, there are fewer images than folds, or fewer deals than one.
    """
    tallies = pairs(votes)
    present = np.unique(tallies.image)
    if not 2 <= folds <= len(present):
        raise DiscernError(f"folds must be between 2 and the number of LR images, {len(present)}, got {folds}")
    if deals < 1:
        raise DiscernError(f"deals must be at least 1, got {deals}")
    random = np.random.default_rng(seed)
    return float(np.mean([_one_deal(votes, tallies, random.permutation(present), folds) for _ in range(deals)]))


def _one_deal(votes: Votes, tallies: PairTallies, images: Integers, folds: int) -> float:
    """Ranking-only score with the images dealt into folds in this order."""
    part = np.empty(int(images.max()) + 1, dtype=np.int64)
    part[images] = np.arange(len(images)) % folds
    scores = np.empty(len(tallies.image))
    for fold in range(folds):
        held_out = part[tallies.image] == fold
        mu = _ranking(subset(votes, part[votes.image] != fold))
        scores[held_out] = _ranking_scores(mu, tallies)[held_out]
    return float(scores.mean())


def paired_bootstrap(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    image: ArrayLike,
    *,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Difference of two metrics on the same pairs, with a percentile interval from resampling LR images.

    Args:
        scores_a: (P,) of one metric, from `two_afc_by_pair`.
        scores_b: (P,) of the other.
        image: (P,) integers, the LR image of each pair.
        level: confidence, in (0, 1).
        draws: number of resamples, at least 1.
        seed: of the resampling.

    Raises:
        DiscernError: shapes that differ, NaN, fewer than two images, or a level or draws outside their range.
    """
    if not 0 < level < 1 or draws < 1:
        raise DiscernError(f"level must lie between 0 and 1 and draws be at least 1, got {level} and {draws}")
    gain, cluster = _gains(scores_a, scores_b, image)
    total = np.asarray(np.bincount(cluster, weights=gain), dtype=np.float64)
    size = np.bincount(cluster).astype(np.int64)
    if len(total) < 2:
        raise DiscernError(f"resampling LR images needs at least 2 of them, got {len(total)}")
    means = _resampled_means(total, size, draws, np.random.default_rng(seed))
    lower, upper = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(gain.mean()), float(lower), float(upper), len(total))


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation of two (n,) arrays, in [-1, 1].

    Raises:
        DiscernError: shapes that differ, fewer than two values, NaN, or an array that is constant.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise DiscernError(f"correlation needs two arrays of one length of at least 2, got shapes {a.shape}, {b.shape}")
    if np.isnan(a).any() or np.isnan(b).any() or np.ptp(a) == 0 or np.ptp(b) == 0:
        raise DiscernError("correlation needs numbers that are not NaN and not all the same")
    return float(stats.spearmanr(a, b).statistic)


def _valid_wins(wins_first: ArrayLike, wins_second: ArrayLike) -> tuple[Floats, Floats]:
    first, second = np.asarray(wins_first, dtype=np.float64), np.asarray(wins_second, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise DiscernError(f"votes must be two arrays of one length (P,), got shapes {first.shape} and {second.shape}")
    wrong = ~((first >= 0) & (second >= 0) & (first + second > 0) & np.isfinite(first + second))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DiscernError(f"pair {row} has {first[row]:g} and {second[row]:g} votes: give each pair at least one vote")
    return first, second


def _with_two_votes(wins_first: ArrayLike, wins_second: ArrayLike) -> tuple[Floats, Floats]:
    first, second = _valid_wins(wins_first, wins_second)
    enough = first + second >= 2
    if not enough.any():
        raise DiscernError("no pair has two votes, so nobody can be compared with anybody: collect a second round")
    return first[enough], second[enough]


def _preference(quality_first: ArrayLike, quality_second: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """The preference q of every pair: 1, 1/2 or 0. Compares rather than subtracts, so that two infinities tie."""
    first, second = np.asarray(quality_first, dtype=np.float64), np.asarray(quality_second, dtype=np.float64)
    if first.shape != shape or second.shape != shape:
        raise DiscernError(f"quality must be {shape}, one for each pair, got shapes {first.shape} and {second.shape}")
    missing = np.isnan(first) | np.isnan(second)
    if missing.any():
        raise DiscernError(
            f"quality is NaN in {missing.sum()} pairs, first in pair {int(np.flatnonzero(missing)[0])}: "
            "leave these pairs out, for every metric that is compared"
        )
    return _majority(first, second)


def _majority(first: Floats, second: Floats) -> Floats:
    """1 where the first is larger, 0 where the second is, 1/2 where they are equal."""
    return np.where(first == second, 0.5, first > second)


def _ranking(votes: Votes) -> Floats:
    return thurstone.fit(count_matrix(votes), methods=votes.methods, ridge=RIDGE).scores


def _ranking_scores(mu: Floats, tallies: PairTallies) -> Floats:
    return two_afc_by_pair(tallies.wins_first, tallies.wins_second, mu[tallies.first], mu[tallies.second])


def _gains(scores_a: ArrayLike, scores_b: ArrayLike, image: ArrayLike) -> tuple[Floats, Integers]:
    """(P,) differences, and (P,) int64 numbers of the LR images from 0 without gaps."""
    a, b, images = np.asarray(scores_a, dtype=np.float64), np.asarray(scores_b, dtype=np.float64), np.asarray(image)
    if not a.shape == b.shape == images.shape or a.ndim != 1:
        raise DiscernError(
            f"scores and images must be (P,) for the same pairs, got shapes {a.shape}, {b.shape} and {images.shape}"
        )
    if np.isnan(a).any() or np.isnan(b).any():
        raise DiscernError("scores must not be NaN: leave these pairs out, for both metrics")
    _, cluster = np.unique(images, return_inverse=True)
    return a - b, cluster


def _resampled_means(total: Floats, size: Integers, draws: int, random: np.random.Generator) -> Floats:
    """Mean over pairs in each resample: images carry their pairs with them, so the denominator varies too."""
    number = len(total)
    at_once = max(1, _WEIGHTS_AT_ONCE // number)
    means = []
    for start in range(0, draws, at_once):
        weights = random.multinomial(number, np.full(number, 1 / number), min(at_once, draws - start))
        means.append(weights @ total / (weights @ size))
    return np.concatenate(means)
