"""A study's files: content-addressed images, Parquet manifests, provenance; atomic writes, so that work can resume.

    workspace/
        images/ab/abcd....png     8-bit RGB, named by the hash of its pixels
        manifests/NAME/*.parquet  rows
        manifests/NAME/*.jsonl    rows of the processes that are at work, one line each as soon as it is made
        provenance/STAGE.json     what a stage did, with what

A reader never sees half a file: everything is written under a temporary name, flushed to disk, and renamed. A line that
a killed process left unfinished is no row. Many processes, on many hosts, may add images and rows at the same time.
"""

import contextlib
import errno
import json
import math
import os
import platform
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import filelock
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import images
from pipelines.errors import DiscernError
from pipelines.images import Pixels

_TEMPORARY = ".writing-"
_BATCH = 1000  # rows
_ATTEMPTS = 10  # to read a manifest that others rewrite meanwhile; each of them spoils two or three at most


class WorkspaceError(DiscernError):
    """The workspace is in use, damaged, or cannot be written."""


class StorageError(WorkspaceError):
    """Nothing can be written: to go on would be to work for nothing."""


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

    @contextlib.contextmanager
    def lock(self, *, patience: float = 0, shared: bool = False) -> Iterator[None]:
        """Keep every other process from working here; released by the system even if this one is killed.

        Args:
            patience: seconds to wait for another process; -1 waits for ever.
            shared: let others work here that share too; what they do must only add images and rows.

        Raises:
            WorkspaceError: another process holds it.
        """
        with contextlib.ExitStack() as stack:
            self._take_lock(stack, patience, shared)
            yield

    def _take_lock(self, stack: contextlib.ExitStack, patience: float, shared: bool) -> None:
        path = self.root / ".lock"
        try:
            lock = filelock.ReadWriteLock(path, is_singleton=False)
            stack.callback(lock.close)
            stack.enter_context(lock.read_lock(timeout=patience) if shared else lock.write_lock(timeout=patience))
        except filelock.Timeout as error:
            raise WorkspaceError(f"{self.root}: another run is working here; wait for it or stop it") from error
        except (sqlite3.Error, OSError) as error:
            raise WorkspaceError(f"{path}: cannot be used as a lock ({error}); remove it") from error

    def image_path(self, sha256: str) -> Path:
        """Where the image with this pixel hash lies, whether or not it is there yet."""
        return self.root / "images" / sha256[:2] / f"{sha256}.png"

    def has_image(self, sha256: str) -> bool:
        """Whether the image with this pixel hash is there."""
        return self.image_path(sha256).is_file()

    def stored_images(self) -> set[str]:
        """The pixel hashes of all images that are there; quicker than to ask for each of many."""
        folders = [entry.path for entry in os.scandir(self.root / "images") if entry.is_dir()]
        names = (entry.name for folder in folders for entry in os.scandir(folder))
        return {name.removesuffix(".png") for name in names if name.endswith(".png")}

    def sweep(self) -> None:
        """Remove the temporary files of processes that were killed; only while nobody else works here."""
        for folder in ("images/*", "manifests/*", "provenance", "provenance/*"):
            for path in self.root.glob(f"{folder}/{_TEMPORARY}*.tmp"):
                path.unlink()

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
            pixels = images.decode(path, limit=math.inf).pixels  # as large as the study has made it
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
    """Rows of one kind; of two rows with one key the later one counts.

    Rows are added as lines to a journal, one for each process, so that a kill loses none that was added; now and then
    the journals become a Parquet part.
    """

    def __init__(self, folder: Path, schema: pa.Schema, key: tuple[str, ...]) -> None:
        self.folder = folder
        self.schema = schema
        self.key = list(key)

    def read(self) -> pd.DataFrame:
        """All rows, in the order of their keys; others may add rows and compact meanwhile.

        Raises:
            WorkspaceError: a file is damaged.
        """
        tables = self._tables()
        table = pa.concat_tables(tables) if tables else self.schema.empty_table()
        frame: pd.DataFrame = table.to_pandas().drop_duplicates(self.key, keep="last")
        return frame.sort_values(self.key, ignore_index=True)

    def rows(self) -> list[dict[str, Any]]:
        """All rows as dictionaries, in the order of their keys."""
        return pa.Table.from_pandas(self.read(), schema=self.schema, preserve_index=False).to_pylist()

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows; they are there when this returns, even if the process is killed next.

        Raises:
            StorageError: they cannot be written.
        """
        if not rows:
            return
        # A newline comes first: what a killed process of the same name left unfinished ends there.
        text = "".join("\n" + json.dumps(row, default=_to_json) for row in rows).encode()
        journal = self.folder / f"{platform.node()}-{os.getpid()}.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with journal.open("ab", buffering=0) as file:
                if file.write(text) < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise StorageError(f"{journal}: cannot be written ({error.strerror}); choose another place") from error

    def replace(self, rows: Sequence[dict[str, Any]]) -> None:
        """Put these rows in the place of all others; only while nobody else adds any."""
        self._replace(pa.Table.from_pylist(list(rows), schema=self.schema))

    def compact(self) -> bool:
        """Merge parts and journals into one part, without rows that others overrule; only while nobody else adds any.

        Returns:
            Whether there was something to merge.
        """
        scattered = len(self._parts()) > 1 or bool(self._journals())
        if scattered:
            self._replace(pa.Table.from_pandas(self.read(), schema=self.schema, preserve_index=False))
        return scattered

    def _tables(self) -> list[pa.Table]:
        """Parts, then journals, the later ones last.

        A file that is gone, or a part that is new in the end, shows that another process has compacted: what is in
        hand may then lack rows that have moved.
        """
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                parts = self._parts()
                tables = [self._read_part(part) for part in parts]
                tables += [self._read_journal(journal) for journal in self._journals()]
                if self._parts() == parts:
                    return tables
        raise WorkspaceError(f"{self.folder}: another process rewrites it again and again; try again when that is done")

    def _replace(self, table: pa.Table) -> None:
        old = self._parts()
        # Oldest first: what is left while another process reads, or when this one dies, overrules the new part, and so
        # it has to be the latest.
        outdated = [*old, *self._journals()]
        self._write_part(int(old[-1].stem) + 1 if old else 1, table)
        for file in outdated:
            file.unlink()

    def _read_part(self, part: Path) -> pa.Table:
        try:
            return pq.read_table(part, schema=self.schema)
        except FileNotFoundError:
            raise
        except (pa.ArrowInvalid, OSError) as error:
            raise WorkspaceError(f"{part}: damaged ({error}); delete it and run the study again") from error

    def _read_journal(self, journal: Path) -> pa.Table:
        try:
            with journal.open("rb") as lines:
                batches = [
                    pa.RecordBatch.from_pylist(rows, schema=self.schema) for rows in _batches(_whole_lines(lines))
                ]
            return pa.Table.from_batches(batches, schema=self.schema)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OverflowError, TypeError, ValueError, OSError) as error:
            raise WorkspaceError(f"{journal}: damaged ({error}); delete it and run the study again") from error

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _journals(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"), key=lambda journal: journal.stat().st_mtime_ns)

    def _write_part(self, number: int, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_atomically(self.folder / f"{number:08d}.parquet", sink.getvalue().to_pybytes())


def _whole_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The rows of a journal, without the line that a kill has cut short."""
    for line in lines:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                yield row


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """A few rows at a time: as dictionaries they take many times the memory that they have in a table."""
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _to_json(value: Any) -> Any:
    """NumPy's arrays and scalars as JSON has them."""
    return value.tolist()


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file so that it is either complete or not there, whenever this process dies.

    Args:
        path: of the file, whose folder need not be there.
        content: all of it.
        mode: who may read and write it at most, from its first byte on.

    Raises:
        StorageError: it cannot be written: no permission, no space, or a file stands where a folder should.
    """
    try:
        _write_and_rename(path, content, mode)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def _write_and_rename(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}.tmp")
    try:
        with _create(temporary, mode) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _create(path: Path, mode: int) -> BinaryIO:
    """A new file, and its folder where that is not there yet."""
    new = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.fdopen(os.open(path, new, mode), "wb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(path, new, mode), "wb")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomically(path, as_json(value).encode())


def as_json(value: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
