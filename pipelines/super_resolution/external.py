"""Outputs made elsewhere: folders of finished images, matched to LR images by a naming pattern."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import images
from pipelines.images import Pixels
from pipelines.super_resolution.method import MissingOutputError


@dataclass(frozen=True)
class Folder:
    """A folder of finished outputs as the stage reads it.

    Attributes:
        pattern: file name of the output of one image, with `{stem}` for the LR file's name without its extension.
    """

    id: str
    folder: Path
    pattern: str
    scale: int
    provenance: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        # A listing with sizes and times: an output that is added or replaced later is noticed and read again.
        listing = sorted((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in self.folder.iterdir() if f.is_file())
        digest = hashlib.sha256(repr(listing).encode()).hexdigest()
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
        return self.folder / self.pattern.replace("{stem}", stem)

    def upscale(self, stem: str, low_resolution: Pixels) -> Pixels:  # noqa: ARG002 - the protocol's
        """Read the finished output; see `Method.upscale`.

        Raises:
            MissingOutputError: there is none.
            ImageError: it cannot be decoded.
        """
        path = self.path_of(stem)
        if not path.is_file():
            raise MissingOutputError(f"{self.id}: no output for {stem!r}: {path} does not exist")
        return images.decode(path).pixels
