"""The manifest of outputs: what was made of which LR image by which method, and how each output came about."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from pipelines import ingest, version
from pipelines.super_resolution.method import HasProvenance, Output
from pipelines.workspace import Manifest, Workspace

SCHEMA = pa.schema(
    {
        "image": pa.string(),  # sha256 of the LR pixels
        "method": pa.string(),
        "fingerprint": pa.string(),  # of everything that determines the method's outputs
        "named": pa.string(),  # the stem it was found by; empty for methods that look at pixels alone
        "sha256": pa.string(),  # of the output's pixels
        "width": pa.int32(),
        "height": pa.int32(),
        "seconds": pa.float64(),
        "device": pa.string(),  # where it was computed; null where it was made elsewhere, or by a program that decides
        "precision": pa.string(),  # of a network's computation in this process; parameters say that of a program
        "tile": pa.int32(),  # LR pixels; null where the whole image was done at once
        "seed": pa.int64(),  # that an external program was given
        # Bytes: of the GPU for this image, or of the process until then; null for what a program made before its end.
        "peak_memory": pa.int64(),
        "position": pa.int32(),  # place in the folder that an external program was given, by name, from 1
        "of": pa.int32(),  # images in that folder
        "code": pa.string(),  # version of Discern's
        "host": pa.string(),
    }
)


@dataclass(frozen=True, slots=True)
class Item:
    """One output to make."""

    image: str
    stem: str
    method: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.method}: {self.stem!r}"


def manifest(workspace: Workspace) -> Manifest:
    """All outputs that were ever made, those of methods that left the study included."""
    return workspace.manifest("outputs", SCHEMA, ["image", "method"])


def current(workspace: Workspace, prints: Mapping[str, str]) -> pd.DataFrame:
    """The outputs that are up to date, by the methods' fingerprints, with `stem`, `role`, `source` of the LR image."""
    wanted = pd.DataFrame(list(prints.items()), columns=["method", "fingerprint"])
    known = ingest.manifest(workspace).read()[["sha256", "stem", "role", "source"]]
    table = manifest(workspace).read().merge(wanted, on=["method", "fingerprint"])
    table = table.merge(known.rename(columns={"sha256": "image"}), on="image")
    table = table[(table["named"] == "") | (table["named"] == table["stem"])]
    return table[table["sha256"].isin(workspace.stored_images())]


def missing(workspace: Workspace, prints: Mapping[str, str]) -> list[Item]:
    """What is not up to date, method by method, so that one network is at work at a time."""
    done = current(workspace, prints)
    have = set(zip(done["image"], done["method"], strict=True))
    images = ingest.manifest(workspace).rows()
    return [
        Item(row["sha256"], row["stem"], method, row["width"], row["height"])
        for method in prints
        for row in images
        if (row["sha256"], method) not in have
    ]


def store(
    workspace: Workspace,
    item: Item,
    output: Output,
    print_: str,
    *,
    seconds: float,
    named: str = "",
    seed: int | None = None,
) -> dict[str, Any]:
    """Store an output; returns its row of the manifest.

    Args:
        workspace: where its pixels go.
        item: which output it is.
        output: f(x).
        print_: the method's fingerprint.
        seconds: that it took.
        named: the stem that it was found by.
        seed: that the method was given.

    Raises:
        WorkspaceError: it cannot be written.
    """
    height, width = output.pixels.shape[:2]
    return {
        "image": item.image,
        "method": item.method,
        "fingerprint": print_,
        "named": named,
        "sha256": workspace.put_image(output.pixels),
        "width": width,
        "height": height,
        "seconds": seconds,
        "device": output.device,
        "precision": output.precision,
        "tile": output.tile,
        "seed": seed,
        "peak_memory": output.peak_memory,
        "position": output.position,
        "of": output.of,
        "code": version.code_version(),
        "host": platform.node(),
    }


def keep_facts(workspace: Workspace, print_: str, method: HasProvenance) -> None:
    """Keep what determines a method's outputs under its fingerprint, for as long as the outputs are there."""
    if workspace.read_provenance(_facts_of(print_)) is None:
        workspace.write_provenance(_facts_of(print_), method.provenance)


def provenance_of(workspace: Workspace, output: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is known about how an output came about: its row of the manifest, and its method's facts."""
    facts = workspace.read_provenance(_facts_of(output["fingerprint"])) or {}
    row = {key: value for key, value in output.items() if key in SCHEMA.names and not pd.isna(value)}
    return {**facts, **row}


def _facts_of(print_: str) -> str:
    return f"methods/{print_}"
