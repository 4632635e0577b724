"""Large inputs in overlapping tiles, blended so that no seam shows, in bounded memory.

Neighbouring tiles share `overlap` LR pixels. The outer quarter of that at the end of either tile is thrown away: there
the network has seen the tile's border instead of the image. In the half between, one tile fades into the other
linearly. A convolutional network whose receptive field reaches no farther than `overlap` / 4 LR pixels therefore gives
the same in tiles as at once, up to rounding. Memory: the output in float32, and what one tile takes.

Networks with windows or strides see an image in blocks that are counted from its first pixel. Tiles start at multiples
of `STEP`, which the usual sides of 2 to 32 divide, so that a tile has the blocks that the whole image has; its last one
too, where the tile's side is a multiple of theirs. What such a network sees beyond its block still ends with the tile.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch

Forward = Callable[[torch.Tensor], torch.Tensor]

STEP = 32


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in LR pixels.

    Attributes:
        start: its first pixel.
        stop: the one after its last.
        fade_in: where its weight begins to rise from 0, and where it has reached 1; equal where there is no neighbour.
        fade_out: where its weight begins to fall from 1, and where it has reached 0.
    """

    start: int
    stop: int
    fade_in: tuple[int, int]
    fade_out: tuple[int, int]


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Cut an axis into the fewest tiles that share `overlap` pixels or more and start at multiples of a step.

    The step is `STEP`, or for small tiles the largest power of two by which neighbours can be apart: at least 16 for
    tiles of 32 or more. All tiles have one length but for the last, which may be shorter by less than a step.

    Args:
        length: of the axis, in LR pixels.
        tile: of each tile; at least twice `overlap`.
        overlap: that neighbours share at least.
    """
    if length <= tile:
        return [Span(0, length, (0, 0), (length, length))]
    farthest = tile - overlap  # that a tile may start after the one before it
    step = min(STEP, 1 << farthest.bit_length() - 1)
    steps = -(-(length - tile) // step)  # to the start of the last tile
    count = 1 + -(-steps // (farthest // step))
    starts = [index * steps // (count - 1) * step for index in range(count)]
    seams = [_seam(second, first + tile, overlap) for first, second in pairwise(starts)]
    fades_in, fades_out = [(0, 0), *seams], [*seams, (length, length)]
    return [
        Span(start, min(start + tile, length), fade_in, fade_out)
        for start, fade_in, fade_out in zip(starts, fades_in, fades_out, strict=True)
    ]


def _seam(start: int, stop: int, overlap: int) -> tuple[int, int]:
    """Where neighbours that share the pixels from `start` to `stop` fade into each other: half an overlap, centred."""
    width = overlap // 2
    begin = (start + stop - width) // 2
    return begin, begin + width


def upscale(forward: Forward, low: torch.Tensor, scale: int, *, tile: int, overlap: int) -> torch.Tensor:
    """Run a network over an image in tiles.

    Args:
        forward: (1, 3, h, w) -> (1, 3, scale x h, scale x w), on the device and in the dtype of `low`.
        low: (1, 3, height, width).
        scale: of the network.
        tile: longest side that `forward` is given, in LR pixels.
        overlap: LR pixels that neighbours share; at most half of `tile`.

    Returns:
        (1, 3, scale x height, scale x width) float32: on the CPU where there was more than one tile.
    """
    height, width = low.shape[-2:]
    rows, columns = spans(height, tile, overlap), spans(width, tile, overlap)
    if len(rows) == len(columns) == 1:
        return forward(low).float()
    output = torch.zeros(1, low.shape[1], height * scale, width * scale)
    for row, column in _grid(rows, columns):
        part = forward(low[..., row.start : row.stop, column.start : column.stop]).float().cpu()
        part *= _weight(row, scale)[:, None] * _weight(column, scale)
        output[..., _enlarged(row, scale), _enlarged(column, scale)] += part
    return output


def _grid(rows: list[Span], columns: list[Span]) -> Iterator[tuple[Span, Span]]:
    return ((row, column) for row in rows for column in columns)


def _enlarged(span: Span, scale: int) -> slice:
    return slice(span.start * scale, span.stop * scale)


def _weight(span: Span, scale: int) -> torch.Tensor:
    """The weight of a tile at each of its output pixels, (scale x length,) float32; those of all tiles add up to 1."""
    centres = torch.arange(span.start * scale, span.stop * scale) + 0.5
    return _ramp(centres, span.fade_in, scale) * (1 - _ramp(centres, span.fade_out, scale))


def _ramp(centres: torch.Tensor, fade: tuple[int, int], scale: int) -> torch.Tensor:
    begin, end = fade[0] * scale, fade[1] * scale
    if begin == end:
        return (centres >= begin).float()
    return ((centres - begin) / (end - begin)).clamp(0, 1)
