"""`discern run`: from a study file to selected pairs."""

from dataclasses import dataclass
from pathlib import Path

from app import contact_sheet
from pipelines import ingest
from pipelines import study as studies
from pipelines.progress import Progress
from pipelines.selection import stage as selection
from pipelines.study import Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Summary:
    """What a run of a study did."""

    study: Study
    workspace: Workspace
    images: ingest.Report
    outputs: super_resolution.Report
    pairs: selection.Report
    contact_sheet: Path

    @property
    def problems(self) -> tuple[str, ...]:
        """What was left out, in words."""
        return self.images.problems + self.outputs.problems + self.pairs.problems

    def lines(self) -> list[str]:
        """A summary to print."""
        stem, uses = self.pairs.most_used
        return [
            f"images   {self.images.images:6} ({self.images.new} new)",
            f"outputs  {self.outputs.outputs:6} ({self.outputs.new} new) of {len(self.study.methods)} methods",
            f"pairs    {self.pairs.pairs:6} ({'new' if self.pairs.new else 'unchanged'}) "
            f"from {self.pairs.images} images; {stem!r} is in {uses} of them",
            f"workspace      {self.workspace.root}",
            f"contact sheet  {self.contact_sheet}",
        ]


def run(path: Path, progress: Progress) -> Summary:
    """Ingest, super-resolution, selection, contact sheet.

    Raises:
        DiscernError: the study file is wrong, or nothing usable is left.
    """
    study = studies.load(path)
    selection.check(study)
    workspace = Workspace(study.workspace)
    with workspace.lock():
        images = ingest.run(study, workspace, progress)
        outputs = super_resolution.run(study, workspace, progress)
        pairs = selection.run(study, workspace, progress)
        # Last: what it says is then true of everything in the workspace.
        studies.record(study)
        sheet = contact_sheet.write(study, workspace)
    return Summary(study, workspace, images, outputs, pairs, sheet)
