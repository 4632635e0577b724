"""`discern run`: from a study file to selected pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app import contact_sheet
from pipelines import executor, ingest, problems
from pipelines import study as studies
from pipelines.errors import DiscernError
from pipelines.problems import Problem
from pipelines.progress import Progress
from pipelines.selection import stage as selection
from pipelines.study import Engine, Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace

LEFT_OUT = "left_out.csv"


@dataclass(frozen=True)
class Conclusion:
    """What stands at the end of a run: the selected pairs, and two files in the workspace."""

    pairs: selection.Report
    contact_sheet: Path
    left_out: Path


@dataclass(frozen=True)
class Summary:
    """What a run of a study did."""

    study: Study
    workspace: Workspace
    images: ingest.Report
    outputs: super_resolution.Report
    end: Conclusion

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was left out."""
        return self.images.problems + self.outputs.problems + self.end.pairs.problems

    def lines(self) -> list[str]:
        """A summary to print."""
        pairs = self.end.pairs
        stem, uses = pairs.most_used
        return [
            f"images   {self.images.images:6} ({self.images.new} new)",
            f"outputs  {self.outputs.outputs:6} ({self.outputs.new} new) of {len(self.study.methods)} methods",
            f"pairs    {pairs.pairs:6} ({'new' if pairs.new else 'unchanged'}) "
            f"from {pairs.images} images; {stem!r} is in {uses} of them",
            *_remarks(pairs),
            f"workspace      {self.workspace.root}",
            f"contact sheet  {self.end.contact_sheet}",
        ]


def _remarks(pairs: selection.Report) -> list[str]:
    """What a reader should know of the selection, beside its size."""
    lines = []
    if len(pairs.by_group) > 1:
        groups = " and ".join(f"{count} {group}" for group, count in pairs.by_group.items())
        lines.append(f"         {groups}: the control group shows ordinary images, Eq. (1) picks extremes")
    if pairs.near_duplicates:
        lines.append(
            f"         {len(pairs.near_duplicates)} LR images are near-duplicates; the contact sheet lists them"
        )
    lines += [f"         measured with weights that are not the published ones: {name}" for name in pairs.weights]
    return lines


def run(path: Path, progress: Progress, *, engine: Engine | None = None) -> Summary:
    """Ingest, super-resolution, selection, contact sheet, and a table of what was left out.

    Args:
        path: of the study file.
        progress: called while it works.
        engine: instead of the one in the study file.

    Raises:
        DiscernError: the study file is wrong, or nothing usable is left.
    """
    study = studies.load(path)
    if engine is not None:
        study = study.model_copy(update={"execution": study.execution.model_copy(update={"engine": engine})})
    selection.check(study)
    workspace = Workspace(study.workspace)
    with workspace.lock(), executor.kept(study.execution):
        images = ingest.run(study, workspace, progress)
        outputs = super_resolution.run(study, workspace, progress)
        end = conclude(study, workspace, images.problems + outputs.problems, progress)
    return Summary(study, workspace, images, outputs, end)


def conclude(study: Study, workspace: Workspace, left_out: Sequence[Problem], progress: Progress) -> Conclusion:
    """Once outputs are recorded: selection, the contact sheet, and the table of what was left out.

    Args:
        study: the study.
        workspace: its workspace, which the caller has locked.
        left_out: what the earlier stages have left out.
        progress: called while it works.

    Raises:
        DiscernError: too little was made to select from; the table then says what was left out until there.
    """
    table = workspace.root / LEFT_OUT
    problems.write_table(table, left_out)
    try:
        pairs = selection.run(study, workspace, progress)
    except DiscernError as error:
        if not left_out:
            raise
        raise DiscernError(f"{error}; {_first_of(left_out, table)}") from error
    # After the stages: what it says is then true of everything in the workspace.
    studies.record(study)
    sheet = contact_sheet.write(study, workspace, pairs)
    problems.write_table(table, (*left_out, *pairs.problems))
    return Conclusion(pairs, sheet, table)


def _first_of(left_out: Sequence[Problem], table: Path) -> str:
    return f"{len(left_out)} left out, all are in {table}; the first: {left_out[0].summary}"
