"""Enlargement with Pillow's kernels; a server, which has no library of the pipelines, enlarges references with it."""

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from pipelines.images import Pixels

KERNELS: dict[str, Resampling] = {
    "nearest": Resampling.NEAREST,
    "bilinear": Resampling.BILINEAR,
    "bicubic": Resampling.BICUBIC,
    "lanczos": Resampling.LANCZOS,
}


def resample(pixels: Pixels, scale: int, kernel: Resampling) -> Pixels:
    """Enlarge (height, width, 3) uint8 pixels by an integer factor with one of Pillow's kernels."""
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((width * scale, height * scale), kernel))
