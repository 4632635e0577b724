"""What tests of the room share: one thread, and an upstream repository with an environment of its own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines import images
from pipelines.super_resolution.external import runner
from pipelines.super_resolution.external.program import Program
from pipelines.super_resolution.external.runner import Failed, LowResolution, Made
from tests.conftest import save, textured
from tests.super_resolution import upstream

SCALE = 4


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment without any package."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


@dataclass(frozen=True)
class Site:
    """The stand-in's repository, and the folders of a run."""

    root: Path
    environment: Path
    work_name: str = "work"

    @property
    def repository(self) -> Path:
        return self.root / "Upstream-SR"

    @property
    def work(self) -> Path:
        return self.root / self.work_name

    @property
    def log(self) -> Path:
        return self.root / "logs" / "upstream.log"

    def program(self, *options: object, **changes: Any) -> Program:
        """The stand-in, with options for its command and changes to its description."""
        command = ("inference.py", "--input", "{lr}", "--scale", "{scale}", "--events", str(self.root / "events"))
        output = () if "--output" in options else ("--output", "{out}")
        description: dict[str, Any] = {
            "id": "upstream",
            "repository": self.repository,
            "launcher": (str(self.environment / "bin" / "python"),),
            "command": (*command, *output, *map(str, options)),
            "parameters": {},
            "config": None,
            "results": "{out}",
            "pattern": "{stem}.png",
            "variables": {},
            "weights": (),
            "seconds_per_image": 60.0,
            "startup_seconds": 60.0,
            "one_image_per_call": False,
            "scale": SCALE,
            "seed": 7,
        }
        return Program(**description | changes)

    def images(self, count: int, *, first: int = 0) -> list[LowResolution]:
        """LR images of different sizes, in the order of their hashes, which is that of a call."""
        made = []
        for index in range(first, first + count):
            pixels = textured(index, 12 + index, 16)
            path = save(self.root / "lr" / f"photo {index}'s $(copy).png", pixels)
            made.append(LowResolution(images.pixel_hash(pixels), path, pixels.shape[1], pixels.shape[0]))
        return sorted(made, key=lambda one: one.image)

    def run(
        self,
        program: Program,
        low: list[LowResolution],
        gpu: str | None = None,
        known: LowResolution | None = None,
    ) -> list[Made | Failed]:
        """All outcomes; there is one for each image."""
        outcomes = list(runner.run(program, low, self.work, gpu=gpu, log=self.log, known=known))
        assert sorted(outcome.image for outcome in outcomes) == sorted(one.image for one in low)
        return outcomes

    @property
    def events(self) -> list[dict[str, Any]]:
        """What the stand-in has recorded."""
        path = self.root / "events"
        complete = path.read_text().rpartition("\n")[0] if path.exists() else ""
        return [json.loads(line) for line in complete.splitlines()]

    @property
    def calls(self) -> list[list[str]]:
        """Which images it was given, call by call."""
        return [event["seen"] for event in self.events if "seen" in event]


@pytest.fixture
def site(tmp_path: Path, environment: Path) -> Site:
    """A site with the stand-in and no images."""
    made = Site(tmp_path, environment)
    made.repository.mkdir()
    shutil.copyfile(upstream.__file__, made.repository / "inference.py")
    return made


def makes(outcomes: Iterable[Made | Failed]) -> dict[str, Made]:
    """The outputs by image."""
    return {outcome.image: outcome for outcome in outcomes if isinstance(outcome, Made)}


def problems(outcomes: Iterable[Made | Failed]) -> dict[str, str]:
    """The problems by image."""
    return {outcome.image: str(outcome.problem) for outcome in outcomes if isinstance(outcome, Failed)}


def assert_right(made: Made, low: LowResolution, noise: int = 0) -> None:
    """The output is the stand-in's for this image."""
    expected = np.full((low.height * SCALE, low.width * SCALE, 3), upstream.colour_of(low.path.read_bytes(), noise))
    np.testing.assert_array_equal(made.pixels, expected)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors only lose by threads, above all where several tests run at a time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
