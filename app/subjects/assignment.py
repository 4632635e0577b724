"""Which pair a subject sees next, and on which side: pure functions of what has been handed out so far.

Every pair is handed out once before any pair is handed out twice; of the pairs that are due, a random one that shows
another LR image than the trial before. The two orders of a pair differ by at most one among the trials handed out,
and as far as that leaves a choice, "first method on the left" is balanced within the subject.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A pair that this subject has not seen.

    Attributes:
        pair: its key.
        image: key of its LR image.
        first_left: trials handed out with the first method on the left.
        first_right: and on the right.
    """

    pair: int
    image: int
    first_left: int
    first_right: int

    @property
    def issued(self) -> int:
        """How often it has been handed out."""
        return self.first_left + self.first_right

    @property
    def side(self) -> bool | None:
        """Whether the first method must be on the left now; None where either side will do."""
        return None if self.first_left == self.first_right else self.first_left < self.first_right


@dataclass(frozen=True)
class Assignment:
    """The next trial: a pair, and whether its first method is on the left."""

    candidate: Candidate
    first_on_left: bool


def choose(
    candidates: Sequence[Candidate], *, seed: int, number: int, lead: int, previous_image: int | None
) -> Assignment:
    """The next trial of a subject.

    Args:
        candidates: at least one.
        seed: the subject's.
        number: of the trial, from 1.
        lead: how many more of this subject's trials had the first method on the left than on the right.
        previous_image: the LR image of the trial before.
    """
    draw = random.Random(f"{seed}:{number}")  # noqa: S311 - an order that can be repeated, not a secret
    fewest = min(candidate.issued for candidate in candidates)
    due = [candidate for candidate in candidates if candidate.issued == fewest]
    fresh = [candidate for candidate in due if candidate.image != previous_image] or due
    wanted = draw.random() < 0.5 if lead == 0 else lead < 0
    balancing = [candidate for candidate in fresh if candidate.side in (None, wanted)] or fresh
    chosen = draw.choice(sorted(balancing, key=lambda candidate: candidate.pair))
    return Assignment(chosen, wanted if chosen.side is None else chosen.side)
