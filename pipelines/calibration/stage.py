"""Stage two: from a ranking and unlabelled SR outputs to a rectified quality model, Eq. (6)."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.calibration import features, model, training
from pipelines.calibration.data import Rated, Unlabelled
from pipelines.calibration.model import CalibratedModel
from pipelines.calibration.pretraining import RatedImages, rated_images
from pipelines.calibration.rectifier import Rectifier
from pipelines.calibration.training import Options, Training
from pipelines.errors import DiscernError
from pipelines.progress import Progress, silent
from pipelines.quality.model import Encoded
from pipelines.quality.scene_statistics import SceneStatistics
from pipelines.study import Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Calibration:
    """What stage two made: the model, kept among the workspace's models, and how it was trained."""

    model: CalibratedModel
    training: Training
    unlabelled_images: int


def run(
    study: Study,
    workspace: Workspace,
    base: SceneStatistics,
    scores: Mapping[str, float],
    *,
    ranking: Mapping[str, Any],
    name: str = "calibrated",
    progress: Progress = silent,
) -> Calibration:
    """Train the rectifier of a frozen quality model on the study's unlabelled outputs and rated images.

    Args:
        study: its `[calibration]` section holds B, the epochs, and the weights of the two losses.
        workspace: holds the outputs; nothing that was voted on is read.
        base: q_w.
        scores: mu of every method of the study.
        ranking: where mu came from; kept with the model.
        name: of the model's folder among the workspace's models.
        progress: called after each image and each epoch.

    Raises:
        DiscernError: a method has no score or no outputs, or there is too little to learn from.
    """
    started = time.monotonic()
    mu = _in_study_order(study, scores)
    outputs = _unlabelled_outputs(study, workspace)
    rated = rated_images(study, workspace)
    files = {sha256: workspace.image_path(sha256) for sha256 in outputs["sha256"]} | rated.files
    encoded = features.encode(base, files, workspace, execution=study.execution, progress=progress)
    apart = outputs["source"].isin(rated.held_out_sources)
    result = training.train(
        _table(study, outputs[~apart], encoded),
        _rated(rated, ~rated.held_out, encoded),
        _table(study, outputs[apart], encoded),
        _rated(rated, rated.held_out, encoded),
        mu,
        options := _options(study),
        lambda epoch, total: progress("training the rectifier", epoch, total),
    )
    calibrated = CalibratedModel(base, Rectifier.from_state(result.state))
    provenance = _provenance(study, base, options, result, sorted(rated.held_out_sources), ranking)
    provenance["seconds"] = round(time.monotonic() - started, 3)
    model.save(workspace.root / "models" / name, calibrated, provenance)
    return Calibration(calibrated, result, int(outputs["image"].nunique()))


def _in_study_order(study: Study, scores: Mapping[str, float]) -> NDArray[np.float64]:
    missing = [method for method in study.method_ids if method not in scores]
    if missing:
        raise DiscernError(
            f"the ranking holds no score for the method(s) {', '.join(missing)}; let people vote on them"
        )
    return np.array([scores[method] for method in study.method_ids])


def _unlabelled_outputs(study: Study, workspace: Workspace) -> pd.DataFrame:
    outputs = super_resolution.outputs(study, workspace)
    outputs = outputs[outputs["role"] == "unlabelled"]
    if outputs.empty:
        raise DiscernError(
            "images.unlabelled: there are no SR outputs of unlabelled images; name a folder and run again"
        )
    return outputs.sort_values(["stem", "method"])


def _table(study: Study, outputs: pd.DataFrame, encoded: Mapping[str, Encoded]) -> Unlabelled:
    """(images, methods) arrays; NaN quality where an output is missing."""
    images = sorted(set(outputs["image"]))
    row = {image: index for index, image in enumerate(images)}
    column = {method: index for index, method in enumerate(study.method_ids)}
    dimensions = next(iter(encoded.values())).features.shape[1]
    seen = np.zeros((len(images), len(column), dimensions), dtype=np.float32)
    quality = np.full((len(images), len(column)), np.nan, dtype=np.float32)
    for image, method, sha256 in zip(outputs["image"], outputs["method"], outputs["sha256"], strict=True):
        seen[row[image], column[method]] = encoded[sha256].features[0]
        quality[row[image], column[method]] = encoded[sha256].quality[0]
    return Unlabelled(seen, quality)


def _rated(rated: RatedImages, part: NDArray[np.bool_], encoded: Mapping[str, Encoded]) -> Rated:
    chosen = np.flatnonzero(part)
    stacked = features.stack(encoded[rated.hashes[index]] for index in chosen)
    sources = [rated.sources[index] for index in chosen]
    return Rated(stacked.features, stacked.quality, rated.mos[chosen], sources)


def _options(study: Study) -> Options:
    wanted = study.calibration
    return Options(
        batch=wanted.batch,
        epochs=wanted.epochs,
        learning_rate=wanted.learning_rate,
        rated_weight=wanted.rated_weight,
        rated_pairs=wanted.rated_pairs,
        seed=study.seed,
    )


def _provenance(
    study: Study,
    base: SceneStatistics,
    options: Options,
    result: Training,
    held_out: list[str],
    ranking: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "stage": "calibration",
        "study_sha256": study.fingerprint,
        "base_sha256": base.fingerprint,
        "ranking": dict(ranking),
        "options": asdict(options) | {"batch_used": result.batch},
        "held_out_sources": held_out,
        "chosen_epoch": result.chosen,
        "losses_at_identity": asdict(result.history[0]),
        "losses_at_chosen_epoch": asdict(result.history[result.chosen]),
        "device": "cpu",
    }
