"""Natural scene statistics of one image: what distortions, upsampling and sharpening change in a photograph.

The 36 features of BRISQUE (Mittal, Moorthy and Bovik, "No-reference image quality assessment in the spatial domain",
2012) and measures of what they see too little of: how energy falls with frequency, how gradients and local contrasts
are distributed, colour, and the regular traces that blocks and interpolation leave.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from pipelines.images import Pixels
from pipelines.quality import distributions
from pipelines.quality.model import check_pixels

SMALLEST_SIDE = 16

Plane = NDArray[np.float32]
Measures = Iterator[tuple[str, float]]

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_WINDOW_SIGMA = 7 / 6
_WINDOW_RADIUS = 3
_NEIGHBOURS = {"horizontal": (0, 1), "vertical": (1, 0), "diagonal": (1, 1), "antidiagonal": (1, -1)}
_BAND_SIGMAS = (0.5, 1.0, 2.0, 4.0)
# Upper ends of the radial frequency bands, in cycles per pixel; images enlarged x4 hold little above 1/8.
_RADII = (1 / 32, 1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2)
_PERIODS = (2, 4, 8)
# Added to energies before their logarithm: a hundredth of the variance that rounding to 8 bits brings.
_FLOOR = 1e-3


def extract(pixels: Pixels) -> NDArray[np.float32]:
    """Measure an image.

    Args:
        pixels: (height, width, 3) uint8, sRGB, at least 16 pixels a side.

    Returns:
        (d,) float32, finite for every image, in the order of `FEATURE_NAMES`.

    Raises:
        DiscernError: another layout, or a side of less than 16 pixels.
    """
    check_pixels(pixels, SMALLEST_SIDE)
    return np.array([value for _, value in _measure(pixels)], dtype=np.float32)


def normalise(luminance: Plane) -> tuple[Plane, Plane]:
    """Mean-subtracted contrast-normalised (MSCN) coefficients, and the local contrast that they are divided by.

    (I - mu) / (sigma + 1), mu and sigma being the mean and standard deviation in a 7x7 Gaussian window of standard
    deviation 7/6. Edges are mirrored, where BRISQUE's program pads with black.

    Args:
        luminance: (height, width) float32, 0-255.

    Returns:
        Coefficients and local standard deviations, each (height, width) float32.
    """
    # Centred first: sigma^2 = E[I^2] - mu^2 cancels badly in float32 where the image is bright.
    centred = luminance - luminance.mean(dtype=np.float64).astype(np.float32)
    mean = _window(centred)
    deviation = np.sqrt(np.maximum(_window(centred**2) - mean**2, 0))
    return (centred - mean) / (deviation + 1), deviation


def _measure(pixels: Pixels) -> Measures:
    luminance = pixels @ _LUMINANCE
    half = _halve(luminance)
    for scale, plane in (("full", luminance), ("half", half)):
        coefficients, deviation = normalise(plane)
        yield from _prefixed(f"{scale}.mscn", _coefficient_statistics(coefficients))
        yield from _prefixed(f"{scale}.contrast", _contrast_statistics(deviation))
        yield from _prefixed(f"{scale}.gradient", _gradient_statistics(plane))
    yield from _prefixed("spectrum", _spectrum(luminance))
    yield from _prefixed("band", _bands(luminance))
    yield from _prefixed("colour", _colour(pixels))
    yield from _prefixed("period", _periodicity(luminance))


def _coefficient_statistics(coefficients: Plane) -> Measures:
    """BRISQUE's 18 numbers of one scale: a GGD of the coefficients, an AGGD of each product of neighbours."""
    shape, variance = distributions.fit_symmetric(coefficients)
    yield "shape", shape
    yield "variance", variance
    for name, (down, right) in _NEIGHBOURS.items():
        fit = distributions.fit_asymmetric(_neighbour_products(coefficients, down, right))
        yield f"{name}.shape", fit.shape
        yield f"{name}.mean", fit.mean
        yield f"{name}.left", fit.left
        yield f"{name}.right", fit.right


def _neighbour_products(values: Plane, down: int, right: int) -> Plane:
    """Each value times its neighbour, `down` rows below and `right` columns to the right (or left, if negative)."""
    height, width = values.shape
    here = values[: height - down, max(0, -right) : width - max(0, right)]
    there = values[down:, max(0, right) : width + min(0, right)]
    return here * there


def _contrast_statistics(deviation: Plane) -> Measures:
    """How local contrast is spread over the image: quantiles of its logarithm, and their spread."""
    logarithm = np.log1p(deviation)
    for percent, value in zip((10, 50, 90), np.percentile(logarithm, (10, 50, 90)), strict=True):
        yield f"p{percent}", float(value)
    yield "mean", float(logarithm.mean())
    yield "deviation", float(logarithm.std())


def _gradient_statistics(plane: Plane) -> Measures:
    """Gradient magnitude: mean and spread of its logarithm (a Weibull's scale and shape), kurtosis, upper tail."""
    down, right = np.diff(plane, axis=0)[:, :-1], np.diff(plane, axis=1)[:-1]
    magnitude = np.hypot(down, right)
    logarithm = np.log1p(magnitude)
    yield "mean", float(logarithm.mean())
    yield "deviation", float(logarithm.std())
    median, tail, extreme = np.log1p(np.percentile(magnitude, (50, 90, 99)))
    yield "tail", float(tail - median)
    yield "extreme", float(extreme - tail)
    yield "kurtosis", _log_kurtosis(np.concatenate([down.ravel(), right.ravel()]))


def _spectrum(luminance: Plane) -> Measures:
    """Log energy per frequency in rings of the power spectrum, under a Hann window, and its step from ring to ring."""
    height, width = luminance.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    power = np.abs(fft.rfft2((luminance - luminance.mean()) * window)) ** 2 / np.sum(window**2)
    radius = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None, :])
    ring = np.digitize(radius.ravel(), _RADII, right=True)
    count = np.bincount(ring, minlength=len(_RADII) + 1)
    energy = np.bincount(ring, power.ravel(), len(_RADII) + 1) / np.maximum(count, 1)
    logarithms = np.log(energy + _FLOOR)
    for index, value in enumerate(logarithms):
        yield f"ring{index}", float(value)
    for index, (inner, outer) in enumerate(pairwise(logarithms)):
        yield f"step{index}", float(outer - inner)


def _bands(luminance: Plane) -> Measures:
    """Log energy and log kurtosis of differences of Gaussians, fine to coarse."""
    previous = luminance
    for index, sigma in enumerate(_BAND_SIGMAS):
        smooth = ndimage.gaussian_filter(luminance, sigma, mode="reflect", truncate=3)
        band = previous - smooth
        yield f"energy{index}", float(np.log(np.mean(band**2) + _FLOOR))
        yield f"kurtosis{index}", _log_kurtosis(band)
        previous = smooth


def _colour(pixels: Pixels) -> Measures:
    """Colourfulness (Hasler and Suesstrunk, 2003), and the fine energy of both opponent colours: chroma noise."""
    red, green, blue = np.moveaxis(pixels.astype(np.float32), -1, 0)
    opponents = (red - green, (red + green) / 2 - blue)
    spread = np.hypot(*(plane.std() for plane in opponents))
    offset = np.hypot(*(plane.mean() for plane in opponents))
    yield "colourfulness", float(np.log1p(spread + 0.3 * offset))
    for name, plane in zip(("red_green", "yellow_blue"), opponents, strict=True):
        fine = (plane[1:, 1:] - plane[:-1, 1:] - plane[1:, :-1] + plane[:-1, :-1]) / 2
        yield f"{name}.fine", float(np.log(np.mean(fine**2) + _FLOOR))


def _periodicity(luminance: Plane) -> Measures:
    """How much first and second differences depend on the position within blocks of 2, 4 and 8 pixels.

    JPEG leaves edges every 8 pixels; enlargement by s leaves weaker second differences between original samples.
    """
    for order in (1, 2):
        profiles = [np.abs(np.diff(luminance, order, axis=axis)).mean(axis=1 - axis) for axis in (0, 1)]
        for period in _PERIODS:
            yield f"difference{order}.{period}", float(np.mean([_unevenness(p, period) for p in profiles]))


def _unevenness(profile: Plane, period: int) -> float:
    """Log ratio of the strongest phase of a profile to its mean; 0 where every phase is equal."""
    whole = profile[: len(profile) // period * period].reshape(-1, period).mean(axis=0)
    return float(np.log((whole.max() + _FLOOR) / (whole.mean() + _FLOOR)))


def _log_kurtosis(values: Plane) -> float:
    """log(E[x^4] / E[x^2]^2); that of a Gaussian where there is nothing to measure."""
    square = values.astype(np.float64) ** 2
    second = float(square.mean())
    return float(np.log(np.mean(square**2) / second**2)) if second > _FLOOR else float(np.log(3))


def _window(plane: Plane) -> Plane:
    return ndimage.gaussian_filter(plane, _WINDOW_SIGMA, mode="reflect", radius=_WINDOW_RADIUS)


def _halve(plane: Plane) -> Plane:
    """Half the size, by Pillow's bicubic, which filters before it samples."""
    height, width = plane.shape
    return np.asarray(Image.fromarray(plane).resize((width // 2, height // 2), Image.Resampling.BICUBIC))


def _prefixed(prefix: str, measures: Measures) -> Measures:
    return ((f"{prefix}.{name}", value) for name, value in measures)


FEATURE_NAMES = tuple(name for name, _ in _measure(np.zeros((SMALLEST_SIDE, SMALLEST_SIDE, 3), dtype=np.uint8)))
