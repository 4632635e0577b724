"""Decode, validate, hash: from files of many kinds to checked 8-bit RGB pixels.

An image is identified by the hash of its *pixels*, not of its file, so that the same picture has one identity whatever
compressor wrote it. Rules for what is not plain 8-bit RGB: grey and palette images become RGB; an ICC profile is
converted to sRGB and an EXIF rotation is applied, both once, here, and noted; transparency, 16 bits per channel and
CMYK are refused by name, because there is no neutral way to show them.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from pipelines.errors import DiscernError

Pixels = NDArray[np.uint8]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})


class ImageError(DiscernError):
    """An image file that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class DecodedImage:
    """Checked pixels and what had to be done to get them.

    Attributes:
        pixels: (height, width, 3) uint8, sRGB.
        notes: conversions that changed the pixels, in words; empty for a plain RGB file.
    """

    pixels: Pixels
    notes: tuple[str, ...] = ()


def find(folder: Path) -> list[Path]:
    """All image files below a folder, by suffix, sorted by their path; hidden files and folders are left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def decode(path: Path) -> DecodedImage:
    """Read an image file into 8-bit sRGB pixels by the rules of this module.

    Raises:
        ImageError: the file is missing, empty, truncated, no image, absurdly large, or of a kind that is refused.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _refuse_what_loading_would_hide(path, image)
                image.load()
                return _to_rgb(path, image)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except (PermissionError, IsADirectoryError) as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image that can be read: replace it, or take it out of the folder") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path}: {error}: take it out of the folder") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{path}: damaged image ({error}): replace it") from error


def _refuse_what_loading_would_hide(path: Path, image: Image.Image) -> None:
    # Pillow cuts 16-bit RGB down to 8 bits and shows the first of several frames, both without a word.
    if ";16" in str(getattr(image, "tile", "")):
        raise ImageError(f"{path}: 16 bits per channel are not supported: convert the file to 8-bit RGB")
    if getattr(image, "n_frames", 1) > 1:
        raise ImageError(f"{path}: holds several frames or pages: give a file for each image")


def _to_rgb(path: Path, image: Image.Image) -> DecodedImage:
    if image.mode not in {"RGB", "L", "P", "1"} or "transparency" in image.info:
        kind = "transparency" if "transparency" in image.info or "A" in image.mode else f"mode {image.mode}"
        raise ImageError(f"{path}: {kind} is not supported: convert the file to 8-bit RGB without transparency")
    notes = []
    if image.mode != "RGB":
        notes.append(f"converted from mode {image.mode} to RGB")
    profile = image.info.get("icc_profile")
    rgb = image.convert("RGB")
    if profile:
        rgb = _to_srgb(path, image if image.mode == "L" else rgb, profile)
        notes.append("converted from its ICC profile to sRGB")
    if image.getexif().get(0x0112, 1) != 1:
        rgb = ImageOps.exif_transpose(rgb)
        notes.append("rotated as its EXIF orientation says")
    return DecodedImage(np.asarray(rgb).copy(), tuple(notes))


def _to_srgb(path: Path, image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise ImageError(f"{path}: unusable ICC profile ({error}): remove it or convert the file to sRGB") from error
    assert converted is not None
    return converted


def pixel_hash(pixels: Pixels) -> str:
    """The sha256, in hexadecimal, of an image's size and its RGB bytes, row by row.

    Args:
        pixels: (height, width, 3) uint8.
    """
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"rgb8 {width}x{height}\n".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def decode_bytes(content: bytes) -> Pixels:
    """The pixels, (height, width, 3) uint8, of a file that `encode_png` made.

    Raises:
        ImageError: it is no image.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB")).copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"not an image that can be read ({error})") from error


def encode_png(pixels: Pixels) -> bytes:
    """The pixels, (height, width, 3) uint8, as a PNG file without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
