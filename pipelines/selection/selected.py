"""The selected pairs as they lie in a workspace: what a server needs to know of the selection, without its science."""

import pyarrow as pa

from pipelines.workspace import Manifest, Workspace

MAD, RANDOM = "mad", "random"

SCHEMA = pa.schema(
    {
        "group": pa.string(),  # mad: chosen by Eq. (1); random: the control group
        "method_a": pa.string(),
        "method_b": pa.string(),
        "rank": pa.int32(),  # 1 for the first choice of this pair of methods in this group
        "image": pa.string(),
        "stem": pa.string(),
        "output_a": pa.string(),
        "output_b": pa.string(),
        "distance": pa.float64(),  # D1
        "semantics": pa.float64(),  # D2 when it was chosen, against those of the group that were chosen before
        "score": pa.float64(),  # D1 + trade-off x D2
        "rank_by_distance": pa.int32(),  # what D1 alone would have made of it
    }
)


def manifest(workspace: Workspace) -> Manifest:
    """The selected pairs."""
    return workspace.manifest("pairs", SCHEMA, ["group", "method_a", "method_b", "rank"])
