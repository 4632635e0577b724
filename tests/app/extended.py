"""The small study's workspace after another method was added: the old pairs, and the new method's with its anchors."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app import runs
from pipelines import study as study_files
from pipelines.progress import silent
from pipelines.selection import selected
from pipelines.workspace import Workspace
from tests.conftest import save

LATE = """
[[methods]]
id = "late"
kind = "interpolation"
algorithm = "lanczos"
"""
ANCHORS = '[selection.anchors]\nlate = ["nearest", "sharp"]\n\n[calibration]'
NEW_PAIRS = 2 * 4  # anchors x images for each


@dataclass(frozen=True)
class Extended:
    """A workspace of four methods; its new pairs show `stems`, and `fresh`, which is in no old pair."""

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
    """Add the method, and an LR image, to a copy of the study, and run that."""
    shutil.copytree(workspace.parent, folder)
    old = {row["stem"] for row in selected.manifest(Workspace(workspace)).rows()}
    # Noise is what the new method and its anchors differ on most: the image is in its pairs.
    save(folder / "lr" / "image_9.png", np.random.default_rng(9).integers(0, 256, (40, 48, 3), dtype=np.uint8))
    text = (folder / "study.toml").read_text().replace("[selection]", f"{LATE}\n[selection]")
    (folder / "study.toml").write_text(text.replace("[calibration]", ANCHORS))
    root = runs.run(folder / "study.toml", silent).workspace.root
    rows = [row for row in selected.manifest(Workspace(root)).rows() if row["method_b"] == "late"]
    return Extended(root, tuple(sorted({row["stem"] for row in rows} & old)), "image_9")
