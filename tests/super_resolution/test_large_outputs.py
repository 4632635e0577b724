"""An LR image may be as large as the limit allows; its outputs, whose size is known, are larger than that."""

from pathlib import Path

import numpy as np
import pytest

from pipelines import images
from pipelines.images import ImageError
from pipelines.super_resolution.external.harvest import Harvest
from pipelines.super_resolution.external.staging import Call, LowResolution
from pipelines.super_resolution.folder import Folder
from pipelines.workspace import Workspace
from tests.conftest import save, textured
from tests.super_resolution.conftest import Site

LOW, HIGH = textured(0, 6, 8), textured(1, 24, 32)


@pytest.fixture(autouse=True)
def _limit_of_lr_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 6 * 8)


def test_a_finished_output_of_the_right_size_is_read(tmp_path: Path) -> None:
    method = Folder("done", tmp_path, "{stem}.png", 4)
    save(tmp_path / "a.png", HIGH)
    np.testing.assert_array_equal(method.upscale("a", LOW).pixels, HIGH)
    save(tmp_path / "a.png", textured(1, 25, 32))
    with pytest.raises(ImageError, match="32x25 exceeds the limit"):
        method.upscale("a", LOW)


def test_a_programs_output_of_the_right_size_is_collected(site: Site, tmp_path: Path) -> None:
    save(tmp_path / "out" / "a.png", HIGH)
    save(tmp_path / "out" / "b.png", textured(1, 25, 32))
    waiting = {stem: LowResolution(stem, tmp_path, 8, 6) for stem in ("a", "b")}
    harvest = Harvest(site.program(), tmp_path / "out", Call(("a", "b"), waiting, 0.0))
    harvest.look()
    assert [made.image for made in harvest.take(ended=True)] == ["a"]
    (failed,) = harvest.failures()
    assert "32x25 exceeds the limit" in str(failed.problem)


def test_a_stored_output_is_read_back(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    np.testing.assert_array_equal(workspace.get_image(workspace.put_image(HIGH)), HIGH)
