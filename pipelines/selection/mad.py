"""Eq. (1): greedy selection of the LR images on which two methods differ most, diverse in content.

    x_k = argmax over x not in S of  D1(f_i(x), f_j(x)) + lambda * D2(x, S)

S is what has been chosen so far for this pair of methods. D2(x, S) is the mean (the paper's release) or the minimum,
over the members of S, of the mean squared difference between embeddings; it is 0 for an empty S, so the first choice is
the largest D1. Values within 1e-9 of the maximum count as equal and the smallest index wins, so that a selection does
not depend on the order in which a machine adds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import DiscernError

TIE = 1e-9

Aggregate = Literal["mean", "min"]


@dataclass(frozen=True)
class Selection:
    """The chosen images of every pair of methods, and why they were chosen.

    Attributes:
        indices: (pairs, per_pair) int64, in the order of choice.
        semantics: (pairs, per_pair) float64, D2 of each choice when it was chosen.
    """

    indices: NDArray[np.int64]
    semantics: NDArray[np.float64]


def select(
    distance: ArrayLike,
    embeddings: ArrayLike,
    *,
    per_pair: int,
    trade_off: float,
    aggregate: Aggregate = "mean",
    reuse_limit: int | None = None,
) -> NDArray[np.int64]:
    """Choose images for one pair of methods.

    Args:
        distance: (images,) D1 between the two outputs; NaN where an output is missing, which leaves the image out.
        embeddings: (images, dimensions) for D2.
        per_pair: K, how many images to choose.
        trade_off: lambda, at least 0.
        aggregate: how D2 compares an image with a set.
        reuse_limit: as in `select_all`; one pair of methods never chooses an image twice anyway.

    Returns:
        (per_pair,) int64, in the order of choice.

    Raises:
        DiscernError: shapes that do not fit, infinite values, K < 1, lambda < 0, or fewer than K images to choose from.
    """
    distances = np.asarray(distance, dtype=np.float64)
    if distances.ndim != 1:
        raise DiscernError(f"distance must be one-dimensional, got shape {distances.shape}; see select_all")
    chosen = select_all(
        distances[None],
        embeddings,
        per_pair=per_pair,
        trade_off=trade_off,
        aggregate=aggregate,
        reuse_limit=reuse_limit,
    )
    return chosen.indices[0]


def select_all(
    distances: ArrayLike,
    embeddings: ArrayLike,
    *,
    per_pair: int,
    trade_off: float,
    aggregate: Aggregate = "mean",
    reuse_limit: int | None = None,
) -> Selection:
    """Choose images for all pairs of methods.

    Each pair of methods has its own S. The pairs choose in turn, all their first images before any second one, so that
    under a reuse limit no pair takes everything.

    Args:
        distances: (pairs, images) D1; NaN where an output is missing.
        embeddings: (images, dimensions).
        per_pair: K.
        trade_off: lambda.
        aggregate: how D2 compares an image with a set.
        reuse_limit: how many pairs of methods may choose the same image; None for no limit.

    Raises:
        DiscernError: as in `select`; the message names the row of the pair that ran out of images.
    """
    d1, vectors = _validated(distances, embeddings, per_pair, trade_off, aggregate, reuse_limit)
    pairs, count = d1.shape
    difference_to = _differences(vectors)
    total = np.zeros((pairs, count)) if aggregate == "mean" else np.full((pairs, count), np.inf)
    uses = np.zeros(count, dtype=np.int64)
    available = ~np.isnan(d1)
    indices = np.empty((pairs, per_pair), dtype=np.int64)
    semantics = np.zeros((pairs, per_pair))
    for k in range(per_pair):
        for pair in range(pairs):
            d2 = _diversity(total[pair], k, aggregate)
            allowed = available[pair] & (uses < (reuse_limit or np.inf))
            if not allowed.any():
                raise DiscernError(_exhausted(pair, k, per_pair, reuse_limit))
            chosen = _first_of_the_largest(np.where(allowed, d1[pair] + trade_off * d2, -np.inf))
            indices[pair, k], semantics[pair, k] = chosen, d2[chosen]
            available[pair, chosen] = False
            uses[chosen] += 1
            merge = np.add if aggregate == "mean" else np.minimum
            total[pair] = merge(total[pair], difference_to(chosen))
    return Selection(indices, semantics)


def _validated(
    distances: ArrayLike,
    embeddings: ArrayLike,
    per_pair: int,
    trade_off: float,
    aggregate: str,
    reuse_limit: int | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    d1 = np.asarray(distances, dtype=np.float64)
    vectors = np.asarray(embeddings, dtype=np.float64)
    checks = {
        f"distances must be (pairs, images), got shape {d1.shape}": d1.ndim == 2,
        f"embeddings must be ({d1.shape[-1]}, dimensions), one row for each image, got shape {vectors.shape}": (
            vectors.ndim == 2 and len(vectors) == d1.shape[-1]
        ),
        "distances must not be infinite": not np.isinf(d1).any(),
        "embeddings must be finite": bool(np.isfinite(vectors).all()),
        f"per_pair must be at least 1, got {per_pair}": per_pair >= 1,
        f"trade_off must be a finite number of at least 0, got {trade_off}": 0 <= trade_off < np.inf,
        f"aggregate must be 'mean' or 'min', got {aggregate!r}": aggregate in {"mean", "min"},
        f"reuse_limit must be at least 1, got {reuse_limit}": reuse_limit is None or reuse_limit >= 1,
    }
    for message, holds in checks.items():
        if not holds:
            raise DiscernError(message)
    return d1, vectors


def _differences(vectors: NDArray[np.float64]) -> Callable[[int], NDArray[np.float64]]:
    """A function from an image to its mean squared difference to every image; an image chosen again costs nothing."""

    @cache
    def difference_to(index: int) -> NDArray[np.float64]:
        return np.mean((vectors - vectors[index]) ** 2, axis=1)

    return difference_to


def _diversity(total: NDArray[np.float64], chosen: int, aggregate: Aggregate) -> NDArray[np.float64]:
    """D2(x, S) of every image from the running sum or minimum over the `chosen` members of S."""
    if chosen == 0:
        return np.zeros_like(total)
    return total / chosen if aggregate == "mean" else total


def _first_of_the_largest(scores: NDArray[np.float64]) -> int:
    return int(np.flatnonzero(scores >= scores.max() - TIE)[0])


def _exhausted(pair: int, chosen: int, per_pair: int, reuse_limit: int | None) -> str:
    limit = "" if reuse_limit is None else f" within the reuse limit of {reuse_limit}"
    return (
        f"pair {pair} of methods has only {chosen} images to choose from{limit}, per_pair asks for {per_pair}: "
        "add images, or lower per_pair" + ("" if reuse_limit is None else ", or raise reuse_limit")
    )
