"""Crops as users write them, and the place where methods disagree most."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import crops
from app.crops import Crop
from pipelines.errors import DiscernError
from pipelines.images import Pixels
from tests.conftest import textured

random_numbers = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def noise(random: np.random.Generator, height: int, width: int) -> Pixels:
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(random=random_numbers, scale=st.integers(1, 4), window=st.integers(1, 6), data=st.data())
def test_a_planted_difference_is_found_to_the_pixel(
    random: np.random.Generator, scale: int, window: int, data: st.DataObject
) -> None:
    height, width = data.draw(st.integers(window, 20)), data.draw(st.integers(window, 20))
    x, y = data.draw(st.integers(0, width - window)), data.draw(st.integers(0, height - window))
    outputs = [noise(random, height * scale, width * scale) // 2] * data.draw(st.integers(2, 5))
    odd = outputs[0].copy()
    place = Crop(x, y, window, window)
    place.of(odd, scale)[...] += random.integers(1, 129, place.of(odd, scale).shape, dtype=np.uint8)
    outputs[data.draw(st.integers(0, len(outputs) - 1))] = odd
    assert crops.most_disputed(outputs, scale, window) == place


@pytest.mark.parametrize("y", [0, crops.BAND - 3, 2 * crops.BAND])
def test_a_difference_is_found_wherever_it_lies_among_the_bands_that_are_looked_at_together(y: int) -> None:
    outputs = [noise(np.random.default_rng(0), (2 * crops.BAND + 7) * 2, 18) // 2] * 3
    odd, place = outputs[0].copy(), Crop(2, y, 5, 5)
    place.of(odd, 2)[...] += 100
    assert crops.most_disputed([*outputs, odd], 2, 5) == place


@given(random=random_numbers, count=st.integers(1, 5), scale=st.integers(1, 3), window=st.integers(1, 12))
def test_no_window_has_a_larger_mean_deviation_than_the_one_that_is_chosen(
    random: np.random.Generator, count: int, scale: int, window: int
) -> None:
    height, width = random.integers(1, 10, 2).tolist()
    outputs = [noise(random, height * scale, width * scale) for _ in range(count)]
    found = crops.most_disputed(iter(outputs), scale, window)
    assert (found.width, found.height) == (min(window, width), min(window, height))
    deviation = np.std([output @ np.array([0.299, 0.587, 0.114]) for output in outputs], axis=0)
    means = [
        Crop(x, y, found.width, found.height).of(deviation, scale).mean()
        for y in range(height - found.height + 1)
        for x in range(width - found.width + 1)
    ]
    assert found.of(deviation, scale).mean() == pytest.approx(max(means), abs=1e-2)
    assert crops.most_disputed(outputs[::-1], scale, window) == found


def test_where_all_agree_the_first_window_is_taken() -> None:
    assert crops.most_disputed([textured(0, 80, 96)] * 3, 4, 8) == Crop(0, 0, 8, 8)
    assert crops.most_disputed([textured(0, 8, 12)], 4, 32) == Crop(0, 0, 3, 2)


@given(numbers=st.tuples(st.integers(0, 999), st.integers(0, 999), st.integers(1, 999), st.integers(1, 999)))
def test_a_crop_is_read_as_it_is_written(numbers: tuple[int, int, int, int]) -> None:
    assert crops.parse(str(Crop(*numbers))) == Crop(*numbers)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "1, 2,3,4", "-1,2,3,4", "1.5,2,3,4", "a,b,c,d", "١,2,3,4"])
def test_what_is_no_crop_is_refused(text: str) -> None:
    with pytest.raises(DiscernError, match=re.escape(f"{text!r} is no crop; give X,Y,WIDTH,HEIGHT in LR pixels")):
        crops.parse(text)


@pytest.mark.parametrize("text", ["1,2,0,4", "1,2,3,0"])
def test_an_empty_crop_is_refused(text: str) -> None:
    with pytest.raises(DiscernError, match="is empty"):
        crops.parse(text)
