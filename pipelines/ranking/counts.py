"""Votes as arrays, and what is counted from them: the matrix C of Eq. (2) and the tallies of every image pair."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DiscernError

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Votes:
    """Who preferred what to what: one row for each vote, or for several that agree in everything recorded.

    Names stand in tuples, rows hold indices into them. What was not recorded is None: without `image` or `subject`
    nothing can be clustered by it.

    Attributes:
        methods: names; each once, not empty, free of surrounding white space and of line breaks, as are all names here.
        winner: (n,) int64, indices into `methods`.
        loser: (n,) int64, indices into `methods`; never the winner of the same row.
        count: (n,) int64, at least 1: how many votes the row stands for; 1 unless the table was aggregated.
        images: names of the LR images, or None.
        image: (n,) int64, indices into `images`, or None.
        subjects: names of the people, or None.
        subject: (n,) int64, indices into `subjects`, or None.
        groups: names of the groups that the voted pairs were selected in, such as mad and random, or None.
        group: (n,) int64, indices into `groups`, or None.
        simulated: whether the subjects are simulated; never true of some votes only.

    Raises:
        DiscernError: names or rows break what is said above, or arrays differ in length or type.
    """

    methods: tuple[str, ...]
    winner: Integers
    loser: Integers
    count: Integers
    images: tuple[str, ...] | None = None
    image: Integers | None = None
    subjects: tuple[str, ...] | None = None
    subject: Integers | None = None
    groups: tuple[str, ...] | None = None
    group: Integers | None = None
    simulated: bool = False

    def __post_init__(self) -> None:
        _check_indices("winner", self.winner, self.methods, len(self.winner))
        _check_indices("loser", self.loser, self.methods, len(self.winner))
        _check_optional("image", self.image, self.images, len(self.winner))
        _check_optional("subject", self.subject, self.subjects, len(self.winner))
        _check_optional("group", self.group, self.groups, len(self.winner))
        _check_integers("count", self.count, len(self.winner))
        _refuse_rows("count must be at least 1", self.count < 1, self.count)
        _refuse_rows(
            "a method cannot be compared with itself: winner and loser", self.winner == self.loser, self.winner
        )


@dataclass(frozen=True, eq=False)
class PairTallies:
    """The votes of every image pair: two methods shown on one LR image.

    Attributes:
        image: (P,) int64, indices into `Votes.images`; sorted, then by `first`, then by `second`.
        first: (P,) int64, indices into `Votes.methods`.
        second: (P,) int64, likewise; always greater than `first`.
        wins_first: (P,) int64, votes for the first.
        wins_second: (P,) int64, votes for the second.
    """

    image: Integers
    first: Integers
    second: Integers
    wins_first: Integers
    wins_second: Integers


def count_matrix(votes: Votes) -> Integers:
    """C of Eq. (2): (N, N) int64, how often the method of the row beat the method of the column."""
    counts = np.zeros((len(votes.methods), len(votes.methods)), dtype=np.int64)
    np.add.at(counts, (votes.winner, votes.loser), votes.count)
    return counts


def number_of_votes(votes: Votes) -> int:
    """All votes, aggregated rows counted in full."""
    return int(votes.count.sum())


def subset(votes: Votes, mask: NDArray[np.bool_]) -> Votes:
    """The rows where `mask`, (n,) bool, is true; all names stay, so that indices keep their meaning.

    Raises:
        DiscernError: the mask is not (n,) bool.
    """
    if mask.shape != votes.winner.shape or mask.dtype != np.bool_:
        raise DiscernError(
            f"mask must be bool of shape {votes.winner.shape}, one for each row of votes, "
            f"got {mask.dtype} of shape {mask.shape}"
        )
    return replace(
        votes,
        winner=votes.winner[mask],
        loser=votes.loser[mask],
        count=votes.count[mask],
        image=None if votes.image is None else votes.image[mask],
        subject=None if votes.subject is None else votes.subject[mask],
        group=None if votes.group is None else votes.group[mask],
    )


def of_group(votes: Votes, name: str) -> Votes:
    """The votes on the pairs of one group; all names stay.

    Raises:
        DiscernError: the votes name no groups, or not this one.
    """
    if votes.group is None or votes.groups is None:
        raise DiscernError(f"group {name!r}: these votes name no groups; give a table with the column group")
    if name not in votes.groups:
        raise DiscernError(f"group {name!r}: there is none of this name; the groups are {', '.join(votes.groups)}")
    return subset(votes, votes.group == votes.groups.index(name))


def votes_by_group(votes: Votes) -> dict[str, int] | None:
    """How many votes each group has, groups without votes left out; None where the votes name no groups."""
    if votes.group is None or votes.groups is None:
        return None
    numbers = np.zeros(len(votes.groups), dtype=np.int64)
    np.add.at(numbers, votes.group, votes.count)
    return {name: number for name, number in zip(votes.groups, numbers.tolist(), strict=True) if number}


def among(votes: Votes, methods: Sequence[str]) -> Votes:
    """The votes between some of the methods, which the result names in this order.

    Raises:
        DiscernError: a method is not among those of the votes.
    """
    unknown = [name for name in methods if name not in votes.methods]
    if unknown:
        raise DiscernError(f"there are no votes on {unknown[0]!r}, only on {', '.join(votes.methods)}")
    place = np.full(len(votes.methods), -1)
    place[[votes.methods.index(name) for name in methods]] = np.arange(len(methods))
    kept = subset(votes, (place[votes.winner] >= 0) & (place[votes.loser] >= 0))
    return replace(kept, methods=tuple(methods), winner=place[kept.winner], loser=place[kept.loser])


def pairs(votes: Votes) -> PairTallies:
    """Tally the votes by image pair.

    Raises:
        DiscernError: the votes do not say on which LR image they were cast.
    """
    if votes.image is None:
        raise DiscernError("these votes name no LR image, so there are no image pairs: give a table with images")
    first, second = np.minimum(votes.winner, votes.loser), np.maximum(votes.winner, votes.loser)
    keys, row = np.unique(np.stack([votes.image, first, second], axis=1), axis=0, return_inverse=True)
    wins = np.zeros((2, len(keys)), dtype=np.int64)
    np.add.at(wins, ((votes.winner == second).astype(np.int64), row), votes.count)
    return PairTallies(keys[:, 0], keys[:, 1], keys[:, 2], wins[0], wins[1])


def _check_optional(field: str, indices: Integers | None, names: tuple[str, ...] | None, length: int) -> None:
    if (indices is None) != (names is None):
        raise DiscernError(f"votes: give both {field} and {field}s, or neither")
    if indices is not None and names is not None:
        _check_indices(field, indices, names, length)


def _check_indices(field: str, indices: Integers, names: tuple[str, ...], length: int) -> None:
    _check_names(field, names)
    _check_integers(field, indices, length)
    outside = (indices < 0) | (indices >= len(names))
    _refuse_rows(f"{field} must be an index below {len(names)}", outside, indices)


def _check_names(field: str, names: tuple[str, ...]) -> None:
    bad = next((name for name in names if name != name.strip() or len(name.splitlines()) != 1), None)
    if bad is not None:
        raise DiscernError(
            f"votes: {bad!r} cannot name a {field}: names are not empty and have no line breaks, "
            "and no white space around them"
        )
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DiscernError(f"votes: {twice!r} names more than one {field}; each name stands once")


def _check_integers(field: str, values: Integers, length: int) -> None:
    if values.shape != (length,) or values.dtype != np.int64:
        raise DiscernError(
            f"votes: {field} must be int64 of shape ({length},), got {values.dtype} of shape {values.shape}"
        )


def _refuse_rows(rule: str, broken: NDArray[np.bool_], values: Integers) -> None:
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise DiscernError(f"votes: {rule}, got {values[row]} in row {row}")
