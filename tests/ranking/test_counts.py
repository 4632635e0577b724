"""Votes as arrays: what is refused, and what is counted."""

from typing import Any

import numpy as np
import pytest

from pipelines.errors import DiscernError
from pipelines.ranking.counts import Votes, count_matrix, number_of_votes, of_group, pairs, subset, votes_by_group


def make(**changes: Any) -> Votes:
    fields: dict[str, Any] = {
        "methods": ("a", "b", "c"),
        "winner": np.array([0, 1, 2, 0]),
        "loser": np.array([1, 0, 0, 1]),
        "count": np.array([1, 2, 5, 3]),
        "images": ("x", "y"),
        "image": np.array([0, 0, 1, 1]),
        "subjects": ("p", "q"),
        "subject": np.array([0, 1, 0, 1]),
        "groups": ("mad", "random"),
        "group": np.array([0, 0, 1, 0]),
    }
    return Votes(**(fields | changes))


def test_count_matrix_adds_repeated_rows_and_their_counts() -> None:
    assert count_matrix(make()).tolist() == [[0, 4, 0], [2, 0, 0], [5, 0, 0]]
    assert count_matrix(make()).dtype == np.int64
    assert number_of_votes(make()) == 11


def test_methods_without_votes_keep_their_place() -> None:
    votes = make(methods=("a", "b", "c", "d"))
    assert count_matrix(votes).shape == (4, 4)
    assert not count_matrix(votes)[3].any()


def test_subset_keeps_names_and_every_column() -> None:
    part = subset(make(simulated=True), np.array([False, True, False, True]))
    assert part.methods == ("a", "b", "c")
    assert part.images == ("x", "y")
    assert part.image is not None
    assert part.subject is not None
    assert part.groups == ("mad", "random")
    assert part.group is not None
    columns = [part.winner, part.loser, part.count, part.image, part.subject, part.group]
    assert [column.tolist() for column in columns] == [[1, 0], [0, 1], [2, 3], [0, 1], [1, 1], [0, 0]]
    assert part.simulated


def test_subset_of_votes_without_images_subjects_or_groups() -> None:
    bare = make(images=None, image=None, subjects=None, subject=None, groups=None, group=None)
    assert number_of_votes(subset(bare, np.zeros(4, dtype=np.bool_))) == 0


@pytest.mark.parametrize("mask", [np.ones(3, dtype=np.bool_), np.array([0, 1, 2, 3])])
def test_subset_refuses_what_is_no_mask(mask: Any) -> None:
    with pytest.raises(DiscernError, match="mask must be bool"):
        subset(make(), mask)


def test_the_votes_of_a_group_are_those_on_its_pairs() -> None:
    votes = make(simulated=True)
    assert count_matrix(of_group(votes, "mad")).tolist() == [[0, 4, 0], [2, 0, 0], [0, 0, 0]]
    assert count_matrix(of_group(votes, "random")).tolist() == [[0, 0, 0], [0, 0, 0], [5, 0, 0]]
    part = of_group(votes, "random")
    assert (part.methods, part.images, part.subjects, part.simulated) == (("a", "b", "c"), ("x", "y"), ("p", "q"), True)
    again = of_group(part, "random")
    assert again.count.tolist() == part.count.tolist()


def test_an_unknown_group_is_refused_with_the_groups_that_there_are() -> None:
    with pytest.raises(DiscernError, match="group 'mid': there is none of this name; the groups are mad, random"):
        of_group(make(), "mid")
    with pytest.raises(DiscernError, match="group 'mad': these votes name no groups"):
        of_group(make(groups=None, group=None), "mad")


def test_votes_are_counted_by_group_where_groups_are_named() -> None:
    assert votes_by_group(make()) == {"mad": 6, "random": 5}
    assert votes_by_group(of_group(make(), "random")) == {"random": 5}
    assert votes_by_group(make(groups=None, group=None)) is None


def test_pairs_tally_both_directions_of_an_image_pair() -> None:
    tallies = pairs(make())
    assert tallies.image.tolist() == [0, 1, 1]
    assert tallies.first.tolist() == [0, 0, 0]
    assert tallies.second.tolist() == [1, 1, 2]
    assert tallies.wins_first.tolist() == [1, 3, 0]
    assert tallies.wins_second.tolist() == [2, 0, 5]


def test_pairs_need_images() -> None:
    with pytest.raises(DiscernError, match="no LR image"):
        pairs(make(images=None, image=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"winner": np.array([0, 1, 3, 0])}, "winner must be an index below 3, got 3 in row 2"),
        ({"loser": np.array([1, 0, -1, 1])}, "loser must be an index below 3, got -1 in row 2"),
        ({"loser": np.array([1, 0, 0])}, r"loser must be int64 of shape \(4,\)"),
        ({"winner": np.array([0.0, 1, 2, 0])}, "winner must be int64"),
        ({"loser": np.array([1, 1, 0, 1])}, "compared with itself.* in row 1"),
        ({"count": np.array([1, 0, 5, 3])}, "count must be at least 1, got 0 in row 1"),
        ({"count": np.array([1])}, "count must be int64 of shape"),
        ({"image": np.array([0, 0, 2, 1])}, "image must be an index below 2"),
        ({"subject": np.array([0, 1, 0])}, "subject must be int64 of shape"),
        ({"images": None}, "both image and images"),
        ({"subject": None}, "both subject and subjects"),
        ({"group": np.array([0, 0, 2, 0])}, "group must be an index below 2, got 2 in row 2"),
        ({"groups": None}, "both group and groups"),
        ({"groups": ("mad", "")}, "'' cannot name a group"),
        ({"methods": ("a", "b", "a")}, "'a' names more than one"),
        ({"methods": ("a", "", "c")}, "'' cannot name"),
        ({"images": ("x", " y")}, "' y' cannot name"),
        ({"subjects": ("p", "q\nr")}, "cannot name a subject"),
    ],
)
def test_votes_refuse(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        make(**changes)
