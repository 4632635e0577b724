"""What selection keeps in a workspace: distances between outputs, and embeddings of LR images.

manifests/distances/            D1 of two outputs, by what it was measured with
manifests/embeddings/           which LR images were embedded, and by what
embeddings/FINGERPRINT/ab/...   the embeddings themselves
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.arrays import Arrays
from pipelines.study import Resize
from pipelines.workspace import Manifest, Workspace

DISTANCES = pa.schema(
    {
        "metric": pa.string(),
        "resize": pa.string(),  # what was done to the outputs first
        "fingerprint": pa.string(),  # of the metric's library and weights
        "output_a": pa.string(),  # sha256 of two outputs of one LR image, the smaller one first
        "output_b": pa.string(),
        "distance": pa.float64(),  # NaN where the metric gives no finite number
        "device": pa.string(),
    }
)
EMBEDDINGS = pa.schema(
    {
        "semantics": pa.string(),
        "fingerprint": pa.string(),  # of preprocessing, library and weights
        "image": pa.string(),  # sha256 of the LR pixels
        "dimensions": pa.int32(),
        "device": pa.string(),
    }
)


def distances(workspace: Workspace) -> Manifest:
    """Every distance that was ever measured."""
    key = ["metric", "resize", "fingerprint", "output_a", "output_b"]
    return workspace.manifest("distances", DISTANCES, key)


def embeddings(workspace: Workspace) -> Manifest:
    """Every LR image that was ever embedded."""
    return workspace.manifest("embeddings", EMBEDDINGS, ["semantics", "fingerprint", "image"])


def vectors(workspace: Workspace, fingerprint: str) -> Arrays:
    """The embeddings of one kind, by the sha256 of the LR image."""
    return Arrays(workspace.root / "embeddings" / fingerprint)


def embedded(workspace: Workspace, fingerprint: str) -> set[str]:
    """Which LR images are embedded, and recorded."""
    rows = embeddings(workspace).read()
    return set(rows[rows["fingerprint"] == fingerprint]["image"]) & vectors(workspace, fingerprint).names()


def comparisons(
    workspace: Workspace,
    outputs: pd.DataFrame,
    images: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    *,
    metric: str,
    resize: Resize,
    fingerprint: str,
) -> pd.DataFrame:
    """Every comparison that Eq. (1) can ask for, with its distance where that is known.

    Args:
        workspace: with the distances.
        outputs: columns `image`, `method`, `sha256`.
        images: sha256 of the LR images.
        pairs: of methods.
        metric: its name.
        resize: the policy.
        fingerprint: the metric's.

    Returns:
        A row for each pair of methods and image, in this order, with the columns `output_a`, `output_b` (sha256, the
        smaller one first; missing where there is no output), `distance`, and `known`: whether it was measured.
    """
    table = outputs.pivot_table(index="image", columns="method", values="sha256", aggfunc="first")
    table = table.reindex(index=list(images), columns=sorted({method for pair in pairs for method in pair}))
    one = np.concatenate([table[a].to_numpy(dtype=object) for a, _ in pairs])
    other = np.concatenate([table[b].to_numpy(dtype=object) for _, b in pairs])
    there = ~(pd.isna(one) | pd.isna(other))
    swapped = np.zeros(len(one), dtype=bool)
    swapped[there] = one[there] > other[there]
    frame = pd.DataFrame({"output_a": np.where(swapped, other, one), "output_b": np.where(swapped, one, other)})
    known = distances(workspace).read()
    known = known[(known["metric"] == metric) & (known["resize"] == resize) & (known["fingerprint"] == fingerprint)]
    frame = frame.merge(known[["output_a", "output_b", "distance"]].assign(known=True), how="left")
    equal = there & (one == other)
    frame["known"] = frame["known"].eq(True) | equal
    frame.loc[equal, "distance"] = 0.0
    return frame.assign(there=there)


def distance_rows(
    metric: str,
    resize: Resize,
    fingerprint: str,
    device: str,
    compared: Sequence[tuple[str, str]],
    values: NDArray[np.float64],
) -> list[dict[str, Any]]:
    """Distances as rows of the manifest."""
    facts = {"metric": metric, "resize": resize, "fingerprint": fingerprint, "device": device}
    return [
        facts | {"output_a": a, "output_b": b, "distance": value}
        for (a, b), value in zip(compared, values.tolist(), strict=True)
    ]
