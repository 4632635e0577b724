"""The stage: it makes what is missing, and only that; it verifies, records, reports and resumes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines import ingest
from pipelines import study as studies
from pipelines.errors import DiscernError
from pipelines.study import Study
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace
from tests.conftest import SLOW, SLOW_IMAGES, SLOW_SIZE, save, textured, wait_until_half_way

MakeStudy = Callable[..., Path]


def run(path: Path) -> tuple[Study, Workspace, stage.Report]:
    study = studies.load(path)
    workspace = Workspace(study.workspace)
    ingest.run(study, workspace)
    return study, workspace, stage.run(study, workspace)


def test_every_method_gets_every_image_once(make_study: MakeStudy) -> None:
    path = make_study(images=3)
    _, workspace, report = run(path)
    assert (report.outputs, report.new, report.problems) == (9, 9, ())
    table = stage.manifest(workspace).read()
    assert set(table["method"]) == {"nearest", "bicubic", "sharp"}
    assert all(workspace.get_image(sha256).shape == (96, 128, 3) for sha256 in table["sha256"])
    before = {file: file.stat().st_mtime_ns for file in workspace.root.rglob("*.p*") if file.is_file()}
    assert run(path)[2].new == 0
    assert {file: file.stat().st_mtime_ns for file in workspace.root.rglob("*.p*") if file.is_file()} == before


def test_only_what_changed_is_made_again(make_study: MakeStudy) -> None:
    path = make_study(images=3)
    run(path)
    assert run(make_study(images=4))[2].new == 3
    assert run(make_study(images=4, replace={'"bicubic_unsharp"': '"lanczos"'}))[2].new == 4
    save(path.parent / "lr" / "image_0.png", textured(99))
    assert run(path)[2].new == 3


def test_an_output_that_was_deleted_is_made_again(make_study: MakeStudy) -> None:
    path = make_study(images=2)
    _, workspace, _ = run(path)
    sha256 = stage.manifest(workspace).read()["sha256"].iloc[0]
    workspace.image_path(sha256).unlink()
    assert run(path)[2].new == 1
    assert workspace.has_image(sha256)


FOLDER = '\n[[methods]]\nid = "done"\nkind = "folder"\nfolder = "done"\npattern = "{stem}_x4.png"\n'


def test_a_folder_is_matched_by_pattern_and_gaps_are_reported(make_study: MakeStudy, tmp_path: Path) -> None:
    outputs = {index: textured(50 + index, 96, 128) for index in (0, 2)}
    for index, pixels in outputs.items():
        save(tmp_path / "done" / f"image_{index}_x4.png", pixels)
    save(tmp_path / "done" / "image_1_x4.png", textured(1, 50, 50))
    path = make_study(images=4, extra=FOLDER)
    study, workspace, report = run(path)
    assert report.outputs == 4 * 3 + 2
    assert len(report.problems) == 2
    assert "output of 'image_1' is 50x50, expected 128x96" in report.problems[1]
    assert "no output for 'image_3'" in report.problems[0]
    assert str(tmp_path / "done" / "image_3_x4.png") in report.problems[0]
    table = stage.outputs(study, workspace)
    stored = table[(table["method"] == "done") & (table["stem"] == "image_2")]["sha256"].iloc[0]
    np.testing.assert_array_equal(workspace.get_image(stored), outputs[2])
    # An output that arrives later is picked up.
    save(tmp_path / "done" / "image_3_x4.png", textured(53, 96, 128))
    assert run(path)[2].outputs == 4 * 3 + 3


def test_reading_outputs_before_the_stage_has_run_says_so(make_study: MakeStudy) -> None:
    study = studies.load(make_study())
    workspace = Workspace(study.workspace)
    with pytest.raises(DiscernError, match="no outputs of nearest, bicubic, sharp as the study describes them"):
        stage.outputs(study, workspace)


def test_a_renamed_image_gets_the_output_of_its_new_name(make_study: MakeStudy, tmp_path: Path) -> None:
    outputs = [textured(50 + index, 96, 128) for index in range(2)]
    for index, pixels in enumerate(outputs):
        save(tmp_path / "done" / f"image_{index}_x4.png", pixels)
    path = make_study(images=2, extra=FOLDER)
    run(path)
    first, second = tmp_path / "lr" / "image_0.png", tmp_path / "lr" / "image_1.png"
    first.rename(tmp_path / "lr" / "aside.png")
    second.rename(first)
    (tmp_path / "lr" / "aside.png").rename(second)
    study, workspace, report = run(path)
    assert report.new == 2
    table = stage.outputs(study, workspace)
    found = {row["stem"]: row["sha256"] for _, row in table[table["method"] == "done"].iterrows()}
    for index, pixels in enumerate(outputs):
        np.testing.assert_array_equal(workspace.get_image(found[f"image_{index}"]), pixels)


def test_another_scale_makes_finished_outputs_wrong(make_study: MakeStudy, tmp_path: Path) -> None:
    save(tmp_path / "done" / "image_0_x4.png", textured(50, 96, 128))
    path = make_study(images=1, extra=FOLDER)
    assert run(path)[2].problems == ()
    path.write_text("scale = 2\n" + path.read_text())
    report = run(path)[2]
    assert report.outputs == 3
    assert "expected 64x48" in report.problems[0]


def test_a_dangling_link_among_finished_outputs_is_no_output(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "image_0_x4.png").symlink_to(tmp_path / "nowhere.png")
    report = run(make_study(images=1, extra=FOLDER))[2]
    assert "no output for 'image_0'" in report.problems[0]


def test_a_method_that_leaves_the_study_leaves_its_provenance(make_study: MakeStudy) -> None:
    run(make_study(images=2))
    sharp = '[[methods]]\nid = "sharp"\nkind = "interpolation"\nalgorithm = "bicubic_unsharp"\n'
    study, workspace, report = run(make_study(images=2, replace={sharp: ""}))
    assert (report.outputs, report.new) == (4, 0)
    facts = workspace.read_provenance("super_resolution")
    assert facts is not None
    assert set(facts["methods"]) == {"nearest", "bicubic"}
    assert set(stage.outputs(study, workspace)["method"]) == {"nearest", "bicubic"}


def test_provenance_records_methods_and_problems(make_study: MakeStudy) -> None:
    study, workspace, _ = run(make_study(images=2))
    facts = workspace.read_provenance("super_resolution")
    assert facts is not None
    assert facts["study_sha256"] == study.fingerprint
    assert facts["methods"]["sharp"]["algorithm"] == "bicubic_unsharp"
    assert facts["outputs_by_method"] == {"nearest": 2, "bicubic": 2, "sharp": 2}


def test_a_device_that_is_not_there_is_refused(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"")
    method = '\n[[methods]]\nid = "net"\nkind = "checkpoint"\nfile = "net.pth"\n'
    study = studies.load(make_study(replace={"workers = 2": 'device = "warp9"'}, extra=method))
    with pytest.raises(DiscernError, match=r"execution\.device: 'warp9' cannot be used"):
        stage.make_methods(study)


def test_ray_gives_the_same_pixels(make_study: MakeStudy, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the Ray engine is an optional extra")
    _, local, _ = run(make_study(images=3))
    path = make_study(images=3, replace={"workers = 2": 'workers = 2\nengine = "ray"'})
    path.write_text('workspace = "on_ray"\n' + path.read_text())
    _, remote, report = run(path)
    assert report.new == 9
    columns = ["image", "method", "sha256"]
    assert stage.manifest(remote).read()[columns].equals(stage.manifest(local).read()[columns])


def test_a_killed_run_continues(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=SLOW_IMAGES, replace=SLOW, size=SLOW_SIZE)
    arguments = [sys.executable, "-c", "from app.cli import main; main()", "run", str(path)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    wait_until_half_way(process, tmp_path / "workspace")
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    _, workspace, report = run(path)
    assert report.outputs == 3 * SLOW_IMAGES
    assert 0 < report.new < 3 * SLOW_IMAGES
    assert all(workspace.get_image(sha256).size for sha256 in stage.manifest(workspace).read()["sha256"])
    assert run(path)[2].new == 0
    assert not [file for file in workspace.root.rglob(".*.tmp") if file.parent.name == "outputs"]
