"""Each image encoded once: q_w is frozen, so what it sees in an image is computed a single time and kept."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines import executor, images
from pipelines.calibration.model import CalibratedModel
from pipelines.errors import DiscernError
from pipelines.progress import Progress
from pipelines.quality.model import Encoded, QualityModel
from pipelines.study import Execution
from pipelines.workspace import Manifest, Workspace

SCHEMA = pa.schema(
    {
        "model": pa.string(),  # fingerprint of the quality model
        "image": pa.string(),  # sha256 of the pixels of an output, or of the file of a rated image
        "quality": pa.float32(),
        "features": pa.list_(pa.float32()),
    }
)


def manifest(workspace: Workspace) -> Manifest:
    """What every model saw in every image."""
    return workspace.manifest("features", SCHEMA, ["model", "image"])


def encode(
    model: QualityModel,
    files: Mapping[str, Path],
    workspace: Workspace,
    *,
    execution: Execution,
    progress: Progress,
) -> dict[str, Encoded]:
    """Encode image files, each once for all time.

    Args:
        model: q_w.
        files: where each image lies, by its sha256.
        workspace: keeps what was encoded.
        execution: engine and workers.
        progress: called after each image.

    Returns:
        For each sha256, `Encoded` with n = 1.

    Raises:
        DiscernError: a file cannot be read, or the model refuses its image.
    """
    known = _known(model, workspace)
    failed = executor.fill(
        manifest(workspace),
        partial(_encode_file, model, model.fingerprint),
        [(sha256, path) for sha256, path in sorted(files.items()) if sha256 not in known],
        task="encoding images",
        progress=progress,
        execution=execution,
    )
    manifest(workspace).compact()
    if failed:
        raise DiscernError("\n".join(sorted(str(outcome.problem) for outcome in failed)))
    known = _known(model, workspace)
    return {sha256: known[sha256] for sha256 in files}


def score(
    model: QualityModel, files: Mapping[str, Path], workspace: Workspace, *, execution: Execution, progress: Progress
) -> dict[str, float]:
    """The quality of image files by their sha256; arguments and errors as in `encode`.

    A calibrated model sees in an image what its base sees, so that nothing is encoded a second time for it.
    """
    base = model.base if isinstance(model, CalibratedModel) else model
    encoded = encode(base, files, workspace, execution=execution, progress=progress)
    if isinstance(model, CalibratedModel):
        return {sha256: float(model.rectify(seen)[0]) for sha256, seen in encoded.items()}
    return {sha256: float(seen.quality[0]) for sha256, seen in encoded.items()}


def remember(model: QualityModel, hashes: Sequence[str], encoded: Encoded, workspace: Workspace) -> None:
    """Keep what was encoded elsewhere; `hashes` are in the order of `encoded`."""
    rows = zip(hashes, encoded.quality, encoded.features, strict=True)
    manifest(workspace).append([_row(model.fingerprint, sha256, quality, seen) for sha256, quality, seen in rows])


def stack(encoded: Iterable[Encoded]) -> Encoded:
    """Several encodings as one: features (n, d), quality (n,)."""
    parts = list(encoded)
    return Encoded(np.concatenate([p.features for p in parts]), np.concatenate([p.quality for p in parts]))


def _encode_file(model: QualityModel, fingerprint: str, item: tuple[str, Path]) -> list[dict[str, Any]]:
    sha256, path = item
    try:
        encoded = model.encode([images.decode(path).pixels])
    except images.ImageError:
        raise
    except DiscernError as error:
        raise DiscernError(f"{path}: {error}") from error
    return [_row(fingerprint, sha256, encoded.quality[0], encoded.features[0])]


def _row(fingerprint: str, sha256: str, quality: Any, seen: Any) -> dict[str, Any]:
    return {"model": fingerprint, "image": sha256, "quality": quality, "features": seen}


def _known(model: QualityModel, workspace: Workspace) -> dict[str, Encoded]:
    frame = manifest(workspace).read()
    frame = frame[frame["model"] == model.fingerprint]
    return {
        image: Encoded(np.asarray(features, dtype=np.float32)[None], np.array([quality], dtype=np.float32))
        for image, quality, features in zip(frame["image"], frame["quality"], frame["features"], strict=True)
    }
