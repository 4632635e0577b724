"""`discern plan`: what it takes to add a method to a study that has been voted on, as tables and sentences."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipelines import study as study_files
from pipelines.errors import DiscernError
from pipelines.ranking import intervals, planning, tables, thurstone
from pipelines.ranking.counts import Votes, among, count_matrix
from pipelines.ranking.planning import AdditionPlan, Step
from pipelines.ranking.thurstone import ThurstoneFit
from pipelines.study import Study

SUGGESTED = 3

HOW_TO = """\
{study} names no method that came later. To add one: put its [[methods]] block after all others, and whom it is compared
with under [selection], for example

    [selection.anchors]
    new-method = [{anchors}]

These anchors spread over the scale and would tell most of a score that may lie anywhere on it. Then ask again."""

FOOTNOTE = """\
standard error: of the new score less the mean of the old ones; it may lie anywhere from {lowest:+.2f} to {highest:+.2f}
smallest difference: to an old method, whichever; told apart at {level:g} % in every other study like this"""


@dataclass(frozen=True)
class Plans:
    """What was planned.

    Attributes:
        additions: for each method in `selection.anchors`; none where the study names none.
        suggested: anchors for a method that may come.
    """

    additions: dict[str, AdditionPlan]
    suggested: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        additions = [
            {"method": name, **asdict(plan), "floor": asdict(plan.floor)} for name, plan in self.additions.items()
        ]
        return {"additions": additions, "suggested_anchors": list(self.suggested)}


def make(study_file: Path, votes_file: Path, subjects: int | None = None) -> Plans:
    """Plan for each method of a study file that came later.

    Args:
        study_file: its images and weights need not be there.
        votes_file: votes on its other methods, and perhaps on the later ones, too.
        subjects: new people who will vote; by default, as many as have.

    Raises:
        NotIdentifiableError: the votes do not tie the old methods to one scale.
        DiscernError: a file cannot be used, the votes are on other methods, or nobody says how many subjects.
    """
    study, votes = study_files.read(study_file), tables.read(votes_file)
    early = [name for name in study.method_ids if name not in study.selection.anchors]
    _check_methods(study_file, votes_file, study, votes, early)
    additions = {}
    for name, anchors in study.selection.anchors.items():
        _check_anchors(votes_file, votes, name, anchors)
        # Votes that the new method has already, and those on other later ones, would be counted twice, or mislead.
        old, fit = _fit(votes, [other for other in study.method_ids if other in early or other in anchors])
        number = subjects or _subjects(votes_file, old)
        images = study.selection.per_pair + study.selection.random_per_pair
        additions[name] = planning.plan_addition(old, fit, anchors, images=images, subjects=number)
    old, fit = _fit(votes, early)
    covariance = intervals.two_way_covariance(old, fit)
    return Plans(additions, planning.suggest_anchors(fit, covariance, min(SUGGESTED, len(early))))


def show(plans: Plans, study_file: Path, console: Console) -> None:
    """Print plans, or how a method is added."""
    if not plans.additions:
        quoted = ", ".join(f'"{name}"' for name in plans.suggested)
        console.print(HOW_TO.format(study=study_file, anchors=quoted), markup=False, soft_wrap=True)
    for name, plan in plans.additions.items():
        heading = f"{name} against {', '.join(plan.anchors)}, on {plan.images} images each"
        console.print(heading, markup=False, soft_wrap=True)
        console.print(table(plan))
        for line in (sentence(name, plan), *_footnotes(plan), ""):
            console.print(line, markup=False, soft_wrap=True)


def table(plan: AdditionPlan) -> Table:
    """What so many votes give; the row that reaches the target is marked."""
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("votes per pair", "votes in all", "standard error", "smallest difference", ""):
        rows.add_column(heading, justify="right", no_wrap=True)
    for step in plan.steps:
        mark = "enough" if step == plan.needed else ""
        rows.add_row(*_cells(step), mark, style="bold" if mark else "")
    return rows


def sentence(name: str, plan: AdditionPlan) -> str:
    """How many votes it takes, or why no number of them is enough."""
    target = f"{plan.target:.3f}, the median of the old methods"
    if plan.needed is None:
        return (
            f"{name}: its standard error does not come down to {target}, with {plan.images} images for each anchor and "
            f"{plan.subjects} subjects: {plan.floor.standard_error:.3f} at best. It takes {plan.remedy}"
        )
    votes, each = plan.needed.votes, -(-plan.needed.votes // plan.subjects)
    return (
        f"{name}: {votes} votes ({plan.needed.votes_per_pair} per pair by {plan.subjects} subjects, {each} each) "
        f"until its standard error is at most {target}"
    )


def _cells(step: Step) -> list[str]:
    return [str(step.votes_per_pair), str(step.votes), f"{step.standard_error:.3f}", f"{step.smallest_difference:.3f}"]


def _footnotes(plan: AdditionPlan) -> list[str]:
    figures = {"lowest": plan.lowest, "highest": plan.highest, "level": 100 * plan.level}
    return [*FOOTNOTE.format(**figures).splitlines(), *plan.notes]


def _fit(votes: Votes, methods: list[str]) -> tuple[Votes, ThurstoneFit]:
    kept = among(votes, methods)
    return kept, thurstone.fit(count_matrix(kept), methods=kept.methods)


def _subjects(votes_file: Path, votes: Votes) -> int:
    if votes.subject is None:
        raise DiscernError(f"--subjects: {votes_file} names no subjects; say how many new people will vote")
    return len(np.unique(votes.subject))


def _check_methods(study_file: Path, votes_file: Path, study: Study, votes: Votes, early: list[str]) -> None:
    unknown = [name for name in votes.methods if name not in study.method_ids]
    if unknown:
        raise DiscernError(
            f"{votes_file}: votes on {unknown[0]!r}, which is no method of {study_file}; "
            f"it has {', '.join(study.method_ids)}"
        )
    silent = [name for name in early if name not in votes.methods]
    if silent:
        raise DiscernError(
            f"{votes_file}: no votes on {silent[0]!r}, a method of {study_file}; give the votes of this study, "
            "or name the method's anchors in [selection.anchors] if it came later"
        )


def _check_anchors(votes_file: Path, votes: Votes, name: str, anchors: tuple[str, ...]) -> None:
    silent = [anchor for anchor in anchors if anchor not in votes.methods]
    if silent:
        raise DiscernError(
            f"selection.anchors.{name}: {votes_file} holds no votes on {silent[0]!r}; "
            "collect some first, or name other anchors"
        )
