"""Simulated subjects for the two-alternative forced choice: to try a design, and to test what is fitted to its votes.

An observer o sees the LR image x through methods l (left) and r (right), and chooses left where

    a_o (q(x, l) + t_ol  -  q(x, r) - t_or)  +  b_o  +  e  >  0,      e ~ N(0, 1),

with a sensitivity a, a personal taste t for each method and a side bias b; with probability lapse_rate the choice is a
fair coin. Without taste, bias and lapses, and with a = 1, this is the model of Eq. (2).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import DiscernError
from pipelines.ranking.counts import Integers, Votes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """How simulated subjects differ; the defaults are moderately careful people who differ in taste.

    Attributes:
        sensitivity: mean of a, at least 0; it scales quality in units of a vote's own noise.
        sensitivity_log_sd: standard deviation of log a; a is log-normal.
        taste_sd: standard deviation of a subject's offset for a method, in units of quality.
        side_bias_sd: standard deviation of b; a positive b favours the left.
        lapse_rate: share of votes that are a coin, in [0, 1].

    Raises:
        DiscernError: a parameter is negative or not finite, or the lapse rate exceeds 1.
    """

    sensitivity: float = 1.0
    sensitivity_log_sd: float = 0.3
    taste_sd: float = 0.28
    side_bias_sd: float = 0.1
    lapse_rate: float = 0.02

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value < np.inf:
                raise DiscernError(f"population: {name} must be a finite number of at least 0, got {value}")
        if self.lapse_rate > 1:
            raise DiscernError(f"population: lapse_rate must be at most 1, got {self.lapse_rate}")


@dataclass(frozen=True, eq=False)
class Observers:
    """S subjects drawn from a population.

    Attributes:
        sensitivity: (S,) float64, a.
        taste: (S, N) float64, t.
        side_bias: (S,) float64, b.
        lapse_rate: of everyone.
    """

    sensitivity: Floats
    taste: Floats
    side_bias: Floats
    lapse_rate: float


def quality_of(scores: ArrayLike) -> Floats:
    """Quality as observers see it, from a full-reference metric against the known originals.

    Differences among the outputs of one image count, not what distinguishes images; their spread is the unit.

    Args:
        scores: (I, N) float, finite, higher is better: the metric of each method's output of each LR image.

    Returns:
        (I, N) float64: each image's mean is 0, and the standard deviation of all is 1.

    Raises:
        DiscernError: the scores do not differ within any image.
    """
    values = np.asarray(scores, dtype=np.float64)
    centred = values - values.mean(axis=1, keepdims=True)
    spread = float(centred.std())
    if not spread > 0:
        raise DiscernError("the metric finds no difference between the methods on any image: nobody could prefer one")
    return centred / spread


def draw(population: Population, subjects: int, methods: int, random: np.random.Generator) -> Observers:
    """Draw `subjects` people who will compare `methods` methods.

    Raises:
        DiscernError: fewer than one subject or two methods.
    """
    if subjects < 1 or methods < 2:
        raise DiscernError(f"need at least 1 subject and 2 methods, got {subjects} and {methods}")
    # The mean of a log-normal exceeds its median by exp(sd^2 / 2).
    spread = population.sensitivity_log_sd
    return Observers(
        sensitivity=population.sensitivity * np.exp(spread * random.standard_normal(subjects) - spread**2 / 2),
        taste=population.taste_sd * random.standard_normal((subjects, methods)),
        side_bias=population.side_bias_sd * random.standard_normal(subjects),
        lapse_rate=population.lapse_rate,
    )


def vote(observers: Observers, quality: ArrayLike, trials: Integers, random: np.random.Generator) -> NDArray[np.bool_]:
    """Let observers vote.

    Args:
        observers: S of them.
        quality: (images, N) float, on the scale where a vote's own noise has unit variance.
        trials: (T, 4) integers: subject, image, left method, right method.
        random: source of noise and lapses.

    Returns:
        (T,) bool: whether the left one was chosen.
    """
    subject, image, left, right = np.asarray(trials).T
    values, taste = np.asarray(quality, dtype=np.float64), observers.taste
    preference = values[image, left] + taste[subject, left] - values[image, right] - taste[subject, right]
    decision = observers.sensitivity[subject] * preference + observers.side_bias[subject]
    chosen = decision + random.standard_normal(len(subject)) > 0
    lapsed = random.random(len(subject)) < observers.lapse_rate
    return np.where(lapsed, random.random(len(subject)) < 0.5, chosen)


def first_is_left(pairs: int, subjects: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Random sides, counterbalanced: the two orders of every pair differ by at most one over the subjects.

    Returns:
        (subjects, pairs) bool: whether the subject sees the first method of the pair on the left.
    """
    places = np.tile(np.arange(subjects)[:, None], (1, pairs))
    order = random.permuted(places, axis=0)
    # With an odd number of subjects the coin decides which order gets one more.
    sides: NDArray[np.bool_] = (order + random.integers(0, 2, pairs)) % 2 == 0
    return sides


def simulate(
    quality: ArrayLike,
    pairs: ArrayLike,
    *,
    methods: Sequence[str],
    images: Sequence[str],
    subjects: Sequence[str],
    groups: Sequence[str] | None = None,
    population: Population | None = None,
    seed: int = 0,
) -> Votes:
    """Let every subject of a simulated panel judge every pair once.

    Args:
        quality: (I, N) float, finite: how good each method's output of each LR image is; a difference of 1 wins 84 % of
            the votes of an average subject.
        pairs: (P, 3) integers: image, first method, second method.
        methods: N names.
        images: I names.
        subjects: S names.
        groups: of each pair, the name of the group that it was selected in; P names, or None where that is not known.
        population: what the subjects are drawn from; `Population()` by default.
        seed: the same seed gives the same votes.

    Returns:
        S x P votes marked as simulated, subject by subject.

    Raises:
        DiscernError: shapes or groups that do not fit, quality that is not finite, or indices outside their range.
    """
    values = _valid_quality(quality, len(images), len(methods))
    image, first, second = _valid_pairs(pairs, len(images), len(methods)).T
    names, group = _indexed(groups, len(image), len(subjects))
    random = np.random.default_rng(seed)
    observers = draw(population or Population(), len(subjects), len(methods), random)
    on_left = first_is_left(len(image), len(subjects), random)
    left, right = np.where(on_left, first, second).ravel(), np.where(on_left, second, first).ravel()
    subject, shown = np.repeat(np.arange(len(subjects)), len(image)), np.tile(image, len(subjects))
    chose_left = vote(observers, values, np.stack([subject, shown, left, right], axis=1), random)
    return Votes(
        methods=tuple(methods),
        winner=np.where(chose_left, left, right),
        loser=np.where(chose_left, right, left),
        count=np.ones_like(subject),
        images=tuple(images),
        image=shown,
        subjects=tuple(subjects),
        subject=subject,
        groups=names,
        group=group,
        simulated=True,
    )


def _indexed(
    groups: Sequence[str] | None, pairs: int, subjects: int
) -> tuple[tuple[str, ...], Integers] | tuple[None, None]:
    """The groups' names, sorted, and the index of each vote's group among them."""
    if groups is None:
        return None, None
    if len(groups) != pairs:
        raise DiscernError(f"groups must name one for each of {pairs} pairs, got {len(groups)}")
    names = sorted(set(groups))
    return tuple(names), np.tile(np.array([names.index(name) for name in groups], dtype=np.int64), subjects)


def _valid_quality(quality: ArrayLike, images: int, methods: int) -> Floats:
    values = np.asarray(quality, dtype=np.float64)
    if values.shape != (images, methods):
        raise DiscernError(f"quality must be ({images}, {methods}), images by methods, got shape {values.shape}")
    if not np.isfinite(values).all():
        image, method = np.argwhere(~np.isfinite(values))[0]
        raise DiscernError(f"quality must be finite, got {values[image, method]} for image {image}, method {method}")
    return values


def _valid_pairs(pairs: ArrayLike, images: int, methods: int) -> Integers:
    rows = np.asarray(pairs)
    if rows.ndim != 2 or rows.shape[1] != 3 or len(rows) == 0 or rows.dtype.kind not in "iu":
        raise DiscernError(
            f"pairs must be integers of shape (P, 3): image, first, second; got {rows.dtype} of shape {rows.shape}"
        )
    wrong = (rows < 0).any(axis=1) | (rows >= [images, methods, methods]).any(axis=1) | (rows[:, 1] == rows[:, 2])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DiscernError(
            f"pairs: row {row} is {rows[row].tolist()}; the image must be below {images} "
            f"and the methods two different ones below {methods}"
        )
    return rows.astype(np.int64)
