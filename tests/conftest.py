"""What tests share: small images, a small study on disk, and the folder of real inputs where there is one."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from pipelines import executor
from pipelines.images import Pixels
from pipelines.study import Execution

if TYPE_CHECKING:
    from spandrel.architectures.Compact import Compact

# What a script starts in the background ignores Ctrl-C, and so would everything that these tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test fetches weights, not even where the network is there and a developer's shell does not forbid it.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Speed is not what these tests are about. The same examples are tried every time; with HYPOTHESIS_EXPLORE=1, new ones.
settings.register_profile("discern", deadline=None, derandomize="HYPOTHESIS_EXPLORE" not in os.environ)
settings.load_profile("discern")


# Files whose few tests take minutes, by what their path holds: begun first, so that none of them is alone at the end.
LONG = ("test_demo", "admins/test_preruns", "admins/test_calibrations", "browser", "test_ray_engine", "test_serving")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; with `--no-loadscope-reorder`, that is the order in which files are given out."""
    items.sort(key=lambda item: next((place for place, name in enumerate(LONG) if name in str(item.path)), len(LONG)))


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of real inputs; tests that need it are skipped where it is not given."""
    folder = os.environ.get("DISCERN_SAMPLE_DATA")
    if not folder:
        pytest.skip("DISCERN_SAMPLE_DATA is not set: this test needs the folder of real inputs")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def kept_ray() -> Iterator[None]:
    """The tests of a module that use Ray find the one that the first of them has started."""
    pytest.importorskip("ray", reason="the Ray engine is an optional extra")
    with executor.kept(Execution(engine="ray")):
        yield


def textured(seed: int, height: int = 24, width: int = 32) -> Pixels:
    """A small image with edges and texture, different for every seed."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(rows[..., None] * random.uniform(0.1, 0.9, 3) + columns[..., None] * random.uniform(0.1, 0.9, 3))
    return np.clip(128 + 80 * waves + random.normal(0, 15, (height, width, 3)), 0, 255).astype(np.uint8)


def save(path: Path, pixels: Pixels) -> Path:
    """Write an image file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_network(path: Path, upscale: int = 4, channels: int = 3) -> "Compact":
    """Write a checkpoint of a small random network that spandrel recognises; returns the network."""
    import torch
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    network = Compact(num_in_ch=channels, num_out_ch=channels, num_feat=8, num_conv=2, upscale=upscale)
    torch.save({"params": network.state_dict()}, path)
    return network.eval()


# The third method of the study made slow: on 24 images of 200 x 200 it works for some seconds.
SLOW = {'"bicubic_unsharp"': '"bicubic_nonlocal_means"'}
SLOW_IMAGES, SLOW_SIZE = 24, (200, 200)


def wait_until_half_way(process: "subprocess.Popen[str]", workspace: Path) -> None:
    """Wait until a run of the slow study has made and recorded outputs of two methods and begun with the third."""
    deadline = time.monotonic() + 120
    outputs = workspace / "manifests" / "outputs"
    while sum(1 for _ in (workspace / "images").rglob("*.png")) < 3 * SLOW_IMAGES + 2 or not any(
        outputs.glob("*.jsonl")
    ):
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline, "the run made no progress"


STUDY = """
name = "small"

[images]
folder = "lr"

[[methods]]
id = "nearest"
kind = "interpolation"
algorithm = "nearest"

[[methods]]
id = "bicubic"
kind = "interpolation"
algorithm = "bicubic"

[[methods]]
id = "sharp"
kind = "interpolation"
algorithm = "bicubic_unsharp"

[selection]
distance = "gmsd"
semantics = "colour_gradient"
per_pair = 2

[execution]
workers = 2
"""


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Path]:
    """Write a small study with `images` LR images of `size`; `replace` changes the text of its file."""

    def make(
        images: int = 4, replace: dict[str, str] | None = None, extra: str = "", size: tuple[int, int] = (24, 32)
    ) -> Path:
        for index in range(images):
            save(tmp_path / "lr" / f"image_{index}.png", textured(index, *size))
        text = STUDY
        for old, new in (replace or {}).items():
            assert old in text, f"{old!r} is not in the study file"
            text = text.replace(old, new)
        path = tmp_path / "study.toml"
        path.write_text(text + extra)
        return path

    return make
