"""D1 of Eq. (1): the registry of perceptual distances between two outputs of one LR image."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipelines import full_reference
from pipelines.errors import DiscernError, WeightsError
from pipelines.full_reference import FullReferenceMetric
from pipelines.images import Pixels

# A distance between two outputs has no reference, so only symmetric metrics can serve.
NAMES = tuple(name for name in full_reference.METRICS if full_reference.get(name).symmetric)


@dataclass(frozen=True)
class Distance:
    """A perceptual distance: 0 for identical images, larger for more different ones, symmetric.

    Attributes:
        metric: the full-reference metric whose departure from its value at identity is the distance.
    """

    metric: FullReferenceMetric

    @property
    def name(self) -> str:
        """The name in the study file."""
        return self.metric.name

    def pairwise(self, images: list[Pixels]) -> NDArray[np.float64]:
        """All distances among the outputs of one LR image.

        Args:
            images: N arrays (height, width, 3) uint8 of one size.

        Returns:
            (N, N) float64, symmetric, with a zero diagonal.

        Raises:
            DiscernError: the images are too small for the metric, or a distance is not finite.
        """
        distances = np.zeros((len(images), len(images)))
        for i, j in combinations(range(len(images)), 2):
            value = abs(self.metric.score(images[i][None], images[j][None])[0] - self.metric.identical)
            distances[i, j] = distances[j, i] = value
        if not np.isfinite(distances).all():
            raise DiscernError(f"{self.name}: a distance is not finite; is one of the images blank?")
        return distances


def get(name: str) -> Distance:
    """Look a distance up by its name in the study file.

    Raises:
        WeightsError: `dists`, the paper's choice, which needs pretrained weights that this version does not load.
        DiscernError: there is none of that name.
    """
    if name == "dists":
        raise WeightsError(
            "selection.distance: 'dists' (the paper's choice) needs pretrained VGG-16 and DISTS weights, which this "
            f"version does not load yet; choose one of {', '.join(NAMES)}"
        )
    if name not in NAMES:
        raise DiscernError(f"selection.distance: unknown distance {name!r}; choose one of {', '.join(NAMES)}")
    return Distance(full_reference.get(name))
