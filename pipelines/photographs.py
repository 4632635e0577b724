"""Real photographs that need no download: they travel inside the scikit-image and scikit-learn packages.

Patches of them stand in for high-resolution originals in the demo, the tests and the experiments.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import DiscernError

PATCH_SIDE = 192

_PACKAGES = {
    "astronaut": ("skimage.data", "astronaut.png"),
    "chelsea": ("skimage.data", "chelsea.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "china": ("sklearn.datasets", "images/china.jpg"),
    "flower": ("sklearn.datasets", "images/flower.jpg"),
}
PHOTOGRAPHS = tuple(_PACKAGES)


@dataclass(frozen=True)
class Patch:
    """A square cut from a photograph.

    Attributes:
        photograph: its name; patches of one photograph share content and must stay on one side of a split.
        index: number of the patch within its photograph, from 0, row by row.
        pixels: (192, 192, 3) uint8, sRGB.
    """

    photograph: str
    index: int
    pixels: NDArray[np.uint8]

    @property
    def stem(self) -> str:
        """A file name without extension, unique among all photographs."""
        return f"{self.photograph}_{self.index:02d}"


def load(name: str) -> NDArray[np.uint8]:
    """Read one photograph.

    Args:
        name: one of `PHOTOGRAPHS`.

    Returns:
        (height, width, 3) uint8, sRGB.

    Raises:
        DiscernError: the name is unknown, or its package is not installed or came without the file.
    """
    if name not in _PACKAGES:
        raise DiscernError(f"unknown photograph {name!r}: choose one of {', '.join(PHOTOGRAPHS)}")
    package, file = _PACKAGES[name]
    try:
        with resources.as_file(resources.files(package).joinpath(file)) as path, Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (ModuleNotFoundError, FileNotFoundError) as error:
        wheel = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[package.partition(".")[0]]
        raise DiscernError(f"photograph {name!r} ({package}/{file}) not found: pip install {wheel}") from error


def patches(name: str, side: int = PATCH_SIDE) -> Iterator[Patch]:
    """Cut a photograph into evenly spread square patches that overlap by half a side at most.

    Args:
        name: one of `PHOTOGRAPHS`.
        side: side of a patch, in pixels.
    """
    pixels = load(name)
    height, width = pixels.shape[:2]
    corners = [(top, left) for top in _starts(height, side) for left in _starts(width, side)]
    for index, (top, left) in enumerate(corners):
        yield Patch(name, index, pixels[top : top + side, left : left + side].copy())


def _starts(length: int, side: int) -> list[int]:
    """As many evenly spread first pixels as fit with steps of at least half a side, both edges included."""
    count = (length - side) // ((side + 1) // 2) + 1
    return [int(start) for start in np.linspace(0, length - side, count)]
