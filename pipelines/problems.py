"""What a stage had to leave out: one row for each thing, so that all can be read in one table."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pipelines.workspace import write_atomically


@dataclass(frozen=True, order=True)
class Problem:
    """Something that was left out.

    Its texts are `printable`.

    Attributes:
        stage: in which stage: ingest, super-resolution, selection.
        image: the file or, once it is in the study, the stem of the LR image; empty where it is about no single one.
        method: the super-resolution method, if any.
        reason: one sentence that stands alone: file or image, what is wrong, and the remedy.
    """

    stage: str
    image: str
    method: str
    reason: str

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, printable(getattr(self, field.name)))
        object.__setattr__(self, "image", _on_one_line(self.image))

    def __str__(self) -> str:
        return self.reason

    @property
    def summary(self) -> str:
        """The reason in one line: its first and its last one, which is what an upstream program said at the end."""
        first, *others = self.reason.splitlines()
        return f"{first} {others[-1]}" if others else first


def printable(text: str) -> str:
    """The text as tables and databases can hold it.

    Escaped are bytes of a file's name that are not UTF-8, which Python has as surrogates, and zero bytes.
    """
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")


def _on_one_line(text: str) -> str:
    """The name of a file without what would disturb a terminal or a table."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda sign: sign[0].encode("unicode_escape").decode(), text)


def write_table(path: Path, problems: Iterable[Problem]) -> None:
    """Write problems as a CSV file with the fields of `Problem` as columns; an equal file stays as it is.

    Raises:
        WorkspaceError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Problem)])
    writer.writerows(astuple(problem) for problem in problems)
    content = text.getvalue().encode()
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
