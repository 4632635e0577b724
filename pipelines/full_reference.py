"""Full-reference quality metrics, from `piq`: how much an image differs from its reference.

They serve three separate purposes, and a study should not use one metric for two of them: D1 of Eq. (1), the preference
of simulated observers, and the ratings on which the demo's quality model is trained.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import piq
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.errors import DiscernError


@dataclass(frozen=True)
class FullReferenceMetric:
    """A full-reference metric and what its numbers mean.

    Attributes:
        name: as `piq` calls it.
        higher_is_better: direction.
        bounds: smallest and largest value (VIF exceeds 1 where the image has more contrast than its reference).
        identical: value of an image against itself.
        symmetric: whether exchanging image and reference leaves the value unchanged.
        smallest_side: shortest side of an image that it accepts, in pixels.
    """

    name: str
    function: Callable[..., Tensor]
    higher_is_better: bool
    bounds: tuple[float, float]
    identical: float
    symmetric: bool
    smallest_side: int

    def score(self, references: NDArray[np.uint8], images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score images against their references.

        Args:
            references: (n, height, width, 3) uint8.
            images: the same shape.

        Returns:
            (n,) float64, in `bounds`.

        Raises:
            DiscernError: the shapes differ, or a side is shorter than `smallest_side`.
        """
        if references.shape != images.shape:
            raise DiscernError(f"{self.name}: references of shape {references.shape} against images of {images.shape}")
        shortest = min(images.shape[1:3])
        if shortest < self.smallest_side:
            raise DiscernError(
                f"{self.name} needs images of at least {self.smallest_side} pixels a side, got {shortest}: "
                "use larger images or another metric"
            )
        with torch.inference_mode():
            values = self.function(to_tensor(images), to_tensor(references), data_range=1.0, reduction="none")
        return values.double().numpy()


_METRICS = {
    metric.name: metric
    for metric in (
        FullReferenceMetric("gmsd", piq.gmsd, False, (0.0, 0.35), 0.0, True, 8),
        FullReferenceMetric("ms_ssim", piq.multi_scale_ssim, True, (0.0, 1.0), 1.0, True, 161),
        FullReferenceMetric("fsim", piq.fsim, True, (0.0, 1.0), 1.0, True, 16),
        FullReferenceMetric("haarpsi", piq.haarpsi, True, (0.0, 1.0), 1.0, True, 16),
        FullReferenceMetric("vif", piq.vif_p, True, (0.0, float("inf")), 1.0, False, 41),
    )
}
METRICS = tuple(_METRICS)


def get(name: str) -> FullReferenceMetric:
    """Look a metric up by name.

    Raises:
        DiscernError: there is none of that name.
    """
    if name not in _METRICS:
        raise DiscernError(f"unknown full-reference metric {name!r}: choose one of {', '.join(METRICS)}")
    return _METRICS[name]


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Images as metrics take them: (n, height, width, 3) uint8 -> (n, 3, height, width) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255
