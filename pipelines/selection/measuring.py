"""D1 between outputs and D2's embeddings of LR images: what is missing is computed, and recorded at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from pipelines import executor, images
from pipelines.problems import Problem
from pipelines.progress import Progress
from pipelines.selection import record
from pipelines.selection.choices import Candidates
from pipelines.selection.distances import Distance
from pipelines.selection.semantics import Embedding
from pipelines.study import Resize, Study
from pipelines.workspace import Manifest, Workspace

SHORT_SIDE = 256


@dataclass(frozen=True, slots=True)
class Comparison:
    """Outputs of one LR image that are to be compared, two by two, by their sha256."""

    stem: str
    pairs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.stem


@dataclass(frozen=True, slots=True)
class LowResolution:
    """An LR image that is to be embedded."""

    stem: str
    sha256: str

    def __str__(self) -> str:
        return self.stem


Item = TypeVar("Item", Comparison, LowResolution)


def measure(
    study: Study, workspace: Workspace, distance: Distance, outputs: pd.DataFrame, progress: Progress
) -> list[Problem]:
    """Compute D1 where it is missing, LR image by LR image."""
    stems = images_of(outputs)
    compared = _comparisons(study, workspace, distance, outputs)
    missing = compared[compared["there"] & ~compared["known"]]
    groups = missing.groupby(missing.index % max(len(stems), 1))
    todo = [
        Comparison(stems[image][1], tuple(sorted(set(zip(rows["output_a"], rows["output_b"], strict=True)))))
        for image, rows in groups
    ]
    work = partial(_measure_image, workspace, distance, study.selection.resize, study.execution.device)
    return _fill(study, record.distances(workspace), distance, work, todo, "distances D1", progress)


def _measure_image(
    workspace: Workspace, distance: Distance, resize: Resize, device: str, item: Comparison
) -> list[dict[str, Any]]:
    hashes = sorted({sha256 for pair in item.pairs for sha256 in pair})
    pixels = [workspace.get_image(sha256) for sha256 in hashes]
    if resize == "short_side_256":
        pixels = [images.resize_short_side(one, SHORT_SIDE) for one in pixels]
    place = {sha256: index for index, sha256 in enumerate(hashes)}
    values = distance.between(pixels, [(place[a], place[b]) for a, b in item.pairs])
    return record.distance_rows(distance.name, resize, distance.fingerprint, device, item.pairs, values)


def embed(
    study: Study, workspace: Workspace, embedding: Embedding, outputs: pd.DataFrame, progress: Progress
) -> list[Problem]:
    """Embed each candidate LR image for D2, where that is missing."""
    known = record.embedded(workspace, embedding.fingerprint)
    todo = [LowResolution(stem, image) for image, stem in images_of(outputs) if image not in known]
    work = partial(_embed_image, workspace, embedding, study.execution.device)
    return _fill(study, record.embeddings(workspace), embedding, work, todo, "embeddings D2", progress)


def _embed_image(workspace: Workspace, embedding: Embedding, device: str, item: LowResolution) -> list[dict[str, Any]]:
    vector = embedding(workspace.get_image(item.sha256))
    record.vectors(workspace, embedding.fingerprint).put(item.sha256, vector)
    facts = {"semantics": embedding.name, "fingerprint": embedding.fingerprint, "device": device}
    return [facts | {"image": item.sha256, "dimensions": len(vector)}]


def images_of(outputs: pd.DataFrame) -> list[tuple[str, str]]:
    """sha256 and stem of each LR image, in the order of their stems, so that ties do not depend on hashes."""
    return list(dict.fromkeys(zip(outputs["image"], outputs["stem"], strict=True)))


def _comparisons(study: Study, workspace: Workspace, distance: Distance, outputs: pd.DataFrame) -> pd.DataFrame:
    return record.comparisons(
        workspace,
        outputs,
        [image for image, _ in images_of(outputs)],
        study.method_pairs,
        metric=distance.name,
        resize=study.selection.resize,
        fingerprint=distance.fingerprint,
    )


def candidates(
    study: Study, workspace: Workspace, distance: Distance, outputs: pd.DataFrame
) -> tuple[Candidates, list[Problem]]:
    """What Eq. (1) chooses from, and what it leaves out because its distance is not a number."""
    listed, pairs = images_of(outputs), study.method_pairs
    compared = _comparisons(study, workspace, distance, outputs)
    d1 = compared["distance"].to_numpy(dtype=np.float64).reshape(len(pairs), len(listed))
    undefined = compared["there"] & compared["known"] & compared["distance"].isna()
    problems = [
        Problem(
            "selection",
            listed[row % len(listed)][1],
            ", ".join(pairs[row // len(listed)]),
            f"{listed[row % len(listed)][1]!r}: {distance.name} gives no finite distance between the outputs of "
            f"{' and '.join(pairs[row // len(listed)])}; left out for these two, is one of them blank?",
        )
        for row in np.flatnonzero(undefined)
    ]
    output_of = dict(zip(zip(outputs["image"], outputs["method"], strict=True), outputs["sha256"], strict=True))
    return Candidates(listed, pairs, output_of, d1), sorted(problems)


def _fill(
    study: Study,
    table: Manifest,
    measure: Distance | Embedding,
    work: Callable[[Item], list[dict[str, Any]]],
    todo: Sequence[Item],
    task: str,
    progress: Progress,
) -> list[Problem]:
    """Compute what is missing; what cannot be computed is left out, image by image."""
    # Weights that do not fit are one error, not one for each image. On a cluster the workers load, on their devices.
    if todo and study.execution.engine == "local":
        measure.prepare()
    gpus = int(study.execution.device.startswith("cuda"))
    failed = executor.fill(table, work, todo, task=task, progress=progress, execution=study.execution, gpus=gpus)
    table.compact()
    return sorted(Problem("selection", one.item.stem, "", f"{one.item.stem!r}: {one.problem}") for one in failed)
