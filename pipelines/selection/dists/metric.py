"""DISTS: the distance of the paper's D1, for all pairs of N images from N passes through VGG-16.

K. Ding, K. Ma, S. Wang and E. P. Simoncelli, "Image Quality Assessment: Unifying Structure and Texture Similarity",
IEEE TPAMI 44 (2022). Of six levels of features (the raw image, then relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of
VGG-16 with L2 pooling) it needs no more than the means, variances and covariances of each channel over the whole map.
These are sums over pixels, so that they can be taken tile by tile (`segments`, `moments`), for all N images together.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines import weights
from pipelines.errors import DiscernError, WeightsError
from pipelines.images import Pixels
from pipelines.selection.dists.moments import Moments
from pipelines.selection.dists.network import CHANNELS, LAST, Network, checked
from pipelines.selection.dists.segments import SEGMENTS, through

TILE = 256  # large against the halo; the maps that pass through the network stay in memory that malloc uses again

_C1 = _C2 = 1e-6


class Dists:
    """DISTS with given weights: 0 for identical images, symmetric, below 1 but for features that vary oppositely.

    It holds nothing but weights, which no method changes: it can be pickled and used from several threads at once.

    On CUDA, convolutions in float32 round as torch's setting for TF32 says.
    """

    def __init__(
        self,
        vgg_state: Mapping[str, Tensor],
        alpha_beta: Mapping[str, Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        features_dtype: torch.dtype | None = None,
        tile: int = TILE,
    ) -> None:
        """Check the weights and move them to the device.

        Args:
            vgg_state: torchvision's VGG-16, `features.N.weight` and `features.N.bias`; other entries are ignored.
            alpha_beta: `alpha` and `beta`, (1, 1475, 1, 1) each, not negative.
            dtype: of L2 pooling and statistics, float32 or float64; tiles are merged in float64.
            device: cpu or cuda.
            features_dtype: of convolutions and of the maps that are kept, float16 or bfloat16; `dtype` unless given.
            tile: side in pixels, a multiple of 8; it changes memory and speed, not results.

        Raises:
            WeightsError: an entry is missing, of another shape or not finite, or alpha and beta cannot be normalised.
            DiscernError: a data type or a tile that cannot be used.
        """
        features_dtype = features_dtype or dtype
        _check_options(dtype, features_dtype, tile)
        self._dtype, self._features_dtype, self._device, self._tile = dtype, features_dtype, torch.device(device), tile
        self._network = Network(vgg_state, dtype=dtype, features_dtype=features_dtype, device=self._device)
        alpha, beta = _normalised(alpha_beta)
        self._alpha, self._beta = alpha.to(self._device).split(CHANNELS), beta.to(self._device).split(CHANNELS)

    @classmethod
    def from_files(
        cls,
        vgg_path: Path,
        weights_path: Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        features_dtype: torch.dtype | None = None,
        tile: int = TILE,
    ) -> "Dists":
        """DISTS with the weights of two files: torchvision's VGG-16, and alpha and beta (12 kB).

        Raises:
            WeightsError: a file cannot be read, or does not hold these weights.
            DiscernError: a data type or a tile that cannot be used.
        """
        vgg_state, alpha_beta = weights.load_state(vgg_path), weights.load_state(weights_path)
        return cls(vgg_state, alpha_beta, dtype=dtype, device=device, features_dtype=features_dtype, tile=tile)

    def features(self, image: Pixels) -> tuple[Tensor, ...]:
        """The features of one image, at once and not in tiles: memory grows with the image.

        Args:
            image: (height, width, 3) uint8.

        Returns:
            Six maps (channels, height, width), not negative: the raw image in [0, 1], `dtype`; relu1_2, relu2_2,
            relu3_3, relu4_3 and relu5_3, `features_dtype`. Sides are halved, and rounded up, from stage to stage.

        Raises:
            DiscernError: it is no such image.
        """
        _check_images([image])
        with torch.inference_mode():
            return tuple(level[0] for level in self._network.levels(self._stacked([image]), range(LAST + 1)))

    def pair(self, a: Pixels, b: Pixels) -> float:
        """The distance of two images, (height, width, 3) uint8 of one size.

        Raises:
            DiscernError: as in `pairwise`.
        """
        return float(self.pairwise([a, b])[0, 1])

    def pairwise(self, images: Sequence[Pixels]) -> NDArray[np.float64]:
        """All distances among N images, from one pass of each through the network.

        Score = 1 - sum over channels of (alpha l + beta s), alpha and beta divided by their total, with
        l = (2 mx my + c1) / (mx^2 + my^2 + c1), s = (2 cov + c2) / (vx + vy + c2), c1 = c2 = 1e-6.

        Memory, for N images of H x W, tiles of side T, b bytes per number of `dtype` and f of `features_dtype`: 3 N H W
        bytes for a copy of the images; 12 N H W f where the two largest of the kept maps meet (pooled relu2_2: 128
        channels at a quarter of the sides; pooled relu3_3: 256 at an eighth); 100 N T^2 b for the features of a tile;
        300 T^2 b for what passes through the network, on the GPU N times that, since all images go together there.
        Twelve images of 2048 x 2048 need 2.9 GB in float32, and a process 3.8 GB with its imports and their weights.

        Args:
            images: N >= 1 arrays (height, width, 3) uint8 of one size.

        Returns:
            (N, N) float64, symmetric, with a zero diagonal.

        Raises:
            DiscernError: there is no image, one is no such array, sizes differ, or features exceed their data type.
        """
        _check_images(images)
        with torch.inference_mode():
            distances = torch.stack(list(self._departures(self._stacked(images)))).sum(0)
        upper = np.triu(distances.cpu().numpy(), 1)
        if not np.isfinite(upper).all():
            raise DiscernError(f"dists: features exceed the range of {self._features_dtype}: use torch.float32")
        return upper + upper.T

    def _stacked(self, images: Sequence[Pixels]) -> Tensor:
        """(N, 3, H, W) uint8, channels last in memory, as all maps are: convolutions are faster so."""
        return torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2)

    def _departures(self, maps: Tensor) -> Iterator[Tensor]:
        """What each level adds to the distances, (N, N) float64, from the stacked images."""
        for segment in SEGMENTS:
            moments, maps = through(self._network, segment, maps, self._tile)
            for level, moment in zip(segment.levels, moments, strict=True):
                yield _departure(moment, self._alpha[level], self._beta[level])


def _departure(moments: Moments, alpha: Tensor, beta: Tensor) -> Tensor:
    """Sum over channels of alpha (1 - l) + beta (1 - s), (N, N) float64.

    1 - l = (mx - my)^2 / (mx^2 + my^2 + c1) and 1 - s = (vx + vy - 2 cov) / (vx + vy + c2): written so, no small
    difference of large numbers is left where images are nearly alike. Without the error of sums, neither is negative.
    """
    means, covariances = moments.means, moments.comoments / moments.count
    squares, variances = means**2, covariances.diagonal(dim1=1, dim2=2)
    luminance = (means[:, :, None] - means[:, None, :]) ** 2 / (squares[:, :, None] + squares[:, None, :] + _C1)
    total = variances[:, :, None] + variances[:, None, :]
    structure = (total - 2 * covariances).clamp(min=0) / (total + _C2)
    return (alpha[:, None, None] * luminance + beta[:, None, None] * structure).sum(0)


def _normalised(state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Alpha and beta, (1475,) float64 each, divided by their total.

    Raises:
        WeightsError: one is missing, of another shape, not finite or negative, or the total is zero.
    """
    shape = (1, sum(CHANNELS), 1, 1)
    alpha, beta = (checked(state, key, shape, "DISTS").double().flatten() for key in ("alpha", "beta"))
    total, least = alpha.sum() + beta.sum(), min(float(alpha.min()), float(beta.min()))
    if least < 0 or total == 0:
        raise WeightsError(
            "these are not the weights of DISTS: alpha and beta must not be negative, and not all zero; the least is "
            f"{least:.4g}. Give another file"
        )
    return alpha / total, beta / total


def _check_options(dtype: torch.dtype, features_dtype: torch.dtype, tile: int) -> None:
    if dtype not in (torch.float32, torch.float64):
        raise DiscernError(f"dists: dtype is {dtype}: choose torch.float32 or torch.float64")
    if features_dtype not in (torch.float16, torch.bfloat16, dtype):
        raise DiscernError(
            f"dists: features_dtype is {features_dtype}: choose torch.float16, torch.bfloat16 or {dtype}, as dtype"
        )
    if tile < 8 or tile % 8:
        raise DiscernError(f"dists: tile is {tile}: choose a positive multiple of 8")


def _check_images(images: Sequence[Pixels]) -> None:
    if len(images) == 0:
        raise DiscernError("dists: no image came: give at least one")
    for image in images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise DiscernError(
                f"dists: an image of shape {image.shape} and type {image.dtype} came: give (height, width, 3) uint8"
            )
    sizes = dict.fromkeys(f"{image.shape[1]}x{image.shape[0]}" for image in images)
    if len(sizes) > 1:
        raise DiscernError(f"dists: images of {', '.join(sizes)} pixels came together: give images of one size")
