"""The store: content under keys that follow from it, in a folder or in memory as in an object store."""

import hashlib
from pathlib import Path

import pytest

from app.store import Store
from pipelines.errors import DiscernError
from pipelines.images import decode_bytes, pixel_hash
from tests.conftest import save, textured


@pytest.fixture(params=["folder", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store((tmp_path / "a store").as_uri() if request.param == "folder" else "memory:///")


def test_an_image_comes_back_pixel_for_pixel(store: Store, tmp_path: Path) -> None:
    sha256 = pixel_hash(textured(0))
    file = save(tmp_path / "image.png", textured(0))
    store.put_image(sha256, file.read_bytes())
    assert store.image(sha256) == file.read_bytes()
    assert pixel_hash(decode_bytes(store.image(sha256))) == sha256


def test_an_image_that_is_there_is_not_written_again(store: Store, tmp_path: Path) -> None:
    sha256 = pixel_hash(textured(0))
    first = save(tmp_path / "image.png", textured(0))
    kept = first.read_bytes()
    store.put_image(sha256, kept)
    store.put_image(sha256, save(tmp_path / "other.png", textured(1)).read_bytes())
    assert store.image(sha256) == kept


def test_encodings_of_an_image_stand_beside_each_other(store: Store) -> None:
    sha256 = pixel_hash(textured(0))
    assert store.image_bytes(sha256) is None
    store.put_image(sha256, b"as PNG")
    assert (store.image_bytes(sha256), store.image_bytes(sha256, "webp")) == (6, None)
    with pytest.raises(DiscernError, match=rf"images/{sha256[:2]}/{sha256}\.webp: not in the store"):
        store.image(sha256, "webp")
    store.put_image(sha256, b"as WebP", "webp")
    assert (store.image(sha256), store.image(sha256, "webp")) == (b"as PNG", b"as WebP")


def test_what_is_not_there_is_said_so(store: Store) -> None:
    with pytest.raises(DiscernError, match=r"images/00/0+\.png: not in the store; DISCERN_STORE must name"):
        store.image("0" * 64)
    with pytest.raises(DiscernError, match=r"models/none\.zip: not in the store"):
        store.model("models/none.zip")


def test_a_model_has_a_key_that_follows_from_its_bytes(store: Store) -> None:
    key = store.put_model(b"archive")
    assert key == f"models/{hashlib.sha256(b'archive').hexdigest()}.zip"
    assert store.put_model(b"archive") == key != store.put_model(b"another")
    assert store.model(key) == b"archive"


def test_a_folder_is_made_and_found_again(tmp_path: Path) -> None:
    url = (tmp_path / "deep" / "in" / "a folder").as_uri()
    key = Store(url).put_model(b"archive")
    assert Store(url).model(key) == b"archive"
    assert (tmp_path / "deep" / "in" / "a folder" / key).read_bytes() == b"archive"


@pytest.mark.parametrize("url", ["", "folder", "ftp://host/folder", "s4://bucket", "file:///dev/null/store"])
def test_a_url_that_names_no_store_is_refused_with_the_name_of_its_setting(url: str) -> None:
    with pytest.raises(DiscernError, match=r"^DISCERN_STORE: ") as refusal:
        Store(url)
    assert repr(url) in str(refusal.value)
