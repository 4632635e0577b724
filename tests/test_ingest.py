"""Ingest: every usable image is in the study once, everything else is reported, sources are kept apart."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import ingest
from pipelines import study as studies
from pipelines.errors import DiscernError
from pipelines.workspace import Workspace
from tests.conftest import save, textured

MakeStudy = Callable[..., Path]


def run(path: Path) -> tuple[Workspace, ingest.Report]:
    study = studies.load(path)
    workspace = Workspace(study.workspace)
    return workspace, ingest.run(study, workspace)


def test_images_are_read_once(make_study: MakeStudy) -> None:
    path = make_study(images=3)
    workspace, report = run(path)
    assert (report.images, report.new, report.problems) == (3, 3, ())
    table = ingest.manifest(workspace).read()
    assert list(table["stem"]) == ["image_0", "image_1", "image_2"]
    assert set(table["role"]) == {"candidate"}
    assert list(zip(table["width"], table["height"], strict=True)) == [(32, 24)] * 3
    assert run(path)[1].new == 0
    save(path.parent / "lr" / "image_1.png", textured(9))
    workspace, report = run(path)
    assert report.new == 1
    assert workspace.has_image(ingest.manifest(workspace).read()["sha256"].iloc[1])


def test_bad_files_are_reported_and_the_rest_goes_on(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=2)
    (tmp_path / "lr" / "broken.png").write_text("nothing")
    save(tmp_path / "lr" / "copy.png", textured(0))
    save(tmp_path / "lr" / "more" / "twin.png", textured(7))
    save(tmp_path / "lr" / "twin.bmp", textured(8))
    _, report = run(path)
    assert report.images == 2
    text = "\n".join(report.problems)
    assert "broken.png: not an image" in text
    assert f"image_0.png: has the same pixels as {tmp_path / 'lr' / 'copy.png'}" in text
    assert text.count("another file is called 'twin' too") == 2
    assert len(report.problems) == 4


def test_an_image_that_was_removed_leaves_the_study(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=3)
    run(path)
    (tmp_path / "lr" / "image_2.png").unlink()
    workspace, report = run(path)
    assert report.images == 2
    assert list(ingest.manifest(workspace).read()["stem"]) == ["image_0", "image_1"]


def test_subfolders_are_sources_and_voted_sources_are_not_learned_from(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=1, replace={'folder = "lr"': 'folder = "lr"\nunlabelled = "more"'})
    save(tmp_path / "lr" / "castle" / "castle_1.png", textured(1))
    save(tmp_path / "more" / "castle" / "castle_2.png", textured(2))
    save(tmp_path / "more" / "river" / "river_1.png", textured(3))
    save(tmp_path / "more" / "copied.png", textured(0))
    workspace, report = run(path)
    table = ingest.manifest(workspace).read()
    assert dict(zip(table["stem"], table["source"], strict=True)) == {
        "image_0": "image_0",
        "castle_1": "castle",
        "river_1": "river",
    }
    assert dict(zip(table["stem"], table["role"], strict=True))["river_1"] == "unlabelled"
    assert any("castle_2.png: shares its source 'castle'" in problem for problem in report.problems)
    assert any("copied.png: has the same pixels as" in problem for problem in report.problems)


def test_a_study_without_images_says_where_to_put_them(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "lr").mkdir()
    path = make_study(images=0)
    with pytest.raises(DiscernError, match=r"lr: holds no usable image; put LR images there"):
        run(path)
