"""A study with an upstream program, its pre-runs, and the workers that do them."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from sqlalchemy import func, select

from app.admins import prerun_steps, preruns
from app.config import Settings
from app.models import Job
from pipelines import images, ingest
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace
from tests.app import processes
from tests.app.admins import stand_in
from tests.app.conftest import Site, wait_for
from tests.app.processes import Process
from tests.conftest import save, textured

IMAGES = 6
PATIENCE = 120

STUDY = """
name = "Pre-run"

[images]
folder = "lr"

[[methods]]
id = "nearest"
kind = "interpolation"
algorithm = "nearest"

[[methods]]
id = "upstream"
kind = "external"
repository = "repository"
launcher = [{python}]
command = ["stand_in.py", "{{lr}}", "{{out}}", {control}]

[[methods]]
id = "bicubic"
kind = "interpolation"
algorithm = "bicubic"

[selection]
distance = "gmsd"
semantics = "colour_gradient"
per_pair = 2

[protocol]
device_check = false
training = 0
warm_up = 0
warm_up_later = 0

[execution]
workers = 2
"""


@dataclass(frozen=True)
class PrerunStudy:
    """A study file on disk; its program makes nothing until it is allowed to."""

    root: Path

    @property
    def file(self) -> Path:
        return self.root / "study.toml"

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def control(self) -> Path:
        return self.root / "control"

    @property
    def stems(self) -> list[str]:
        """What the program calls the LR images, in its order."""
        return sorted(images.pixel_hash(textured(index, 24, 32))[:16] for index in range(IMAGES))

    def allow(self, outputs: int) -> None:
        """Let the program make so many outputs in all."""
        self._set("may", str(outputs))

    def refuse(self, *stems: str) -> None:
        """Let the program be unable to do some images."""
        self._set("refuse", " ".join(stems))

    def outputs(self) -> pd.DataFrame:
        """What is recorded in the workspace."""
        return stage.manifest(Workspace(self.workspace)).read()

    def is_complete(self) -> bool:
        """Whether every output is there, once, with its pixels."""
        workspace = Workspace(self.workspace)
        wanted = {(row["sha256"], method) for row in ingest.manifest(workspace).rows() for method in METHODS}
        found = [(row["image"], row["method"]) for row in stage.manifest(workspace).rows()]
        for row in stage.manifest(workspace).rows():
            workspace.get_image(row["sha256"])
        return len(found) == len(wanted) == IMAGES * len(METHODS) and set(found) == wanted

    def _set(self, name: str, text: str) -> None:
        new = self.control / f"{name}.new"
        new.write_text(text)
        new.replace(self.control / name)


METHODS = ("nearest", "upstream", "bicubic")


@pytest.fixture
def prerun_study(tmp_path: Path) -> PrerunStudy:
    """Six LR images, two interpolations and a program that may make all its outputs."""
    made = PrerunStudy(tmp_path / "prerun")
    for index in range(IMAGES):
        save(made.root / "lr" / f"image_{index}.png", textured(index, 24, 32))
    for folder in ("control", "repository"):
        (made.root / folder).mkdir()
    shutil.copy(stand_in.__file__, made.root / "repository" / "stand_in.py")
    made.file.write_text(STUDY.format(python=repr(sys.executable), control=repr(str(made.control))))
    made.allow(1000)
    made.refuse()
    return made


@pytest.fixture
def admin(site: Site) -> httpx.Client:
    """The browser of an admin."""
    return site.staff("admin")


@contextmanager
def worker(site: Site, *arguments: object, **environment: str) -> Iterator[Process]:
    """`discern worker` for a site."""
    own = {"DATABASE_URL": site.database_url, "DISCERN_HOME": str(site.settings.home)}
    with processes.running("worker", *arguments, **own | environment) as process:
        yield process


def work_off(site: Site, *queues: str, settings: Settings | None = None) -> None:
    """Do all jobs that wait on some queues, one after the other, without workers and their processes.

    Raises:
        DiscernError: a job's; a worker would have written it into the job's row.
    """
    while (begun := _begin_job(site, queues)) is not None:
        prerun_steps.run(site.sessions, settings or site.settings, *begun)
        preruns.follow_up(site.sessions)


def _begin_job(site: Site, queues: tuple[str, ...]) -> tuple[int, int] | None:
    with site.sessions.begin() as db:
        waiting = select(Job).where(Job.status == "queued", Job.queue.in_(queues)).order_by(Job.id).limit(1)
        job = db.scalars(waiting).first()
        if job is None:
            return None
        job.status, job.attempt, job.worker, job.started_at = "running", job.attempt + 1, "this process", func.now()
        return job.id, job.attempt


def start(admin: httpx.Client, study: PrerunStudy, images_per_part: int = IMAGES) -> str:
    """Start a pre-run; its address."""
    answer = admin.post("/api/preruns", json={"study_file": str(study.file), "images_per_part": images_per_part})
    assert answer.status_code == 201, answer.text
    return f"/api/preruns/{answer.json()['id']}"


def reach(admin: httpx.Client, address: str, *statuses: str) -> dict[str, Any]:
    """The pre-run, once it has one of these statuses; it may not end with another one."""

    def look() -> dict[str, Any] | None:
        seen: dict[str, Any] = admin.get(address).json()
        assert seen["status"] in ("queued", "running", *statuses), [part["error"] for part in seen["failed"]]
        return seen if seen["status"] in statuses else None

    found: dict[str, Any] = wait_for(look, seconds=PATIENCE, what=f"status {statuses}")
    return found


def wait_for_outputs(study: PrerunStudy, count: int) -> None:
    """Wait until the program has written so many outputs."""
    wait_for(lambda: len(stand_in.made(study.control)) >= count, seconds=PATIENCE, what=f"{count} outputs")


def wait_until_kept(study: PrerunStudy, method: str, count: int) -> None:
    """Wait until so many outputs of a method are recorded in the workspace."""

    def look() -> bool:
        return study.workspace.is_dir() and int((study.outputs()["method"] == method).sum()) >= count

    wait_for(look, seconds=PATIENCE, what=f"{count} recorded outputs of {method}")
