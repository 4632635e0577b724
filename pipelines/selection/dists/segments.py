"""The network of DISTS in segments, and N images streamed through one of them tile by tile.

Whole maps are kept only between segments; everything else is bounded by a tile. On each tile all N images go through
the segment, and their moments are taken together.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from pipelines.selection.dists.moments import Moments
from pipelines.selection.dists.network import CHANNELS, CONVOLUTIONS, FIRST, LAST, Network
from pipelines.selection.dists.tiles import Span, spans


@dataclass(frozen=True)
class Segment:
    """Stages that a tile goes through at once, and the sizes that follow from them.

    Attributes:
        stages: their numbers; the pooled maps of the last of them are kept for the next segment.
        share: how many times shorter than those of the first segment the sides of its tiles are.
    """

    stages: tuple[int, ...]
    share: int

    @property
    def is_last(self) -> bool:
        """Whether nothing follows, so that nothing is pooled and kept."""
        return self.stages[-1] == LAST

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels whose features it gives: those of its stages, and the raw image in the first segment."""
        return (0,) * (self.stages[0] == FIRST) + tuple(stage + 1 for stage in self.stages)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of its input, on a side, for one of each level."""
        return (1,) * (self.stages[0] == FIRST) + tuple(2**count for count in range(len(self.stages)))

    @property
    def reduction(self) -> int:
        """Pixels of its input, on a side, for one of the maps that it keeps."""
        return 2 ** len(self.stages)

    @property
    def halo(self) -> int:
        """How many pixels at a cut are wrong in the features or in the output, counted at the input.

        Each convolution takes zeros for one pixel beyond the cut, so one more is wrong after it. Output i of pooling
        sees inputs 2i - 1 to 2i + 1: where the first k are wrong, and the one before them, outputs 0 to floor(k / 2)
        are. In pixels of the input this never shrinks, so that what suffices for the output suffices for every level.
        It is 12 for stages one and two together, 4 for three and for four, and 3, the convolutions alone, for five.
        """
        wrong, stride = 0, 1
        for stage in self.stages:
            wrong += len(CONVOLUTIONS[stage])
            if stage != LAST:
                wrong, stride = wrong // 2 + 1, 2 * stride
        return wrong * stride


# Maps of stage one would be twice as large as those of stage two, so they are not kept: stage two follows at once.
# The sides of the tiles fall as channels grow, so that no segment needs more memory for a tile than the first.
SEGMENTS = (Segment((0, 1), 1), Segment((2,), 2), Segment((3,), 4), Segment((4,), 4))


@dataclass(frozen=True)
class _Scratch:
    """Room for one level of all images on any one tile: fresh memory for every tile would cost more than the sums."""

    flat: Tensor
    images: int
    channels: int
    stride: int

    def at(self, rows: Span, columns: Span) -> Tensor:
        """Room for the core of a tile, (N, C, h, w), contiguous."""
        size = (self.images, self.channels, rows.size(self.stride), columns.size(self.stride))
        return self.flat[: math.prod(size)].view(size)


@dataclass(frozen=True)
class _Kept:
    """The whole maps that feed the next segment, (N, C, h, w)."""

    maps: Tensor
    stride: int

    def at(self, rows: Span, columns: Span) -> Tensor:
        """The place of the core of a tile."""
        return self.maps[:, :, rows.whole(self.stride), columns.whole(self.stride)]


def through(network: Network, segment: Segment, maps: Tensor, tile: int) -> tuple[list[Moments], Tensor]:
    """Stream N maps through a segment.

    Args:
        network: the weights.
        segment: what to go through.
        maps: (N, 3, H, W) uint8 for the first segment, else what the segment before kept; channels last in memory.
        tile: side of the tiles of the first segment, a multiple of 8.

    Returns:
        The moments at each of its levels, and the pooled maps for the next segment (empty after the last).
    """
    side = tile // segment.share
    scratch, kept = _scratch(network, segment, maps, side), _kept(network, segment, maps)
    moments: list[Moments] = []
    for rows, columns in product(*(spans(length, side, segment.halo) for length in maps.shape[2:])):
        _fill([*scratch, *kept], network, segment, maps, rows, columns, side)
        found = [Moments.of(level.at(rows, columns)) for level in scratch]
        moments = [old.merged(new) for old, new in zip(moments, found, strict=True)] if moments else found
    return moments, kept[0].maps if kept else maps


def _fill(
    places: Sequence[_Scratch | _Kept],
    network: Network,
    segment: Segment,
    maps: Tensor,
    rows: Span,
    columns: Span,
    side: int,
) -> None:
    """Compute a tile of all images; the cores of its levels, and of what is kept, go to their places."""
    tile = maps[:, :, rows.outer, columns.outer]
    for some in _batches(tile, side):
        results = network.levels(tile[some], segment.stages)
        for place, result in zip(places, results, strict=True):
            core = result[:, :, rows.core(place.stride), columns.core(place.stride)]
            place.at(rows, columns)[some].copy_(core)


def _batches(tile: Tensor, side: int) -> Iterator[slice]:
    """The images one after the other, but small ones together, up to the pixels of one full tile; all on a GPU."""
    n, _, height, width = tile.shape
    at_once = max(1, side * side // (height * width)) if tile.device.type == "cpu" else n
    for first in range(0, n, at_once):
        yield slice(first, first + at_once)


def _scratch(network: Network, segment: Segment, maps: Tensor, side: int) -> list[_Scratch]:
    """For each level, as large as the largest tile needs it."""
    found = []
    for level, stride in zip(segment.levels, segment.strides, strict=True):
        area = math.prod(-(-min(side, length) // stride) for length in maps.shape[2:])
        flat = _empty(len(maps) * CHANNELS[level] * area, network.dtype, maps.device)
        found.append(_Scratch(flat, len(maps), CHANNELS[level], stride))
    return found


def _kept(network: Network, segment: Segment, maps: Tensor) -> list[_Kept]:
    """One, or none for the last segment."""
    if segment.is_last:
        return []
    height, width = (-(-length // segment.reduction) for length in maps.shape[2:])
    size = (len(maps), height, width, CHANNELS[segment.levels[-1]])
    flat = _empty(math.prod(size), network.features_dtype, maps.device)
    return [_Kept(flat.view(size).permute(0, 3, 1, 2), segment.reduction)]


def _empty(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers not yet written. On the CPU from NumPy, which asks for huge pages: they are five times faster to get."""
    if device.type != "cpu":
        return torch.empty(count, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(count * dtype.itemsize, dtype=np.uint8)).view(dtype)
