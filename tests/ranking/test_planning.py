"""What is planned for another method, against what happens when it is voted on, and against what is known exactly."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from pipelines.errors import DiscernError
from pipelines.ranking import planning, thurstone
from pipelines.ranking.components import information
from pipelines.ranking.counts import Votes, among, count_matrix
from pipelines.ranking.intervals import two_way_covariance
from pipelines.ranking.planning import AdditionPlan, plan_addition, suggest_anchors
from pipelines.ranking.thurstone import ThurstoneFit
from tests.ranking.planted import Truth, joined, panel

OLD = (0.85, 0.4, 0.1, -0.2, -0.4, -0.75)
EVERY_PAIR = list(combinations(range(6), 2))
ANCHORS = (1, 3, 5)
IMAGES, SUBJECTS, EACH = 8, 12, 5


def fitted(votes: Votes) -> ThurstoneFit:
    return thurstone.fit(count_matrix(votes), methods=votes.methods)


def old_votes(seed: int = 0, scores: tuple[float, ...] = OLD, subjects: int = 10, **sds: float) -> Votes:
    every_pair = list(combinations(range(len(scores)), 2))
    return panel(Truth(scores, **sds), every_pair, np.random.default_rng(seed), images=IMAGES, subjects=subjects)


def planned(votes: Votes, anchors: tuple[str, ...] = ("b", "d", "f"), **settings: object) -> AdditionPlan:
    given = {"images": IMAGES, "subjects": SUBJECTS} | settings
    return plan_addition(votes, fitted(votes), anchors, **given)  # type: ignore[arg-type]


def bare(votes: Votes) -> Votes:
    return replace(votes, image=None, images=None, subject=None, subjects=None)


@pytest.mark.parametrize(("image_sd", "subject_sd"), [(0.0, 0.0), (0.6, 0.0), (0.0, 0.5), (0.5, 0.3)])
def test_the_planned_standard_error_is_how_much_the_refitted_score_varies(image_sd: float, subject_sd: float) -> None:
    """Everything is drawn anew 250 times; 12 % is two and a half standard errors of the deviation that this finds."""
    errors, gaps, expected, widths = [], [], [], []
    for seed in range(250):
        random = np.random.default_rng(seed)
        old = panel(Truth(OLD, image_sd, subject_sd), EVERY_PAIR, random, images=IMAGES, subjects=10)
        truth = Truth((*OLD, random.uniform(min(OLD), max(OLD))), image_sd, subject_sd)
        versus = [(6, anchor) for anchor in ANCHORS]
        new = panel(truth, versus, random, images=IMAGES, subjects=SUBJECTS, each=EACH, label="new ")
        scores = thurstone.fit(count_matrix(joined(old, new))).scores
        off = scores - truth.visible
        errors.append(off[6] - off[:6].mean())
        gaps.append(off[6] - off[:6])
        plan = planned(old)
        (step,) = [step for step in plan.steps if step.votes_per_pair == EACH]
        expected.append(step.standard_error)
        widths.append(step.smallest_difference)
    deviation = np.sqrt(np.mean(np.square(errors)))
    assert np.sqrt(np.mean(np.square(expected))) == pytest.approx(deviation, rel=0.12)
    # The half width is at the old method where the difference is least certain, and holds 95 % of the errors there.
    missed = (np.abs(np.array(gaps)) > np.array(widths)[:, None]).mean(axis=0)
    assert missed.max() < 0.09


def test_old_and_new_votes_are_fitted_on_one_scale_and_the_old_scores_hardly_move() -> None:
    truth = Truth((*OLD, 0.25))
    random = np.random.default_rng(3)
    old = panel(Truth(OLD), EVERY_PAIR, random, images=16, subjects=40)
    new = panel(truth, [(6, anchor) for anchor in ANCHORS], random, images=16, subjects=40, label="new ")
    both = joined(old, new)
    before, after = fitted(old), fitted(both)
    spread = np.sqrt(np.diagonal(two_way_covariance(both, after).matrix))
    assert np.abs(after.scores - truth.visible).max() < 3 * spread.max()
    moved = (after.scores[:6] - after.scores[:6].mean()) - before.scores
    assert np.abs(moved).max() < np.sqrt(np.diagonal(before.covariance)).min()
    assert count_matrix(among(both, truth.names[:6])).tolist() == count_matrix(old).tolist()


@pytest.mark.parametrize("votes_per_pair", [1, 5, 12])
def test_one_anchor_of_the_same_score(votes_per_pair: int) -> None:
    """A vote at d = 0 tells 2 / pi, and a method that meets one anchor alone adds its own variance to the anchor's."""
    votes = Votes(
        ("a", "b"), np.repeat([0, 1], 50), np.repeat([1, 0], 50), np.ones(100, dtype=np.int64)
    )  # 50 : 50, so that all scores are 0 and so is the new one's
    plan = planned(votes, ("b",))
    (step,) = [step for step in plan.steps if step.votes_per_pair == votes_per_pair]
    assert step.votes == IMAGES * votes_per_pair
    own = np.pi / 2 / step.votes
    # The anchor less the mean of the two has half the deviation of their difference, of which 100 votes tell.
    assert step.standard_error**2 == pytest.approx(own + np.pi / 2 / 100 / 4)
    assert step.smallest_difference == pytest.approx(1.95996398 * np.sqrt(own + np.pi / 2 / 100))
    assert (plan.lowest, plan.highest) == pytest.approx((0, 0))


def test_one_anchor_with_images_and_subjects_that_differ() -> None:
    """The formula of the docstring, averaged over where the new score may lie."""
    votes = old_votes(image_sd=0.6, subject_sd=0.5)
    result = fitted(votes)
    plan = plan_addition(votes, result, ["c"], images=IMAGES, subjects=SUBJECTS)
    image, subject = plan.image_variance, plan.subject_variance
    assert image
    assert subject
    own = two_way_covariance(votes, result).matrix[2, 2]
    told = information(np.linspace(plan.lowest, plan.highest, 21) - result.scores[2])
    for step in plan.steps:
        v, w = step.votes_per_pair, IMAGES * step.votes_per_pair / SUBJECTS
        by_image = 2 * image * (v - 1) / (IMAGES * v)
        by_subject = 2 * subject * max(w - 1, 0) / (SUBJECTS * w)
        expected = (1 / (step.votes * told)).mean() + by_image + by_subject + own
        assert step.standard_error**2 == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_more_votes_subjects_images_and_anchors_never_hurt(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = tuple(random.normal(0, 0.5, int(random.integers(3, 8))))
    votes = old_votes(seed, scores, image_sd=random.uniform(0, 0.9), subject_sd=random.uniform(0, 0.6))
    names = votes.methods
    plan = planned(votes, names[:2])
    assert [step.votes_per_pair for step in plan.steps] == sorted({step.votes_per_pair for step in plan.steps})
    for figure in ("standard_error", "smallest_difference"):
        figures = [getattr(step, figure) for step in plan.steps]
        assert (np.diff(figures) < 0).all()
    floor = plan.floor.standard_error
    assert planned(votes, names[:2], images=2 * IMAGES).floor.standard_error < floor
    assert planned(votes, names[:2], subjects=2 * SUBJECTS).floor.standard_error < floor
    assert planned(votes, names[:3]).floor.standard_error < floor


def test_names_and_their_order_change_nothing() -> None:
    votes = old_votes(image_sd=0.5, subject_sd=0.3)
    order = (3, 0, 5, 1, 4, 2)
    place = np.argsort(order)
    renamed = replace(
        votes,
        methods=tuple(votes.methods[index].upper() for index in order),
        winner=place[votes.winner],
        loser=place[votes.loser],
    )
    one, other = planned(votes), planned(renamed, ("F", "B", "D"))
    for step, same in zip(one.steps, other.steps, strict=True):
        assert step.standard_error == pytest.approx(same.standard_error)
        assert step.smallest_difference == pytest.approx(same.smallest_difference)
    assert one.target == pytest.approx(other.target)


def test_what_is_needed_is_the_least_that_reaches_the_target() -> None:
    votes = old_votes(image_sd=0.3, subject_sd=0.2)
    everything = planned(votes)
    assert everything.target == pytest.approx(
        np.median(np.sqrt(np.diagonal(two_way_covariance(votes, fitted(votes)).matrix)))
    )
    target = (everything.steps[0].standard_error + everything.floor.standard_error) / 2
    plan = planned(votes, target=target)
    assert plan.needed is not None
    assert plan.needed in plan.steps
    assert plan.needed.standard_error <= target
    assert plan.remedy == ""
    before = [step for step in plan.steps if step.votes_per_pair < plan.needed.votes_per_pair]
    assert all(step.standard_error > target for step in before)
    assert planned(votes, target=plan.needed.standard_error * 0.9999).needed != plan.needed


@pytest.mark.parametrize(
    ("share", "remedy"),
    [
        (0.9, "images for each anchor"),
        (0.9, "subjects"),
        (0.9, "6 anchors"),
        (1e-3, "more votes among the old methods"),
    ],
)
def test_what_cannot_be_reached_is_said_with_the_remedy(share: float, remedy: str) -> None:
    votes = old_votes(image_sd=0.4, subject_sd=0.2)
    plan = planned(votes, target=share * planned(votes).floor.standard_error)
    assert plan.needed is None
    assert remedy in plan.remedy
    assert plan.floor.votes_per_pair == SUBJECTS
    assert plan.floor.votes == SUBJECTS * IMAGES * 3
    if "images" in remedy:
        enough = int(plan.remedy.split()[0])
        assert enough > IMAGES
        assert planned(votes, images=enough, target=plan.target).needed
        assert not planned(votes, images=enough // 2, target=plan.target).needed


def test_votes_without_images_or_subjects_are_planned_with_as_independent_and_said_to_be() -> None:
    votes = old_votes(image_sd=0.8, subject_sd=0.4)
    full, none = planned(votes), planned(bare(votes))
    assert full.notes == ()
    assert none.image_variance is none.subject_variance is None
    assert [("LR images" in note, "subjects" in note) for note in none.notes] == [(True, False), (False, True)]
    assert none.floor.standard_error < full.floor.standard_error / 2
    only_images = planned(replace(votes, subject=None, subjects=None))
    assert only_images.image_variance == pytest.approx(full.image_variance, rel=0.2)
    assert ["subjects" in note for note in only_images.notes] == [True]


def test_too_few_clusters_are_told() -> None:
    (note,) = planned(old_votes(subjects=3)).notes
    assert note == "too few clusters (3 subjects x 30 images) for 6 methods: a rough guess"


def test_a_fit_with_a_ridge_plans_too() -> None:
    votes = old_votes()
    with_ridge = thurstone.fit(count_matrix(votes), methods=votes.methods, ridge=1e-6)
    one = plan_addition(votes, with_ridge, ["b", "d"], images=IMAGES, subjects=SUBJECTS)
    assert one.floor.standard_error == pytest.approx(planned(votes, ("b", "d")).floor.standard_error, rel=1e-3)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 6])
def test_suggested_anchors_spread_over_the_scale(number: int) -> None:
    votes = old_votes()
    result = fitted(votes)
    chosen = suggest_anchors(result, two_way_covariance(votes, result), number)
    assert len(set(chosen)) == number
    order = [result.methods[index] for index in np.argsort(-result.scores)]
    ranks = [order.index(name) for name in chosen]
    assert ranks == sorted(ranks)
    groups = np.array_split(np.arange(6), number)
    assert all(rank in group for rank, group in zip(ranks, groups, strict=True))


def test_suggested_anchors_are_the_best_of_those_that_spread() -> None:
    votes = old_votes(image_sd=0.5)
    result = fitted(votes)
    chosen = suggest_anchors(result, two_way_covariance(votes, result), 2)
    order = [result.methods[index] for index in np.argsort(-result.scores)]
    others = [planned(votes, (one, other)) for one in order[:3] for other in order[3:]]
    best = min(others, key=lambda plan: plan.steps[2].standard_error)
    assert planned(votes, chosen).steps[2].standard_error <= 1.03 * best.steps[2].standard_error


def test_one_suggested_anchor_is_in_the_middle_and_a_single_one_far_out_is_not() -> None:
    votes = old_votes(scores=(2.2, 0.1, -0.05, -0.2, -0.4))
    result = fitted(votes)
    assert suggest_anchors(result, two_way_covariance(votes, result), 1) != ("a",)
    assert "a" not in suggest_anchors(result, two_way_covariance(votes, result), 2)


def test_many_methods_are_chosen_from_in_turn_and_always_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    votes = old_votes()
    result, covariance = fitted(votes), two_way_covariance(votes, fitted(votes))
    exhaustive = suggest_anchors(result, covariance, 3)
    monkeypatch.setattr(planning, "MOST_TRIED", 1)
    greedy = [suggest_anchors(result, covariance, 3) for _ in range(2)]
    assert greedy[0] == greedy[1]
    best, nearly = (planned(votes, chosen).steps[2].standard_error for chosen in (exhaustive, greedy[0]))
    assert nearly == pytest.approx(best, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"anchors": ("b", "x")}, "anchors: 'x' is not among the methods voted on: a, b, c, d, e, f"),
        ({"anchors": ()}, "name at least one, each once"),
        ({"anchors": ("b", "b")}, "name at least one, each once"),
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"subjects": 0}, "subjects must be at least 1, got 0"),
        ({"target": 0.0}, "target must be a standard error above 0"),
        ({"target": float("nan")}, "target must be a standard error above 0"),
        ({"level": 1.0}, "level must lie between 0 and 1"),
    ],
)
def test_requests_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        planned(old_votes(), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [0, 7])
def test_so_many_anchors_there_are_not(number: int) -> None:
    votes = old_votes()
    with pytest.raises(DiscernError, match=f"must lie between 1 and 6, got {number}"):
        suggest_anchors(fitted(votes), two_way_covariance(votes, fitted(votes)), number)
