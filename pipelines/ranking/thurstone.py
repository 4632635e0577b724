"""Eq. (2): maximum likelihood scores under Thurstone's case V, with the *difference* of two scores of unit variance.

    L(mu; C) = sum over i, j of C_ij log Phi(mu_i - mu_j),   sum mu = 0

L is concave. A finite maximum exists only where the graph "i beat j at least once" is strongly connected: otherwise
some group of methods could move away from the rest for ever, and the fit refuses to invent where it stands. A ridge,
the posterior mode under mu ~ N(0, 1/ridge), always has one; it is a choice of the caller, and is recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, helmert
from scipy.sparse.csgraph import connected_components

# Not `scipy.stats`, which is made of these and takes longer to import than the rest of a ranking takes.
from scipy.special import chdtrc, log_ndtr, ndtri, xlogy

from pipelines.errors import DiscernError

TOLERANCE = 1e-10
MAX_STEPS = 100

Floats = NDArray[np.float64]


class NotIdentifiableError(DiscernError):
    """The votes do not tie all methods to one scale.

    Attributes:
        groups: the methods of each group that is comparable within; ordered so that no group ever lost to a later one.
    """

    def __init__(self, groups: tuple[tuple[str, ...], ...]) -> None:
        self.groups = groups
        listed = " > ".join(f"[{', '.join(group)}]" for group in groups)
        super().__init__(
            f"no finite scores exist: the votes between these groups of methods go one way only, or are missing "
            f"(no group lost to a later one): {listed}; collect more votes between the groups, "
            "or fit with an explicit ridge, for example 0.001"
        )


@dataclass(frozen=True, eq=False)
class ThurstoneFit:
    """Scores of N methods, and how well they explain the votes.

    Attributes:
        methods: names.
        scores: (N,) float64, mu, sum 0; a difference of 1 means that 84 % of votes favour the higher method.
        covariance: (N, N) float64, inverse of `information` on the subspace of sum 0. It takes every vote as
            independent, which votes that share subjects and images are not: see `intervals.two_way_covariance`.
        information: (N, N) float64, observed information: the negative Hessian of L, plus ridge times identity.
        log_likelihood: L at the scores, without the ridge's penalty.
        deviance: G2, twice the log-likelihood that a free probability for every pair of methods would add.
        degrees_of_freedom: pairs of methods with votes, less the scores that those votes determine (N - 1 where all
            methods are connected).
        p_value: of the deviance under chi-square, taking votes as independent; NaN without degrees of freedom.
        ridge: precision of the prior; 0 for maximum likelihood.
        number_of_votes: sum of the counts.
    """

    methods: tuple[str, ...]
    scores: Floats
    covariance: Floats
    information: Floats
    log_likelihood: float
    deviance: float
    degrees_of_freedom: int
    p_value: float
    ridge: float
    number_of_votes: float


def fit(counts: ArrayLike, *, methods: Sequence[str] | None = None, ridge: float = 0.0) -> ThurstoneFit:
    """Fit Eq. (2) by Newton's method.

    Args:
        counts: (N, N), row beats column; finite, not negative, zero on the diagonal. Fractions are allowed.
        methods: N names; the indices 0 to N - 1 by default.
        ridge: at least 0.

    Raises:
        NotIdentifiableError: ridge is 0 and no finite maximum exists.
        DiscernError: counts, names or ridge are not as described, there are no votes, or the fit does not converge.
    """
    wins = _valid_counts(counts)
    names = _valid_names(methods, len(wins))
    if not 0 <= ridge < np.inf:
        raise DiscernError(f"ridge must be a finite number of at least 0, got {ridge}")
    groups = comparable_groups(wins)
    if ridge == 0 and len(groups) > 1:
        raise NotIdentifiableError(tuple(tuple(names[index] for index in group) for group in groups))
    scores = _maximise(wins, ridge)
    return _describe(wins, names, scores, ridge)


def comparable_groups(counts: ArrayLike) -> list[list[int]]:
    """Groups of methods among which finite scores exist: the strongly connected components of the win graph.

    Args:
        counts: (N, N), row beats column.

    Returns:
        Indices of each group; no group has lost to a later one, and groups that no vote orders stand by index.
    """
    beats = np.asarray(counts) > 0
    number, label = connected_components(beats, directed=True, connection="strong")
    groups = [np.flatnonzero(label == group).tolist() for group in range(number)]
    # Whoever beat a group, directly or along a chain, reaches all that the group reaches, and itself: strictly more.
    reached = _reachable(beats).sum(axis=1)
    return sorted(groups, key=lambda group: (-int(reached[group[0]]), group[0]))


def jod(scores: ArrayLike) -> Floats:
    """Scores in just-objectionable differences: a difference of 1 JOD means that 75 % of votes favour the higher."""
    return np.asarray(scores, dtype=np.float64) / float(ndtri(0.75))


def ratio(differences: Floats) -> Floats:
    """Derivative of log Phi, phi(d) / Phi(d), without a quotient of two underflowing numbers."""
    return np.exp(log_density(differences) - log_ndtr(differences))


def log_density(differences: Floats) -> Floats:
    """The logarithm of phi(d), the density of the standard normal distribution."""
    return -0.5 * (differences**2 + np.log(2 * np.pi))


def _valid_counts(counts: ArrayLike) -> Floats:
    wins = np.asarray(counts, dtype=np.float64)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or len(wins) < 2:
        raise DiscernError(f"counts must be (N, N) for N of at least 2 methods, got shape {wins.shape}")
    if not (np.isfinite(wins) & (wins >= 0)).all():
        row, column = np.argwhere(~(np.isfinite(wins) & (wins >= 0)))[0]
        raise DiscernError(f"counts must be finite and not negative, got {wins[row, column]} at [{row}, {column}]")
    if np.diagonal(wins).any():
        row = int(np.flatnonzero(np.diagonal(wins))[0])
        raise DiscernError(f"counts must be 0 on the diagonal, got {wins[row, row]} at [{row}, {row}]")
    if not wins.any():
        raise DiscernError("there are no votes to fit: collect some first")
    return wins


def _valid_names(methods: Sequence[str] | None, number: int) -> tuple[str, ...]:
    names = tuple(str(index) for index in range(number)) if methods is None else tuple(methods)
    if len(names) != number:
        raise DiscernError(f"counts of {number} methods need {number} names, got {len(names)}")
    if len(set(names)) != number:
        raise DiscernError(f"each method must have its own name, got {', '.join(names)}")
    return names


def _reachable(beats: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N, N) bool: whether a chain of wins leads from row to column; every method reaches itself."""
    reach = beats | np.eye(len(beats), dtype=np.bool_)
    for _ in range(len(beats).bit_length()):  # each round doubles the length of the chains
        reach = reach @ reach
    return reach


def _maximise(wins: Floats, ridge: float) -> Floats:
    """Newton's method with step halving, in an orthonormal basis of sum 0, where L is strictly concave."""
    basis = helmert(len(wins)).T
    # Every method's own votes bound how exactly its gradient can be computed, and how exactly it must be.
    tolerance = TOLERANCE * np.maximum(wins.sum(axis=0) + wins.sum(axis=1), 1)
    scores = np.zeros(len(wins))
    for _ in range(MAX_STEPS):
        gradient = _gradient(wins, scores) - ridge * scores
        step = basis @ _solve(basis.T @ _information(wins, scores, ridge) @ basis, basis.T @ gradient)
        scores = scores + _step_length(wins, ridge, scores, step) * step
        # Very one-sided votes leave the scores loose at a gradient this small; the step after it makes up for that.
        if (np.abs(gradient) <= tolerance).all():
            return scores
    raise DiscernError(
        f"the fit did not converge in {MAX_STEPS} steps (largest gradient {np.abs(gradient).max():.3g}): "
        "some pair of methods has hardly any votes, or ridge is extreme"
    )


def _solve(information: Floats, gradient: Floats) -> Floats:
    try:
        return np.asarray(cho_solve(cho_factor(information), gradient), dtype=np.float64)
    except LinAlgError as error:
        raise DiscernError(
            "the fit met a singular matrix: some pair of methods has hardly any votes one way; "
            "collect more, or use a larger ridge"
        ) from error


def _step_length(wins: Floats, ridge: float, scores: Floats, step: Floats) -> float:
    """Largest of 1, 1/2, 1/4, ... at which the objective does not fall by more than its rounding."""
    before = _objective(wins, ridge, scores)
    length = 1.0
    while not _objective(wins, ridge, scores + length * step) >= before - 1e-12 * abs(before) and length > TOLERANCE:
        length /= 2
    return length


def _objective(wins: Floats, ridge: float, scores: Floats) -> float:
    return _log_likelihood(wins, scores) - ridge / 2 * float(scores @ scores)


def _log_likelihood(wins: Floats, scores: Floats) -> float:
    return float((wins * log_ndtr(_differences(scores))).sum())


def _gradient(wins: Floats, scores: Floats) -> Floats:
    pull = wins * ratio(_differences(scores))
    gradient: Floats = pull.sum(axis=1) - pull.sum(axis=0)
    return gradient


def _information(wins: Floats, scores: Floats, ridge: float) -> Floats:
    """Negative Hessian: the Laplacian of a graph whose edges weigh C r (d + r), r the ratio; plus the ridge."""
    differences = _differences(scores)
    hazard = ratio(differences)
    weights = wins * hazard * (differences + hazard)
    weights += weights.T
    return np.diag(weights.sum(axis=1) + ridge) - weights


def _differences(scores: Floats) -> Floats:
    return scores[:, None] - scores[None, :]


def _describe(wins: Floats, names: tuple[str, ...], scores: Floats, ridge: float) -> ThurstoneFit:
    information = _information(wins, scores, ridge)
    basis = helmert(len(wins)).T
    log_likelihood = _log_likelihood(wins, scores)
    deviance = max(0.0, 2 * (_saturated(wins) - log_likelihood))
    degrees = _degrees_of_freedom(wins)
    return ThurstoneFit(
        methods=names,
        scores=scores,
        covariance=basis @ np.linalg.inv(basis.T @ information @ basis) @ basis.T,
        information=information,
        log_likelihood=log_likelihood,
        deviance=deviance,
        degrees_of_freedom=degrees,
        p_value=float(chdtrc(degrees, deviance)) if degrees > 0 else float("nan"),
        ridge=float(ridge),
        number_of_votes=float(wins.sum()),
    )


def _saturated(wins: Floats) -> float:
    """Log-likelihood when every pair of methods has its own probability, the observed share."""
    total = wins + wins.T
    share = np.divide(wins, total, out=np.zeros_like(wins), where=total > 0)
    return float(xlogy(wins, share).sum())


def _degrees_of_freedom(wins: Floats) -> int:
    compared = wins + wins.T > 0
    components, _ = connected_components(compared, directed=False)
    return int(np.triu(compared).sum()) - (len(wins) - components)
