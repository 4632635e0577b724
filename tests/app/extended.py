"""The small study's workspace after another method was added: the old pairs, and the new method's with its anchors."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import runs
from pipelines import study as study_files
from pipelines.progress import silent
from pipelines.selection import selected
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace
from tests.conftest import save, textured

LATE = """
[[methods]]
id = "late"
kind = "interpolation"
algorithm = "lanczos"
"""
ANCHORS = '[selection.anchors]\nlate = ["nearest", "sharp"]\n\n[calibration]'
# The LR images on which the new method is compared with each anchor; the last one is in no old pair.
PER_ANCHOR = 4
NEW_PAIRS = 2 * PER_ANCHOR


@dataclass(frozen=True)
class Extended:
    """A workspace of four methods; `stems` are those of its new pairs, `fresh` the LR image that came with them."""

    root: Path
    stems: tuple[str, ...]
    fresh: str

    def rewrite(self, change: Any) -> None:
        """Replace the rows of the pairs by what a function makes of them."""
        manifest = selected.manifest(Workspace(self.root))
        manifest.replace(change(manifest.rows()))

    def describe(self, **changes: Any) -> None:
        """Change what the workspace says of its study."""
        study_files.record(study_files.recorded(self.root).model_copy(update=changes))


def build(workspace: Path, folder: Path) -> Extended:
    """Add the method to a copy of the study, run that, and select by hand."""
    shutil.copytree(workspace.parent, folder)
    old = selected.manifest(Workspace(workspace)).rows()
    save(folder / "lr" / "image_9.png", textured(9, 40, 48))
    text = (folder / "study.toml").read_text().replace("[selection]", f"{LATE}\n[selection]")
    (folder / "study.toml").write_text(text.replace("[calibration]", ANCHORS))
    root = runs.run(folder / "study.toml", silent).workspace.root
    stems = (*sorted({row["stem"] for row in old})[: PER_ANCHOR - 1], "image_9")
    made = stage.outputs(study_files.recorded(root), Workspace(root))
    output = {(row["stem"], row["method"]): row for row in made.to_dict("records")}
    new = [
        {
            "group": "mad",
            "method_a": anchor,
            "method_b": "late",
            "rank": rank,
            "image": output[stem, "late"]["image"],
            "stem": stem,
            "output_a": output[stem, anchor]["sha256"],
            "output_b": output[stem, "late"]["sha256"],
            "distance": 0.1 / rank,
            "semantics": 0.0,
            "score": 0.1 / rank,
            "rank_by_distance": rank,
        }
        for anchor in ("nearest", "sharp")
        for rank, stem in enumerate(stems, 1)
    ]
    selected.manifest(Workspace(root)).replace(old + new)
    return Extended(root, stems, "image_9")
