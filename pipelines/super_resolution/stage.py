"""The stage: what is missing, run it, verify it, record it.

Outputs are recorded one by one as they are made, by whoever makes them: a thread here, an actor on a Ray cluster, a
worker on another host. A run that was killed repeats at most what was in each worker's hands.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipelines.errors import DiscernError
from pipelines.problems import Problem
from pipelines.progress import Progress, silent
from pipelines.study import Study
from pipelines.super_resolution import methods, record
from pipelines.super_resolution.external.program import Program
from pipelines.super_resolution.making import Maker
from pipelines.super_resolution.method import Method, fingerprint
from pipelines.super_resolution.record import manifest, provenance_of
from pipelines.workspace import Workspace

__all__ = [
    "Part",
    "Report",
    "conclude",
    "fingerprints",
    "make_methods",
    "manifest",
    "outputs",
    "plan",
    "provenance_of",
    "run",
    "run_part",
]


@dataclass(frozen=True)
class Report:
    """What the stage did: outputs in the study, how many were made in this run, and what was left out."""

    outputs: int
    new: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Part:
    """What is missing of one method.

    Attributes:
        method: its id in the study.
        kind: of method, as in the study file.
        images: sha256 of the LR images.
    """

    method: str
    kind: str
    images: tuple[str, ...]


def make_methods(study: Study) -> dict[str, Method | Program]:
    """The study's methods by id, in study order; no network is loaded yet.

    Raises:
        WeightsError: weights are not there, or not the expected ones.
    """
    return {description.id: methods.make(study, description) for description in study.methods}


def fingerprints(study: Study) -> dict[str, str]:
    """What tells of each method's outputs whether they are up to date.

    Raises:
        WeightsError: weights are not there, or not the expected ones.
    """
    return {name: fingerprint(method) for name, method in make_methods(study).items()}


def plan(study: Study, workspace: Workspace) -> tuple[Part, ...]:
    """What is missing or out of date, method by method; methods with nothing to do are left out.

    Raises:
        WeightsError: weights are not there, or not the expected ones.
    """
    missing = record.missing(workspace, fingerprints(study))
    parts = (
        Part(description.id, description.kind, tuple(item.image for item in missing if item.method == description.id))
        for description in study.methods
    )
    return tuple(part for part in parts if part.images)


def run(study: Study, workspace: Workspace, progress: Progress = silent) -> Report:
    """Make every output that is missing or out of date; nobody else may work in the workspace.

    Raises:
        DiscernError: a method cannot be set up. What goes wrong with one image is reported and the rest goes on.
    """
    started = time.monotonic()
    if manifest(workspace).compact():  # an earlier run did not come to its end
        workspace.sweep()
    maker = Maker(study, workspace, make_methods(study))
    todo = record.missing(workspace, maker.fingerprints)
    problems = maker.make(todo, progress, slot="all")
    return _conclude(study, workspace, maker, problems, new=len(todo) - len(problems), started=started)


def conclude(study: Study, workspace: Workspace, problems: Sequence[Problem]) -> Report:
    """Record what there is now, after parts were done one by one; nothing is made, and nobody else may be at work.

    Args:
        study: as the parts had it.
        workspace: theirs.
        problems: what the parts left out.

    Raises:
        WeightsError: weights are not there, or not the expected ones.
    """
    workspace.sweep()
    maker = Maker(study, workspace, make_methods(study))
    return _conclude(study, workspace, maker, problems, new=0, started=time.monotonic())


def run_part(
    study: Study,
    workspace: Workspace,
    method: str,
    images: Sequence[str],
    progress: Progress = silent,
    *,
    slot: str = "all",
) -> Report:
    """Make what one method misses on some LR images; others may do the rest at the same time, on any host.

    Args:
        study: names the method.
        workspace: locked as shared by the caller.
        method: its id.
        images: sha256 of LR images of the study.
        progress: called after every output.
        slot: names the folder of an external program; the part keeps it when it is resumed.

    Raises:
        DiscernError: the study has no such method, or it cannot be set up.
    """
    described = [description for description in study.methods if description.id == method]
    if not described:
        raise DiscernError(f"{method!r}: the study has no such method; it has {', '.join(study.method_ids)}")
    maker = Maker(study, workspace, {method: methods.make(study, described[0])})
    wanted = set(images)
    todo = [item for item in record.missing(workspace, maker.fingerprints) if item.image in wanted]
    problems = maker.make(todo, progress, slot=slot)
    return Report(len(wanted) - len(problems), len(todo) - len(problems), tuple(problems))


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
    return record.current(workspace, {method: recorded[method]["fingerprint"] for method in study.method_ids})


def _conclude(
    study: Study, workspace: Workspace, maker: Maker, problems: Sequence[Problem], *, new: int, started: float
) -> Report:
    manifest(workspace).compact()
    done = record.current(workspace, maker.fingerprints)
    facts: dict[str, Any] = {
        "methods": {
            name: method.provenance | {"fingerprint": maker.fingerprints[name]}
            for name, method in maker.methods.items()
        },
        "described_as": _descriptions(study),
        "outputs_by_method": dict(Counter(done["method"])),
        "problems": [str(problem) for problem in problems],
    }
    previous = workspace.read_provenance("super_resolution") or {}
    if any(previous.get(key) != value for key, value in facts.items()):
        facts |= {"study_sha256": study.fingerprint, "seconds": round(time.monotonic() - started, 3)}
        workspace.write_provenance("super_resolution", facts)
    return Report(len(done), new, tuple(problems))


def _descriptions(study: Study) -> dict[str, Any]:
    return {method.id: method.model_dump(mode="json") | {"scale": study.scale} for method in study.methods}
