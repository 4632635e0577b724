"""The two terms of Eq. (6) on cached arrays: l1 over pairs of methods, l2 over pairs of rated images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.calibration import fidelity
from pipelines.calibration.data import Rated, Unlabelled
from pipelines.calibration.rectifier import Rectifier
from pipelines.errors import DiscernError


@dataclass(frozen=True)
class RankingLoss:
    """l1: whether the mean quality of each method's outputs follows the ranking.

    Attributes:
        features: (images, methods, d) float32, 0 where an output is missing.
        quality: (images, methods) float32, 0 where an output is missing.
        present: (images, methods) float32, 1 or 0.
        first, second: (pairs,) int64, all pairs of methods.
        label: (pairs,) float32, Eq. (3).
    """

    features: Tensor
    quality: Tensor
    present: Tensor
    first: Tensor
    second: Tensor
    label: Tensor

    @classmethod
    def of(cls, outputs: Unlabelled, scores: NDArray[np.float64]) -> "RankingLoss":
        """From arrays; `scores` are mu, (methods,)."""
        present = outputs.present
        first, second, label = fidelity.ranking_label(torch.from_numpy(scores))
        return cls(
            features=torch.from_numpy(np.where(present[..., None], outputs.features, 0).astype(np.float32)),
            quality=torch.from_numpy(np.where(present, outputs.quality, 0).astype(np.float32)),
            present=torch.from_numpy(present.astype(np.float32)),
            first=first,
            second=second,
            label=label.float(),
        )

    def __len__(self) -> int:
        return len(self.quality)

    def batch(self, rectifier: Rectifier, rows: Tensor) -> Tensor:
        """Mean fidelity loss over pairs of methods for one batch of LR images.

        A missing output is left out of its method's mean; a method without any output in the batch is left out of
        the pairs. Without any pair the loss is 0.

        Args:
            rectifier: gives Q.
            rows: (B,) int64, the batch.
        """
        present = self.present[rows]
        count = present.sum(0)
        values = rectifier(self.features[rows], self.quality[rows]) * present
        means = values.sum(0) / count.clamp(min=1)
        known = (count[self.first] > 0) & (count[self.second] > 0)
        predicted = fidelity.preference(means[self.first] - means[self.second])
        losses = fidelity.fidelity_loss(self.label, predicted) * known
        return losses.sum() / known.sum().clamp(min=1)

    def mean(self, rectifier: Rectifier, batch: int) -> float:
        """The loss over all images, in their given order, in equal parts of at least `batch`; without gradient."""
        parts = torch.tensor_split(torch.arange(len(self)), max(1, len(self) // batch))
        with torch.inference_mode():
            return float(torch.stack([self.batch(rectifier, rows) for rows in parts]).mean())

    def batches(self, batch: int, generator: torch.Generator) -> list[Tensor]:
        """One epoch: the images in random order, in full batches; another rest is left out each time."""
        return _full_batches(torch.randperm(len(self), generator=generator), batch)


@dataclass(frozen=True)
class RatedLoss:
    """l2: whether pairs of rated images are ordered as their MOS.

    Attributes:
        features: (n, d) float32.
        quality: (n,) float32.
        mos: (n,) float64; labels are made from it, so that equal means equal.
        pairs: (p, 2) int64, the pairs to draw from, or None for any two images.
    """

    features: Tensor
    quality: Tensor
    mos: Tensor
    pairs: Tensor | None

    @classmethod
    def of(cls, rated: Rated, *, same_content: bool) -> "RatedLoss":
        """From arrays.

        Raises:
            DiscernError: `same_content`, and no two images have the same source.
        """
        return cls(
            features=torch.from_numpy(rated.features.astype(np.float32)),
            quality=torch.from_numpy(rated.quality.astype(np.float32)),
            mos=torch.from_numpy(np.asarray(rated.mos, dtype=np.float64)),
            pairs=_pairs_of_one_source(rated.sources) if same_content else None,
        )

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Pairs of different images, (count, 2) int64, drawn with replacement."""
        if self.pairs is not None:
            return self.pairs[torch.randint(len(self.pairs), (count,), generator=generator)]
        n = len(self.mos)
        first = torch.randint(n, (count,), generator=generator)
        second = (first + torch.randint(1, n, (count,), generator=generator)) % n
        return torch.stack([first, second], dim=1)

    def of_pairs(self, rectifier: Rectifier, pairs: Tensor) -> Tensor:
        """Mean fidelity loss over pairs of images, (count, 2) int64."""
        first, second = rectifier(self.features[pairs], self.quality[pairs]).unbind(1)
        label = fidelity.pair_label(*self.mos[pairs].unbind(1)).float()
        return fidelity.fidelity_loss(label, fidelity.preference(first - second)).mean()


def _full_batches(order: Tensor, batch: int) -> list[Tensor]:
    """Without the rest, whose means of few images would be noisy; one batch of all images where there are fewer."""
    batch = min(batch, len(order))
    return [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]


def _pairs_of_one_source(sources: Sequence[str]) -> Tensor:
    members: dict[str, list[int]] = {}
    for index, source in enumerate(sources):
        members.setdefault(source, []).append(index)
    pairs = [pair for indices in members.values() for pair in combinations(indices, 2)]
    if not pairs:
        raise DiscernError('no two rated images have one source: use rated_pairs = "random"')
    return torch.tensor(pairs)
