"""What the second stage learns from: encoded SR outputs without ratings, and encoded images with ratings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DiscernError


@dataclass(frozen=True)
class Unlabelled:
    """Encoded outputs of every method for a set of LR images; a missing output has quality NaN.

    Attributes:
        features: (images, methods, d) float32; finite wherever the quality is.
        quality: (images, methods) float32, q_w.
    """

    features: NDArray[np.float32]
    quality: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.quality.ndim != 2 or self.features.shape[:2] != self.quality.shape:
            raise DiscernError(
                f"SR outputs: features {self.features.shape} and quality {self.quality.shape}, "
                "expected (images, methods, d) and (images, methods)"
            )
        if not np.isfinite(self.features[self.present]).all():
            raise DiscernError("SR outputs: a feature is not finite though the output is not marked as missing")

    @property
    def present(self) -> NDArray[np.bool_]:
        """(images, methods): where there is an output."""
        return np.isfinite(self.quality)


@dataclass(frozen=True)
class Rated:
    """Encoded images of one human-rated data set.

    Attributes:
        features: (n, d) float32.
        quality: (n,) float32, q_w.
        mos: (n,) float64, higher is better.
        sources: n names of source content.
    """

    features: NDArray[np.float32]
    quality: NDArray[np.float32]
    mos: NDArray[np.float64]
    sources: Sequence[str]

    def __post_init__(self) -> None:
        n = len(self.mos)
        if n < 2:
            raise DiscernError(f"{n} rated images: at least two are needed to make a pair")
        if not len(self.features) == len(self.quality) == len(self.sources) == n:
            raise DiscernError(
                f"rated images: {len(self.features)} feature vectors, {len(self.quality)} qualities, {n} ratings, "
                f"{len(self.sources)} sources"
            )
        if not all(np.isfinite(array).all() for array in (self.features, self.quality, self.mos)):
            raise DiscernError("rated images: a feature, quality or rating is not finite: leave that image out")
