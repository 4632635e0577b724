"""Human-rated data sets: images, their mean opinion scores, and which of them share content."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import DiscernError

_REQUIRED = ("path", "mos")


@dataclass(frozen=True)
class RatedSet:
    """A rated data set, n images.

    Attributes:
        name: of the file that it came from.
        paths: n image files.
        mos: n mean opinion scores, finite, higher is better.
        sources: n names of source content; versions of one original share a name.
    """

    name: str
    paths: tuple[Path, ...]
    mos: tuple[float, ...]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)


def read_csv(path: Path) -> RatedSet:
    """Read a rated data set from a CSV file with the columns `path`, `mos` and, where known, `source`.

    Paths are relative to the file's folder. Without `source` every image is a source of its own. Other columns, such as
    `std`, are ignored.

    Raises:
        DiscernError: the file cannot be read, lacks a column or a value, a rating is no number, an image is missing or
            listed twice; the message names the file and the line.
    """
    rows = _rows(path)
    paths = tuple(path.parent / row["path"] for _, row in rows)
    missing = [(line, image) for (line, _), image in zip(rows, paths, strict=True) if not image.is_file()]
    if missing:
        listed = "\n".join(f"{path}: line {line}: no such image: {image}" for line, image in missing[:10])
        more = f"\n{path}: and {len(missing) - 10} more images are missing" if len(missing) > 10 else ""
        raise DiscernError(listed + more)
    if len(set(paths)) < len(paths):
        line, image = next((rows[i][0], image) for i, image in enumerate(paths) if image in paths[:i])
        raise DiscernError(f"{path}: line {line}: {image} is listed twice; keep one rating for each image")
    return RatedSet(
        name=path.stem,
        paths=paths,
        mos=tuple(_rating(path, line, row["mos"]) for line, row in rows),
        sources=tuple(row.get("source") or Path(row["path"]).stem for _, row in rows),
    )


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and rows."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, restkey="", restval="")
            # Before the rows: of an empty file, the header can only be asked for while it is open.
            columns = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DiscernError(f"{path}: cannot be read as a CSV file ({error})") from error
    for column in _REQUIRED:
        if column not in columns:
            raise DiscernError(f"{path}: line 1: no column {column!r} among {', '.join(columns) or 'none'}; add it")
    for line, row in rows:
        if not row["path"]:
            raise DiscernError(f"{path}: line {line}: path is empty; fill it in or take the line out")
    if not rows:
        raise DiscernError(f"{path}: holds a header but no images")
    return rows


def _rating(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DiscernError(f"{path}: line {line}: mos is {text!r}, expected a finite number")
    return value
