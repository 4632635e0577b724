"""The stage: quality models against the votes, with the figures that put a 2AFC score into proportion."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.calibration import features
from pipelines.errors import DiscernError
from pipelines.evaluation import agreement
from pipelines.evaluation.agreement import Difference
from pipelines.progress import Progress, silent
from pipelines.quality.model import QualityModel
from pipelines.ranking.counts import PairTallies, Votes, number_of_votes, pairs
from pipelines.study import Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace

FOLDS = 5


@dataclass(frozen=True)
class Evaluation:
    """2AFC scores on one set of votes, each in [0, 1].

    Attributes:
        models: score of each quality model, by the name it was given.
        ranking_only: prefer the method of the higher mu, looking at no pixel; mu from other LR images (5 folds,
            mean of 10 deals).
        ranking_only_in_sample: the same with mu from all votes.
        oracle: the most that any metric can score, having seen these votes.
        leave_one_out_human: the majority of the others predicts one person; None where every pair has a single vote.
        two_random_humans: how often two people agree; None where every pair has a single vote.
        differences: of each model after the first to the first, with a 95 % interval from resampling LR images.
        pairs: image pairs.
        votes: votes on them.
        simulated: whether the votes are simulated.
    """

    models: dict[str, float]
    ranking_only: float
    ranking_only_in_sample: float
    oracle: float
    leave_one_out_human: float | None
    two_random_humans: float | None
    differences: dict[str, Difference]
    pairs: int
    votes: int
    simulated: bool

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return asdict(self)


def run(
    study: Study,
    workspace: Workspace,
    votes: Votes,
    models: Mapping[str, QualityModel],
    progress: Progress = silent,
) -> Evaluation:
    """Score quality models against votes on the study's image pairs.

    Args:
        study: whose outputs were voted on.
        workspace: holds them.
        votes: their images are stems of the study's LR images, their methods ids of its methods.
        models: by the name to report them under; the first one is what the others are compared with.
        progress: called after each image.

    Raises:
        DiscernError: no votes, votes without images, or votes on outputs that are not in the workspace.
    """
    tallies = pairs(votes)
    first, second = _outputs_of(study, workspace, votes, tallies)
    files = {sha256: workspace.image_path(sha256) for sha256 in (*first, *second)}
    by_pair = {}
    for name, model in models.items():
        scores = features.score(model, files, workspace, execution=study.execution, progress=progress)
        quality = [np.array([scores[sha256] for sha256 in side]) for side in (first, second)]
        by_pair[name] = agreement.two_afc_by_pair(tallies.wins_first, tallies.wins_second, *quality)
    wins = tallies.wins_first, tallies.wins_second
    several = bool((wins[0] + wins[1] > 1).any())
    return Evaluation(
        models={name: float(scores.mean()) for name, scores in by_pair.items()},
        ranking_only=agreement.ranking_only_cross_validated(votes, FOLDS, study.seed),
        ranking_only_in_sample=agreement.ranking_only(votes),
        oracle=agreement.oracle(*wins),
        leave_one_out_human=agreement.leave_one_out_human(*wins) if several else None,
        two_random_humans=agreement.two_random_humans(*wins) if several else None,
        differences=_differences(by_pair, tallies, study.seed),
        pairs=len(tallies.image),
        votes=number_of_votes(votes),
        simulated=votes.simulated,
    )


def _differences(by_pair: Mapping[str, NDArray[np.float64]], tallies: PairTallies, seed: int) -> dict[str, Difference]:
    reference, *others = by_pair
    return {
        name: agreement.paired_bootstrap(by_pair[name], by_pair[reference], tallies.image, seed=seed) for name in others
    }


def _outputs_of(study: Study, workspace: Workspace, votes: Votes, tallies: PairTallies) -> tuple[list[str], list[str]]:
    """The pixel hashes of both outputs of every pair."""
    outputs = super_resolution.outputs(study, workspace)
    # Never on content that a model may have learned from.
    outputs = outputs[outputs["role"] == "candidate"]
    known = dict(zip(zip(outputs["stem"], outputs["method"], strict=True), outputs["sha256"], strict=True))
    images = votes.images or ()

    def output(image: int, method: int) -> str:
        stem, name = images[image], votes.methods[method]
        if (stem, name) not in known:
            raise DiscernError(
                f"the votes compare {name!r} on {stem!r}, but the workspace holds no such candidate output"
            )
        return known[stem, name]

    sides = [
        [output(image, method) for image, method in zip(tallies.image, side, strict=True)]
        for side in (tallies.first, tallies.second)
    ]
    return sides[0], sides[1]
