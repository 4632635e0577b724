"""The figure for print, pixel by pixel."""

import re
from pathlib import Path

import numpy as np
import pytest

from app import comparison_figure
from app.crops import Crop
from tests.app.figure_files import decoded, enlarge, find, images_of_pdf
from tests.conftest import textured

SCALE = 4


@pytest.mark.parametrize(("width", "height", "factor"), [(10, 8, 6), (32, 32, 2), (5, 30, 2), (90, 40, 1)])
def test_a_figure_holds_every_crop_enlarged_by_a_whole_number(
    tmp_path: Path, width: int, height: int, factor: int
) -> None:
    low = textured(0, 60, 100)
    crop = Crop(4, 7, width, height)
    outputs = [textured(seed, 240, 400) for seed in range(1, 8)]
    parts = [("low resolution", crop.of(low, 1)), *((f"m{i}", crop.of(x, SCALE)) for i, x in enumerate(outputs))]
    drawn = decoded(comparison_figure.png(comparison_figure.draw("x", low, crop, parts)), tmp_path / "figure.png")
    places = [find(drawn, enlarge(part, factor)) for _, part in parts[1:]]
    places.insert(0, find(drawn, enlarge(parts[0][1], SCALE * factor)))
    assert [len(found) for found in places] == [1] * 8
    # In two rows, in the order that was given.
    assert sorted({y for found in places for _, y in found}) == list(dict.fromkeys(y for ((_, y),) in places))
    assert len({y for ((_, y),) in places}) == 2
    assert [x for ((x, _),) in places[:4]] == sorted({x for ((x, _),) in places})
    # Below each there is ink.
    for ((x, y),) in places:
        below = y + height * SCALE * factor
        assert drawn[below : below + 20, x : x + width * SCALE * factor].min() < 64


def test_the_overview_is_enlarged_by_a_whole_number_and_framed_at_the_place_of_the_crop(tmp_path: Path) -> None:
    low, crop = textured(0, 40, 48), Crop(30, 10, 8, 8)
    parts = [(name, np.full((32, 32, 3), 200, np.uint8)) for name in "abcdefgh"]
    drawn = decoded(comparison_figure.png(comparison_figure.draw("x", low, crop, parts)), tmp_path / "figure.png")
    # The first rows of the overview have nothing of the frame.
    ((left, top),) = find(drawn, enlarge(low[:4], 14))
    assert find(drawn, enlarge(crop.of(low, 1)[1:-1, 1:-1], 14)) == [(left + 31 * 14, top + 11 * 14)]
    middle = top + 14 * 14
    assert drawn[middle, left + 30 * 14].min() == 255
    assert drawn[middle, left + 38 * 14].min() == 255


def test_a_large_image_makes_a_smaller_overview_and_long_names_smaller_letters(tmp_path: Path) -> None:
    low, crop = textured(0, 900, 1200), Crop(0, 0, 32, 32)
    parts = [(name, textured(3, 128, 128)) for name in ("a" * 60, "b")]
    drawing = comparison_figure.draw("stem & <b>", low, crop, parts)
    assert "stem &amp; &lt;b&gt;" in drawing
    drawn = decoded(comparison_figure.png(drawing), tmp_path / "figure.png")
    assert drawn.shape[1] < 1200
    ((x, y), (second, _)) = find(drawn, enlarge(parts[0][1], 2))
    gap = drawn[y + 256 : y + 300, x + 256 : second]
    assert gap.min() == 255, "the long caption runs into the next one"


def test_the_pdf_holds_the_pixels_without_loss_across_two_columns() -> None:
    low, crop = textured(0, 40, 48), Crop(3, 4, 8, 6)
    parts = [("low resolution", crop.of(low, 1)), ("a", crop.of(textured(1, 160, 192), SCALE))]
    pdf = comparison_figure.pdf(comparison_figure.draw("x", low, crop, parts, width_mm=182))
    assert pdf.startswith(b"%PDF-")
    kept = {image.tobytes() for image in images_of_pdf(pdf)}
    assert {enlarge(crop.of(low, 1), 32).tobytes()} < kept
    assert {enlarge(parts[1][1], 8).tobytes()} < kept
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+) [\d.]+\]", pdf)
    assert box is not None
    assert float(box[1]) == pytest.approx(182 / 25.4 * 72, abs=0.1)
    assert b"LiberationSans" in pdf
