"""D2 of Eq. (1): embeddings of LR images, whose mean squared difference says how unlike two contents are."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.feature import hog

from pipelines.errors import DiscernError, WeightsError
from pipelines.images import Pixels

Embedding = Callable[[Pixels], NDArray[np.float32]]

_SIDE = 64
_CELLS = 4
_ORIENTATIONS = 8


def colour_gradient(pixels: Pixels) -> NDArray[np.float32]:
    """A descriptor that needs no weights: what colour is where, and which way edges run where.

    The image is resized to 64 x 64 and divided into 4 x 4 cells; each contributes its mean colour and a histogram of
    gradient orientations (Dalal and Triggs 2005, each cell normalised by itself).

    Args:
        pixels: (height, width, 3) uint8.

    Returns:
        (176,) float32 in [0, 1]: 48 colour values, then 128 histogram values.
    """
    small = np.asarray(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)) / 255.0
    cell = _SIDE // _CELLS
    colour = small.reshape(_CELLS, cell, _CELLS, cell, 3).mean(axis=(1, 3))
    edges = hog(small, _ORIENTATIONS, (cell, cell), (1, 1), block_norm="L2", channel_axis=-1)
    return np.concatenate([colour.ravel(), edges]).astype(np.float32)


_EMBEDDINGS: dict[str, Embedding] = {"colour_gradient": colour_gradient}
NAMES = tuple(_EMBEDDINGS)


def get(name: str) -> Embedding:
    """Look an embedding up by its name in the study file.

    Raises:
        WeightsError: `vgg16`, the paper's choice, which needs pretrained weights that this version does not load.
        DiscernError: there is none of that name.
    """
    if name == "vgg16":
        raise WeightsError(
            "selection.semantics: 'vgg16' (the paper's choice) needs pretrained VGG-16 weights, which this version "
            f"does not load yet; choose {' or '.join(NAMES)}"
        )
    if name not in NAMES:
        raise DiscernError(f"selection.semantics: unknown semantics {name!r}; choose {' or '.join(NAMES)}")
    return _EMBEDDINGS[name]
