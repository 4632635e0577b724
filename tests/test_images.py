"""Decoding: what is accepted, what is converted and noted, what is refused by name."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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


def _profile_that_swaps_red_and_green() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photograph_with_rotation_and_profile_gets_both(tmp_path: Path, suffix: str, orientation: int) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16], pixels[:8, 16:] = (200, 40, 20), (20, 30, 180)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path, profile = tmp_path / f"photograph.{suffix}", _profile_that_swaps_red_and_green()
    exact: dict[str, Any] = {"lossless": True} if suffix == "webp" else {"subsampling": 0} if suffix == "jpg" else {}
    Image.fromarray(pixels).save(path, exif=exif, icc_profile=profile, **exact)
    decoded = images.decode(path)
    upright = {  # where row 0 and column 0 lie in the photograph, by the EXIF standard
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels.swapaxes(0, 1)[:, ::-1],
        7: pixels.swapaxes(0, 1)[::-1, ::-1],
        8: pixels.swapaxes(0, 1)[::-1],
    }
    expected = upright[orientation][..., [1, 0, 2]]
    assert decoded.pixels.shape == expected.shape
    assert np.abs(decoded.pixels.astype(int) - expected).max() <= 4  # JPEG's rounding and the profile's
    assert decoded.notes == ("rotated as its EXIF orientation says", "converted from its ICC profile to sRGB")


def test_an_orientation_that_means_nothing_is_not_noted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 0
    Image.fromarray(textured(0)).save(tmp_path / "image.png", exif=exif)
    assert images.decode(tmp_path / "image.png").notes == ()


def _text(path: Path) -> None:
    path.write_text("not an image")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    save(path, textured(0))
    path.write_bytes(path.read_bytes()[:-200])


def _transparent(path: Path) -> None:
    Image.fromarray(np.dstack([textured(0), np.full((24, 32), 9, np.uint8)])).save(path)


def _grey_with_transparency(path: Path) -> None:
    Image.fromarray(textured(0)).convert("LA").save(path)


def _palette_with_transparency(path: Path) -> None:
    Image.fromarray(textured(0)).quantize(8).save(path, transparency=3)


def _cmyk(path: Path) -> None:
    Image.fromarray(textured(0)).convert("CMYK").save(path, format="JPEG")


def _sixteen_bits_plane_by_plane(path: Path) -> None:
    """Pillow reads such a file as if it had 8 bits; it writes none, so this is one by hand: baseline TIFF tags."""
    width, height = 4, 3
    planes = np.arange(3 * width * height, dtype="<u2") * 1000
    plane = 2 * width * height
    first = 8 + 2 + 12 * 10 + 4  # after header, number of entries, entries, and the end of the list
    data = first + 6 + 12 + 12
    short, long = 3, 4
    entries = [
        (256, short, 1, width),
        (257, short, 1, height),
        (258, short, 3, first),  # bits per sample
        (259, short, 1, 1),  # no compression
        (262, short, 1, 2),  # RGB
        (273, long, 3, first + 6),  # where the planes are
        (277, short, 1, 3),
        (278, short, 1, height),
        (279, long, 3, first + 18),  # how long they are
        (284, short, 1, 2),  # plane by plane
    ]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    listed = b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    values = struct.pack("<3H3I3I", 16, 16, 16, *(data + plane * k for k in range(3)), *[plane] * 3)
    path.write_bytes(head + listed + values + planes.tobytes())


def _signed(path: Path) -> None:
    plain = io.BytesIO()
    sample_format = 339
    Image.fromarray(textured(0)[..., 0]).save(plain, "TIFF", tiffinfo={sample_format: 2})
    path.write_bytes(plain.getvalue())


def _floating_point(path: Path) -> None:
    Image.fromarray(textured(0)[..., 0].astype(np.float32)).save(path, format="TIFF")


def _gif(path: Path) -> None:
    Image.fromarray(textured(0)).save(path, format="GIF")


def _postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")


def _bad_profile(path: Path) -> None:
    Image.fromarray(textured(0)).save(path, icc_profile=b"nonsense")


def _sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(path)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (_text, "not a PNG, JPEG"),
        (_empty, "an empty file"),
        (_truncated, "damaged"),
        (_transparent, "transparency is not supported"),
        (_grey_with_transparency, "transparency is not supported"),
        (_palette_with_transparency, "transparency is not supported"),
        (_cmyk, "mode CMYK is not supported"),
        (_floating_point, "floating-point values are not supported"),
        (_sixteen_bits_plane_by_plane, "16 bits per channel are not supported"),
        (_signed, "signed or floating-point values are not supported"),
        (_gif, "not a PNG, JPEG"),
        (_postscript, "not a PNG, JPEG"),
        (_bad_profile, "unusable ICC profile"),
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


def _write_png(path: Path, header: bytes, rows: bytes) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def png_of_16_bits(path: Path) -> None:
    """A PNG of RGB with 16 bits per channel, which Pillow can read but not write."""
    rows = b"".join(b"\0" + bytes(range(24)) for _ in range(4))
    _write_png(path, struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0), rows)


def test_what_pillow_would_cut_down_without_a_word_is_refused(tmp_path: Path) -> None:
    png_of_16_bits(tmp_path / "deep.png")
    with pytest.raises(ImageError, match=r"deep\.png: 16 bits per channel"):
        images.decode(tmp_path / "deep.png")
    frames = [Image.fromarray(textured(seed)) for seed in (0, 1)]
    frames[0].save(tmp_path / "pages.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"pages\.tiff: holds several frames"):
        images.decode(tmp_path / "pages.tiff")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp"])
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_gives_pixels_or_one_clear_error(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(textured(0)).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        assert images.decode(path).pixels.ndim == 3
    except ImageError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017 - either outcome is right


def test_a_one_bit_image_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(textured(0)).convert("1").save(tmp_path / "bits.png")
    decoded = images.decode(tmp_path / "bits.png")
    assert set(np.unique(decoded.pixels)) == {0, 255}
    assert decoded.notes == ("converted from mode 1 to RGB",)


def test_a_folder_is_not_called_a_damaged_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        images.decode(tmp_path)


def test_a_decompression_bomb_is_refused_unless_its_size_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "image.png", textured(0))
    monkeypatch.setattr(images, "MAX_PIXELS", 24 * 32)
    assert images.decode(path).pixels.shape == (24, 32, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 24 * 32 // 3)
    with pytest.raises(ImageError, match="32x24 exceeds the limit of 256 pixels") as caught:
        images.decode(path)
    assert str(path) in str(caught.value)
    assert images.decode(path, limit=24 * 32).pixels.shape == (24, 32, 3)
    with pytest.raises(ImageError, match="exceeds the limit of 767 pixels"):
        images.decode(path, limit=24 * 32 - 1)


def test_nothing_but_the_limit_decides_how_large_a_file_may_be(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    _write_png(path, struct.pack(">IIBBBBB", 14_000, 14_000, 1, 0, 0, 0, 0), b"")
    with pytest.raises(ImageError, match="14000x14000 exceeds the limit"):
        images.decode(path)
    with pytest.raises(ImageError, match="damaged"):  # its pixels are looked for
        images.decode(path, limit=14_000**2)


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
    for name in ("b.png", "a/z.JPG", ".hidden.png", ".cache/c.png", "notes.txt", "moving.gif", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.relative_to(tmp_path).as_posix() for path in images.find(tmp_path)] == [
        "a/z.JPG",
        "b.png",
        "moving.gif",
    ]


def test_links_to_files_and_folders_are_followed_and_broken_ones_are_found(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "lr", tmp_path / "elsewhere"
    save(folder / "plain" / "a.png", textured(0))
    save(elsewhere / "b.png", textured(1))
    save(elsewhere / "deeper" / "c.png", textured(2))
    (folder / "linked").symlink_to(elsewhere)
    (folder / "file.png").symlink_to(elsewhere / "b.png")
    (folder / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "itself.png").symlink_to(folder / "itself.png")
    (folder / "broken.txt").symlink_to(tmp_path / "nowhere.txt")
    os.mkfifo(folder / "pipe.png")
    assert [path.relative_to(folder).as_posix() for path in images.find(folder)] == [
        "broken.png",
        "file.png",
        "itself.png",
        "linked/b.png",
        "linked/deeper/c.png",
        "plain/a.png",
    ]
    with pytest.raises(ImageError, match=r"broken\.png: a link to a file that is not there"):
        images.decode(folder / "broken.png")
    with pytest.raises(ImageError, match=r"itself\.png: cannot be read \(Too many levels of symbolic links\)"):
        images.decode(folder / "itself.png")


def test_links_in_a_circle_are_followed_once(tmp_path: Path) -> None:
    folder = tmp_path / "lr"
    save(folder / "b" / "image.png", textured(0))
    save(tmp_path / "beside.png", textured(1))
    (folder / "b" / "up").symlink_to(folder)
    (folder / "b" / "further_up").symlink_to(tmp_path)
    (folder / "a").symlink_to(folder / "b")
    assert [path.relative_to(folder).as_posix() for path in images.find(folder)] == ["a/image.png"]


def test_what_was_encoded_is_decoded_again_from_its_bytes() -> None:
    pixels = textured(5)
    assert np.array_equal(images.decode_bytes(images.encode_png(pixels)), pixels)


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(images.ImageError, match="not an image"):
        images.decode_bytes(b"no image")


@pytest.mark.parametrize(("size", "expected"), [((60, 91), (40, 60)), ((91, 60), (60, 40)), ((80, 80), (40, 40))])
def test_a_short_side_shrinks_to_what_is_asked_for(size: tuple[int, int], expected: tuple[int, int]) -> None:
    resized = images.resize_short_side(textured(0, *size), 40)
    assert resized.shape == (*expected, 3)
    assert resized.dtype == np.uint8


def test_shrinking_averages_over_all_pixels() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    inner = images.resize_short_side(stripes, 16)[:, 2:-2].astype(int)
    assert np.abs(inner - 100).max() <= 2


@pytest.mark.parametrize("side", [40, 41, 1000])
def test_an_image_is_never_enlarged(side: int) -> None:
    pixels = textured(0, 40, 50)
    assert images.resize_short_side(pixels, side) is pixels
