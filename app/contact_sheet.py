"""A page that shows the selected pairs as images, to be looked at before anyone votes."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from app.resources import templates
from pipelines.selection import selected
from pipelines.selection.stage import Report
from pipelines.study import Study
from pipelines.workspace import Workspace, write_atomically


@dataclass(frozen=True)
class Pair:
    """One selected image pair as the page shows it."""

    group: str
    stem: str
    rank: int
    distance: float
    semantics: float
    score: float
    rank_by_distance: int
    low_resolution: str
    output_a: str
    output_b: str


def write(study: Study, workspace: Workspace, report: Report, *, top: int = 4) -> Path:
    """Write `contact_sheet.html` into the workspace: the first choices of every pair of methods.

    Args:
        study: for its name and settings.
        workspace: with selected pairs.
        report: of the selection.
        top: how many choices of each group to show for each pair of methods.

    Returns:
        The page; its images are links into the workspace.
    """
    table = selected.manifest(workspace).read()
    shown = table[table["rank"] <= top].sort_values(["group", "rank"])
    chosen = dict(list(shown.groupby(["method_a", "method_b"], sort=False)))
    page = (
        templates()
        .get_template("contact_sheet.html")
        .render(
            study=study,
            report=report,
            sections=[
                (a, b, [_pair(workspace, row) for _, row in chosen[a, b].iterrows()])
                for a, b in study.method_pairs
                if (a, b) in chosen
            ],
            uses=[(stem, int(count)) for stem, count in table["stem"].value_counts().items()],
            top=top,
        )
    )
    path = workspace.root / "contact_sheet.html"
    if not path.exists() or path.read_text(encoding="utf-8") != page:
        write_atomically(path, page.encode())
    return path


def _pair(workspace: Workspace, row: "pd.Series[str]") -> Pair:
    def link(sha256: str) -> str:
        return workspace.image_path(sha256).relative_to(workspace.root).as_posix()

    return Pair(
        group=row["group"],
        stem=row["stem"],
        rank=int(row["rank"]),
        distance=float(row["distance"]),
        semantics=float(row["semantics"]),
        score=float(row["score"]),
        rank_by_distance=int(row["rank_by_distance"]),
        low_resolution=link(row["image"]),
        output_a=link(row["output_a"]),
        output_b=link(row["output_b"]),
    )
