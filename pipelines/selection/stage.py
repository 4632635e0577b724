"""The stage: distances and embeddings that are missing, then Eq. (1) over all pairs of methods.

Where the study says that methods came later (`selection.anchors`), the pairs that are there stay as they were selected,
and only pairs of methods without any are chosen for.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pipelines import executor, images
from pipelines.errors import DiscernError
from pipelines.problems import Problem
from pipelines.progress import Progress, silent
from pipelines.selection import choices, distances, near_duplicates, record, selected, semantics
from pipelines.selection.choices import Candidates, Choices
from pipelines.selection.distances import Distance
from pipelines.selection.mad import Differences
from pipelines.selection.reuse import Reuse
from pipelines.selection.semantics import Embedding
from pipelines.study import Resize, Selection, Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace

SHORT_SIDE = 256


@dataclass(frozen=True)
class Alike:
    """An LR image that is a near-duplicate of an earlier one, by their stems."""

    image: str
    original: str
    similarity: float


@dataclass(frozen=True)
class Report:
    """What the stage did.

    Attributes:
        pairs: image pairs selected.
        by_group: how many of them are in each group.
        new: whether any of them was selected in this run.
        images: distinct LR images among them.
        most_used: the LR image in the most pairs, and in how many.
        reuse: what limits on reuse would change among the choices of Eq. (1) that were made last.
        near_duplicates: among the LR images that were chosen from.
        weights: in words, the pretrained weights that are not the published ones.
        problems: images that were left out.
    """

    pairs: int
    by_group: dict[str, int]
    new: bool
    images: int
    most_used: tuple[str, int]
    reuse: tuple[Reuse, ...]
    near_duplicates: tuple[Alike, ...]
    weights: tuple[str, ...]
    problems: tuple[Problem, ...]


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


@dataclass(frozen=True)
class _Measures:
    """D1 and D2 of a study."""

    distance: Distance
    embedding: Embedding

    @property
    def provenance(self) -> dict[str, Any]:
        return {"distance": self.distance.provenance, "semantics": self.embedding.provenance}

    @property
    def fingerprints(self) -> dict[str, str]:
        return {"distance": self.distance.fingerprint, "semantics": self.embedding.fingerprint}


def check(study: Study) -> None:
    """Fail before any work where the study asks for a distance or an embedding that cannot be had.

    Raises:
        WeightsError: weights are not there, and cannot be fetched.
        DiscernError: see `distances.get` and `semantics.get`.
    """
    _measures(study)


def run(study: Study, workspace: Workspace, progress: Progress = silent) -> Report:
    """Select the pairs of images that people will be asked about.

    Raises:
        DiscernError: a pair of methods has fewer usable images than the study asks for; or pairs that are to stay were
            selected in another way.
    """
    started = time.monotonic()
    measures = _measures(study)
    outputs = super_resolution.outputs(study, workspace)
    outputs = outputs[outputs["role"] == "candidate"].sort_values("stem")
    problems = _embed(study, workspace, measures.embedding, outputs, progress)
    outputs = outputs[outputs["image"].isin(record.embedded(workspace, measures.embedding.fingerprint))]
    problems += _measure(study, workspace, measures.distance, outputs, progress)
    candidates, undefined = _candidates(study, workspace, measures.distance, outputs)
    problems += undefined
    inputs = _digest(study, measures, candidates)
    previous = workspace.read_provenance("selection") or {}
    table = selected.manifest(workspace)
    new = previous.get("inputs_sha256") != inputs or table.read().empty
    if new:
        kept = _kept(study, measures, table.read(), previous)
        embeddings = _stack(workspace, measures.embedding, candidates)
        chosen = choices.choose(
            candidates,
            Differences(embeddings),
            study.selection,
            seed=study.seed,
            kept=kept,
            progress=progress,
        )
        alike = [
            Alike(candidates.images[one.image][1], candidates.images[one.original][1], round(one.similarity, 4))
            for one in near_duplicates.find(embeddings)
        ]
        table.replace(kept.to_dict("records") + chosen.rows)
        previous = _facts(study, measures, inputs, chosen, alike, problems, previous)
        workspace.write_provenance("selection", previous | {"seconds": round(time.monotonic() - started, 3)})
    return _report(table.read(), previous, new=new, problems=problems)


def _measures(study: Study) -> _Measures:
    settings, device = study.selection, study.execution.device
    return _Measures(
        distances.get(settings.distance, study.weights, device), semantics.get(settings.semantics, study.weights, device)
    )


def _measure(
    study: Study, workspace: Workspace, distance: Distance, outputs: pd.DataFrame, progress: Progress
) -> list[Problem]:
    """Compute D1 where it is missing, LR image by LR image."""
    stems = _images(outputs)
    compared = _comparisons(study, workspace, distance, outputs)
    missing = compared[compared["there"] & ~compared["known"]]
    groups = missing.groupby(missing.index % max(len(stems), 1))
    todo = [
        Comparison(stems[image][1], tuple(sorted(set(zip(rows["output_a"], rows["output_b"], strict=True)))))
        for image, rows in groups
    ]
    measure = partial(_measure_image, workspace, distance, study.selection.resize, study.execution.device)
    failed = executor.fill(
        record.distances(workspace),
        measure,
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


def _embed(
    study: Study, workspace: Workspace, embedding: Embedding, outputs: pd.DataFrame, progress: Progress
) -> list[Problem]:
    """Embed each candidate LR image for D2, where that is missing."""
    known = record.embedded(workspace, embedding.fingerprint)
    failed = executor.fill(
        record.embeddings(workspace),
        partial(_embed_image, workspace, embedding, study.execution.device),
        [LowResolution(stem, image) for image, stem in _images(outputs) if image not in known],
        task="embeddings D2",
        progress=progress,
        execution=study.execution,
        gpus=_gpus(study),
    )
    record.embeddings(workspace).compact()
    return sorted(Problem("selection", outcome.item.stem, "", str(outcome.problem)) for outcome in failed)


def _embed_image(
    workspace: Workspace, embedding: Embedding, device: str, item: LowResolution
) -> list[dict[str, Any]]:
    vector = embedding(workspace.get_image(item.sha256))
    if not np.isfinite(vector).all():
        raise DiscernError(f"{embedding.name}: the embedding of {item.stem!r} is not finite; left out")
    record.vectors(workspace, embedding.fingerprint).put(item.sha256, vector)
    facts = {"semantics": embedding.name, "fingerprint": embedding.fingerprint, "device": device}
    return [facts | {"image": item.sha256, "dimensions": len(vector)}]


def _stack(workspace: Workspace, embedding: Embedding, candidates: Candidates) -> Any:
    """(images, dimensions) float32."""
    return record.vectors(workspace, embedding.fingerprint).stack([image for image, _ in candidates.images])


def _images(outputs: pd.DataFrame) -> list[tuple[str, str]]:
    """sha256 and stem of each LR image, in the order of their stems, so that ties do not depend on hashes."""
    return list(dict.fromkeys(zip(outputs["image"], outputs["stem"], strict=True)))


def _comparisons(study: Study, workspace: Workspace, distance: Distance, outputs: pd.DataFrame) -> pd.DataFrame:
    return record.comparisons(
        workspace,
        outputs,
        [image for image, _ in _images(outputs)],
        study.method_pairs,
        metric=distance.name,
        resize=study.selection.resize,
        fingerprint=distance.fingerprint,
    )


def _candidates(
    study: Study, workspace: Workspace, distance: Distance, outputs: pd.DataFrame
) -> tuple[Candidates, list[Problem]]:
    """What Eq. (1) chooses from, and what it leaves out because its distance is not a number."""
    listed, pairs = _images(outputs), study.method_pairs
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


def _digest(study: Study, measures: _Measures, candidates: Candidates) -> str:
    """The sha256 of everything that the selection follows from; an image's embedding follows from the image."""
    outputs = sorted((method, image, sha256) for (image, method), sha256 in candidates.output_of.items())
    what = (study.selection.model_dump_json(), study.seed, measures.fingerprints)
    text = repr((what, candidates.images, candidates.pairs, outputs))
    return hashlib.sha256(text.encode() + candidates.d1.tobytes()).hexdigest()


def _kept(study: Study, measures: _Measures, rows: pd.DataFrame, previous: dict[str, Any]) -> pd.DataFrame:
    """The rows that stay: none, unless methods came later; then all, but those of pairs that are compared no more.

    Raises:
        DiscernError: they were selected in another way than the study asks for now.
    """
    pairs = pd.Series(list(zip(rows["method_a"], rows["method_b"], strict=True)), index=rows.index, dtype=object)
    kept = rows[pairs.isin(study.method_pairs)] if study.selection.anchors else rows.iloc[:0]
    if kept.empty or not previous:
        return kept
    before = Selection.model_validate(previous["selection"])
    for key in Selection.model_fields.keys() - {"anchors"}:
        was, now = getattr(before, key), getattr(study.selection, key)
        if was != now:
            raise DiscernError(
                f"selection.{key}: {now!r}, but the pairs that stay were selected with {was!r}; put that back, or "
                "remove selection.anchors to select all pairs anew"
            )
    for key, fingerprint in measures.fingerprints.items():
        if previous.get("fingerprints", measures.fingerprints)[key] != fingerprint:
            raise DiscernError(
                f"selection.{key}: other weights, or another library, than when the pairs that stay were selected; put "
                f"those back ({previous[key]}), or remove selection.anchors to select all pairs anew"
            )
    return kept


def _facts(
    study: Study,
    measures: _Measures,
    inputs: str,
    chosen: Choices,
    alike: Sequence[Alike],
    problems: Sequence[Problem],
    previous: dict[str, Any],
) -> dict[str, Any]:
    """What is recorded beside the pairs."""
    return {
        "study_sha256": study.fingerprint,
        "inputs_sha256": inputs,
        "selection": study.selection.model_dump(mode="json"),
        **measures.provenance,
        "fingerprints": measures.fingerprints,
        "reuse": [asdict(row) for row in chosen.reuse] or previous.get("reuse", []),
        "near_duplicates": [asdict(one) for one in alike],
        "problems": [str(problem) for problem in problems],
    }


def _report(pairs: pd.DataFrame, facts: dict[str, Any], *, new: bool, problems: Sequence[Problem]) -> Report:
    uses = pairs["stem"].value_counts()
    return Report(
        pairs=len(pairs),
        by_group={str(group): int(count) for group, count in pairs["group"].value_counts(sort=False).items()},
        new=new,
        images=int(pairs["image"].nunique()),
        most_used=(str(uses.index[0]), int(uses.iloc[0])),
        reuse=tuple(Reuse(**row) for row in facts.get("reuse", [])),
        near_duplicates=tuple(Alike(**one) for one in facts.get("near_duplicates", [])),
        weights=tuple(_own_weights(facts)),
        problems=tuple(sorted(problems)),
    )


def _own_weights(facts: dict[str, Any]) -> list[str]:
    used = [one for key in ("distance", "semantics") for one in facts.get(key, {}).get("weights", [])]
    return sorted({f"{one['name']} from {one['path']}" for one in used if not one["published"]})


def _gpus(study: Study) -> int:
    return int(study.execution.device.startswith("cuda"))
