"""The network of DISTS: VGG-16 up to relu5_3, in stages, with L2 pooling in the place of the largest value."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.errors import WeightsError

CHANNELS = (3, 64, 128, 256, 512, 512)  # of each level: the raw image, then the stages
CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # of each stage, as torchvision counts
FIRST, LAST = 0, len(CONVOLUTIONS) - 1

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class Network:
    """The stages of VGG-16 with given weights; no method changes it."""

    def __init__(
        self, state: Mapping[str, Tensor], *, dtype: torch.dtype, features_dtype: torch.dtype, device: torch.device
    ) -> None:
        """Check the weights and move them to the device.

        Args:
            state: torchvision's VGG-16, `features.N.weight` and `features.N.bias`; other entries are ignored.
            dtype: of the raw image and of L2 pooling.
            features_dtype: of convolutions and of their outputs.
            device: where it computes.

        Raises:
            WeightsError: an entry is missing, of another shape, or not finite.
        """
        self.dtype, self.features_dtype = dtype, features_dtype
        self._stages = [
            [
                tuple(tensor.to(device, features_dtype) for tensor in _convolution(state, number, channels))
                for number, channels in zip(numbers, ((before, after), *[(after, after)] * 2), strict=False)
            ]
            for numbers, before, after in zip(CONVOLUTIONS, CHANNELS[:-1], CHANNELS[1:], strict=True)
        ]
        window = np.hanning(5)[1:-1]
        self._window = torch.from_numpy(np.outer(window, window) / window.sum() ** 2).to(device, dtype)
        mean, std = (torch.tensor(values, dtype=dtype, device=device).view(1, 3, 1, 1) for values in (_MEAN, _STD))
        self._scale, self._shift = 1 / std, -mean / std

    def levels(self, maps: Tensor, stages: Iterable[int]) -> Iterator[Tensor]:
        """What stages in a row give, one after the other.

        Args:
            maps: images (n, 3, h, w) uint8 for the first stage; else pooled maps (n, C, h, w) of the stage before.
            stages: their numbers, from 0.

        Yields:
            The raw image in [0, 1], in front of the first stage; the features of each stage, (n, C, h, w), not
            negative; at last these pooled, (n, C, ceil(h / 2), ceil(w / 2)), unless no stage comes after them.
        """
        pooled: Tensor | None = None
        for stage in stages:
            if stage == FIRST:
                maps = maps.to(self.dtype) / 255
                yield maps
                maps = torch.addcmul(self._shift, maps, self._scale).to(self.features_dtype)
            maps = maps if pooled is None else pooled
            for weight, bias in self._stages[stage]:
                maps = functional.conv2d(maps, weight, bias, padding=1).relu_()
            yield maps
            pooled = self._pooled(maps) if stage != LAST else None
        if pooled is not None:
            yield pooled

    def _pooled(self, maps: Tensor) -> Tensor:
        """sqrt(Hann filter of the square, stride 2, + 1e-12); in `dtype`, since a square can exceed half precision."""
        channels = maps.shape[1]
        window, bias = self._window.expand(channels, 1, 3, 3), self._window.new_full((channels,), 1e-12)
        power = functional.conv2d(maps.to(self.dtype).square(), window, bias, stride=2, padding=1, groups=channels)
        return power.sqrt_().to(self.features_dtype)


def _convolution(state: Mapping[str, Tensor], number: int, channels: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution from `channels[0]` to `channels[1]` channels, channels last in memory."""
    before, after = channels
    weight = checked(state, f"features.{number}.weight", (after, before, 3, 3), "torchvision's VGG-16")
    bias = checked(state, f"features.{number}.bias", (after,), "torchvision's VGG-16")
    return weight.contiguous(memory_format=torch.channels_last), bias


def checked(state: Mapping[str, Tensor], key: str, shape: tuple[int, ...], what: str) -> Tensor:
    """A copy of one entry of a state dict.

    Raises:
        WeightsError: it is missing, of another shape, or not finite; `what` is what the file should be.
    """
    if key not in state:
        raise WeightsError(f"these are not the weights of {what}: {key} is missing. Give another file")
    came = tuple(state[key].shape)
    if came != shape:
        raise WeightsError(f"these are not the weights of {what}: {key} is {came}, expected {shape}. Give another file")
    if not bool(state[key].isfinite().all()):
        raise WeightsError(f"damaged weights of {what}: {key} holds values that are not finite. Fetch the file again")
    return state[key].detach().clone()
