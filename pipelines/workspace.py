"""A study's files: content-addressed images, Parquet manifests, provenance; atomic writes, so that work can resume.

    workspace/
        images/ab/abcd....png     8-bit RGB, named by the hash of its pixels
        manifests/NAME/*.parquet  rows, appended part by part while a stage works
        provenance/STAGE.json     what a stage did, with what

A reader never sees half a file: everything is written under a temporary name, flushed to disk, and renamed.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import images
from pipelines.errors import DiscernError
from pipelines.images import Pixels


class WorkspaceError(DiscernError):
    """The workspace is in use, damaged, or cannot be written."""


class Workspace:
    """The folder that holds everything a study has produced.

    Args:
        root: the folder; created if it does not exist.

    Raises:
        WorkspaceError: the folder cannot be created or written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            for name in ("images", "manifests", "provenance"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(f"{root}: cannot be used as a workspace ({error.strerror})") from error

    @contextmanager
    def lock(self, *, patience: float = 0) -> Iterator[None]:
        """Keep every other process from working here; released by the system even if this one is killed.

        Args:
            patience: seconds to wait for another process; -1 waits for ever.

        Raises:
            WorkspaceError: another process holds it.
        """
        try:
            with filelock.FileLock(self.root / ".lock", timeout=patience):
                yield
        except filelock.Timeout as error:
            raise WorkspaceError(f"{self.root}: another run is working here; wait for it or stop it") from error
        except (PermissionError, IsADirectoryError) as error:
            raise WorkspaceError(f"{error.filename}: cannot be used as a lock ({error.strerror}); remove it") from error

    def image_path(self, sha256: str) -> Path:
        """Where the image with this pixel hash lies, whether or not it is there yet."""
        return self.root / "images" / sha256[:2] / f"{sha256}.png"

    def has_image(self, sha256: str) -> bool:
        """Whether the image with this pixel hash is there."""
        return self.image_path(sha256).is_file()

    def put_image(self, pixels: Pixels) -> str:
        """Store an image, (height, width, 3) uint8, and return its pixel hash."""
        sha256 = images.pixel_hash(pixels)
        if not self.has_image(sha256):
            write_atomically(self.image_path(sha256), images.encode_png(pixels))
        return sha256

    def get_image(self, sha256: str) -> Pixels:
        """Read an image back, (height, width, 3) uint8.

        Raises:
            WorkspaceError: it is missing, or its pixels are no longer the ones that were stored.
        """
        path = self.image_path(sha256)
        try:
            pixels = images.decode(path).pixels
        except images.ImageError as error:
            raise WorkspaceError(f"{error}; delete it and run the study again") from error
        if images.pixel_hash(pixels) != sha256:
            raise WorkspaceError(f"{path}: its pixels were changed after it was stored; delete it and run again")
        return pixels

    def manifest(self, name: str, schema: pa.Schema, key: Sequence[str]) -> "Manifest":
        """The manifest of this name; `key` lists the columns that identify a row."""
        return Manifest(self.root / "manifests" / name, schema, tuple(key))

    def write_provenance(self, stage: str, facts: dict[str, Any]) -> None:
        """Record what a stage did: settings, versions, seconds, problems."""
        facts = {"stage": stage, "discern": metadata.version("discern"), **facts}
        write_json(self.root / "provenance" / f"{stage}.json", facts)

    def read_provenance(self, stage: str) -> dict[str, Any] | None:
        """What `write_provenance` recorded, or None where the stage has not finished yet."""
        path = self.root / "provenance" / f"{stage}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except ValueError as error:
            raise WorkspaceError(f"{path}: damaged ({error}); delete it and run the study again") from error


class Manifest:
    """Rows of one kind, as Parquet parts; of two rows with one key the later one counts."""

    def __init__(self, folder: Path, schema: pa.Schema, key: tuple[str, ...]) -> None:
        self.folder = folder
        self.schema = schema
        self.key = list(key)

    def read(self) -> pd.DataFrame:
        """All rows, in the order of their keys."""
        tables = [self._read_part(part) for part in self._parts()]
        table = pa.concat_tables(tables) if tables else self.schema.empty_table()
        frame: pd.DataFrame = table.to_pandas().drop_duplicates(self.key, keep="last")
        return frame.sort_values(self.key, ignore_index=True)

    def rows(self) -> list[dict[str, Any]]:
        """All rows as dictionaries, in the order of their keys."""
        return [{str(column): value for column, value in row.items()} for row in self.read().to_dict("records")]

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows as a new part; nothing is written for no rows."""
        if rows:
            parts = self._parts()
            number = int(parts[-1].stem) + 1 if parts else 1
            self._write_part(number, pa.Table.from_pylist(list(rows), schema=self.schema))

    def replace(self, rows: Sequence[dict[str, Any]]) -> None:
        """Put these rows in the place of all others."""
        self._replace(pa.Table.from_pylist(list(rows), schema=self.schema))

    def compact(self) -> None:
        """Merge the parts into one and drop rows that later ones overrule."""
        if len(self._parts()) > 1:
            self._replace(pa.Table.from_pandas(self.read(), schema=self.schema, preserve_index=False))

    def _replace(self, table: pa.Table) -> None:
        old = self._parts()
        self._write_part(int(old[-1].stem) + 1 if old else 1, table)
        for part in old:
            part.unlink()

    def _read_part(self, part: Path) -> pa.Table:
        try:
            return pq.read_table(part, schema=self.schema)
        except (pa.ArrowInvalid, OSError) as error:
            raise WorkspaceError(f"{part}: damaged ({error}); delete it and run the study again") from error

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _write_part(self, number: int, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_atomically(self.folder / f"{number:08d}.parquet", sink.getvalue().to_pybytes())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either complete or not there, whenever this process dies.

    Raises:
        WorkspaceError: it cannot be written: no permission, no space, or a file stands where a folder should.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_and_rename(path, content)
    except OSError as error:
        raise WorkspaceError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def _write_and_rename(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomically(path, as_json(value).encode())


def as_json(value: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
