"""The commented example study that `discern init` writes."""

import shutil
from pathlib import Path

from app import resources
from pipelines.errors import DiscernError


def write(directory: Path) -> Path:
    """Write a commented `study.toml`, and an empty folder for the LR images.

    Raises:
        DiscernError: there is one already, or the directory cannot be written.
    """
    path = directory / "study.toml"
    if path.exists():
        raise DiscernError(f"{path}: exists already; remove it first, or choose another directory")
    try:
        (directory / "lr").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(resources.folder("templates") / "study.toml", path)
    except OSError as error:
        raise DiscernError(f"{directory}: cannot be written ({error.strerror}); choose another directory") from error
    return path
