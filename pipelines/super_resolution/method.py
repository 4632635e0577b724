"""The Method protocol: what every super-resolution method looks like to the stage that runs it."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.errors import DiscernError
from pipelines.images import Pixels


class MissingOutputError(DiscernError):
    """A folder of finished outputs holds none for this image."""


@dataclass(frozen=True)
class Output:
    """f(x), and how it came about.

    Attributes:
        pixels: (scale x height, scale x width, 3) uint8; the stage verifies the size.
        device: on which it was computed; None where it was made elsewhere.
        precision: of a network's computation.
        tile: longest side of the tiles, in LR pixels; None where the whole image was done at once.
        peak_memory: bytes: of the GPU during this image; of the process, up to now, on a CPU.
        position: place of the image in the folder that an external program was given, from 1.
        of: how many images there were in that folder.
    """

    pixels: Pixels
    device: str | None = "cpu"
    precision: str | None = None
    tile: int | None = None
    peak_memory: int | None = None
    position: int | None = None
    of: int | None = None


class Method(Protocol):
    """One super-resolution method that works image by image.

    Its outputs are a function of `provenance` and of the LR image alone, up to what `Output` tells of how each came
    about (the tile that memory allowed, say) and to rounding on different devices of one kind.
    """

    @property
    def id(self) -> str:
        """The method's name in the study."""

    @property
    def provenance(self) -> dict[str, Any]:
        """What determines its outputs: algorithm, parameters, sha256 of weights, library versions; JSON values only.

        Raises:
            WeightsError: its weights are not there, or not the expected ones.
        """

    @property
    def by_stem(self) -> bool:
        """Whether the output is found by the LR file's name, so that a renamed image needs another output."""

    def prepare(self) -> None:
        """Load what it needs; done by the first image otherwise. Loaded things are not pickled.

        Raises:
            DiscernError: it cannot run.
        """

    def check(self) -> None:
        """Find out whether it can be prepared, where others will do the work; keeps nothing.

        Raises:
            DiscernError: it cannot run.
        """

    def upscale(self, stem: str, low_resolution: Pixels) -> Output:
        """Super-resolve one image; called by several threads at a time.

        Args:
            stem: the LR file's name without its extension, unique in the study.
            low_resolution: (height, width, 3) uint8.

        Raises:
            DiscernError: this image cannot be done; the stage reports it and goes on.
        """


class HasProvenance(Protocol):
    """Anything whose provenance determines its outputs."""

    @property
    def provenance(self) -> dict[str, Any]:
        """JSON values only."""


def fingerprint(method: HasProvenance) -> str:
    """The sha256 of what determines a method's outputs; outputs with another fingerprint are out of date."""
    return hashlib.sha256(json.dumps(method.provenance, sort_keys=True).encode()).hexdigest()
