"""Stage one: a quality model q_w from human-rated images."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines import executor, images, ingest
from pipelines.calibration import datasets, features, model
from pipelines.calibration.split import held_out_sources
from pipelines.errors import DiscernError
from pipelines.progress import Progress, silent
from pipelines.quality import scene_features, scene_statistics
from pipelines.quality.model import Encoded
from pipelines.quality.scene_statistics import Fit
from pipelines.study import Study
from pipelines.weights import sha256_of
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class RatedImages:
    """The rated images that may be learned from: none shares its source with an image that is voted on.

    Attributes:
        hashes: n sha256 of the files.
        paths: n image files.
        mos: (n,) float64.
        sources: n names of source content.
        held_out: (n,) bool: for choosing the number of epochs, not for training.
        held_out_sources: the sources that are held out, of unlabelled images too.
        left_out: how many rated images share a source with voted ones.
    """

    hashes: tuple[str, ...]
    paths: tuple[Path, ...]
    mos: NDArray[np.float64]
    sources: tuple[str, ...]
    held_out: NDArray[np.bool_]
    held_out_sources: frozenset[str]
    left_out: int

    @property
    def files(self) -> dict[str, Path]:
        """Where each image lies, by its sha256."""
        return dict(zip(self.hashes, self.paths, strict=True))


def rated_images(study: Study, workspace: Workspace) -> RatedImages:
    """Read the study's rated set and divide it.

    Raises:
        DiscernError: the study names no rated set, it cannot be read, or nothing is left on one side.
    """
    if study.calibration.rated is None:
        raise DiscernError("calibration.rated: missing; name a CSV file with the columns path,mos[,source]")
    rated = datasets.read_csv(study.calibration.rated)
    known = ingest.manifest(workspace).read()
    voted = set(known.loc[known["role"] == "candidate", "source"])
    keep = [index for index, source in enumerate(rated.sources) if source not in voted]
    sources = tuple(rated.sources[index] for index in keep)
    unlabelled = known.loc[known["role"] == "unlabelled", "source"]
    apart = held_out_sources(unlabelled, sources, study.calibration.held_out, study.seed)
    return RatedImages(
        hashes=tuple(sha256_of(rated.paths[index]) for index in keep),
        paths=tuple(rated.paths[index] for index in keep),
        mos=np.array([rated.mos[index] for index in keep]),
        sources=sources,
        held_out=np.array([source in apart for source in sources], dtype=np.bool_),
        held_out_sources=apart,
        left_out=len(rated) - len(keep),
    )


def run(study: Study, workspace: Workspace, progress: Progress = silent) -> Fit:
    """Fit the scene-statistics model on the rated images that are not held out, and keep it in `models/quality`.

    Raises:
        DiscernError: see `rated_images` and `scene_statistics.fit`.
    """
    started = time.monotonic()
    rated = rated_images(study, workspace)
    training = np.flatnonzero(~rated.held_out)
    measured = _measure([rated.paths[i] for i in training], study, progress)
    fit = scene_statistics.fit(measured, rated.mos[training], [rated.sources[i] for i in training], seed=study.seed)
    provenance = {
        "stage": "pretraining",
        "study_sha256": study.fingerprint,
        "rated_set_sha256": sha256_of(study.calibration.rated) if study.calibration.rated else None,
        "rated_images": len(training),
        "left_out_for_voted_content": rated.left_out,
        "cross_validated_srcc": fit.srcc,
        "seed": study.seed,
        "seconds": round(time.monotonic() - started, 3),
    }
    model.save(workspace.root / "models" / "quality", fit.model, provenance)
    encoded = Encoded(measured, fit.model.predict(measured))
    features.remember(fit.model, [rated.hashes[i] for i in training], encoded, workspace)
    return fit


def _measure(paths: list[Path], study: Study, progress: Progress) -> NDArray[np.float32]:
    """(n, d) scene statistics of image files."""
    rows: dict[Path, NDArray[np.float32]] = {}
    outcomes = executor.map_items(_extract, paths, engine=study.execution.engine, workers=study.execution.workers)
    for done, outcome in enumerate(outcomes, 1):
        if outcome.value is None:
            raise DiscernError(f"rated image: {outcome.problem}")
        rows[outcome.item] = outcome.value
        progress("scene statistics", done, len(paths))
    return np.stack([rows[path] for path in paths])


def _extract(path: Path) -> NDArray[np.float32]:
    return scene_features.extract(images.decode(path).pixels)
