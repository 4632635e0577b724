"""The log of an upstream program: what it printed, whatever it printed, with a line where each call begins and ends."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import DiscernError

TAIL_LINES = 10
TAIL_COLUMNS = 300
_TAIL_BYTES = 65536


@contextmanager
def opened(log: Path, title: str, arguments: Sequence[str]) -> Iterator[BinaryIO]:
    """Open a log to append to, and write the line that begins a call: time, title, arguments as a shell writes them.

    Raises:
        DiscernError: it cannot be written.
    """
    line = f"=== {datetime.now(UTC).isoformat(timespec='seconds')} {title}: {shlex.join(arguments)}\n"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("ab", buffering=0)
    except OSError as error:
        raise DiscernError(f"{log}: the log cannot be written ({error.strerror})") from error
    with file:
        file.write(line.encode("utf-8", "surrogateescape"))
        yield file


def end(log: BinaryIO, how: str) -> None:
    """Write the line that ends a call."""
    log.write(f"\n=== {datetime.now(UTC).isoformat(timespec='seconds')} {how}\n".encode("utf-8", "surrogateescape"))


def tail(log: Path, since: int) -> str:
    """The last lines that were printed after a place in the log, without what is not text.

    A progress bar's states are lines too.
    """
    with log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - _TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    lines = ("".join(sign for sign in line if sign.isprintable()).strip() for line in text.splitlines())
    return "\n".join([line[:TAIL_COLUMNS] for line in lines if line][-TAIL_LINES:]) or "(nothing was printed)"
