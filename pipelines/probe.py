"""Whether a host works on the same files as the one that began the work: a file with a name that nobody guesses.

That a path exists says little: another host may have another folder there.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.workspace import write_atomically

FOLDER = "probes"


def leave(workspace: Path, token: str) -> None:
    """Leave a probe in a workspace, or a folder of it, in the place of earlier ones.

    Raises:
        WorkspaceError: it cannot be written.
    """
    for earlier in (workspace / FOLDER).glob("*"):
        if earlier.name != token:
            earlier.unlink(missing_ok=True)
    _write(workspace, token)


@contextmanager
def temporary(folder: Path) -> Iterator[str]:
    """A probe that is in a folder until the block ends, beside those of others; gives its token.

    Raises:
        WorkspaceError: it cannot be written.
    """
    token = secrets.token_hex(16)
    _write(folder, token)
    try:
        yield token
    finally:
        (folder / FOLDER / token).unlink(missing_ok=True)


def found(workspace: Path, token: str) -> bool:
    """Whether the probe is in the folder that this host sees under the workspace's path."""
    try:
        return (workspace / FOLDER / token).read_text(encoding="utf-8") == token
    except OSError:
        return False


def _write(folder: Path, token: str) -> None:
    # A name of its own: what a network file system remembers of other files, or of their absence, does not matter.
    write_atomically(folder / FOLDER / token, token.encode())
