"""The stage: distances and embeddings that are missing, then Eq. (1) over all pairs of methods.

Where the study says that methods came later (`selection.anchors`), the pairs that are there stay as they were selected,
and only pairs of methods without any are chosen for.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import DiscernError, WeightsError
from pipelines.problems import Problem
from pipelines.progress import Progress, silent
from pipelines.selection import choices, distances, measuring, near_duplicates, record, selected, semantics
from pipelines.selection.choices import Candidates, Choices
from pipelines.selection.distances import Distance
from pipelines.selection.reuse import Reuse
from pipelines.selection.semantics import Embedding
from pipelines.study import Selection, Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace


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
    problems = measuring.embed(study, workspace, measures.embedding, outputs, progress)
    outputs = outputs[outputs["image"].isin(record.embedded(workspace, measures.embedding.fingerprint))]
    problems += measuring.measure(study, workspace, measures.distance, outputs, progress)
    candidates, undefined = measuring.candidates(study, workspace, measures.distance, outputs)
    problems += undefined
    inputs = _digest(study, measures, candidates)
    facts = workspace.read_provenance("selection") or {}
    table = selected.manifest(workspace)
    new = facts.get("inputs_sha256") != inputs or table.read().empty
    if new:
        kept = _kept(study, measures, table.read(), facts)
        embeddings = _embeddings(workspace, measures.embedding, candidates)
        chosen = choices.choose(candidates, embeddings, study.selection, seed=study.seed, kept=kept, progress=progress)
        table.replace([*_rows(kept), *chosen.rows])
        facts = _facts(study, measures, inputs, chosen, _alike(candidates, embeddings), problems, facts)
        workspace.write_provenance("selection", facts | {"seconds": round(time.monotonic() - started, 3)})
    return _report(table.read(), facts, new=new, problems=problems)


def _embeddings(workspace: Workspace, embedding: Embedding, candidates: Candidates) -> NDArray[np.float32]:
    """(images, dimensions)."""
    stored = record.vectors(workspace, embedding.fingerprint)
    return stored.rows([image for image, _ in candidates.images])


def _alike(candidates: Candidates, embeddings: NDArray[np.float32]) -> list[Alike]:
    """Near-duplicates by their stems."""
    return [
        Alike(candidates.images[one.image][1], candidates.images[one.original][1], round(one.similarity, 4))
        for one in near_duplicates.find(embeddings)
    ]


def _measures(study: Study) -> _Measures:
    settings, device = study.selection, study.execution.device
    try:
        return _Measures(
            distances.get(settings.distance, study.weights, device),
            semantics.get(settings.semantics, study.weights, device),
        )
    except WeightsError as error:
        raise WeightsError(
            f'{error}. Selection without weights: distance = "gmsd" and semantics = "colour_gradient" in [selection]'
        ) from error


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
    for key, now in measures.provenance.items():
        # Not the libraries' versions: later ones round differently, and pairs chosen with them can stand beside these.
        if key in previous and _hashes(previous[key]) != _hashes(now):
            raise DiscernError(
                f"selection.{key}: other weights ({_hashes(now)}) than when the pairs that stay were selected "
                f"({_hashes(previous[key])}); put those back, or remove selection.anchors to select all pairs anew"
            )
    return kept


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _hashes(measure: dict[str, Any]) -> str:
    """The weights of a distance or an embedding, in words."""
    return ", ".join(f"{one['name']} {one['sha256'][:8]}" for one in measure.get("weights", [])) or "none"


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
