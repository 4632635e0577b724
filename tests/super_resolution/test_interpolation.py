"""The classical methods: sizes, known answers, and what each one is for."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from pipelines.super_resolution import interpolation
from pipelines.super_resolution.interpolation import ALGORITHMS, Interpolation
from tests.conftest import textured


def upscale(algorithm: str, pixels: np.ndarray, scale: int = 4) -> np.ndarray:
    return Interpolation("method", algorithm, scale).upscale("image", pixels).pixels


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("scale", [2, 4])
def test_outputs_have_the_scale_and_are_the_same_each_time(algorithm: str, scale: int) -> None:
    pixels = textured(0, 20, 28)
    output = upscale(algorithm, pixels, scale)
    assert output.shape == (20 * scale, 28 * scale, 3)
    assert output.dtype == np.uint8
    np.testing.assert_array_equal(output, upscale(algorithm, pixels, scale))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (2, 1)])
def test_an_image_of_one_row_or_column_keeps_its_shape_and_content(algorithm: str, height: int, width: int) -> None:
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels += np.linspace(60, 180, height * width).reshape(height, width, 1).astype(np.uint8)
    output = upscale(algorithm, pixels)
    assert output.shape == (4 * height, 4 * width, 3)
    small = output.reshape(height, 4, width, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - pixels).max() < 16


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_constant_image_stays_constant(algorithm: str) -> None:
    pixels = np.full((16, 16, 3), (30, 120, 200), dtype=np.uint8)
    assert np.abs(upscale(algorithm, pixels).astype(int) - (30, 120, 200)).max() <= 1


def test_nearest_repeats_each_pixel() -> None:
    pixels = textured(1)
    np.testing.assert_array_equal(upscale("nearest", pixels), pixels.repeat(4, axis=0).repeat(4, axis=1))


def test_bilinear_agrees_with_an_independent_interpolation_inside_the_image() -> None:
    pixels = textured(2, 16, 16)
    rows, columns = np.meshgrid((np.arange(64) + 0.5) / 4 - 0.5, (np.arange(64) + 0.5) / 4 - 0.5, indexing="ij")
    expected = np.stack(
        [
            ndimage.map_coordinates(pixels[..., c].astype(float), [rows, columns], order=1, mode="nearest")
            for c in range(3)
        ],
        axis=-1,
    )
    assert np.abs(upscale("bilinear", pixels) - expected).max() <= 1


def test_bicubic_reproduces_the_kernel_of_keys() -> None:
    # The response to a bright column at distance t, in units of LR pixels, is the kernel itself: a = -0.5.
    pixels = np.zeros((9, 9, 3), dtype=np.uint8)
    pixels[:, 4] = 200
    t = np.abs((np.arange(36) + 0.5) / 4 - 0.5 - 4)
    kernel = np.where(t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0))
    assert np.abs(upscale("bicubic", pixels)[18, :, 0] - np.clip(200 * kernel, 0, 255)).max() <= 1


def test_unsharp_masking_raises_contrast_at_an_edge() -> None:
    pixels = np.full((16, 16, 3), 80, dtype=np.uint8)
    pixels[:, 8:] = 160
    sharp, plain = upscale("bicubic_unsharp", pixels)[32, :, 0], upscale("bicubic", pixels)[32, :, 0]
    assert sharp.max() > plain.max() + 5
    assert sharp.min() < plain.min() - 5


def test_nonlocal_means_removes_noise_that_bicubic_keeps() -> None:
    random = np.random.default_rng(0)
    noisy = np.clip(128 + random.normal(0, 12, (32, 32, 3)), 0, 255).astype(np.uint8)
    assert upscale("bicubic_nonlocal_means", noisy).std() < 0.6 * upscale("bicubic", noisy).std()


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1])
def test_the_noise_level_is_found_on_a_smooth_image(sigma: float) -> None:
    rows, columns = np.mgrid[:64, :64] / 64
    smooth = np.repeat((0.3 + 0.3 * rows + 0.2 * columns**2)[..., None], 3, axis=2)
    noisy = smooth + np.random.default_rng(0).normal(0, sigma, smooth.shape)
    assert interpolation.estimate_noise(noisy) == pytest.approx(sigma, rel=0.05)


def test_back_projection_explains_the_lr_image_better_than_bicubic() -> None:
    pixels = textured(3)

    def error(algorithm: str) -> float:
        large = Image.fromarray(upscale(algorithm, pixels))
        small = np.asarray(large.resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BICUBIC), dtype=float)
        return float(np.mean((small - pixels) ** 2))

    assert error("back_projection") < 0.2 * error("bicubic")


def test_provenance_names_what_determines_the_outputs() -> None:
    facts = Interpolation("a name", "bicubic", 4).provenance
    assert (facts["algorithm"], facts["scale"]) == ("bicubic", 4)
    assert facts["pillow"]
    assert facts == Interpolation("another name", "bicubic", 4).provenance


def test_only_libraries_that_an_algorithm_uses_make_its_outputs_out_of_date() -> None:
    def libraries(algorithm: str) -> set[str]:
        return set(Interpolation("x", algorithm, 4).provenance) - {"kind", "algorithm", "scale"}

    assert libraries("bicubic") == {"pillow"}
    assert libraries("bicubic_nonlocal_means") == {"pillow", "scikit-image", "scipy"}
