"""How many votes another method takes, and with whom it is best compared; `addition` has the formulas."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.special import stdtrit

from pipelines.errors import DiscernError
from pipelines.ranking import intervals
from pipelines.ranking.addition import Design, covariances, positions
from pipelines.ranking.components import components, information
from pipelines.ranking.counts import Votes
from pipelines.ranking.intervals import RobustCovariance
from pipelines.ranking.thurstone import ThurstoneFit

LADDER = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 800, 1200, 2000)
FACTORS = (2, 4, 8, 16)
MOST_TRIED = 5_000


@dataclass(frozen=True)
class Step:
    """What so many votes give.

    Attributes:
        votes_per_pair: on each image pair.
        votes: on all image pairs of the new method.
        standard_error: expected, of the new score less the mean of the old ones.
        smallest_difference: half the width of the interval of the new score less an old one, for the old method where
            it is widest: a difference of this size is told apart in every second study, a larger one more often.
    """

    votes_per_pair: int
    votes: int
    standard_error: float
    smallest_difference: float


@dataclass(frozen=True)
class AdditionPlan:
    """What to expect of another method.

    Attributes:
        anchors: whom it is compared with.
        images: LR images for each anchor.
        subjects: new people who vote.
        level: confidence of `smallest_difference`.
        target: the standard error that is asked for.
        lowest: the lowest old score; the new one is taken to lie anywhere between it and `highest`.
        highest: the highest old score.
        image_variance: tau_image^2; None where the old votes do not show it, and it is left out.
        subject_variance: tau_subject^2, likewise.
        steps: from one vote on each pair to one of every subject on each pair.
        needed: the fewest votes on each pair that reach the target; None where these images and subjects cannot.
        remedy: what would, in words; empty where the target is reached.
        notes: what the old votes do not show, in words.
    """

    anchors: tuple[str, ...]
    images: int
    subjects: int
    level: float
    target: float
    lowest: float
    highest: float
    image_variance: float | None
    subject_variance: float | None
    steps: tuple[Step, ...]
    needed: Step | None
    remedy: str
    notes: tuple[str, ...]

    @property
    def floor(self) -> Step:
        """The most that these images and subjects can give."""
        return self.steps[-1]


def plan_addition(
    votes: Votes,
    fit: ThurstoneFit,
    anchors: Sequence[str],
    *,
    images: int,
    subjects: int,
    target: float | None = None,
    level: float = 0.95,
) -> AdditionPlan:
    """What to expect when a new method is compared with some of the old ones.

    Args:
        votes: on the old methods; images and subjects that they name show how much those differ.
        fit: of these votes.
        anchors: old methods, each once.
        images: LR images for each anchor, K.
        subjects: new people, S; each votes at most once on an image pair.
        target: standard error to reach; by default the median, cluster-robust, of the old methods.
        level: confidence of the smallest difference, in (0, 1).

    Raises:
        DiscernError: an anchor is no method of the fit, a number is out of range, or the fit belongs to other votes.
    """
    _check(fit, anchors, images, subjects, target, level)
    covariance = intervals.two_way_covariance(votes, fit)
    parts = components(votes, fit)
    design = Design(
        fit=fit,
        covariance=covariance,
        anchors=tuple(fit.methods.index(name) for name in anchors),
        images=images,
        subjects=subjects,
        tau_image=parts.image or 0.0,
        tau_subject=parts.subject or 0.0,
        overlap=parts.overlap,
    )
    goal = float(np.median(np.sqrt(np.diagonal(covariance.matrix)))) if target is None else target
    needed = _fewest(design, goal)
    shown = {step for step in LADDER if step < subjects} | {subjects} | ({needed} if needed else set())
    return AdditionPlan(
        anchors=tuple(anchors),
        images=images,
        subjects=subjects,
        level=level,
        target=goal,
        lowest=float(fit.scores.min()),
        highest=float(fit.scores.max()),
        image_variance=parts.image,
        subject_variance=parts.subject,
        steps=tuple(_step(design, number, level) for number in sorted(shown)),
        needed=None if needed is None else _step(design, needed, level),
        remedy="" if needed else _remedy(design, goal),
        notes=_notes(parts.image, parts.subject, covariance),
    )


def suggest_anchors(fit: ThurstoneFit, covariance: RobustCovariance, number: int) -> tuple[str, ...]:
    """Anchors for a method whose score may lie anywhere among the old ones, best first.

    One of each of `number` groups of neighbouring ranks, so that they spread over the scale; among those choices the
    one of least expected variance 1 / (V i) + w'V_old w, averaged over where the new score may lie: i is the mean
    information of a vote with the anchors, w the anchors' shares in it, and V the votes that an old method has on
    average. Where there are too many choices, each group's anchor is chosen in turn, from best to worst ranks.

    Raises:
        DiscernError: there are not so many methods.
    """
    if not 1 <= number <= len(fit.methods):
        raise DiscernError(f"number of anchors must lie between 1 and {len(fit.methods)}, got {number}")
    return tuple(fit.methods[index] for index in _choose(fit, covariance, number))


def _choose(fit: ThurstoneFit, covariance: RobustCovariance, number: int) -> tuple[int, ...]:
    groups = [group.tolist() for group in np.array_split(np.argsort(-fit.scores, kind="stable"), number)]
    if np.prod([float(len(group)) for group in groups]) <= MOST_TRIED:
        return min(product(*groups), key=lambda chosen: _expected_variance(fit, covariance, chosen))
    chosen: tuple[int, ...] = ()
    for group in groups:
        chosen = min(((*chosen, one) for one in group), key=lambda some: _expected_variance(fit, covariance, some))
    return chosen


def _expected_variance(fit: ThurstoneFit, covariance: RobustCovariance, chosen: Sequence[int]) -> float:
    votes = 2 * fit.number_of_votes / len(fit.methods)
    anchors = list(chosen)
    told = information(positions(fit)[:, None] - fit.scores[anchors])
    share = told / told.sum(axis=1, keepdims=True)
    own = np.einsum("pa,ab,pb->p", share, covariance.matrix[np.ix_(anchors, anchors)], share)
    # Rounded, so that choices that are equal but for the order of sums are decided by rank.
    return round(float((1 / (votes * told.mean(axis=1)) + own).mean()), 12)


def _standard_error(design: Design, votes_per_pair: int) -> float:
    """Of the new score less the mean of the old ones; variances are averaged over where it may lie."""
    old = len(design.fit.methods)
    contrast = np.append(np.full(old, -1 / old), 1.0)
    return float(np.sqrt(contrast @ covariances(design, votes_per_pair).mean(axis=0) @ contrast))


def _step(design: Design, votes_per_pair: int, level: float) -> Step:
    matrix, old = covariances(design, votes_per_pair).mean(axis=0), len(design.fit.methods)
    variances = np.diagonal(matrix)
    differences = variances[:old] + variances[old] - 2 * matrix[:old, old]
    quantile = float(stdtrit(design.covariance.degrees_of_freedom, (1 + level) / 2))
    return Step(
        votes_per_pair=votes_per_pair,
        votes=votes_per_pair * design.images * len(design.anchors),
        standard_error=_standard_error(design, votes_per_pair),
        smallest_difference=quantile * float(np.sqrt(differences.max())),
    )


def _fewest(design: Design, goal: float) -> int | None:
    """Fewest votes on each pair that reach the goal, by bisection; None where one of each subject does not."""
    low, high = 0, design.subjects
    if _standard_error(design, high) > goal:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _standard_error(design, middle) <= goal else (middle, high)
    return high


def _remedy(design: Design, goal: float) -> str:
    """The smallest of a few enlargements that reach the goal, of each kind, in words."""

    def enough(images: int = 1, subjects: int = 1) -> bool:
        larger = replace(design, images=design.images * images, subjects=design.subjects * subjects)
        return _standard_error(larger, larger.subjects) <= goal

    ways = []
    if images := next((factor for factor in FACTORS if enough(images=factor)), None):
        ways.append(f"{images * design.images} images for each anchor")
    if subjects := next((factor for factor in FACTORS if enough(subjects=factor)), None):
        ways.append(f"{subjects * design.subjects} subjects")
    if anchors := _enough_anchors(design, goal):
        ways.append(f"{anchors} anchors")
    if not ways and (both := next((factor for factor in FACTORS if enough(factor, factor)), None)):
        ways.append(f"{both * design.images} images for each anchor and {both * design.subjects} subjects")
    return " or ".join(ways) or "more votes among the old methods: the anchors' own scores are not sure enough"


def _enough_anchors(design: Design, goal: float) -> int | None:
    """How many well chosen anchors, twice as many or more, reach the goal."""
    most = len(design.fit.methods)
    for number in sorted({min(factor * len(design.anchors), most) for factor in FACTORS}):
        chosen = _choose(design.fit, design.covariance, number)
        if _standard_error(replace(design, anchors=chosen), design.subjects) <= goal:
            return number
    return None


def _notes(image: float | None, subject: float | None, covariance: RobustCovariance) -> tuple[str, ...]:
    missing = [kind for kind, value in (("LR images", image), ("subjects", subject)) if value is None]
    notes = [f"the votes do not show how much {kind} differ: taken as not at all, so expect more" for kind in missing]
    if covariance.too_few_clusters:
        notes.append(f"too few clusters ({covariance.clusters}) for {len(covariance.matrix)} methods: a rough guess")
    return tuple(notes)


def _check(
    fit: ThurstoneFit, anchors: Sequence[str], images: int, subjects: int, target: float | None, level: float
) -> None:
    unknown = [name for name in anchors if name not in fit.methods]
    if unknown:
        raise DiscernError(f"anchors: {unknown[0]!r} is not among the methods voted on: {', '.join(fit.methods)}")
    if not anchors or len(set(anchors)) < len(anchors):
        raise DiscernError(f"anchors: name at least one, each once, got {list(anchors)}")
    for name, value in (("images", images), ("subjects", subjects)):
        if value < 1:
            raise DiscernError(f"{name} must be at least 1, got {value}")
    if target is not None and not target > 0:
        raise DiscernError(f"target must be a standard error above 0, got {target}")
    if not 0 < level < 1:
        raise DiscernError(f"level must lie between 0 and 1, such as 0.95, got {level}")
