"""The stage: distances and embeddings that are missing, then Eq. (1) over all pairs of methods."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import executor
from pipelines.errors import DiscernError
from pipelines.executor import Outcome
from pipelines.problems import Problem
from pipelines.progress import Progress, silent
from pipelines.selection import distances, mad, selected, semantics
from pipelines.selection.distances import Distance
from pipelines.study import Selection, Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Manifest, Workspace

GROUP = "mad"

DISTANCES = pa.schema(
    {
        "metric": pa.string(),
        "output_a": pa.string(),  # sha256 of two outputs of one LR image, the smaller one first
        "output_b": pa.string(),
        "distance": pa.float64(),
    }
)
EMBEDDINGS = pa.schema({"semantics": pa.string(), "image": pa.string(), "embedding": pa.list_(pa.float32())})


@dataclass(frozen=True)
class Report:
    """What the stage did.

    Attributes:
        pairs: image pairs selected.
        new: whether they were selected in this run.
        images: distinct LR images among them.
        most_used: the LR image in the most pairs, and in how many.
        problems: images that were left out.
    """

    pairs: int
    new: bool
    images: int
    most_used: tuple[str, int]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Candidates:
    """What Eq. (1) chooses from.

    Attributes:
        images: sha256 and stem of each LR image.
        pairs: the pairs of methods.
        output_of: sha256 of the output of an image (its sha256) by a method.
        d1: (pairs, images) float64; NaN where an output is missing or could not be compared.
    """

    images: list[tuple[str, str]]
    pairs: list[tuple[str, str]]
    output_of: dict[tuple[str, str], str]
    d1: NDArray[np.float64]

    def digest(self, study: Study) -> str:
        """The sha256 of everything that the selection follows from; an image's embedding follows from the image."""
        outputs = sorted((method, image, sha256) for (image, method), sha256 in self.output_of.items())
        text = repr((study.selection.model_dump_json(), self.images, self.pairs, outputs))
        return hashlib.sha256(text.encode() + self.d1.tobytes()).hexdigest()


def check(study: Study) -> None:
    """Fail before any work where the study asks for a distance or an embedding that cannot be had.

    Raises:
        DiscernError: see `distances.get` and `semantics.get`.
    """
    distances.get(study.selection.distance)
    semantics.get(study.selection.semantics)


def run(study: Study, workspace: Workspace, progress: Progress = silent) -> Report:
    """Select the pairs of images that people will be asked about.

    Raises:
        DiscernError: a pair of methods has fewer usable images than the study asks for.
    """
    started = time.monotonic()
    outputs = super_resolution.outputs(study, workspace)
    outputs = outputs[outputs["role"] == "candidate"]
    problems = _measure(study, workspace, outputs, progress) + _embed(study, workspace, outputs, progress)
    candidates = _candidates(study, workspace, outputs)
    inputs = candidates.digest(study)
    previous = workspace.read_provenance("selection")
    table = selected.manifest(workspace)
    new = previous is None or previous["inputs_sha256"] != inputs or table.read().empty
    if new:
        table.replace(_select(study, workspace, candidates))
        facts = {
            "study_sha256": study.fingerprint,
            "inputs_sha256": inputs,
            "selection": study.selection.model_dump(mode="json"),
            "problems": [str(problem) for problem in problems],
            "seconds": round(time.monotonic() - started, 3),
        }
        workspace.write_provenance("selection", facts)
    pairs = table.read()
    uses = pairs["stem"].value_counts()
    most_used = (str(uses.index[0]), int(uses.iloc[0]))
    return Report(len(pairs), new, int(pairs["image"].nunique()), most_used, tuple(problems))


def _distances_manifest(workspace: Workspace) -> Manifest:
    return workspace.manifest("distances", DISTANCES, ["metric", "output_a", "output_b"])


def _embeddings_manifest(workspace: Workspace) -> Manifest:
    return workspace.manifest("embeddings", EMBEDDINGS, ["semantics", "image"])


def _measure(study: Study, workspace: Workspace, outputs: pd.DataFrame, progress: Progress) -> list[Problem]:
    """Compute D1 among the outputs of each image, where it is missing."""
    known = _known_distances(study, workspace)
    todo = [
        tuple(hashes)
        for _, hashes in outputs.groupby("image")["sha256"]
        if any(pair not in known for pair in _unordered_pairs(hashes))
    ]
    failed = executor.fill(
        _distances_manifest(workspace),
        partial(_measure_image, workspace, distances.get(study.selection.distance)),
        todo,
        task="distances D1",
        progress=progress,
        execution=study.execution,
    )
    _distances_manifest(workspace).compact()
    return _left_out(failed)


def _left_out(failed: Iterable[Outcome[Any, None]]) -> list[Problem]:
    return sorted(Problem("selection", "", "", str(outcome.problem)) for outcome in failed)


def _measure_image(workspace: Workspace, distance: Distance, outputs: tuple[str, ...]) -> list[dict[str, Any]]:
    hashes = sorted(set(outputs))
    matrix = distance.pairwise([workspace.get_image(sha256) for sha256 in hashes])
    return [
        {"metric": distance.name, "output_a": hashes[i], "output_b": hashes[j], "distance": matrix[i, j]}
        for i, j in combinations(range(len(hashes)), 2)
    ]


def _unordered_pairs(outputs: Iterable[str]) -> list[tuple[str, str]]:
    return list(combinations(sorted(set(outputs)), 2))


def _known_distances(study: Study, workspace: Workspace) -> dict[tuple[str, str], float]:
    frame = _distances_manifest(workspace).read()
    frame = frame[frame["metric"] == study.selection.distance]
    return dict(zip(zip(frame["output_a"], frame["output_b"], strict=True), frame["distance"], strict=True))


def _embed(study: Study, workspace: Workspace, outputs: pd.DataFrame, progress: Progress) -> list[Problem]:
    """Embed each candidate LR image for D2, where that is missing."""
    known = _known_embeddings(study, workspace)
    failed = executor.fill(
        _embeddings_manifest(workspace),
        partial(_embed_image, workspace, study.selection.semantics),
        [image for image in sorted(set(outputs["image"])) if image not in known],
        task="embeddings D2",
        progress=progress,
        execution=study.execution,
    )
    _embeddings_manifest(workspace).compact()
    return _left_out(failed)


def _embed_image(workspace: Workspace, name: str, image: str) -> list[dict[str, Any]]:
    return [{"semantics": name, "image": image, "embedding": semantics.get(name)(workspace.get_image(image))}]


def _known_embeddings(study: Study, workspace: Workspace) -> dict[str, NDArray[np.float32]]:
    frame = _embeddings_manifest(workspace).read()
    frame = frame[frame["semantics"] == study.selection.semantics]
    return dict(zip(frame["image"], frame["embedding"], strict=True))


def _candidates(study: Study, workspace: Workspace, outputs: pd.DataFrame) -> "Candidates":
    """In the order of their stems, so that ties do not depend on hashes."""
    by_stem = outputs.sort_values("stem")
    images = list(dict.fromkeys(zip(by_stem["image"], by_stem["stem"], strict=True)))
    output_of = dict(zip(zip(outputs["image"], outputs["method"], strict=True), outputs["sha256"], strict=True))
    pairs = list(combinations(study.method_ids, 2))
    d1 = _distance_table(study, workspace, [image for image, _ in images], pairs, output_of)
    return Candidates(images, pairs, output_of, d1)


def _select(study: Study, workspace: Workspace, candidates: "Candidates") -> list[dict[str, Any]]:
    """Eq. (1) over all pairs of methods."""
    settings = study.selection
    _check_enough(candidates, settings.per_pair)
    embeddings = _known_embeddings(study, workspace)
    try:
        chosen = mad.select_all(
            candidates.d1,
            np.stack([embeddings[image] for image, _ in candidates.images]),
            per_pair=settings.per_pair,
            trade_off=settings.trade_off,
            aggregate=settings.aggregate,
            reuse_limit=settings.reuse_limit,
        )
    except DiscernError as error:
        raise DiscernError(f"selection.reuse_limit: {error}") from error
    return [row for pair in range(len(candidates.pairs)) for row in _explain(settings, candidates, chosen, pair)]


def _explain(
    settings: Selection, candidates: "Candidates", chosen: mad.Selection, pair: int
) -> Iterator[dict[str, Any]]:
    """The choices of one pair of methods as rows of the manifest."""
    a, b = candidates.pairs[pair]
    d1 = candidates.d1[pair]
    by_distance = np.argsort(np.argsort(-np.nan_to_num(d1, nan=-np.inf), kind="stable")) + 1
    for k, (index, d2) in enumerate(zip(chosen.indices[pair], chosen.semantics[pair], strict=True)):
        image, stem = candidates.images[index]
        yield {
            "group": GROUP,
            "method_a": a,
            "method_b": b,
            "rank": k + 1,
            "image": image,
            "stem": stem,
            "output_a": candidates.output_of[image, a],
            "output_b": candidates.output_of[image, b],
            "distance": d1[index],
            "semantics": d2,
            "score": d1[index] + settings.trade_off * d2,
            "rank_by_distance": by_distance[index],
        }


def _distance_table(
    study: Study,
    workspace: Workspace,
    images: list[str],
    pairs: list[tuple[str, str]],
    output_of: dict[tuple[str, str], str],
) -> NDArray[np.float64]:
    """(pairs, images) D1; NaN where an output is missing or could not be compared."""
    known = _known_distances(study, workspace)

    def distance(image: str, a: str, b: str) -> float:
        outputs = output_of.get((image, a)), output_of.get((image, b))
        if outputs[0] is None or outputs[1] is None:
            return np.nan
        if outputs[0] == outputs[1]:
            return 0.0
        return known.get((min(outputs[0], outputs[1]), max(outputs[0], outputs[1])), np.nan)

    return np.array([[distance(image, a, b) for image in images] for a, b in pairs])


def _check_enough(candidates: "Candidates", per_pair: int) -> None:
    for (a, b), row in zip(candidates.pairs, candidates.d1, strict=True):
        usable = int(np.sum(~np.isnan(row)))
        if usable < per_pair:
            raise DiscernError(
                f"selection.per_pair: {per_pair} images are asked for, but only {usable} have usable outputs of both "
                f"{a!r} and {b!r}; add images or outputs, or lower per_pair"
            )
