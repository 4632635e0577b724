"""Votes drawn from a planted truth, in which LR images and subjects shift the score of every method."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.ranking.counts import Votes


@dataclass(frozen=True)
class Truth:
    """What votes are drawn from; scores are those of an average image and subject."""

    scores: Sequence[float]
    image_sd: float = 0.0
    subject_sd: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple("abcdefghijkl"[: len(self.scores)])

    @property
    def visible(self) -> NDArray[np.float64]:
        """The scores of Eq. (2), on the scale where a vote with all that shifts it has unit variance; sum 0."""
        centred = np.asarray(self.scores) - np.mean(self.scores)
        return centred / np.sqrt(1 + 2 * self.image_sd**2 + 2 * self.subject_sd**2)


def panel(
    truth: Truth,
    compared: Sequence[tuple[int, int]],
    random: np.random.Generator,
    *,
    images: int,
    subjects: int,
    each: int | None = None,
    pool: int = 30,
    label: str = "",
) -> Votes:
    """`each` of the subjects vote on each image pair: `images` of a pool for each pair of methods."""
    number = len(truth.scores)
    shift = truth.image_sd * random.standard_normal((pool, number))
    taste = truth.subject_sd * random.standard_normal((subjects, number))
    rows = []
    turn = 0
    for first, second in compared:
        for image in random.choice(pool, images, replace=False):
            # In turn, as equal shares are handed out.
            people = (np.arange(each or subjects) + turn) % subjects
            turn += each or subjects
            rows += [(first, second, image, person) for person in people]
    a, b, image, person = np.array(rows).T
    seen = np.asarray(truth.scores) + shift[image] + taste[person]
    votes = np.arange(len(rows))
    first_won = seen[votes, a] - seen[votes, b] + random.standard_normal(len(rows)) > 0
    return Votes(
        methods=truth.names,
        winner=np.where(first_won, a, b),
        loser=np.where(first_won, b, a),
        count=np.ones(len(rows), dtype=np.int64),
        images=tuple(f"{label}image {index}" for index in range(pool)),
        image=image,
        subjects=tuple(f"{label}subject {index}" for index in range(subjects)),
        subject=person,
    )


def joined(old: Votes, new: Votes) -> Votes:
    """Both panels, each with images and subjects of its own; the methods of the new one."""
    assert old.image is not None and new.image is not None and old.images is not None and new.images is not None  # noqa: PT018
    assert old.subject is not None and new.subject is not None  # noqa: PT018
    assert old.subjects is not None and new.subjects is not None  # noqa: PT018
    return Votes(
        methods=new.methods,
        winner=np.concatenate([old.winner, new.winner]),
        loser=np.concatenate([old.loser, new.loser]),
        count=np.concatenate([old.count, new.count]),
        images=old.images + new.images,
        image=np.concatenate([old.image, new.image + len(old.images)]),
        subjects=old.subjects + new.subjects,
        subject=np.concatenate([old.subject, new.subject + len(old.subjects)]),
    )
