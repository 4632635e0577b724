"""The stage: what is missing, run it, verify it, record it."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
import torch

from pipelines import executor, ingest
from pipelines import study as studies
from pipelines.errors import DiscernError
from pipelines.progress import Progress, silent
from pipelines.study import Study
from pipelines.super_resolution import checkpoint
from pipelines.super_resolution.external import Folder
from pipelines.super_resolution.interpolation import Interpolation
from pipelines.super_resolution.method import Method, fingerprint
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
    }
)


@dataclass(frozen=True)
class Report:
    """What the stage did: outputs in the study, how many were made in this run, and problems in words."""

    outputs: int
    new: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Item:
    """One output to make."""

    image: str
    stem: str
    method: Method


def manifest(workspace: Workspace) -> Manifest:
    """All outputs that were ever made, those of methods that left the study included."""
    return workspace.manifest("outputs", SCHEMA, ["image", "method"])


def make_methods(study: Study) -> tuple[Method, ...]:
    """Load the study's methods, in study order.

    Raises:
        WeightsError: a checkpoint cannot be used.
        DiscernError: the device does not exist.
    """
    return tuple(_make_method(study, description) for description in study.methods)


def _make_method(study: Study, description: studies.Method) -> Method:
    match description:
        case studies.Interpolation():
            return Interpolation(description.id, description.algorithm, study.scale)
        case studies.Folder():
            return Folder(description.id, description.folder, description.pattern, study.scale)
        case studies.Checkpoint():
            device = _device(study.execution.device)
            return checkpoint.load(
                description.id, description.file, scale=study.scale, device=device, sha256=description.sha256
            )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DiscernError(f"execution.device: {name!r} cannot be used ({reason}); use 'cpu' or 'cuda:0'") from error
    return device


def run(study: Study, workspace: Workspace, progress: Progress = silent) -> Report:
    """Make every output that is missing or out of date.

    Raises:
        DiscernError: a method cannot be set up. What goes wrong with one image is reported and the rest goes on.
    """
    methods = make_methods(study)
    prints = {method.id: fingerprint(method) for method in methods}
    started = time.monotonic()
    todo = _missing(workspace, methods, prints)
    problems = executor.fill(
        manifest(workspace),
        partial(_make_output, workspace, study.scale),
        todo,
        task="super-resolution",
        progress=progress,
        execution=study.execution,
    )
    done = _current(workspace, prints)
    facts: dict[str, Any] = {
        "methods": {method.id: method.provenance | {"fingerprint": prints[method.id]} for method in methods},
        "described_as": _descriptions(study),
        "outputs_by_method": dict(Counter(done["method"])),
        "problems": problems,
    }
    previous = workspace.read_provenance("super_resolution") or {}
    if any(previous.get(key) != value for key, value in facts.items()):
        facts |= {"study_sha256": study.fingerprint, "seconds": round(time.monotonic() - started, 3)}
        workspace.write_provenance("super_resolution", facts)
    return Report(len(done), len(todo) - len(problems), tuple(problems))


def outputs(study: Study, workspace: Workspace) -> pd.DataFrame:
    """The study's outputs as `run` left them: the manifest's columns, and `stem`, `role`, `source` of the LR image.

    Which outputs are up to date stands in the provenance, so that nothing has to be loaded to read them.

    Raises:
        DiscernError: the stage has not run for all methods of this study as it describes them now.
    """
    facts = workspace.read_provenance("super_resolution") or {"methods": {}, "described_as": {}}
    recorded, described = facts["methods"], facts["described_as"]
    missing = [method for method, now in _descriptions(study).items() if described.get(method) != now]
    if missing:
        raise DiscernError(
            f"{workspace.root}: holds no outputs of {', '.join(missing)} as the study describes them; run the study"
        )
    return _current(workspace, {method: recorded[method]["fingerprint"] for method in study.method_ids})


def _descriptions(study: Study) -> dict[str, Any]:
    return {method.id: method.model_dump(mode="json") | {"scale": study.scale} for method in study.methods}


def _current(workspace: Workspace, prints: Mapping[str, str]) -> pd.DataFrame:
    wanted = pd.DataFrame(list(prints.items()), columns=["method", "fingerprint"])
    known = ingest.manifest(workspace).read()[["sha256", "stem", "role", "source"]]
    table = manifest(workspace).read().merge(wanted, on=["method", "fingerprint"])
    table = table.merge(known.rename(columns={"sha256": "image"}), on="image")
    table = table[(table["named"] == "") | (table["named"] == table["stem"])]
    return table[table["sha256"].map(workspace.has_image).astype(bool)]


def _missing(workspace: Workspace, methods: tuple[Method, ...], prints: Mapping[str, str]) -> list[Item]:
    """Method by method, so that one network is at work at a time."""
    done = _current(workspace, prints)
    have = set(zip(done["image"], done["method"], strict=True))
    images = ingest.manifest(workspace).read()
    return [
        Item(image, stem, method)
        for method in methods
        for image, stem in zip(images["sha256"], images["stem"], strict=True)
        if (image, method.id) not in have
    ]


def _make_output(workspace: Workspace, scale: int, item: Item) -> list[dict[str, Any]]:
    low_resolution = workspace.get_image(item.image)
    started = time.perf_counter()
    output = item.method.upscale(item.stem, low_resolution)
    seconds = time.perf_counter() - started
    height, width = output.shape[:2]
    expected = (low_resolution.shape[0] * scale, low_resolution.shape[1] * scale)
    if (height, width) != expected:
        raise DiscernError(
            f"{item.method.id}: output of {item.stem!r} is {width}x{height}, expected {expected[1]}x{expected[0]} "
            f"({scale} times the LR image); left out"
        )
    row = {
        "image": item.image,
        "method": item.method.id,
        "fingerprint": fingerprint(item.method),
        "named": item.stem if item.method.by_stem else "",
        "sha256": workspace.put_image(output),
        "width": width,
        "height": height,
        "seconds": seconds,
    }
    return [row]
