"""Decoding: what is accepted, what is converted and noted, what is refused by name."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipelines import images
from pipelines.images import ImageError
from tests.conftest import save, textured


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_files_give_the_pixels_that_were_stored(tmp_path: Path, suffix: str) -> None:
    pixels = textured(0)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if suffix == "webp" else {}))
    decoded = images.decode(path)
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert decoded.notes == ()


def test_grey_and_palette_images_become_rgb_and_say_so(tmp_path: Path) -> None:
    grey = Image.fromarray(textured(0)).convert("L")
    grey.save(tmp_path / "grey.png")
    decoded = images.decode(tmp_path / "grey.png")
    np.testing.assert_array_equal(decoded.pixels, np.repeat(np.asarray(grey)[..., None], 3, axis=2))
    assert decoded.notes == ("converted from mode L to RGB",)
    palette = Image.fromarray(textured(1)).quantize(16)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(images.decode(tmp_path / "palette.png").pixels, np.asarray(palette.convert("RGB")))


def test_an_exif_rotation_is_applied_once_and_noted(tmp_path: Path) -> None:
    pixels = textured(0, 20, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown rotated by 90 degrees, clockwise
    Image.fromarray(pixels).save(tmp_path / "rotated.png", exif=exif)
    decoded = images.decode(tmp_path / "rotated.png")
    np.testing.assert_array_equal(decoded.pixels, np.rot90(pixels, k=-1))
    assert "EXIF" in decoded.notes[0]


def test_an_icc_profile_is_converted_to_srgb_and_noted(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(textured(0)).save(tmp_path / "tagged.png", icc_profile=profile)
    decoded = images.decode(tmp_path / "tagged.png")
    # An sRGB profile changes nothing but rounding.
    assert np.abs(decoded.pixels.astype(int) - textured(0)).max() <= 1
    assert "ICC" in decoded.notes[0]


def _text(path: Path) -> None:
    path.write_text("not an image")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    save(path, textured(0))
    path.write_bytes(path.read_bytes()[:-200])


def _transparent(path: Path) -> None:
    Image.fromarray(np.dstack([textured(0), np.full((24, 32), 9, np.uint8)])).save(path)


def _sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(path)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (_text, "not an image"),
        (_empty, "not an image"),
        (_truncated, "damaged"),
        (_transparent, "transparency is not supported"),
        (_sixteen_bits, "16 bits per channel are not supported"),
        (lambda path: None, "no such file"),
    ],
)
def test_an_unusable_file_is_refused_by_name(tmp_path: Path, write: Callable[[Path], None], expected: str) -> None:
    path = tmp_path / "image.png"
    write(path)
    with pytest.raises(ImageError, match=expected) as caught:
        images.decode(path)
    assert str(path) in str(caught.value)


def png_of_16_bits(path: Path) -> None:
    """A PNG of RGB with 16 bits per channel, which Pillow can read but not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(range(24)) for _ in range(4))
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_what_pillow_would_cut_down_without_a_word_is_refused(tmp_path: Path) -> None:
    png_of_16_bits(tmp_path / "deep.png")
    with pytest.raises(ImageError, match=r"deep\.png: 16 bits per channel"):
        images.decode(tmp_path / "deep.png")
    frames = [Image.fromarray(textured(seed)) for seed in (0, 1)]
    frames[0].save(tmp_path / "pages.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"pages\.tiff: holds several frames"):
        images.decode(tmp_path / "pages.tiff")


def test_a_folder_is_not_called_a_damaged_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        images.decode(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ImageError, match="exceeds limit"):
        images.decode(save(tmp_path / "image.png", textured(0)))


def test_the_hash_is_of_pixels_and_shape_not_of_the_file(tmp_path: Path) -> None:
    pixels = textured(0)
    save(tmp_path / "a.png", pixels)
    save(tmp_path / "a.bmp", pixels)
    hashes = {images.pixel_hash(images.decode(tmp_path / name).pixels) for name in ("a.png", "a.bmp")}
    assert len(hashes) == 1
    changed = pixels.copy()
    changed[0, 0, 0] ^= 1
    assert images.pixel_hash(changed) not in hashes
    assert images.pixel_hash(pixels.reshape(32, 24, 3)) not in hashes


def test_files_are_found_in_order_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.JPG", ".hidden.png", ".cache/c.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.relative_to(tmp_path).as_posix() for path in images.find(tmp_path)] == ["a/z.JPG", "b.png"]


def test_what_was_encoded_is_decoded_again_from_its_bytes() -> None:
    pixels = textured(5)
    assert np.array_equal(images.decode_bytes(images.encode_png(pixels)), pixels)


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(images.ImageError, match="not an image"):
        images.decode_bytes(b"no image")
