"""How often the same LR images serve, and what a limit on that would change.

Each pair of methods chooses on its own, so one striking image may win in many pairs; votes on it are then a large part
of all votes, and say little about other images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DiscernError
from pipelines.selection.mad import Aggregate, Differences, Selection, select_all

LIMITS = 3


@dataclass(frozen=True)
class Reuse:
    """What a selection is like under a limit.

    Attributes:
        limit: how many pairs of methods may choose one image; None for no limit.
        feasible: whether every pair of methods finds enough images; where not, the rest is 0.
        images: distinct LR images.
        most_used: in how many pairs of methods the most reused image is.
        replaced: choices that the selection without this limit did not make.
        distance: mean D1 of the choices.
    """

    limit: int | None
    feasible: bool
    images: int
    most_used: int
    replaced: int
    distance: float


def compare(
    distances: NDArray[np.float64],
    differences: Differences,
    chosen: Selection,
    *,
    trade_off: float,
    aggregate: Aggregate,
    reuse_limit: int | None = None,
) -> tuple[Reuse, ...]:
    """The selection as it is, and under limits of a half, a quarter and an eighth of its most reused image's pairs.

    No limit is tried under which there are too few images for all choices, however they are made.

    Args:
        distances: (pairs, images) D1, as for `select_all`.
        differences: of the embeddings.
        chosen: what `select_all` chose from them.
        trade_off: lambda.
        aggregate: as it was.
        reuse_limit: as it was.
    """
    now = _describe(reuse_limit, distances, chosen.indices, chosen.indices)
    least = -(-chosen.indices.size // int(np.count_nonzero(~np.isnan(distances).all(axis=0))))
    limits = {max(now.most_used >> halvings, least) for halvings in range(1, LIMITS + 1)} - {now.most_used}
    others = []
    for limit in sorted(limits, reverse=True):
        try:
            limited = select_all(
                distances,
                differences,
                per_pair=chosen.indices.shape[1],
                trade_off=trade_off,
                aggregate=aggregate,
                reuse_limit=limit,
            )
        except DiscernError:  # a pair of methods has run out of images
            others.append(Reuse(limit, False, 0, 0, 0, 0.0))
        else:
            others.append(_describe(limit, distances, limited.indices, chosen.indices))
    return (now, *others)


def uses(indices: NDArray[np.int64], images: int) -> NDArray[np.int64]:
    """(images,) in how many pairs of methods each image is."""
    return np.bincount(indices.ravel(), minlength=images)


def _describe(
    limit: int | None, distances: NDArray[np.float64], indices: NDArray[np.int64], before: NDArray[np.int64]
) -> Reuse:
    used = uses(indices, distances.shape[1])
    replaced = sum(len(set(row) - set(old)) for row, old in zip(indices.tolist(), before.tolist(), strict=True))
    distance = float(np.take_along_axis(distances, indices, axis=1).mean())
    return Reuse(limit, True, int(np.count_nonzero(used)), int(used.max()), replaced, distance)
