"""The first stage: folders of LR images -> the checked images of the study.

A file that cannot be used is reported and left out; it never stops the rest. One whose path is not UTF-8 cannot: no
table, database or page could name it. What was read of each file is recorded at once; when all are read, the images of
the study follow from that.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from pipelines import executor, images
from pipelines.errors import DiscernError
from pipelines.problems import Problem, printable
from pipelines.progress import Progress, silent
from pipelines.study import Study
from pipelines.workspace import Manifest, Workspace

Role = Literal["candidate", "unlabelled"]

# What no page and no figure can show.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
_PIXELS = ("sha256", "width", "height", "notes")

SCHEMA = pa.schema(
    {
        "stem": pa.string(),  # the file's name without its extension: unique in the study
        "sha256": pa.string(),  # of its pixels
        "role": pa.string(),  # candidate: may be voted on; unlabelled: calibration learns from it
        "source": pa.string(),  # images of one source share content
        "width": pa.int32(),
        "height": pa.int32(),
        "notes": pa.string(),  # what decoding changed
        "file": pa.string(),
    }
)
FILES = pa.schema(
    {
        "file": pa.string(),
        "size": pa.int64(),
        "modified": pa.int64(),  # nanoseconds: with the size, tells whether the file must be read again
        "sha256": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "notes": pa.string(),
    }
)


@dataclass(frozen=True, slots=True)
class File:
    """An image file of the study, before it is read."""

    path: Path
    role: Role
    source: str

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Report:
    """What the stage did: images in the study, how many of them were read in this run, and what was left out."""

    images: int
    new: int
    problems: tuple[Problem, ...]


def manifest(workspace: Workspace) -> Manifest:
    """The study's LR images."""
    return workspace.manifest("images", SCHEMA, ["stem"])


def run(study: Study, workspace: Workspace, progress: Progress = silent) -> Report:
    """Read what is new or changed in the study's LR folders, and store it.

    Raises:
        DiscernError: no usable image is left.
    """
    files, problems = _unambiguous(_list_files(study))
    before = _seen(workspace)
    fresh = [file for file in files if str(file) not in before or before[str(file)] != _mark(file.path)]
    problems += _read_files(study, workspace, fresh, progress)
    useless = {problem.image for problem in problems}
    unique, copies = _without_copies(_rows(workspace, [file for file in files if str(file) not in useless]))
    if not any(row["role"] == "candidate" for row in unique):
        reasons = [str(problem) for problem in problems]
        raise DiscernError("\n".join([*reasons, f"{study.images.folder}: holds no usable image; put LR images there"]))
    table = manifest(workspace)
    if sorted(unique, key=lambda row: row["stem"]) != table.rows():
        table.replace(unique)
    read_now = set(map(str, fresh))
    return Report(len(unique), sum(row["file"] in read_now for row in unique), tuple(problems + copies))


def _files(workspace: Workspace) -> Manifest:
    return workspace.manifest("files", FILES, ["file"])


def _seen(workspace: Workspace) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file that was read, and whose pixels are still there."""
    if _files(workspace).compact():  # an earlier run did not come to its end
        workspace.sweep()
    stored = workspace.stored_images()
    rows = _files(workspace).rows()
    return {row["file"]: (row["size"], row["modified"]) for row in rows if row["sha256"] in stored}


def _read_files(study: Study, workspace: Workspace, fresh: Sequence[File], progress: Progress) -> list[Problem]:
    """Read files and record each at once, so that a killed run repeats at most those in its workers' hands."""
    failed = executor.fill(
        _files(workspace),
        partial(_read, workspace),
        fresh,
        task="reading LR images",
        progress=progress,
        execution=study.execution,
    )
    return [_problem(outcome.item.path, str(outcome.problem)) for outcome in failed]


def _rows(workspace: Workspace, files: Sequence[File]) -> list[dict[str, Any]]:
    """The study's images, in the order of their files; what is recorded of other files is forgotten."""
    table = _files(workspace)
    read = {row["file"]: row for row in table.rows()}
    kept = [read[str(file)] for file in files]
    if len(kept) < len(read):
        table.replace(kept)
    else:
        table.compact()
    return [_place(file) | {key: row[key] for key in _PIXELS} for file, row in zip(files, kept, strict=True)]


def _list_files(study: Study) -> list[File]:
    """Candidates first, so that of two equal images the unlabelled one is left out."""
    folders: list[tuple[Path, Role]] = [(study.images.folder, "candidate")]
    if study.images.unlabelled is not None:
        folders.append((study.images.unlabelled, "unlabelled"))
    return [File(path, role, _source(path, folder)) for folder, role in folders for path in images.find(folder)]


def _source(path: Path, folder: Path) -> str:
    inside = path.relative_to(folder)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def _unambiguous(files: list[File]) -> tuple[list[File], list[Problem]]:
    """Leave out files whose path is not UTF-8, that share their stem, or, unlabelled, their source with a candidate."""
    by_stem: dict[str, list[File]] = {}
    for file in files:
        by_stem.setdefault(file.path.stem, []).append(file)
    voted = {file.source for file in files if file.role == "candidate"}
    kept, problems = [], []
    for file in files:
        if str(file.path) != printable(str(file.path)):
            problems.append(_problem(file.path, f"{file.path}: its path is not UTF-8; left out, rename it"))
        elif _UNPRINTABLE.search(str(file)):
            problems.append(_problem(file.path, f"{str(file)!r}: a control character in its path; left out, rename it"))
        elif len(by_stem[file.path.stem]) > 1:
            other = next(one for one in by_stem[file.path.stem] if one is not file)
            reason = f"another file is called {file.path.stem!r} too ({other}); left out, rename one of them"
            problems.append(_problem(file.path, f"{file.path}: {reason}"))
        elif file.role == "unlabelled" and file.source in voted:
            reason = f"shares its source {file.source!r} with images that are voted on; left out"
            problems.append(_problem(file.path, f"{file.path}: {reason}"))
        else:
            kept.append(file)
    return kept, problems


def _problem(path: Path, reason: str) -> Problem:
    return Problem("ingest", str(path), "", reason)


def _mark(path: Path) -> tuple[int, int] | None:
    """Size and time of change, in nanoseconds; None for what is not there."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def _place(file: File) -> dict[str, Any]:
    return {"stem": file.path.stem, "role": file.role, "source": file.source, "file": str(file.path)}


def _read(workspace: Workspace, file: File) -> list[dict[str, Any]]:
    mark = _mark(file.path)  # before decoding: a file that is replaced meanwhile has to be read again
    decoded = images.decode(file.path)
    if mark is None:
        raise DiscernError(f"{file.path}: appeared while it was being read; run the study again")
    size, modified = mark
    height, width = decoded.pixels.shape[:2]
    row = {
        "file": str(file),
        "size": size,
        "modified": modified,
        "sha256": workspace.put_image(decoded.pixels),
        "width": width,
        "height": height,
        "notes": "; ".join(decoded.notes),
    }
    return [row]


def _without_copies(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Of images with equal pixels, keep the first."""
    first: dict[str, dict[str, Any]] = {}
    problems = []
    for row in rows:
        original = first.setdefault(row["sha256"], row)
        if original is not row:
            reason = f"{row['file']}: has the same pixels as {original['file']}; left out"
            problems.append(_problem(Path(row["file"]), reason))
    return list(first.values()), problems
