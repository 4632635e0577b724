"""Bicubic and the other classical methods: no training, no weights.

Resampling is Pillow's; its bicubic kernel is Keys' with a = -0.5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from PIL.Image import Resampling
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from pipelines.images import Pixels
from pipelines.super_resolution.method import Output
from pipelines.super_resolution.resampling import KERNELS, resample

BACK_PROJECTION_STEPS = 10


def bicubic_unsharp(pixels: Pixels, scale: int) -> Pixels:
    """Bicubic, then Pillow's unsharp mask: radius half the scale, 150 %, no threshold."""
    large = Image.fromarray(resample(pixels, scale, Resampling.BICUBIC))
    return np.asarray(large.filter(ImageFilter.UnsharpMask(radius=scale / 2, percent=150, threshold=0)))


def bicubic_nonlocal_means(pixels: Pixels, scale: int) -> Pixels:
    """Non-local means on the LR image (its noise is still white there), then bicubic.

    Buades, Coll and Morel 2005, in scikit-image's fast form; the noise level is estimated from the image. An image of
    one row or column has too few patches to compare, and is only enlarged.
    """
    image = pixels / 255.0
    sigma = estimate_noise(image)
    if sigma == 0 or 1 in pixels.shape[:2]:
        return resample(pixels, scale, Resampling.BICUBIC)
    clean = denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=0.8 * sigma, sigma=sigma, fast_mode=True, channel_axis=-1
    )
    return resample(_to_uint8(clean * 255), scale, Resampling.BICUBIC)


def estimate_noise(image: NDArray[np.float64]) -> float:
    """Standard deviation of white noise in an image, (height, width, 3) float64 (Immerkaer 1996).

    The mask annihilates constant, linear and quadratic structure; 0 for a constant image.
    """
    mask = np.outer([1, -2, 1], [1, -2, 1])[..., None]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(ndimage.convolve(image, mask, mode="mirror")).mean())


def back_projection(pixels: Pixels, scale: int, steps: int = BACK_PROJECTION_STEPS) -> Pixels:
    """Iterative back-projection (Irani and Peleg 1991).

    Start from bicubic; in each step, downsample the estimate, and add the enlarged difference to the LR image.
    """
    low = pixels.astype(np.float32)
    height, width = pixels.shape[:2]
    large = (width * scale, height * scale)
    estimate = _resize_float(low, large)
    for _ in range(steps):
        estimate += _resize_float(low - _resize_float(estimate, (width, height)), large)
    return _to_uint8(estimate)


def _resize_float(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bicubic resize of (height, width, 3) float values to (width, height), without rounding or clipping."""
    channels = [Image.fromarray(values[..., c]).resize(size, Resampling.BICUBIC) for c in range(values.shape[2])]
    return np.stack([np.asarray(channel, dtype=np.float32) for channel in channels], axis=-1)


def _to_uint8(values: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


_ALGORITHMS: dict[str, Callable[[Pixels, int], Pixels]] = {
    **{name: partial(resample, kernel=kernel) for name, kernel in KERNELS.items()},
    "bicubic_unsharp": bicubic_unsharp,
    "bicubic_nonlocal_means": bicubic_nonlocal_means,
    "back_projection": back_projection,
}
ALGORITHMS = tuple(_ALGORITHMS)
# Libraries, beside Pillow, on which the outputs of an algorithm depend.
_FURTHER = {"bicubic_nonlocal_means": ("scikit-image", "scipy")}


@dataclass(frozen=True)
class Interpolation:
    """A classical method as the stage runs it; `algorithm` is one of `ALGORITHMS`."""

    id: str
    algorithm: str
    scale: int

    @property
    def provenance(self) -> dict[str, Any]:
        """See `Method.provenance`."""
        libraries = {library: metadata.version(library) for library in ("pillow", *_FURTHER.get(self.algorithm, ()))}
        return {"kind": "interpolation", "algorithm": self.algorithm, "scale": self.scale} | libraries

    @property
    def by_stem(self) -> bool:
        """See `Method.by_stem`."""
        return False

    def prepare(self) -> None:
        """See `Method.prepare`; there is nothing to load."""

    def check(self) -> None:
        """See `Method.check`."""

    def upscale(self, stem: str, low_resolution: Pixels) -> Output:  # noqa: ARG002 - the protocol's
        """See `Method.upscale`."""
        return Output(_ALGORITHMS[self.algorithm](low_resolution, self.scale))
