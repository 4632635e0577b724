"""The Method protocol: what every super-resolution method looks like to the stage that runs it."""

import hashlib
import json
from typing import Any, Protocol

from pipelines.errors import DiscernError
from pipelines.images import Pixels


class MissingOutputError(DiscernError):
    """A folder of finished outputs holds none for this image."""


class Method(Protocol):
    """One super-resolution method, ready to run.

    Its outputs are a function of `provenance` and of the LR image alone.
    """

    @property
    def id(self) -> str:
        """The method's name in the study."""

    @property
    def provenance(self) -> dict[str, Any]:
        """What determines its outputs: algorithm, parameters, sha256 of weights, library versions; JSON values only."""

    @property
    def by_stem(self) -> bool:
        """Whether the output is found by the LR file's name, so that a renamed image needs another output."""

    def upscale(self, stem: str, low_resolution: Pixels) -> Pixels:
        """Super-resolve one image.

        Args:
            stem: the LR file's name without its extension, unique in the study.
            low_resolution: (height, width, 3) uint8.

        Returns:
            (scale x height, scale x width, 3) uint8; the stage verifies the size.

        Raises:
            DiscernError: this image cannot be done; the stage reports it and goes on.
        """


def fingerprint(method: Method) -> str:
    """The sha256 of what determines a method's outputs; outputs with another fingerprint are out of date."""
    return hashlib.sha256(json.dumps(method.provenance, sort_keys=True).encode()).hexdigest()
