"""`discern figures`: figures of a study, for the browser and for print."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from app import comparison, comparison_figure
from app.comparison import Comparison
from app.crops import Crop
from app.resources import folder, templates
from pipelines import ingest
from pipelines import study as studies
from pipelines.errors import DiscernError
from pipelines.progress import Progress, silent
from pipelines.selection import selected
from pipelines.study import Study
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace, write_atomically

MOST = 12
# What the pages need beside themselves, so that they open from a file, without a server.
BESIDE = ("base.css", "comparison.css", "comparison.js")


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        index: the page that leads to all others.
        stems: the LR images that have a page, a PNG file and a PDF file each, in `images` beside the index.
    """

    index: Path
    stems: tuple[str, ...]

    def lines(self) -> list[str]:
        """What to print."""
        return [f"comparisons  {len(self.stems):3} images, each as HTML, PNG and PDF", f"index        {self.index}"]


@dataclass(frozen=True)
class Entry:
    """A line of the index.

    Attributes:
        stem: of the LR image.
        low_resolution: its address, seen from the index.
        pairs: how many selected pairs show it.
    """

    stem: str
    low_resolution: str
    pairs: int


def write(
    path: Path,
    stems: Sequence[str] = (),
    *,
    crop: Crop | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> Written:
    """Write the comparisons of LR images, and an index of them; files that would not change are left alone.

    Args:
        path: the study file; its workspace holds outputs of all its methods.
        stems: LR images; by default those that most selected pairs show, at most 12.
        crop: of all these images; by default, in each of them, where the methods disagree most.
        out: a folder; by default `figures` in the workspace.
        progress: called after each image.

    Raises:
        DiscernError: the study has not run, an image is unknown or has no outputs, or the crop is not inside it.
    """
    study = studies.read(path)
    if not (study.workspace / "manifests").is_dir():
        raise DiscernError(f"{study.workspace}: holds no outputs yet; `discern run {path}` makes them")
    workspace = Workspace(study.workspace)
    out = (out or workspace.root / "figures").absolute()
    with workspace.lock(shared=True):
        compared = _compare(study, workspace, stems, crop)
        for done, one in enumerate(compared, 1):
            _write_comparison(study, workspace, one, out / "images")
            progress("figures", done, len(compared))
        entries = _entries(workspace, out)
    for name in BESIDE:
        _write(out / name, (folder("static") / name).read_bytes())
    index = templates().get_template("figures.html").render(study=study.name, entries=entries)
    _write(out / "index.html", index.encode())
    return Written(out / "index.html", tuple(one.stem for one in compared))


def _compare(study: Study, workspace: Workspace, stems: Sequence[str], crop: Crop | None) -> list[Comparison]:
    table = stage.outputs(study, workspace)
    chosen = list(dict.fromkeys(stems)) or _most_used(workspace)
    _check_known(workspace, table, chosen)
    groups = table.groupby("stem")
    return [comparison.compare(study, workspace, groups.get_group(stem), crop) for stem in chosen]


def _entries(workspace: Workspace, out: Path) -> list[Entry]:
    """The pages that are in the folder, those of earlier runs included, the most used images first."""
    uses = _uses(workspace)
    images = ingest.manifest(workspace).rows()
    entries = [
        Entry(row["stem"], _address(workspace, row["sha256"], out), uses.get(row["stem"], 0))
        for row in images
        if (out / "images" / f"{row['stem']}.html").is_file()
    ]
    return sorted(entries, key=lambda entry: (-entry.pairs, entry.stem))


def _uses(workspace: Workspace) -> dict[str, int]:
    """In how many pairs each LR image is."""
    pairs = selected.manifest(workspace).read().drop_duplicates(["stem", "method_a", "method_b"])
    return {str(stem): int(uses) for stem, uses in pairs["stem"].value_counts().items()}


def _most_used(workspace: Workspace) -> list[str]:
    uses = _uses(workspace)
    if not uses:
        raise DiscernError(
            f"{workspace.root}: no pairs were selected; run the study to its end with `discern run`, "
            "or name LR images with --image"
        )
    return sorted(uses, key=lambda stem: (-uses[stem], stem))[:MOST]


def _check_known(workspace: Workspace, table: pd.DataFrame, stems: Sequence[str]) -> None:
    known, done = list(ingest.manifest(workspace).read()["stem"]), set(table["stem"])
    for stem in stems:
        if stem not in known:
            close = difflib.get_close_matches(stem, known)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it has {len(known)} others"
            raise DiscernError(f"--image: the study has no LR image {stem!r}; {hint}")
        if stem not in done:
            raise DiscernError(f"--image: {stem!r} has no outputs; run the study again, and see what it leaves out")


def _write_comparison(study: Study, workspace: Workspace, one: Comparison, out: Path) -> None:
    page = comparison.page(study, one, lambda sha256: _address(workspace, sha256, out))
    _write(out / f"{one.stem}.html", page.encode())
    low_resolution = workspace.get_image(one.low_resolution)
    crops = [("low resolution", one.crop.of(low_resolution, 1))]
    crops += [(made.method, one.crop.of(workspace.get_image(made.sha256), one.scale)) for made in one.outputs]
    drawn = partial(comparison_figure.draw, one.stem, low_resolution, one.crop, crops)
    drawn_anew = _write(out / f"{one.stem}.png", comparison_figure.png(drawn()))
    # Two PDF files of one drawing differ in the names that their fonts are given.
    if drawn_anew or not (out / f"{one.stem}.pdf").is_file():
        pdf = comparison_figure.pdf(drawn(width_mm=comparison_figure.PAPER_MM))
        _write(out / f"{one.stem}.pdf", pdf)


def _address(workspace: Workspace, sha256: str, page: Path) -> str:
    """Where an image of the workspace lies, seen from a folder of pages."""
    return quote(Path(os.path.relpath(workspace.image_path(sha256).absolute(), page)).as_posix())


def _write(path: Path, content: bytes) -> bool:
    """Write a file unless it is there already and the same; returns whether it was written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.is_file() or path.read_bytes() != content
    except OSError as error:  # such as a name that is too long with its new ending
        reason = f"{path}: cannot be written ({error.strerror})"
        raise DiscernError(f"{reason}; choose another place, or a shorter name for the LR image") from error
    if new:
        write_atomically(path, content)
    return new
