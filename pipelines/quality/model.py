"""The QualityModel protocol: what calibration and evaluation need to know of a blind quality model q_w."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DiscernError
from pipelines.images import Pixels


@dataclass(frozen=True)
class Encoded:
    """What a quality model sees in n images.

    Attributes:
        features: (n, d) float32, finite; what the rectifier h_theta is fed with.
        quality: (n,) float32, finite; higher is better. Models trained on five categories use 1 (bad) to 5 (perfect).
    """

    features: NDArray[np.float32]
    quality: NDArray[np.float32]


class QualityModel(Protocol):
    """A frozen blind quality model q_w."""

    @property
    def name(self) -> str:
        """What to call it in tables."""

    @property
    def fingerprint(self) -> str:
        """The sha256, in hexadecimal, of its architecture and weights: equal for models that give equal numbers."""

    def encode(self, images: Sequence[Pixels]) -> Encoded:
        """Look at images one by one: neither their order nor their company changes a value.

        Args:
            images: each (height, width, 3) uint8, sRGB; sizes may be mixed.

        Raises:
            DiscernError: an image has another layout, or is too small for the model.
        """


def score(model: QualityModel, images: Sequence[Pixels]) -> NDArray[np.float32]:
    """The predicted quality of images, (n,) float32, higher is better; arguments and errors as in `encode`."""
    return model.encode(images).quality


def check_pixels(pixels: Pixels, smallest_side: int) -> None:
    """Refuse what is not an image of the agreed layout.

    Raises:
        DiscernError: not (height, width, 3) uint8, or a side is shorter than `smallest_side`.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise DiscernError(f"expected an image (height, width, 3) of uint8, got {pixels.shape} of {pixels.dtype}")
    if min(pixels.shape[:2]) < smallest_side:
        height, width = pixels.shape[:2]
        raise DiscernError(f"image of {width}x{height} pixels: at least {smallest_side} a side are needed")
