"""What is in a figure's files: images within an image, and the images of a PDF file."""

import re
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.images import Pixels


def enlarge(pixels: Pixels, factor: int) -> Pixels:
    """By nearest neighbour, as Pillow does it."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels).resize((factor * width, factor * height), Image.Resampling.NEAREST)
    return np.asarray(image)


def find(image: NDArray[np.uint8], part: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Where a part lies in an image: x and y of every place."""
    height, width = part.shape[:2]
    places = np.argwhere((image[: len(image) - height + 1, : image.shape[1] - width + 1] == part[0, 0]).all(axis=2))
    return [(int(x), int(y)) for y, x in places if (image[y : y + height, x : x + width] == part).all()]


def decoded(png: bytes, path: Path) -> Pixels:
    path.write_bytes(png)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def images_of_pdf(pdf: bytes) -> list[Pixels]:
    """The images of a PDF file that are kept without loss."""
    found = []
    for start in re.finditer(rb"/Subtype /Image(.*?)stream\r?\n", pdf, re.DOTALL):
        width, height = (int(re.search(rb"/" + key + rb" (\d+)", start[1])[1]) for key in (b"Width", b"Height"))  # type: ignore[index]
        assert b"/FlateDecode" in start[1]
        pixels = zlib.decompressobj().decompress(pdf[start.end() :])
        if b"/DeviceRGB" in start[1]:
            found.append(np.frombuffer(pixels, np.uint8).reshape(height, width, 3))
    return found
