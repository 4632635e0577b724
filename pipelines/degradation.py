"""What happens to a photograph on its way to a poor copy: the low-resolution inputs of the demo, and rated distortions.

Every random draw comes from a seed and the name of the image, so that an image is degraded the same way whatever
else is in the study and in whatever order the work is done.
"""

import hashlib
import io
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Degradation:
    """The classical real-world model: blur, x4 downsampling, noise, JPEG, in this order.

    Attributes:
        blur_sigma: standard deviation of the Gaussian blur, in high-resolution pixels.
        noise_sigma: standard deviation of the additive Gaussian noise, on the 0-255 scale.
        jpeg_quality: Pillow's JPEG quality, 1-95.
    """

    blur_sigma: float
    noise_sigma: float
    jpeg_quality: int

    def as_dict(self) -> dict[str, float]:
        """The parameters by name, for provenance."""
        return asdict(self)


def generator(seed: int, name: str) -> np.random.Generator:
    """A random generator that depends on the seed and the name alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def draw_degradation(random: np.random.Generator) -> Degradation:
    """Draw mild to strong parameters, uniformly: blur .5-2.5 px, noise 1-8 of 255, JPEG quality 60-95."""
    return Degradation(
        blur_sigma=float(random.uniform(0.5, 2.5)),
        noise_sigma=float(random.uniform(1, 8)),
        jpeg_quality=int(random.integers(60, 96)),
    )


def low_resolution(pixels: Pixels, degradation: Degradation, random: np.random.Generator, scale: int = 4) -> Pixels:
    """Make a low-resolution image from a high-resolution one.

    Args:
        pixels: (height, width, 3) uint8; both sides multiples of `scale`.
        degradation: how strong each step is.
        random: source of the noise.
        scale: factor of the downsampling (Pillow's bicubic, which filters before it samples).

    Returns:
        (height / scale, width / scale, 3) uint8.
    """
    height, width = pixels.shape[:2]
    blurred = Image.fromarray(blur(pixels, degradation.blur_sigma))
    small = blurred.resize((width // scale, height // scale), Image.Resampling.BICUBIC)
    return jpeg(noise(np.asarray(small), degradation.noise_sigma, random), degradation.jpeg_quality)


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur of (height, width, 3) uint8 pixels; edges are mirrored."""
    smooth = ndimage.gaussian_filter(pixels.astype(np.float64), (sigma, sigma, 0), mode="reflect")
    return _to_uint8(smooth)


def noise(pixels: Pixels, sigma: float, random: np.random.Generator) -> Pixels:
    """Additive white Gaussian noise of standard deviation `sigma` on the 0-255 scale."""
    return _to_uint8(pixels + random.normal(0, sigma, pixels.shape))


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """The pixels after one round of JPEG with Pillow's `quality`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def _to_uint8(values: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
