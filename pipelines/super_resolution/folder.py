"""Outputs made elsewhere: folders of finished images, matched to LR images by a naming rule."""

import glob
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import images
from pipelines.images import Pixels
from pipelines.super_resolution.method import MissingOutputError, Output
from pipelines.super_resolution.naming import NamingRule


@dataclass(frozen=True)
class Folder:
    """A folder of finished outputs as the stage reads it.

    Attributes:
        pattern: path of the output of one image below the folder, with `{stem}` for the LR file's name without its
            extension; see `NamingRule`.

    Raises:
        DiscernError: the pattern is no naming rule.
    """

    id: str
    folder: Path
    pattern: str
    scale: int
    provenance: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        rule = NamingRule(self.pattern)
        # A listing with sizes and times: an output that is added or replaced later is noticed and read again.
        digest = hashlib.sha256(repr(_listing(self.folder, rule)).encode()).hexdigest()
        object.__setattr__(
            self,
            "provenance",
            {"kind": "folder", "pattern": self.pattern, "scale": self.scale, "listing_sha256": digest},
        )

    @property
    def by_stem(self) -> bool:
        """See `Method.by_stem`."""
        return True

    def path_of(self, stem: str) -> Path:
        """Where the output of an LR image should lie."""
        return NamingRule(self.pattern).path(self.folder, stem)

    def prepare(self) -> None:
        """See `Method.prepare`; there is nothing to load."""

    def check(self) -> None:
        """See `Method.check`; an output that is not there is a matter of its image."""

    def upscale(self, stem: str, low_resolution: Pixels) -> Output:
        """Read the finished output; see `Method.upscale`.

        Raises:
            MissingOutputError: there is none.
            ImageError: it cannot be decoded.
        """
        path = self.path_of(stem)
        if not path.is_file():
            raise MissingOutputError(f"{self.id}: no output for {stem!r}: {path} does not exist")
        expected = low_resolution.shape[0] * low_resolution.shape[1] * self.scale**2
        return Output(images.decode(path, limit=max(images.MAX_PIXELS, expected)).pixels, device=None)


def _listing(folder: Path, rule: NamingRule) -> list[tuple[str, int, int]]:
    """Name below the folder, size and time of every file that lies where outputs do."""
    inner = glob.escape(rule.folders).replace("{stem}", "*")
    folders = folder.glob(inner) if inner else [folder]
    files = [file for one in folders if one.is_dir() for file in one.iterdir() if file.is_file()]
    return sorted((f.relative_to(folder).as_posix(), f.stat().st_size, f.stat().st_mtime_ns) for f in files)
