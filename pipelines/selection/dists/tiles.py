"""Cutting maps into tiles with a halo, so that what is computed tile by tile equals what is computed at once."""

from typing import NamedTuple


class Span(NamedTuple):
    """One side of a tile, in pixels of what is cut: its core, and the outer part that is computed for it.

    Where a map has a pixel for each `stride` of these, starts are multiples of it, and so are stops, but at the border.
    """

    start: int
    stop: int
    outer_start: int
    outer_stop: int

    @property
    def outer(self) -> slice:
        """Core and halo, in what is cut."""
        return slice(self.outer_start, self.outer_stop)

    def whole(self, stride: int) -> slice:
        """The core in a whole map."""
        return slice(self.start // stride, -(-self.stop // stride))

    def core(self, stride: int) -> slice:
        """The core in a map of the outer part."""
        whole, first = self.whole(stride), self.outer_start // stride
        return slice(whole.start - first, whole.stop - first)

    def size(self, stride: int) -> int:
        """Pixels of the core in a map."""
        whole = self.whole(stride)
        return whole.stop - whole.start


def spans(length: int, side: int, halo: int) -> list[Span]:
    """Cut a side; beyond the border there is no halo, because the zeros of a convolution's padding are right there.

    Args:
        length: of the whole side, in pixels.
        side: of a core, a multiple of every stride.
        halo: likewise.
    """
    starts = range(0, length, side)
    stops = [min(start + side, length) for start in starts]
    return [Span(a, b, max(a - halo, 0), min(b + halo, length)) for a, b in zip(starts, stops, strict=True)]
