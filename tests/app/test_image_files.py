"""Images on their way into the store: lossless WebP beside PNG, only where it is smaller and proved to be equal."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import database, image_files
from app.image_files import Picture, Source
from app.models import ImageFile
from app.store import Store
from pipelines.images import Pixels, decode_bytes, encode_png, pixel_hash
from pipelines.progress import silent
from tests.conftest import textured


@pytest.fixture
def db(database_url: str) -> Iterator[Session]:
    sessions = database.sessions(database_url)
    with sessions() as made:
        yield made
    sessions.kw["bind"].dispose()


@pytest.fixture
def store() -> Store:
    return Store("memory:///")


def keep(db: Session, store: Store, *pixels: Pixels, shown: bool = True) -> list[image_files.Kept]:
    return image_files.keep(db, store, [Source(partial(image_files.made, one), shown) for one in pixels], silent)


def smooth(seed: int, height: int = 60, width: int = 80) -> Pixels:
    """What WebP makes smaller than PNG."""
    return np.asarray(textured(seed, height, width) // 8 * 8)


def test_webp_stands_beside_png_and_has_the_same_pixels_and_the_table_says_how_large_both_are(
    db: Session, store: Store
) -> None:
    pixels = smooth(0)
    sha256 = pixel_hash(pixels)
    [kept] = keep(db, store, pixels)
    row = db.scalars(select(ImageFile)).one()
    assert (row.sha256, row.width, row.height) == (sha256, 80, 60)
    assert (row.png_bytes, row.webp_bytes) == (len(store.image(sha256)), len(store.image(sha256, "webp")))
    assert row.webp_bytes < row.png_bytes
    assert (kept.png_bytes, kept.webp_bytes) == (row.png_bytes, row.webp_bytes)
    assert store.image(sha256, "webp")[8:16] == b"WEBPVP8L"
    assert np.array_equal(decode_bytes(store.image(sha256, "webp")), pixels)


def test_what_only_experimenters_see_is_png_alone_until_subjects_see_it_too(db: Session, store: Store) -> None:
    pixels = smooth(0)
    keep(db, store, pixels, shown=False)
    assert store.image_bytes(pixel_hash(pixels), "webp") is None
    assert db.scalars(select(ImageFile)).all() == []
    keep(db, store, pixels)
    assert store.image_bytes(pixel_hash(pixels), "webp")
    assert db.scalars(select(ImageFile.webp_bytes)).one()


def test_webp_that_is_not_smaller_is_left_out(db: Session, store: Store) -> None:
    pixels = np.zeros((1, 1, 3), np.uint8)
    png = encode_png(pixels)[:30]  # no encoder makes less of it
    sha256 = pixel_hash(pixels)
    image_files.keep(db, store, [Source(lambda: Picture(sha256, pixels, lambda: png), True)], silent)
    assert db.scalars(select(ImageFile.webp_bytes)).one() is None
    assert store.image_bytes(sha256, "webp") is None


def test_webp_whose_pixels_are_others_is_left_out(db: Session, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = smooth(0)
    other = image_files.lossless_webp(smooth(1))
    monkeypatch.setattr(image_files, "lossless_webp", lambda _: other)
    [kept] = keep(db, store, pixels)
    assert kept.webp_bytes is None
    assert store.image_bytes(kept.sha256, "webp") is None
    assert db.scalars(select(ImageFile.webp_bytes)).one() is None


@pytest.mark.parametrize(("side", "fits"), [(16383, True), (16384, False)])
def test_an_image_that_webp_cannot_hold_is_png_alone(side: int, fits: bool) -> None:
    pixels = np.zeros((side, 1, 3), np.uint8)
    assert (image_files.lossless_webp(pixels) is not None) == fits


def test_what_is_proved_is_not_encoded_again_and_what_the_store_has_lost_is(
    db: Session, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [smooth(0), np.zeros((16384, 1, 3), np.uint8)]
    first = keep(db, store, *pictures)
    encoded: list[Any] = []
    encode = image_files.lossless_webp

    def counted(pixels: Pixels) -> bytes | None:
        encoded.append(pixels)
        return encode(pixels)

    monkeypatch.setattr(image_files, "lossless_webp", counted)
    assert keep(db, store, *pictures) == first
    assert encoded == []
    other = Store("memory:///")
    assert keep(db, other, *pictures) == first
    assert len(encoded) == 1
    assert other.image(first[0].sha256, "webp") == store.image(first[0].sha256, "webp")


def test_what_an_interrupted_import_has_left_is_proved_before_it_counts(
    db: Session, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = smooth(0)
    keep(db, store, pixels)
    db.rollback()
    store.put_image(pixel_hash(smooth(1)), image_files.lossless_webp(pixels) or b"", "webp")
    monkeypatch.setattr(image_files, "lossless_webp", lambda _: pytest.fail("it is there already"))
    good, bad = keep(db, store, pixels, smooth(1))
    assert good.webp_bytes == store.image_bytes(good.sha256, "webp")
    assert bad.webp_bytes is None


def test_one_damaged_image_stops_the_others_and_leaves_no_row(db: Session, store: Store, tmp_path: Path) -> None:
    started: list[int] = []

    def picture(number: int) -> Picture:
        started.append(number)
        if number == 3:
            raise ValueError("damaged")
        return image_files.made(smooth(number))

    with pytest.raises(ValueError, match="damaged"):
        image_files.keep(db, store, [Source(partial(picture, number), True) for number in range(2000)], silent)
    assert len(started) < 2000
    assert db.scalars(select(ImageFile)).all() == []


def test_progress_counts_every_image_once(db: Session, store: Store) -> None:
    reports: list[tuple[str, int, int]] = []
    sources = [Source(partial(image_files.made, smooth(number)), True) for number in range(5)]
    image_files.keep(db, store, sources, lambda *report: reports.append(report))
    assert reports == [("storing images", done, 5) for done in range(1, 6)]
