"""Decode, validate, hash: from files of many kinds to checked 8-bit RGB pixels.

An image is identified by the hash of its *pixels*, not of its file, so that the same picture has one identity whatever
compressor wrote it. PNG, JPEG, WebP, TIFF and BMP are read, by these rules for what is not plain 8-bit RGB: one-bit,
grey and palette images become RGB; an EXIF rotation is applied and an ICC profile is converted to sRGB, both once,
here, and noted; transparency, 16 bits per channel, CMYK and several frames are refused by name, because there is no
neutral way to show them.
"""

import hashlib
import io
import mimetypes
import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from pipelines.errors import DiscernError

Pixels = NDArray[np.uint8]

# What decompresses to more may be an attack. Pillow's own limit holds for every file alike, and an output of a large LR
# image has a size that is known: `decode` has a limit of its own.
MAX_PIXELS = 89_478_485
Image.MAX_IMAGE_PIXELS = None

_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _UNSIGNED = 258, 339, 1  # of TIFF

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")  # nothing else is decoded, whatever a file is called


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
    """All image files below a folder, sorted by their path; hidden files and folders are left out.

    By their names: also those of kinds that `decode` refuses, and broken links, so that they do not go missing without
    a word. Links to folders are followed; a folder that can be reached in several ways is looked through once.
    """
    root = Path(os.path.realpath(folder))
    seen = {root, *root.parents}
    found: list[Path] = []
    for here, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in sorted(folders) if not name.startswith(".") and _is_new(Path(here, name), seen)]
        found += [Path(here, name) for name in files if not name.startswith(".")]
    return sorted(path for path in found if _looks_like_an_image(path) and _can_be_opened(path))


def _is_new(folder: Path, seen: set[Path]) -> bool:
    real = Path(os.path.realpath(folder))
    is_new = real not in seen
    seen.add(real)
    return is_new


def _can_be_opened(path: Path) -> bool:
    """Whether `decode` either reads it or says why not; it would wait for ever at a pipe."""
    try:
        return S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _looks_like_an_image(path: Path) -> bool:
    kind, _ = mimetypes.guess_type(path.name)
    return path.suffix.lower() in SUFFIXES or (kind or "").startswith("image/")


def decode(path: Path, *, limit: float | None = None) -> DecodedImage:
    """Read an image file into 8-bit sRGB pixels by the rules of this module.

    Args:
        path: the file.
        limit: the most pixels that it may have; `MAX_PIXELS` unless its size is known.

    Raises:
        ImageError: the file is missing, empty, truncated, no image, absurdly large, or of a kind that is refused.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            _refuse_what_loading_would_hide(path, image, MAX_PIXELS if limit is None else limit)
            # Read before loading, which rotates a TIFF and forgets that it did.
            is_rotated = image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
            image.load()
            return _to_rgb(path, image, is_rotated=is_rotated)
    except FileNotFoundError as error:
        reason = "a link to a file that is not there: correct it" if path.is_symlink() else "no such file"
        raise ImageError(f"{path}: {reason}") from error
    except UnidentifiedImageError as error:
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: an empty file: replace it, or take it out") from error
        raise ImageError(f"{path}: not a PNG, JPEG, WebP, TIFF or BMP image: convert it, or take it out") from error
    except ImageError:
        raise
    except Exception as error:  # decoders meet damaged files with errors of every kind
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"{path}: cannot be read ({error.strerror}): correct or remove it") from error
        raise ImageError(f"{path}: damaged image ({error or type(error).__name__}): replace it") from error


def _refuse_what_loading_would_hide(path: Path, image: Image.Image, limit: float) -> None:
    if image.width * image.height > limit:
        raise ImageError(f"{path}: {image.width}x{image.height} exceeds the limit of {limit} pixels: take it out")
    # Pillow cuts 16-bit RGB down to 8 bits and shows the first of several frames, both without a word.
    if set(_tiff_values(image, _SAMPLE_FORMAT, _UNSIGNED)) != {_UNSIGNED}:
        raise ImageError(f"{path}: signed or floating-point values are not supported: convert the file to 8-bit RGB")
    if ";16" in str(getattr(image, "tile", "")) or max(_tiff_values(image, _BITS_PER_SAMPLE, 8)) > 8:
        raise ImageError(f"{path}: 16 bits per channel are not supported: convert the file to 8-bit RGB")
    if getattr(image, "n_frames", 1) > 1:
        raise ImageError(f"{path}: holds several frames or pages: give a file for each image")


def _tiff_values(image: Image.Image, tag: int, default: int) -> tuple[int, ...]:
    """A tag of a TIFF file, with a value for each channel; the default for other files."""
    found = getattr(image, "tag_v2", {}).get(tag, default)
    return found if isinstance(found, tuple) else (found,)


def _to_rgb(path: Path, image: Image.Image, *, is_rotated: bool) -> DecodedImage:
    if image.mode not in {"RGB", "L", "P", "1"} or "transparency" in image.info:
        kind = "transparency" if "transparency" in image.info or "A" in image.mode else f"mode {image.mode}"
        raise ImageError(f"{path}: {kind} is not supported: convert the file to 8-bit RGB without transparency")
    notes = []
    if is_rotated:  # first: what converts colours forgets the orientation
        image = ImageOps.exif_transpose(image)
        notes.append("rotated as its EXIF orientation says")
    if image.mode != "RGB":
        notes.append(f"converted from mode {image.mode} to RGB")
    profile = image.info.get("icc_profile")
    rgb = image.convert("RGB")
    if profile:
        rgb = _to_srgb(path, image if image.mode == "L" else rgb, profile)
        notes.append("converted from its ICC profile to sRGB")
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


def resize_short_side(pixels: Pixels, side: int) -> Pixels:
    """Shrink an image so that its short side has this many pixels, as DISTS and others expect of large images.

    Bilinear with antialiasing, the long side rounded down, as torchvision's `resize` does it with Pillow.

    Args:
        pixels: (height, width, 3) uint8.
        side: in pixels.

    Returns:
        (height, width, 3) uint8; the same array if its short side is no longer than this: nothing is enlarged.
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    if short <= side:
        return pixels
    size = (int(side * width / short), int(side * height / short))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)).copy()


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
