"""Scene statistics against piq's independent BRISQUE, and against what each group is meant to see."""

import sys

import numpy as np
import piq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipelines import degradation
from pipelines.errors import DiscernError
from pipelines.images import Pixels
from pipelines.quality import scene_features
from pipelines.quality.scene_features import FEATURE_NAMES

piq_brisque = sys.modules[piq.brisque.__module__]


def photograph(seed: int = 0, height: int = 96, width: int = 128) -> Pixels:
    """Smooth noise at several scales: like a photograph in how its energy falls with frequency."""
    random = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for sigma in (1, 3, 9):
        image += ndimage.gaussian_filter(random.normal(size=image.shape), (sigma, sigma, 0)) * sigma**1.5
    return np.clip(128 + 50 * (image - image.mean()) / image.std(), 0, 255).astype(np.uint8)


def named(pixels: Pixels) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, scene_features.extract(pixels).tolist(), strict=True))


def luminance(pixels: Pixels) -> np.ndarray:
    return pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)


def test_features_have_distinct_names() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES) == len(scene_features.extract(photograph()))
    assert sum(".mscn." in name for name in FEATURE_NAMES) == 36


def test_coefficients_equal_a_direct_convolution() -> None:
    plane = luminance(photograph(1)).astype(np.float64)
    offsets = np.arange(-3, 4)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * (7 / 6) ** 2))
    kernel /= kernel.sum()
    mean = ndimage.convolve(plane, kernel, mode="reflect")
    deviation = np.sqrt(ndimage.convolve(plane**2, kernel, mode="reflect") - mean**2)
    ours, contrast = scene_features.normalise(plane.astype(np.float32))
    np.testing.assert_allclose(contrast, deviation, atol=2e-3)
    np.testing.assert_allclose(ours, (plane - mean) / (deviation + 1), atol=1e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_brisque_features_equal_those_of_piq(seed: int) -> None:
    """Tolerance 3 %: piq pads with black and rolls neighbours around the edges, a rim of 3 in 512 pixels."""
    pixels = photograph(seed, 512, 512)
    plane = luminance(pixels)
    # Mean-free, so that the black that piq pads with is no bright frame; MSCN coefficients do not see the mean.
    plane -= plane.mean()
    expected = piq_brisque._natural_scene_statistics(torch.from_numpy(plane)[None, None])[0].numpy()
    ours = np.array([value for name, value in named(pixels).items() if name.startswith("full.mscn")])
    assert len(expected) == len(ours) == 18
    # Our neighbours come in the order of piq's shifts: right, down, diagonal, antidiagonal.
    np.testing.assert_allclose(ours, expected, rtol=0.03, atol=0.01)


def test_a_brighter_image_has_the_same_coefficients() -> None:
    plane = luminance(photograph(2)) / 2
    np.testing.assert_allclose(scene_features.normalise(plane)[0], scene_features.normalise(plane + 100)[0], atol=1e-3)


def test_blur_takes_high_frequencies_away() -> None:
    sharp, soft = photograph(3), degradation.blur(photograph(3), 3)
    before, after = named(sharp), named(soft)
    assert after["spectrum.ring6"] < before["spectrum.ring6"] - 1
    assert after["spectrum.ring0"] == pytest.approx(before["spectrum.ring0"], abs=0.3)
    assert after["full.gradient.mean"] < before["full.gradient.mean"]


def test_noise_adds_fine_energy_and_flattens_the_coefficients() -> None:
    soft = degradation.blur(photograph(4), 2)
    before, after = named(soft), named(degradation.noise(soft, 10, np.random.default_rng(0)))
    assert after["band.energy0"] > before["band.energy0"] + 1
    assert after["colour.red_green.fine"] > before["colour.red_green.fine"] + 1


@pytest.mark.parametrize("period", [2, 4, 8])
def test_blocks_are_found_at_their_period(period: int) -> None:
    blocks = np.kron(photograph(5, 24, 24), np.ones((period, period, 1), dtype=np.uint8))
    assert named(blocks)[f"period.difference1.{period}"] == pytest.approx(np.log(period), abs=0.1)


def test_grey_has_no_colour() -> None:
    grey = np.repeat(photograph(6)[..., :1], 3, axis=2)
    assert named(grey)["colour.colourfulness"] == 0
    assert named(photograph(6))["colour.colourfulness"] > 1


@settings(max_examples=40)
@given(st.integers(16, 40), st.integers(16, 40), st.integers(0, 255), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_features_are_finite_for_every_image(height: int, width: int, level: int, spread: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(-(4**spread) + 1, 4**spread, (height, width, 3))
    pixels = np.clip(level + noise, 0, 255).astype(np.uint8)
    assert np.isfinite(scene_features.extract(pixels)).all()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_constant_image_is_measured(level: int) -> None:
    values = named(np.full((20, 30, 3), level, dtype=np.uint8))
    assert np.isfinite(list(values.values())).all()
    assert values["full.mscn.variance"] == 0
    assert values["full.contrast.mean"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((15, 40, 3), dtype=np.uint8), "40x15 pixels: at least 16"),
        (np.zeros((40, 40), dtype=np.uint8), r"\(40, 40\) of uint8"),
        (np.zeros((40, 40, 4), dtype=np.uint8), r"\(40, 40, 4\) of uint8"),
        (np.zeros((40, 40, 3), dtype=np.float32), r"\(40, 40, 3\) of float32"),
    ],
)
def test_other_layouts_are_refused(pixels: np.ndarray, message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        scene_features.extract(pixels)
