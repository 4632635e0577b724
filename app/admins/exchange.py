"""What a pre-run's hosts hand to each other through the object store where they share no file system.

    preruns/TOKEN/images/SHA256.png        LR images, lent by whoever prepares; outputs, handed back by workers
    preruns/TOKEN/images.parquet           the LR images' rows; there once all of them are
    preruns/TOKEN/rows/PART/ATTEMPT-N.parquet    rows of outputs; there once their images are

Whoever sees the workspace takes what was handed back into it. Nothing stays when the pre-run has succeeded.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import obstore
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import BaseError

from app.store import Store
from pipelines.errors import DiscernError
from pipelines.progress import Progress
from pipelines.workspace import Manifest, Workspace, WorkspaceError, write_atomically


class LostError(DiscernError):
    """The store does not have something any more, or had it damaged and has removed it: another round puts it anew."""


class Exchange(Store):
    """The part of the store that belongs to one pre-run.

    Args:
        url: of the store.
        token: of the pre-run.

    Raises:
        DiscernError: the URL is unusable; each method, too, raises it where the store does not answer.
    """

    def __init__(self, url: str, token: str) -> None:
        super().__init__(url)
        self.url, self._prefix = url, f"preruns/{token}"

    def lend(self, workspace: Workspace, images: Manifest, progress: Progress) -> None:
        """Put every LR image of a study, and then their rows, where workers that do not see the workspace find them."""
        rows = images.read()
        there = set(self._list("images"))
        for done, sha256 in enumerate(rows["sha256"], 1):
            if self._image_key(sha256) not in there:
                self._put_image(workspace, sha256)
            progress("lending LR images", done, len(rows))
        self._put_rows("images", rows, images.schema)

    def borrow(self, workspace: Workspace, images: Manifest, wanted: Sequence[str]) -> None:
        """Fill a workspace of this host's own with some of the LR images.

        Args:
            workspace: to fill.
            images: its manifest of LR images.
            wanted: their pixel hashes.

        Raises:
            DiscernError: they were not lent, at least not to this store.
        """
        rows = {row["sha256"]: row for row in self._rows(f"{self._prefix}/images.parquet")}
        for sha256 in wanted:
            self._fetch(workspace, sha256)
        images.replace([rows[sha256] for sha256 in wanted])

    def has_lent(self) -> bool:
        """Whether the LR images are in this store."""
        with self._answering():
            try:
                obstore.head(self._store, f"{self._prefix}/images.parquet")
            except FileNotFoundError:
                return False
            return True

    def hand_back(self, workspace: Workspace, rows: pd.DataFrame, schema: pa.Schema, name: str) -> None:
        """Put outputs, and then their rows, where whoever sees the study's workspace takes them from.

        Args:
            workspace: that holds them.
            rows: of their manifest.
            schema: of that manifest.
            name: of this bundle: PART/ATTEMPT-N.
        """
        for sha256 in rows["sha256"]:
            self._put_image(workspace, sha256)
        self._put_rows(f"rows/{name}", rows, schema)

    def handed_back(self, part: int) -> set[str]:
        """The LR images whose outputs earlier attempts at a part have handed back."""
        return {str(row["image"]) for key in self._list(f"rows/{part}") for row in self._rows(key)}

    def take_back(
        self, workspace: Workspace, outputs: Manifest, prints: Mapping[str, str], progress: Progress
    ) -> list[dict[str, Any]]:
        """Move what was handed back into the study's workspace, to which nobody else may write.

        Args:
            workspace: the study's.
            outputs: its manifest of outputs.
            prints: the methods' fingerprints; what has another one is out of date, and might be older than what the
                workspace has.
            progress: called after each bundle.

        Returns:
            The rows whose outputs were damaged or lost on their way; they are missing again.
        """
        keys, lost = self._list("rows"), []
        for done, key in enumerate(keys, 1):
            current = [row for row in self._rows(key) if prints.get(row["method"]) == row["fingerprint"]]
            arrived = [row for row in current if self._arrives(workspace, row["sha256"])]
            outputs.append(arrived)
            lost += [row for row in current if row not in arrived]
            self._delete([key])
            progress("taking back outputs", done, len(keys))
        return lost

    def clear(self) -> None:
        """Remove everything."""
        self._delete(self._list(""))

    def _image_key(self, sha256: str) -> str:
        return f"{self._prefix}/images/{sha256}.png"

    def _arrives(self, workspace: Workspace, sha256: str) -> bool:
        try:
            self._fetch(workspace, sha256)
        except LostError:
            return False
        return True

    def _fetch(self, workspace: Workspace, sha256: str) -> None:
        """Copy an image into a workspace, where its pixels are checked; one that is damaged is removed from the store.

        Raises:
            LostError: it is damaged, or not there.
        """
        if workspace.has_image(sha256):
            return
        path = workspace.image_path(sha256)
        write_atomically(path, self._get(self._image_key(sha256)))
        try:
            workspace.get_image(sha256)
        except WorkspaceError as error:
            path.unlink(missing_ok=True)
            raise self._damaged(self._image_key(sha256)) from error

    def _rows(self, key: str) -> list[dict[str, Any]]:
        content = self._get(key)
        try:
            return pq.read_table(pa.BufferReader(content)).to_pylist()
        except pa.ArrowInvalid as error:
            raise self._damaged(key) from error

    def _damaged(self, key: str) -> LostError:
        """Remove what is damaged, so that another round puts it anew."""
        self._delete([key])
        return LostError(f"{key}: was damaged in the store {self.url!r}; resume the pre-run")

    def _get(self, key: str) -> bytes:
        with self._answering():
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError as error:
                raise LostError(f"{key}: not in the store {self.url!r} any more; resume the pre-run") from error

    def _put_image(self, workspace: Workspace, sha256: str) -> None:
        self._put(self._image_key(sha256), workspace.image_path(sha256).read_bytes())

    def _put_rows(self, name: str, rows: pd.DataFrame, schema: pa.Schema) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pandas(rows, schema=schema, preserve_index=False), sink)
        self._put(f"{self._prefix}/{name}.parquet", sink.getvalue().to_pybytes())

    def _put(self, key: str, content: bytes) -> None:
        with self._answering():
            obstore.put(self._store, key, content)

    def _list(self, below: str) -> list[str]:
        with self._answering():
            bundles = obstore.list(self._store, prefix=f"{self._prefix}/{below}".rstrip("/"))
            return sorted(found["path"] for bundle in bundles for found in bundle)

    def _delete(self, keys: list[str]) -> None:
        with self._answering():
            obstore.delete(self._store, keys)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except BaseError as error:
            raise DiscernError(f"DISCERN_STORE: {self.url!r} does not answer as it should: {error}") from error
