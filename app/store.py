"""Images by the hash of their pixels, and finished models: in a folder, or in an object store that all hosts share."""

import hashlib
from typing import Literal

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from pipelines.errors import DiscernError

Encoding = Literal["png", "webp"]


class Store:
    """Content that never changes, under keys that follow from it.

    Args:
        url: `file:///folder`, `s3://bucket/prefix`, `gs://...` or `az://...`; credentials come from the environment.

    Raises:
        DiscernError: the URL is of no such kind, or the folder cannot be made.
    """

    def __init__(self, url: str) -> None:
        try:
            self._store: ObjectStore = from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
        except (BaseError, ValueError, OSError) as error:
            raise DiscernError(f"DISCERN_STORE: {url!r} cannot be used: {error}") from error

    def put_image(self, sha256: str, content: bytes, encoding: Encoding = "png") -> None:
        """Keep a file under the hash of its pixels; nothing is done where it is there already."""
        if self.image_bytes(sha256, encoding) is None:
            obstore.put(self._store, _image_key(sha256, encoding), content)

    def image_bytes(self, sha256: str, encoding: Encoding = "png") -> int | None:
        """How many bytes an image has; None where it is not there."""
        try:
            return obstore.head(self._store, _image_key(sha256, encoding))["size"]
        except FileNotFoundError:
            return None

    def image(self, sha256: str, encoding: Encoding = "png") -> bytes:
        """The file of an image.

        Raises:
            DiscernError: it is not there.
        """
        return self._get(_image_key(sha256, encoding))

    def put_model(self, archive: bytes) -> str:
        """Keep a zipped model, and return its key."""
        key = f"models/{hashlib.sha256(archive).hexdigest()}.zip"
        obstore.put(self._store, key, archive)
        return key

    def model(self, key: str) -> bytes:
        """The zipped model of a key.

        Raises:
            DiscernError: it is not there.
        """
        return self._get(key)

    def _get(self, key: str) -> bytes:
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError as error:
            raise DiscernError(
                f"{key}: not in the store; DISCERN_STORE must name the one that the study was imported into"
            ) from error


def _image_key(sha256: str, encoding: Encoding) -> str:
    return f"images/{sha256[:2]}/{sha256}.{encoding}"
