"""What is computed of the screening of vision: recorded for experimenters, and never a medical statement."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any


def plates_seed(seed: int) -> int:
    """From a subject's seed, one of 32 bits for the dots of the plates, which tells nothing of the order of trials."""
    return int.from_bytes(sha256(f"{seed}:plates".encode()).digest()[:4])


def right_by_kind(plates: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many plates of each kind were shown, and how many of them were answered right."""
    counts: dict[str, dict[str, int]] = {}
    for plate in plates:
        of_kind = counts.setdefault(plate["kind"], {"shown": 0, "right": 0})
        of_kind["shown"] += 1
        of_kind["right"] += plate["answer"] == plate["direction"]
    return counts
