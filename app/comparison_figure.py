"""The outputs of one LR image as a figure for a paper: an overview, and the crops of all methods with their names.

It is drawn as SVG, and made into PNG and PDF by vl-convert, which brings its font along. Crops are enlarged by whole
numbers, and their pixels stay what they are: the PDF holds them without loss, and the captions as text.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from string import ascii_lowercase

import vl_convert

from app.crops import Crop
from app.resources import templates
from pipelines.images import Pixels, encode_png

CELL = 256  # pixels that the longer side of a crop takes, at most, unless it has more of its own
MARGIN, GAP = 12, 12
PAPER_MM = 182  # across two columns
MM_PER_POINT = 25.4 / 72
# The width of a letter over the size of the font: more than the average of any name, so that captions fit.
LETTER = 0.62


@dataclass(frozen=True)
class Part:
    """An image of the figure; places and sizes are in pixels of the figure."""

    x: int
    y: int
    width: int
    height: int
    source: str
    caption: str
    font: float
    smooth: bool = False


@dataclass(frozen=True)
class Grid:
    """Cells of one size for the crops, row by row.

    Attributes:
        width: of a crop, enlarged.
        height: of a crop, enlarged.
        rows: of cells.
        columns: of cells.
    """

    width: int
    height: int
    rows: int
    columns: int

    @property
    def font(self) -> float:
        """The size of captions that fit."""
        return max(self.width, self.height) / 11

    @property
    def line(self) -> int:
        """The height of a caption."""
        return round(1.6 * self.font)

    @property
    def cell(self) -> int:
        """The width of a cell: narrow crops leave room for their captions."""
        return max(self.width, 3 * self.height // 4)

    def place(self, index: int) -> tuple[int, int]:
        """Where a cell begins."""
        row, column = divmod(index, self.columns)
        return column * (self.cell + GAP), row * (self.height + self.line + GAP)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of all cells."""
        x, y = self.place(self.rows * self.columns - 1)
        return x + self.cell, y + self.height + self.line


def png(drawing: str) -> bytes:
    """A figure as PNG, one pixel for each unit of the drawing."""
    return vl_convert.svg_to_png(drawing, scale=1, ppi=72)


def pdf(drawing: str) -> bytes:
    """A figure as PDF."""
    return vl_convert.svg_to_pdf(drawing)


def draw(
    stem: str, low_resolution: Pixels, crop: Crop, crops: Sequence[tuple[str, Pixels]], *, width_mm: int | None = None
) -> str:
    """The figure as SVG.

    Args:
        stem: the LR image's name, the caption of the overview.
        low_resolution: the whole LR image, (height, width, 3) uint8.
        crop: the place of the crops, which is framed in the overview.
        crops: names and crops, (height, width, 3) uint8, all by one proportion; they are enlarged to one size.
        width_mm: of the whole figure in a PDF file; by default a unit of the drawing is a pixel.
    """
    grid = _grid([pixels for _, pixels in crops])
    overview = _overview(stem, low_resolution, grid)
    left = overview.x + overview.width + 2 * GAP
    captions = [f"({_letter(index)}) {name}" for index, (name, _) in enumerate(crops)]
    font = min(_font(grid, caption, grid.cell) for caption in captions)
    cells = [_cell(grid, left, index, captions[index], font, pixels) for index, (_, pixels) in enumerate(crops)]
    ratio = overview.width / low_resolution.shape[1]
    frame = [overview.x + ratio * crop.x, overview.y + ratio * crop.y, ratio * crop.width, ratio * crop.height]
    across, down = grid.size
    size = (left + across + MARGIN, down + 2 * MARGIN)
    shrink = 1 if width_mm is None else width_mm / MM_PER_POINT / size[0]
    outer = [side * shrink for side in size]
    template = templates().get_template("comparison.svg")
    return template.render(size=size, outer=outer, parts=[overview, *cells], frame=frame, line=grid.line)


def enlarge(pixels: Pixels, factor: int) -> Pixels:
    """Nearest neighbour by a whole number: (height, width, 3) to (factor x height, factor x width, 3)."""
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _grid(crops: Sequence[Pixels]) -> Grid:
    height, width = (max(pixels.shape[side] for pixels in crops) for side in (0, 1))
    factor = max(1, CELL // max(height, width))
    rows = max(1, round(sqrt(len(crops) / 2)))
    columns = ceil(len(crops) / rows)
    return Grid(factor * width, factor * height, ceil(len(crops) / columns), columns)


def _letter(index: int) -> str:
    """Names of subfigures: a to z, then aa to zz."""
    return ascii_lowercase[index % 26] * (1 + index // 26)


def _cell(grid: Grid, left: int, index: int, caption: str, font: float, pixels: Pixels) -> Part:
    x, y = grid.place(index)
    x += left + (grid.cell - grid.width) // 2
    source = _source(enlarge(pixels, grid.width // pixels.shape[1]))
    return Part(x, MARGIN + y, grid.width, grid.height, source, caption, font)


def _overview(stem: str, low_resolution: Pixels, grid: Grid) -> Part:
    """As large as fits beside the grid, and no wider; enlarged by a whole number, or made smaller smoothly."""
    height, width = low_resolution.shape[:2]
    across, down = grid.size
    fits = min((down - grid.line) / height, across / width)
    if fits >= 1:
        shown = enlarge(low_resolution, int(fits))
        height, width = shown.shape[:2]
    else:
        shown, height, width = low_resolution, round(fits * height), round(fits * width)
    return Part(MARGIN, MARGIN, width, height, _source(shown), stem, _font(grid, stem, width), smooth=fits < 1)


def _font(grid: Grid, caption: str, width: int) -> float:
    return round(min(grid.font, width / (LETTER * len(caption))), 2)


def _source(pixels: Pixels) -> str:
    return f"data:image/png;base64,{base64.b64encode(encode_png(pixels)).decode()}"
