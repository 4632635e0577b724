"""Each image encoded once: q_w is frozen, so what it sees in an image is computed a single time and kept."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines import executor
from pipelines.calibration.datasets import RatedSet
from pipelines.errors import DiscernError
from pipelines.images import decode
from pipelines.progress import Progress
from pipelines.quality.model import Encoded, QualityModel
from pipelines.study import Execution
from pipelines.workspace import Manifest, Workspace

SCHEMA = pa.schema(
    {
        "model": pa.string(),  # fingerprint of the quality model
        "image": pa.string(),  # sha256 of the pixels
        "quality": pa.float32(),
        "features": pa.list_(pa.float32()),
    }
)


def manifest(workspace: Workspace) -> Manifest:
    """What every model saw in every image."""
    return workspace.manifest("features", SCHEMA, ["model", "image"])


def encode(
    model: QualityModel,
    hashes: Iterable[str],
    workspace: Workspace,
    *,
    execution: Execution,
    progress: Progress,
    task: str = "encoding images",
) -> dict[str, Encoded]:
    """Encode stored images, each once for all time.

    Args:
        model: q_w.
        hashes: pixel hashes of images in the workspace.
        workspace: holds the images, and what was encoded before.
        execution: engine and workers.
        progress: called after each image.
        task: name for `progress`.

    Returns:
        For each hash, `Encoded` with n = 1.

    Raises:
        DiscernError: an image is missing or the model refuses it.
    """
    wanted = set(hashes)
    known = _known(model, workspace)
    problems = executor.fill(
        manifest(workspace),
        partial(_encode_image, workspace, model),
        sorted(wanted - known.keys()),
        task=task,
        progress=progress,
        execution=execution,
    )
    if problems:
        raise DiscernError("\n".join(problems))
    known = _known(model, workspace)
    return {sha256: known[sha256] for sha256 in wanted}


def stack(encoded: Iterable[Encoded]) -> Encoded:
    """Several encodings as one: features (n, d), quality (n,)."""
    parts = list(encoded)
    return Encoded(np.concatenate([p.features for p in parts]), np.concatenate([p.quality for p in parts]))


def store_rated(rated: RatedSet, workspace: Workspace, *, execution: Execution, progress: Progress) -> list[str]:
    """Put the images of a rated set into the workspace.

    Returns:
        The pixel hash of each image, in the order of the set.

    Raises:
        DiscernError: an image cannot be decoded.
    """
    hashes: dict[str, str] = {}
    outcomes = executor.map_items(partial(_store, workspace), [str(p) for p in rated.paths], workers=execution.workers)
    for done, outcome in enumerate(outcomes, 1):
        if outcome.value is None:
            raise DiscernError(f"{rated.name}: {outcome.problem}")
        hashes[outcome.item] = outcome.value
        progress("reading rated images", done, len(rated))
    return [hashes[str(path)] for path in rated.paths]


def _store(workspace: Workspace, path: Any) -> str:
    return workspace.put_image(decode(path).pixels)


def _encode_image(workspace: Workspace, model: QualityModel, sha256: str) -> list[dict[str, Any]]:
    encoded = model.encode([workspace.get_image(sha256)])
    row = {"model": model.fingerprint, "image": sha256}
    return [row | {"quality": encoded.quality[0], "features": encoded.features[0]}]


def _known(model: QualityModel, workspace: Workspace) -> dict[str, Encoded]:
    frame = manifest(workspace).read()
    frame = frame[frame["model"] == model.fingerprint]
    return {
        image: Encoded(np.asarray(features, dtype=np.float32)[None], np.array([quality], dtype=np.float32))
        for image, quality, features in zip(frame["image"], frame["quality"], frame["features"], strict=True)
    }
