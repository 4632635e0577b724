"""D1 between outputs and D2's embeddings of LR images: what is missing is computed, and recorded at once."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pipelines import executor, images
from pipelines.errors import DiscernError
from pipelines.problems import Problem
from pipelines.progress import Progress
from pipelines.selection import record
from pipelines.selection.choices import Candidates
from pipelines.selection.distances import Distance
from pipelines.selection.semantics import Embedding
from pipelines.study import Resize, Study
from pipelines.workspace import Workspace

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
    measure_image = partial(_measure_image, workspace, distance, study.selection.resize, study.execution.device)
    failed = executor.fill(
        record.distances(workspace),
        measure_image,
        todo,
        task="distances D1",
        progress=progress,
        execution=study.execution,
        gpus=_gpus(study),
    )
    record.distances(workspace).compact()
    return sorted(Problem("selection", outcome.item.stem, "", str(outcome.problem)) for outcome in failed)


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
    failed = executor.fill(
        record.embeddings(workspace),
        partial(_embed_image, workspace, embedding, study.execution.device),
        [LowResolution(stem, image) for image, stem in images_of(outputs) if image not in known],
        task="embeddings D2",
        progress=progress,
        execution=study.execution,
        gpus=_gpus(study),
    )
    record.embeddings(workspace).compact()
    return sorted(Problem("selection", outcome.item.stem, "", str(outcome.problem)) for outcome in failed)


def _embed_image(workspace: Workspace, embedding: Embedding, device: str, item: LowResolution) -> list[dict[str, Any]]:
    vector = embedding(workspace.get_image(item.sha256))
    if not np.isfinite(vector).all():
        raise DiscernError(f"{embedding.name}: the embedding of {item.stem!r} is not finite; left out")
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


def _gpus(study: Study) -> int:
    return int(study.execution.device.startswith("cuda"))
