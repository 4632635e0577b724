"""Missing outputs, split among workers."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admins import splitting
from app.admins.preruns import queue_for
from pipelines.study import Study
from pipelines.super_resolution.stage import Part

IMAGES = [f"{index:064x}" for index in range(10)]


def study(device: str = "cpu", **upstream: Any) -> Study:
    """One method of each kind that matters here."""
    program = {"id": "upstream", "kind": "external", "repository": Path("/opt/upstream"), "command": ["run.py"]}
    methods = [
        {"id": "bicubic", "kind": "interpolation", "algorithm": "bicubic"},
        {"id": "network", "kind": "checkpoint", "file": Path("/opt/weights.pth")},
        {"id": "finished", "kind": "folder", "folder": Path("/opt/finished")},
        program | upstream,
    ]
    description = {"name": "x", "images": {"folder": Path("/lr")}, "methods": methods, "execution": {"device": device}}
    return Study.model_validate(description)


@pytest.mark.parametrize(
    ("device", "queues"),
    [("cpu", ["cpu", "cpu", "cpu", "gpu"]), ("cuda:0", ["cpu", "gpu", "cpu", "gpu"])],
)
def test_programs_and_networks_on_a_gpu_go_to_the_gpu_queue(device: str, queues: list[str]) -> None:
    described = study(device)
    assert [queue_for(method.kind, device) for method in described.methods] == queues


def test_shares_are_cut_at_the_same_places_whatever_is_missing() -> None:
    everything = splitting.shares(study(), IMAGES, [Part("bicubic", "interpolation", tuple(IMAGES))], 4)
    assert [(share.slot, len(share.images)) for share in everything] == [
        ("part-0001", 4),
        ("part-0002", 4),
        ("part-0003", 2),
    ]
    rest = splitting.shares(study(), IMAGES, [Part("bicubic", "interpolation", (IMAGES[9], IMAGES[2], IMAGES[8]))], 4)
    assert [(share.slot, share.images) for share in rest] == [
        ("part-0001", (IMAGES[2],)),
        ("part-0003", (IMAGES[9], IMAGES[8])),
    ]


def test_a_program_whose_results_all_runs_share_is_one_share() -> None:
    """Two runs of it at a time would mix their outputs up."""
    missing = [Part("upstream", "external", tuple(IMAGES))]
    shared = study(results="{repository}/results")
    assert [share.images for share in splitting.shares(shared, IMAGES, missing, 3)] == [tuple(IMAGES)]
    assert len(splitting.shares(study(), IMAGES, missing, 3)) == 4


@given(st.sets(st.sampled_from(IMAGES)), st.integers(1, 12))
def test_every_missing_output_is_in_one_share(missing: set[str], size: int) -> None:
    parts = [Part(method, "any", tuple(sorted(missing))) for method in ("bicubic", "upstream") if missing]
    shares = splitting.shares(study(), IMAGES, parts, size)
    split = sorted((share.method, image) for share in shares for image in share.images)
    assert split == sorted((part.method, image) for part in parts for image in part.images)
    assert all(1 <= len(share.images) <= size for share in shares)
    assert len({(share.method, share.slot) for share in shares}) == len(shares)
