"""Which image pairs people are asked about: those of Eq. (1), and a control group drawn at random.

MAD picks extremes on purpose, so a ranking from its pairs should be checked against ordinary images: the control group
holds images drawn evenly from those that Eq. (1) has not chosen for the same two methods.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import DiscernError
from pipelines.progress import Progress
from pipelines.selection import mad, reuse
from pipelines.selection.mad import Differences
from pipelines.selection.reuse import Reuse
from pipelines.selection.selected import MAD, RANDOM
from pipelines.study import Selection


@dataclass(frozen=True)
class Candidates:
    """What is chosen from.

    Attributes:
        images: sha256 and stem of each LR image.
        pairs: the pairs of methods.
        output_of: sha256 of the output of an image (its sha256) by a method.
        d1: (pairs, images) float64; NaN where an output is missing or could not be compared.
    """

    images: Sequence[tuple[str, str]]
    pairs: Sequence[tuple[str, str]]
    output_of: dict[tuple[str, str], str]
    d1: NDArray[np.float64]

    def without(self, pairs: set[tuple[str, str]]) -> "Candidates":
        """The same without some pairs of methods."""
        left = [row for row, pair in enumerate(self.pairs) if pair not in pairs]
        return Candidates(self.images, [self.pairs[row] for row in left], self.output_of, self.d1[left])


@dataclass(frozen=True)
class Choices:
    """What was chosen.

    Attributes:
        rows: of the manifest of selected pairs.
        reuse: what limits on reuse would change among the choices of Eq. (1); empty where nothing was chosen anew.
    """

    rows: list[dict[str, Any]]
    reuse: tuple[Reuse, ...]


def choose(
    candidates: Candidates,
    embeddings: NDArray[np.float32],
    settings: Selection,
    *,
    seed: int,
    kept: pd.DataFrame,
    progress: Progress,
) -> Choices:
    """Choose for every pair of methods that has no choices yet.

    Args:
        candidates: images and pairs of methods.
        embeddings: (images, dimensions) float32.
        settings: K, lambda, and so on.
        seed: of the control group.
        kept: rows that stay as they are; their pairs of methods are not chosen for again.
        progress: called while it works.

    Raises:
        DiscernError: a pair of methods has fewer usable images than the settings ask for.
    """
    new = candidates.without(set(zip(kept["method_a"], kept["method_b"], strict=True)))
    _check_enough(new, settings)
    if not new.pairs:
        return Choices([], ())
    differences = Differences(embeddings)
    chosen = _by_eq_1(new, differences, settings, kept, progress)
    limits = reuse.compare(
        new.d1,
        differences,
        chosen,
        trade_off=settings.trade_off,
        aggregate=settings.aggregate,
        reuse_limit=settings.reuse_limit,
    )
    rows: list[dict[str, Any]] = []
    for pair in range(len(new.pairs)):
        rows += _explain(new, settings, MAD, pair, chosen.indices[pair], chosen.semantics[pair])
        drawn = _draw(new, pair, set(chosen.indices[pair].tolist()), settings.random_per_pair, seed)
        rows += _explain(new, settings, RANDOM, pair, drawn, _diversity(drawn, differences, settings.aggregate))
    return Choices(rows, limits)


def _by_eq_1(
    candidates: Candidates, differences: Differences, settings: Selection, kept: pd.DataFrame, progress: Progress
) -> mad.Selection:
    place = {sha256: index for index, (sha256, _) in enumerate(candidates.images)}
    earlier = [place[image] for image in kept[kept["group"] == MAD]["image"] if image in place]
    try:
        return mad.select_all(
            candidates.d1,
            differences,
            per_pair=settings.per_pair,
            trade_off=settings.trade_off,
            aggregate=settings.aggregate,
            reuse_limit=settings.reuse_limit,
            used=np.bincount(np.array(earlier, dtype=np.int64), minlength=len(place)),
            progress=progress,
        )
    except DiscernError as error:
        raise DiscernError(f"selection.reuse_limit: {error}") from error


def _draw(candidates: Candidates, pair: int, chosen: set[int], number: int, seed: int) -> NDArray[np.int64]:
    """Images at random, the same ones whatever other methods are in the study.

    Every image has a place in a random order of its own, which follows from the seed, the two methods and its pixels;
    the first usable ones are drawn.
    """
    a, b = candidates.pairs[pair]
    usable = [index for index in np.flatnonzero(~np.isnan(candidates.d1[pair])).tolist() if index not in chosen]

    def lot(index: int) -> bytes:
        return hashlib.sha256(f"{seed}\n{a}\n{b}\n{candidates.images[index][0]}".encode()).digest()

    return np.array(sorted(usable, key=lot)[:number] if number else [], dtype=np.int64)


def _diversity(drawn: NDArray[np.int64], differences: Differences, aggregate: str) -> NDArray[np.float64]:
    """D2 of each against those drawn before it, as Eq. (1) would have had it."""
    differences.learn(drawn.tolist())
    merge = np.mean if aggregate == "mean" else np.min
    values = [
        float(merge([differences.to(int(earlier))[index] for earlier in drawn[:k]])) if k else 0.0
        for k, index in enumerate(drawn.tolist())
    ]
    return np.array(values)


def _explain(
    candidates: Candidates,
    settings: Selection,
    group: str,
    pair: int,
    indices: NDArray[np.int64],
    semantics: NDArray[np.float64],
) -> Iterator[dict[str, Any]]:
    """Choices of one pair of methods as rows of the manifest: what was chosen, and why."""
    a, b = candidates.pairs[pair]
    d1 = candidates.d1[pair]
    by_distance = np.argsort(np.argsort(-np.nan_to_num(d1, nan=-np.inf), kind="stable")) + 1
    for rank, (index, d2) in enumerate(zip(indices.tolist(), semantics.tolist(), strict=True), 1):
        image, stem = candidates.images[index]
        yield {
            "group": group,
            "method_a": a,
            "method_b": b,
            "rank": rank,
            "image": image,
            "stem": stem,
            "output_a": candidates.output_of[image, a],
            "output_b": candidates.output_of[image, b],
            "distance": float(d1[index]),
            "semantics": d2,
            "score": float(d1[index]) + settings.trade_off * d2,
            "rank_by_distance": int(by_distance[index]),
        }


def _check_enough(candidates: Candidates, settings: Selection) -> None:
    wanted = settings.per_pair + settings.random_per_pair
    control = f", and {settings.random_per_pair} more at random," if settings.random_per_pair else ""
    for (a, b), row in zip(candidates.pairs, candidates.d1, strict=True):
        usable = int(np.sum(~np.isnan(row)))
        if usable < wanted:
            raise DiscernError(
                f"selection.per_pair: {settings.per_pair} images{control} are asked for, but only {usable} have usable "
                f"outputs of both {a!r} and {b!r}; add images or outputs, or lower per_pair"
            )
