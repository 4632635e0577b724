"""The loop, stage after stage. The same stages run a study with real people; only the votes are simulated here.

The originals of the LR images are known, so a full-reference metric can stand in for people's taste, and another one
for the raters of the images that the quality model learns from. No number depends on a person.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app import runs, simulated_world
from app.demo import inputs
from pipelines import executor, full_reference, images
from pipelines.calibration import pretraining
from pipelines.calibration import stage as calibration
from pipelines.calibration.stage import Calibration
from pipelines.errors import DiscernError
from pipelines.evaluation import stage as evaluation
from pipelines.evaluation.stage import Evaluation
from pipelines.progress import Progress
from pipelines.quality.model import QualityModel
from pipelines.quality.scene_statistics import Fit
from pipelines.ranking import observers, tables
from pipelines.ranking import stage as ranking
from pipelines.ranking.counts import Votes
from pipelines.ranking.observers import Population
from pipelines.ranking.stage import Ranking
from pipelines.selection import selected
from pipelines.study import Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace, write_json

SUBJECTS = 23
OBSERVERS_METRIC = "fsim"
# With this sensitivity two simulated subjects agree about as often as two people of RealSR-1K do (.69).
POPULATION = Population(sensitivity=1.5)


@dataclass(frozen=True)
class Result:
    """What the demo made, and where it lies."""

    directory: Path
    run: runs.Summary
    ranking: Ranking
    pretraining: Fit
    calibration: Calibration
    evaluation: Evaluation
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Everything that the summary says, as JSON values."""
        training = self.calibration.training
        return {
            "images": self.run.images.images,
            "outputs": self.run.outputs.outputs,
            "pairs": self.run.end.pairs.pairs,
            "votes": self.ranking.votes,
            "ranking": self.ranking.as_dict(),
            "quality_model": {"cross_validated_srcc": self.pretraining.srcc},
            "calibration": {
                "unlabelled_images": self.calibration.unlabelled_images,
                "batch": training.batch,
                "epochs": len(training.history) - 1,
                "chosen_epoch": training.chosen,
            },
            "two_afc": self.evaluation.as_dict(),
            "seconds": round(self.seconds, 1),
            "directory": str(self.directory),
        }


def run(directory: Path, progress: Progress) -> Result:
    """Run the loop in a directory; outputs, distances and encodings that an earlier run made there are used again.

    Args:
        directory: for the study, its inputs and its workspace.
        progress: called as the work goes on.

    Raises:
        DiscernError: the directory cannot be used, or its study file was changed into one that cannot run.
    """
    started = time.monotonic()
    summary = runs.run(inputs.prepare(directory, progress), progress)
    study, workspace = summary.study, summary.workspace
    with workspace.lock():
        votes = simulate_votes(study, workspace, directory, progress)
        tables.write(directory / "votes.csv", votes)
        ranked = ranking.rank(votes)
        write_json(directory / "ranking.json", ranked.as_dict())
        fit = pretraining.run(study, workspace, progress)
        scores = dict(zip(ranked.fit.methods, ranked.fit.scores.tolist(), strict=True))
        calibrated = calibration.run(study, workspace, fit.model, scores, ranking=ranked.as_dict(), progress=progress)
        models: dict[str, QualityModel] = {"before": fit.model, "after": calibrated.model}
        evaluated = evaluation.run(study, workspace, votes, models, progress)
    return Result(directory, summary, ranked, fit, calibrated, evaluated, time.monotonic() - started)


def simulate_votes(study: Study, workspace: Workspace, directory: Path, progress: Progress) -> Votes:
    """Let simulated subjects vote on every selected pair.

    What they prefer follows from the observers' metric of each output against the original.
    """
    pairs = selected.manifest(workspace).read()
    stems = sorted(set(pairs["stem"]))
    scores = _score_outputs(study, workspace, directory, stems, progress)
    return observers.simulate(
        observers.quality_of(scores),
        _as_indices(pairs, stems, study.method_ids),
        methods=study.method_ids,
        images=stems,
        population=POPULATION,
        subjects=[f"simulated-{number:02d}" for number in range(1, SUBJECTS + 1)],
        groups=pairs["group"].tolist(),
        seed=study.seed,
    )


def write_quality(study: Study, workspace: Workspace, directory: Path, progress: Progress) -> None:
    """Keep in the workspace what simulated subjects judge by, for those who vote through the server."""
    stems = sorted(set(selected.manifest(workspace).read()["stem"]))
    path = workspace.root / simulated_world.QUALITY
    if not path.exists():
        scores = _score_outputs(study, workspace, directory, stems, progress)
        simulated_world.write_quality(path, stems, study.method_ids, observers.quality_of(scores))


def _as_indices(pairs: pd.DataFrame, stems: list[str], methods: tuple[str, ...]) -> NDArray[np.int64]:
    columns = [
        pairs["stem"].map(stems.index),
        pairs["method_a"].map(methods.index),
        pairs["method_b"].map(methods.index),
    ]
    return np.stack([column.to_numpy(dtype=np.int64) for column in columns], axis=1)


def _score_outputs(
    study: Study, workspace: Workspace, directory: Path, stems: list[str], progress: Progress
) -> NDArray[np.float64]:
    """(images, methods): the observers' metric of each output against its original."""
    made = super_resolution.outputs(study, workspace)
    of_image = {stem: dict(zip(o["method"], o["sha256"], strict=True)) for stem, o in made.groupby("stem")}
    gaps = [(stem, method) for stem in stems for method in study.method_ids if method not in of_image[stem]]
    if gaps:
        raise DiscernError(
            f"simulated subjects need every output of an image; {gaps[0][0]!r} has none of {gaps[0][1]!r}"
        )
    items = [(stem, tuple(of_image[stem][method] for method in study.method_ids)) for stem in stems]
    scores: dict[str, NDArray[np.float64]] = {}
    outcomes = executor.map_items(partial(_score_image, workspace, directory), items, workers=study.execution.workers)
    for done, outcome in enumerate(outcomes, 1):
        if outcome.value is None:
            raise outcome.problem or AssertionError
        scores[outcome.item[0]] = outcome.value
        progress("simulated subjects", done, len(items))
    return np.stack([scores[stem] for stem in stems])


def _score_image(workspace: Workspace, directory: Path, item: tuple[str, tuple[str, ...]]) -> NDArray[np.float64]:
    stem, hashes = item
    reference = images.decode(inputs.original(directory, stem)).pixels
    outputs = np.stack([workspace.get_image(sha256) for sha256 in hashes])
    return full_reference.get(OBSERVERS_METRIC).score(np.repeat(reference[None], len(outputs), axis=0), outputs)
