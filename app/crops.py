"""Crops of an LR image and its outputs: what a user asks for, and where the methods disagree most."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DiscernError
from pipelines.images import Pixels

WINDOW = 32
# Luminance Y' of ITU-R BT.601 in thousandths of an 8-bit step: whole numbers, so that sums are exact.
LUMINANCE = np.array([299, 587, 114], np.int32)
# In LR pixels.
BAND = 32


@dataclass(frozen=True)
class Crop:
    """A rectangle in pixels of the LR image; outputs are cropped to the same place, `scale` times as large."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"

    def check_inside(self, stem: str, width: int, height: int) -> None:
        """Raise where it does not lie inside the LR image, which is `width` x `height`.

        Raises:
            DiscernError: it does not.
        """
        if self.x + self.width > width or self.y + self.height > height:
            raise DiscernError(
                f"--crop: {self} is not inside {stem!r}, which is {width}x{height}; crops are in LR pixels"
            )

    def of(self, pixels: Pixels, scale: int) -> Pixels:
        """Cut it out of an image that is `scale` times as large as the LR image, (height, width, 3) uint8."""
        rows = slice(self.y * scale, (self.y + self.height) * scale)
        return pixels[rows, self.x * scale : (self.x + self.width) * scale]


def parse(text: str) -> Crop:
    """The crop that a user writes as `X,Y,WIDTH,HEIGHT`, in LR pixels.

    Raises:
        DiscernError: it is not of this form, or empty.
    """
    if not re.fullmatch(r"\d{1,6}(,\d{1,6}){3}", text, re.ASCII):
        raise DiscernError(f"--crop: {text!r} is no crop; give X,Y,WIDTH,HEIGHT in LR pixels, as in 40,24,32,32")
    crop = Crop(*map(int, text.split(",")))
    if not crop.width or not crop.height:
        raise DiscernError(f"--crop: {text!r} is empty; give a width and a height of at least 1 LR pixel")
    return crop


def most_disputed(outputs: Iterable[Pixels], scale: int, window: int = WINDOW) -> Crop:
    """Where the outputs of an LR image differ most: the window with the largest `disagreement`.

    The first of equal windows counts, row by row.

    Args:
        outputs: at least one, each (scale x height, scale x width, 3) uint8; they are looked at one after the other.
        scale: output pixels for each LR pixel, along a side.
        window: the crop's side in LR pixels; less where the LR image is smaller.
    """
    spread = disagreement(outputs, scale)
    height, width = (min(window, side) for side in spread.shape)
    sums = _window_sums(_window_sums(spread, height).T, width).T
    y, x = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return Crop(int(x), int(y), width, height)


def disagreement(outputs: Iterable[Pixels], scale: int) -> NDArray[np.int64]:
    """How much methods differ at each LR pixel: the standard deviation of their luminance, summed over its outputs.

    Everything but the square root is done in whole numbers, so that equal places are equal on every machine.

    Args:
        outputs: n of them, each (scale x height, scale x width, 3) uint8.
        scale: output pixels for each LR pixel, along a side.

    Returns:
        (height, width), in units of 1/(1000 n) of an 8-bit step; 0 where all agree.
    """
    count, total, squares = 0, np.zeros(0, np.int32), np.zeros(0, np.int64)
    for pixels in outputs:
        if not count:
            total, squares = np.zeros(pixels.shape[:2], np.int32), np.zeros(pixels.shape[:2], np.int64)
        count += 1
        for band in _bands(len(pixels), scale):
            luminance = _luminance(pixels[band])
            total[band] += luminance
            squares[band] += luminance.astype(np.int64) ** 2
    return np.concatenate([_deviation(count, total[b], squares[b], scale) for b in _bands(len(total), scale)])


def _bands(height: int, scale: int) -> list[slice]:
    """Rows that are looked at together: of a large image, whole intermediate results would take gigabytes."""
    return [slice(start, start + BAND * scale) for start in range(0, height, BAND * scale)]


def _luminance(pixels: Pixels) -> NDArray[np.int32]:
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0) * LUMINANCE[:, None, None]
    return np.asarray(red + green + blue)


def _deviation(count: int, total: NDArray[np.int32], squares: NDArray[np.int64], scale: int) -> NDArray[np.int64]:
    """Sums over the output pixels of each LR pixel, from sums over outputs."""
    deviation = np.sqrt(count * squares - total.astype(np.int64) ** 2).astype(np.int64)
    height, width = deviation.shape
    blocks: NDArray[np.int64] = deviation.reshape(height // scale, scale, width // scale, scale).sum(axis=(1, 3))
    return blocks


def _window_sums(values: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """The sums of `side` neighbouring rows, for each place where they fit."""
    sums = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    return sums[side:] - sums[:-side]
