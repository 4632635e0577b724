"""The stage: what a ranking says of votes, from the fit to its intervals, and that it says so in JSON."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import DiscernError
from pipelines.ranking import intervals, tables, thurstone
from pipelines.ranking.counts import Votes, count_matrix, number_of_votes, subset
from pipelines.ranking.observers import Population, simulate
from pipelines.ranking.stage import rank
from pipelines.ranking.thurstone import NotIdentifiableError

TRUTH = np.array([-0.6, 0.9, 0.0, -0.3])


def panel(population: Population | None = None, subjects: int = 12, images: int = 10, seed: int = 0) -> Votes:
    return simulate(
        np.tile(TRUTH, (images, 1)),
        [(image, i, j) for image in range(images) for i in range(4) for j in range(i + 1, 4)],
        methods=["worst", "best", "second", "third"],
        images=[f"image {index}" for index in range(images)],
        subjects=[f"subject {index}" for index in range(subjects)],
        population=population,
        seed=seed,
    )


def table(winners: list[int], losers: list[int], counts: list[int]) -> Votes:
    return Votes(("a", "b", "c"), np.array(winners), np.array(losers), np.array(counts))


def test_a_ranking_is_the_fit_its_robust_covariance_and_their_intervals() -> None:
    votes = panel()
    result = rank(votes, level=0.8)
    fit = thurstone.fit(count_matrix(votes), methods=votes.methods)
    robust = intervals.two_way_covariance(votes, fit)
    spread = intervals.intervals(fit.scores, robust, level=0.8)
    np.testing.assert_array_equal(result.fit.scores, fit.scores)
    np.testing.assert_array_equal(result.covariance.matrix, robust.matrix)
    np.testing.assert_array_equal(result.intervals.lower, spread.lower)
    np.testing.assert_array_equal(result.intervals.rank_upper, spread.rank_upper)
    assert result.level == 0.8
    assert result.votes == number_of_votes(votes) == 720


def test_the_order_is_best_first_and_ties_keep_the_order_of_the_methods() -> None:
    assert [panel().methods[index] for index in rank(panel()).order] == ["best", "second", "third", "worst"]
    even = table([0, 1, 1, 2, 0, 2], [1, 0, 2, 1, 2, 0], [5] * 6)
    assert rank(even).order == [0, 1, 2]


def test_the_order_of_the_rows_changes_nothing() -> None:
    votes = panel()
    assert votes.image is not None
    assert votes.subject is not None
    order = np.random.default_rng(1).permutation(len(votes.winner))
    shuffled = Votes(
        votes.methods,
        votes.winner[order],
        votes.loser[order],
        votes.count[order],
        images=votes.images,
        image=votes.image[order],
        subjects=votes.subjects,
        subject=votes.subject[order],
    )
    one, other = rank(votes), rank(shuffled)
    np.testing.assert_array_equal(one.fit.scores, other.fit.scores)
    np.testing.assert_allclose(one.covariance.matrix, other.covariance.matrix, atol=1e-14)


def test_the_listing_is_json_and_runs_from_the_best_method_to_the_worst() -> None:
    result = rank(panel())
    listing = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert [row["method"] for row in listing["methods"]] == ["best", "second", "third", "worst"]
    assert [row["rank"] for row in listing["methods"]] == [1, 2, 3, 4]
    best = listing["methods"][0]
    assert best["score"] == result.fit.scores[1]
    assert [best["lower"], best["upper"]] == [result.intervals.lower[1], result.intervals.upper[1]]
    assert [best["rank_lower"], best["rank_upper"]] == [1, 1]
    assert all(row["lower"] < row["score"] < row["upper"] for row in listing["methods"])
    assert all(row["rank_lower"] <= row["rank"] <= row["rank_upper"] for row in listing["methods"])
    assert listing["clusters"] == "12 subjects x 10 images"
    assert listing["votes"] == 720
    assert (listing["group"], listing["votes_by_group"]) == (None, None)
    assert listing["simulated"] is True
    assert [listing["deviance"], listing["degrees_of_freedom"]] == [result.fit.deviance, 3]
    assert listing["p_value"] == result.fit.p_value
    assert listing["ridge"] == 0


def test_the_ranking_of_a_group_is_an_ordinary_ranking_of_its_votes() -> None:
    """Subjects of one mind on the pairs of one group, and of the opposite mind on those of the other."""
    votes = panel()
    assert votes.image is not None
    is_random = votes.image >= 6
    both = replace(
        votes,
        winner=np.where(is_random, votes.loser, votes.winner),
        loser=np.where(is_random, votes.winner, votes.loser),
        groups=("mad", "random"),
        group=is_random.astype(np.int64),
    )
    for name, rows in (("mad", ~is_random), ("random", is_random)):
        part, expected = rank(both, group=name), rank(subset(both, rows))
        assert part.as_dict() == expected.as_dict() | {"group": name}
        assert part.votes_by_group == {name: part.votes}
        assert part.covariance.clusters == f"12 subjects x {6 if name == 'mad' else 4} images"
    assert rank(both, group="mad").order == rank(both, group="random").order[::-1]
    listing = rank(both).as_dict()
    assert (listing["group"], listing["votes_by_group"]) == (None, {"mad": 432, "random": 288})
    with pytest.raises(DiscernError, match="the groups are mad, random"):
        rank(both, group="mid")


def test_without_degrees_of_freedom_the_listing_gives_no_p_value() -> None:
    result = rank(table([1, 0, 2, 1], [0, 1, 1, 2], [75, 25, 75, 25]))
    listing = result.as_dict()
    assert listing["p_value"] is None
    assert listing["degrees_of_freedom"] == 0
    assert listing["simulated"] is False
    assert listing["clusters"].startswith("nothing: votes are taken as independent")
    json.dumps(listing, allow_nan=False)


def test_votes_that_leave_methods_apart_are_refused_unless_a_ridge_is_given() -> None:
    votes = table([0, 1], [1, 2], [5, 5])
    with pytest.raises(NotIdentifiableError) as caught:
        rank(votes)
    assert caught.value.groups == (("a",), ("b",), ("c",))
    held = rank(votes, ridge=0.01)
    assert held.order == [0, 1, 2]
    assert held.as_dict()["ridge"] == 0.01


def test_what_the_parts_refuse_the_stage_refuses() -> None:
    none = np.array([], dtype=np.int64)
    with pytest.raises(DiscernError, match="no votes"):
        rank(Votes(("a", "b"), none, none, none))
    with pytest.raises(DiscernError, match="level must"):
        rank(panel(), level=95)
    with pytest.raises(DiscernError, match="ridge must"):
        rank(panel(), ridge=-1)


def test_subjects_who_differ_in_taste_widen_the_intervals_over_fishers() -> None:
    """Many images and few subjects with tastes of their own: Fisher counts every vote, and is far too sure."""
    votes = panel(Population(taste_sd=0.6), subjects=8, images=40)
    result = rank(votes)
    fisher = np.sqrt(np.diagonal(result.fit.covariance))
    robust = np.sqrt(np.diagonal(result.covariance.matrix))
    assert (robust > 2 * fisher).all()
    assert (robust < 20 * fisher).all()


def test_a_planted_truth_lies_within_its_intervals_as_often_as_they_say() -> None:
    """Over panels of observers like those of Eq. (2), to whom the planted scores, centred, are the truth."""
    careful = Population(sensitivity_log_sd=0, taste_sd=0, side_bias_sd=0, lapse_rate=0)
    truth = TRUTH - TRUTH.mean()
    inside = []
    for seed in range(40):
        found = rank(panel(careful, subjects=10, images=10, seed=seed)).intervals
        inside.append((found.lower < truth) & (truth < found.upper))
    assert 0.88 < np.mean(inside) <= 1


def test_the_released_votes_rank_as_published(sample_data: Path) -> None:
    result = rank(tables.read(sample_data / "realsr1k" / "votes.csv"))
    listing = result.as_dict()
    published = [
        "SeeSR",
        "ResShift",
        "SinSR",
        "DiffBIR",
        "StableSR",
        "USRGAN",
        "DASR",
        "Real-ESRGAN",
        "LDL",
        "BSRGAN",
        "FeMaSR",
        "RGT",
    ]
    scores = [0.7439, 0.5075, 0.4106, 0.2681, 0.2068, 0.0110, -0.0475, -0.1365, -0.2750, -0.3762, -0.4158, -0.8970]
    assert [row["method"] for row in listing["methods"]] == published
    np.testing.assert_allclose([row["score"] for row in listing["methods"]], scores, atol=5e-5)
    assert listing["log_likelihood"] == pytest.approx(-14219.8689, abs=1e-4)
    assert listing["clusters"] == "570 images (no subjects named)"
    # The votes on one image agree more than chance has it, so that Fisher's intervals are too narrow.
    assert (np.diagonal(result.covariance.matrix) > 2 * np.diagonal(result.fit.covariance)).all()


def test_released_trials_with_observers_rank(sample_data: Path) -> None:
    listing = rank(tables.read(sample_data / "pairwise_with_observers.csv")).as_dict()
    assert len(listing["methods"]) == 7
    assert listing["clusters"] == "18 subjects x 5 images"
    assert listing["votes"] == 1_213
    json.dumps(listing, allow_nan=False)
