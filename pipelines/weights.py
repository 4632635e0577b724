"""Where pretrained weights come from: a local file, checked by its sha256. Never a silent substitute."""

import hashlib
from pathlib import Path

from pipelines.errors import WeightsError


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: weights cannot be read ({error.strerror})") from error


def local_file(path: Path, expected_sha256: str | None = None) -> str:
    """Check a local weights file and return its sha256.

    Raises:
        WeightsError: the file cannot be read, or its sha256 is not the expected one.
    """
    actual = sha256_of(path)
    if expected_sha256 is not None and actual != expected_sha256:
        raise WeightsError(f"{path}: sha256 is {actual}, expected {expected_sha256}: fetch the file again")
    return actual
