"""Eq. (1): greedy selection of the LR images on which two methods differ most, diverse in content.

    x_k = argmax over x not in S of  D1(f_i(x), f_j(x)) + lambda * D2(x, S)

S is what has been chosen so far for this pair of methods. D2(x, S) is the mean (the paper's release) or the minimum,
over the members of S, of the mean squared difference between embeddings; it is 0 for an empty S, so the first choice is
the largest D1. Values within 1e-9 of the maximum count as equal and the smallest index wins, so that a selection does
not depend on the order in which a machine adds.

Cost: all pairs of methods make their k-th choice, then one product of matrices gives the differences of every image to
the images that were chosen for the first time. That is d x |X| multiplications for each distinct chosen image, and
memory for d x |X| embeddings and a row of |X| for each pair of methods and each distinct chosen image.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import DiscernError
from pipelines.progress import Progress, silent

TIE = 1e-9

Aggregate = Literal["mean", "min"]
Floats = NDArray[np.float64]

_BLOCK = 1 << 22  # values of embeddings that are converted to float64 at a time: 32 MiB


@dataclass(frozen=True)
class Selection:
    """The chosen images of every pair of methods, and why they were chosen.

    Attributes:
        indices: (pairs, per_pair) int64, in the order of choice.
        semantics: (pairs, per_pair) float64, D2 of each choice when it was chosen.
    """

    indices: NDArray[np.int64]
    semantics: Floats


class Differences:
    """The mean squared differences between embeddings: computed once for each image that some pair has chosen.

    |x - s|^2 = |x|^2 + |s|^2 - 2 x.s, in float64 and after the mean embedding was subtracted (which changes no
    difference, and keeps the terms small).

    Args:
        embeddings: (images, dimensions), float32 or float64; kept as they are, and not copied.

    Raises:
        DiscernError: not such an array, or values that are not finite.
    """

    def __init__(self, embeddings: ArrayLike) -> None:
        vectors = np.asarray(embeddings)
        if vectors.ndim != 2 or not vectors.size or vectors.dtype.kind not in "fiu":
            raise DiscernError(
                f"embeddings must be (images, dimensions) of numbers, got {vectors.dtype} of shape {vectors.shape}"
            )
        self._vectors = vectors
        with np.errstate(invalid="ignore", over="ignore"):
            self._centre = vectors.mean(axis=0, dtype=np.float64)
            self._squares = np.concatenate([(rows**2).sum(axis=1) for rows in self._blocks()])
        if not np.isfinite(self._squares).all():
            raise DiscernError("embeddings must be finite")
        self._known: dict[int, Floats] = {}

    def __len__(self) -> int:
        return len(self._vectors)

    def learn(self, images: Iterable[int]) -> None:
        """Compute the differences of every image to these, where they are not known, all at once."""
        missing = sorted(set(map(int, images)) - self._known.keys())
        if not missing:
            return
        chosen = self._vectors[missing].astype(np.float64) - self._centre
        products = np.concatenate([rows @ chosen.T for rows in self._blocks()])
        squared = self._squares[:, None] + self._squares[missing] - 2 * products
        for column, image in enumerate(missing):
            row = np.maximum(squared[:, column] / self._vectors.shape[1], 0)
            row[image] = 0
            self._known[image] = row

    def to(self, image: int) -> Floats:
        """(images,) float64: the mean squared difference of every image to this one."""
        self.learn([image])
        return self._known[image]

    def _blocks(self) -> Iterator[Floats]:
        """Some centred rows at a time as float64: all of them would take twice the memory of float32."""
        rows = max(1, _BLOCK // self._vectors.shape[1])
        for start in range(0, len(self._vectors), rows):
            yield self._vectors[start : start + rows].astype(np.float64) - self._centre


def select(
    distance: ArrayLike,
    embeddings: ArrayLike | Differences,
    *,
    per_pair: int,
    trade_off: float,
    aggregate: Aggregate = "mean",
    reuse_limit: int | None = None,
) -> NDArray[np.int64]:
    """Choose images for one pair of methods.

    Args:
        distance: (images,) D1 between the two outputs; NaN where an output is missing, which leaves the image out.
        embeddings: (images, dimensions) for D2, or what was made of them.
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
    embeddings: ArrayLike | Differences,
    *,
    per_pair: int,
    trade_off: float,
    aggregate: Aggregate = "mean",
    reuse_limit: int | None = None,
    used: ArrayLike | None = None,
    progress: Progress = silent,
) -> Selection:
    """Choose images for all pairs of methods.

    Each pair of methods has its own S. The pairs choose in turn, all their first images before any second one, so that
    under a reuse limit no pair takes everything.

    Args:
        distances: (pairs, images) D1; NaN where an output is missing.
        embeddings: (images, dimensions), or what was made of them: to select again from the same images costs little.
        per_pair: K.
        trade_off: lambda.
        aggregate: how D2 compares an image with a set.
        reuse_limit: how many pairs of methods may choose the same image; None for no limit.
        used: (images,) how many pairs of methods have chosen each image before, for the limit; by default none.
        progress: called after every round of choices.

    Raises:
        DiscernError: as in `select`; the message names the row of the pair that ran out of images.
    """
    differences = embeddings if isinstance(embeddings, Differences) else Differences(embeddings)
    d1 = _validated(distances, len(differences), per_pair, trade_off, aggregate, reuse_limit)
    uses = np.zeros(d1.shape[1], dtype=np.int64) if used is None else np.array(used, dtype=np.int64)
    available = ~np.isnan(d1)
    to_chosen = np.zeros_like(d1) if aggregate == "mean" else np.full_like(d1, np.inf)
    indices = np.empty((len(d1), per_pair), dtype=np.int64)
    semantics = np.zeros((len(d1), per_pair))
    for k in range(per_pair):
        for pair in range(len(d1)):
            d2 = _diversity(to_chosen[pair], k, aggregate)
            allowed = available[pair] & (uses < (reuse_limit or np.inf))
            if not allowed.any():
                raise DiscernError(_exhausted(pair, k, per_pair, reuse_limit))
            chosen = _first_of_the_largest(np.where(allowed, d1[pair] + trade_off * d2, -np.inf))
            indices[pair, k], semantics[pair, k] = chosen, d2[chosen]
            available[pair, chosen] = False
            uses[chosen] += 1
        if k + 1 < per_pair:
            _extend(to_chosen, indices[:, k], differences, aggregate)
        progress("selection, Eq. (1)", k + 1, per_pair)
    return Selection(indices, semantics)


def _extend(to_chosen: Floats, chosen: NDArray[np.int64], differences: Differences, aggregate: Aggregate) -> None:
    """Add each pair's newest choice to its running sums, or minima, of differences: (pairs, images), in place."""
    differences.learn(chosen)
    merge = np.add if aggregate == "mean" else np.minimum
    for row, image in zip(to_chosen, chosen, strict=True):
        merge(row, differences.to(int(image)), out=row)


def _validated(
    distances: ArrayLike, images: int, per_pair: int, trade_off: float, aggregate: str, reuse_limit: int | None
) -> Floats:
    d1 = np.asarray(distances, dtype=np.float64)
    checks = {
        f"distances must be (pairs, images), got shape {d1.shape}": d1.ndim == 2,
        f"embeddings must have one row for each image, got {images} for distances of shape {d1.shape}": (
            d1.ndim == 2 and images == d1.shape[1]
        ),
        "distances must not be infinite": not np.isinf(d1).any(),
        f"per_pair must be at least 1, got {per_pair}": per_pair >= 1,
        f"trade_off must be a finite number of at least 0, got {trade_off}": 0 <= trade_off < np.inf,
        f"aggregate must be 'mean' or 'min', got {aggregate!r}": aggregate in {"mean", "min"},
        f"reuse_limit must be at least 1, got {reuse_limit}": reuse_limit is None or reuse_limit >= 1,
    }
    for message, holds in checks.items():
        if not holds:
            raise DiscernError(message)
    return d1


def _diversity(to_chosen: Floats, chosen: int, aggregate: Aggregate) -> Floats:
    """D2(x, S) of every image from the running sum or minimum over the `chosen` members of S."""
    if chosen == 0:
        return np.zeros_like(to_chosen)
    return to_chosen / chosen if aggregate == "mean" else to_chosen


def _first_of_the_largest(scores: Floats) -> int:
    return int(np.flatnonzero(scores >= scores.max() - TIE)[0])


def _exhausted(pair: int, chosen: int, per_pair: int, reuse_limit: int | None) -> str:
    limit = "" if reuse_limit is None else f" within the reuse limit of {reuse_limit}"
    return (
        f"pair {pair} of methods has only {chosen} images to choose from{limit}, per_pair asks for {per_pair}: "
        "add images, or lower per_pair" + ("" if reuse_limit is None else ", or raise reuse_limit")
    )
