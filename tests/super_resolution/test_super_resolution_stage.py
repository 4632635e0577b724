"""The stage: it makes what is missing, and only that; it verifies, records, reports and resumes."""

import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import numpy as np
import psutil
import pytest

from pipelines import ingest, version, weights
from pipelines import study as studies
from pipelines.errors import DiscernError, WeightsError
from pipelines.study import Study
from pipelines.super_resolution import making, stage
from pipelines.workspace import Workspace
from tests.conftest import SLOW, SLOW_IMAGES, SLOW_SIZE, save, textured, write_network
from tests.killed_runs import journals, start, wait_for_rows

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
    assert "output of 'image_1' is 50x50, expected 128x96" in str(report.problems[0])
    assert "no output for 'image_3'" in str(report.problems[1])
    assert str(tmp_path / "done" / "image_3_x4.png") in str(report.problems[1])
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
    assert "expected 64x48" in str(report.problems[0])


def test_a_dangling_link_among_finished_outputs_is_no_output(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "image_0_x4.png").symlink_to(tmp_path / "nowhere.png")
    report = run(make_study(images=1, extra=FOLDER))[2]
    assert "no output for 'image_0'" in str(report.problems[0])


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
    write_network(tmp_path / "net.pth")
    method = '\n[[methods]]\nid = "net"\nkind = "checkpoint"\nfile = "net.pth"\n'
    path = make_study(replace={"workers = 2": 'device = "warp9"'}, extra=method)
    with pytest.raises(DiscernError, match=r"execution\.device: 'warp9' cannot be used"):
        run(path)


KILLS = 3


@pytest.mark.slow
def test_a_run_killed_again_and_again_repeats_at_most_one_output_for_each_worker(make_study: MakeStudy) -> None:
    path = make_study(images=SLOW_IMAGES, replace=SLOW, size=SLOW_SIZE)
    workspace = Workspace(studies.load(path).workspace)
    recorded: set[tuple[str, str]] = set()
    for kill in range(KILLS):
        old = journals(workspace.root, "outputs")
        process = start(path)
        wait_for_rows(process, workspace.root, "outputs", (3 * SLOW_IMAGES - len(recorded)) // (KILLS - kill + 1), old)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        table = stage.manifest(workspace).read()
        now = set(zip(table["image"], table["method"], strict=True))
        assert recorded < now, "what was recorded stays, and something was added"
        recorded = now
        # Whatever lies there and is recorded is whole; what is not recorded was in the hands of one of two workers.
        assert all(workspace.get_image(sha256).size for sha256 in table["sha256"])
        inputs = set(ingest.manifest(workspace).read()["sha256"])
        assert len(workspace.stored_images() - set(table["sha256"]) - inputs) <= 2
    _, _, report = run(path)
    assert (report.outputs, report.new) == (3 * SLOW_IMAGES, 3 * SLOW_IMAGES - len(recorded))
    assert run(path)[2].new == 0
    assert not list(workspace.root.rglob("*.tmp"))


@pytest.mark.slow
def test_a_killed_run_on_ray_continues_and_leaves_no_process(make_study: MakeStudy) -> None:
    pytest.importorskip("ray", reason="the Ray engine is an optional extra")
    path = make_study(images=SLOW_IMAGES, replace=SLOW, size=SLOW_SIZE)
    workspace = Workspace(studies.load(path).workspace)
    process = start(path, "--engine", "ray")
    wait_for_rows(process, workspace.root, "outputs", 2 * SLOW_IMAGES)
    # Two agents of Ray's dashboard take their time; they know nothing of our work.
    children = [c for c in psutil.Process(process.pid).children(recursive=True) if "Agent" not in c.name()]
    assert any("MapWorker" in child.name() for child in children)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    table = stage.manifest(workspace).read()
    assert len(table) >= 2 * SLOW_IMAGES
    inputs = set(ingest.manifest(workspace).read()["sha256"])
    assert len(workspace.stored_images() - set(table["sha256"]) - inputs) <= 2
    _, _, report = run(path)
    assert (report.outputs, report.new) == (3 * SLOW_IMAGES, 3 * SLOW_IMAGES - len(table))


NETWORK = '\n[[methods]]\nid = "net"\nkind = "checkpoint"\nfile = "net.pth"\ntile = 32\noverlap = 8\n'


@pytest.mark.slow
@pytest.mark.usefixtures("kept_ray")
def test_a_network_gives_the_same_bytes_on_a_ray_cluster(make_study: MakeStudy, tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth")
    path = make_study(images=5, size=(40, 56), extra=NETWORK)
    _, local, _ = run(path)
    path.write_text('workspace = "on_ray"\n' + path.read_text().replace("workers = 2", 'workers = 2\nengine = "ray"'))
    _, remote, report = run(path)
    assert (report.new, report.problems) == (20, ())
    here, there = stage.manifest(local).read(), stage.manifest(remote).read()
    for column in ("image", "method", "fingerprint", "sha256", "tile"):
        assert here[column].equals(there[column]), column
    files = [workspace.image_path(sha256).read_bytes() for workspace in (local, remote) for sha256 in here["sha256"]]
    assert files[:20] == files[20:]


def test_a_network_that_cannot_be_loaded_stops_the_run_before_it_begins(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"nothing")
    path = make_study(images=2, extra=NETWORK)
    with pytest.raises(WeightsError, match=r"net\.pth"):
        run(path)
    assert stage.manifest(Workspace(studies.load(path).workspace)).read().empty


PROGRAM = """
[[methods]]
id = "upstream"
kind = "external"
repository = "upstream"
launcher = ["{python}"]
command = ["enlarge.py", "{lr}", "{out}", "{seed}"]
pattern = "{stem}_out.png"
"""
ENLARGE = """
import pathlib, resource, sys
from PIL import Image

resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    image = Image.open(file)
    if image.getpixel((0, 0)) != (1, 2, 3):
        large = image.resize((image.width * 4, image.height * 4), Image.Resampling.LANCZOS)
        large.save(f"{sys.argv[2]}/{file.stem}_out.part", "png")
for part in pathlib.Path(sys.argv[2]).glob("*.part"):
    part.rename(part.with_suffix(".png"))
"""


@pytest.fixture
def upstream(tmp_path: Path) -> str:
    """A small upstream program, which leaves out images that begin with the colour 1, 2, 3; its block in a study."""
    (tmp_path / "upstream").mkdir()
    (tmp_path / "upstream" / "enlarge.py").write_text(ENLARGE)
    return PROGRAM.replace("{python}", sys.executable)


def test_an_upstream_program_is_a_method_like_any_other(make_study: MakeStudy, tmp_path: Path, upstream: str) -> None:
    odd = textured(9)
    odd[0, 0] = 1, 2, 3
    save(tmp_path / "lr" / "odd.png", odd)
    path = make_study(images=3, extra=upstream, replace={'name = "small"': 'name = "small"\nseed = 7'})
    _, workspace, report = run(path)
    assert (report.outputs, report.new) == (4 * 3 + 3, 4 * 3 + 3)
    (problem,) = report.problems
    assert (problem.image, problem.method) == ("odd", "upstream")
    assert str(problem).startswith("upstream: 'odd': image ")
    assert str(workspace.root / "logs" / "upstream-all.log") in str(problem)
    rows = [row for row in stage.manifest(workspace).rows() if row["method"] == "upstream"]
    assert [(row["seed"], row["device"], row["of"]) for row in rows] == [(7, None, 4)] * 3
    facts = stage.provenance_of(workspace, rows[0])
    assert facts["command"] == ["enlarge.py", "{lr}", "{out}", "{seed}"]
    # Only what is missing is asked for again.
    assert run(path)[2].new == 0
    assert "on 1 of 1 images" in (workspace.root / "logs" / "upstream-all.log").read_text()


def test_what_an_earlier_run_made_shows_that_a_program_works(
    make_study: MakeStudy, tmp_path: Path, upstream: str
) -> None:
    assert not run(make_study(images=1, extra=upstream))[2].problems
    for index in range(6):
        odd = textured(9 + index)
        odd[0, 0] = 1, 2, 3
        save(tmp_path / "lr" / f"odd_{index}.png", odd)
    problems = run(tmp_path / "study.toml")[2].problems
    assert len(problems) == 6
    assert "given up" not in " ".join(map(str, problems))


def test_a_part_waits_until_whoever_works_in_its_folder_lets_go(
    make_study: MakeStudy, tmp_path: Path, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "TURN_SECONDS", 0.01)
    path = make_study(images=2, extra=upstream)
    study = studies.load(path)
    workspace = Workspace(study.workspace)
    ingest.run(study, workspace)
    images = list(ingest.manifest(workspace).read()["sha256"])
    slot = workspace.root / "external" / f"upstream-{stage.fingerprints(study)['upstream'][:12]}" / "part-1"
    slot.parent.mkdir(parents=True)
    other = filelock.FileLock(f"{slot}.lock")
    other.acquire()
    turns = []

    def let_go(task: str, done: int, total: int) -> None:
        if task == "waiting for another run of upstream":
            turns.append(task)
            if len(turns) == 3:
                other.release()

    report = stage.run_part(study, workspace, "upstream", images, let_go, slot="part-1")
    assert (report.new, report.problems, len(turns)) == (2, (), 3)


FULL_DISK = """
import resource, sys
from app.cli import main

# LR images fit, outputs do not; the program that we start lifts the limit for itself.
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
main()
"""


def test_a_disk_that_is_full_stops_the_run_and_loses_nothing(
    make_study: MakeStudy, tmp_path: Path, upstream: str
) -> None:
    path = make_study(images=3, size=(48, 64), extra=upstream)
    study = studies.load(path)
    workspace = Workspace(study.workspace)
    ingest.run(study, workspace)
    for method in ("nearest", "bicubic", "sharp"):
        stage.run_part(study, workspace, method, list(ingest.manifest(workspace).read()["sha256"]))
    arguments = [sys.executable, "-c", FULL_DISK, "run", str(path)]
    full = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert full.returncode == 2
    assert re.fullmatch(
        r"(.*\n)?error: .*/images/.*\.png: cannot be written \(File too large\).*\n", full.stderr, re.DOTALL
    )
    assert "Traceback" not in full.stderr
    # What the program has made lies where it put it, and is taken from there.
    assert len(list(workspace.root.glob("external/upstream-*/all/out/*_out.png"))) == 3
    report = run(path)[2]
    assert (report.outputs, report.new, report.problems) == (12, 3, ())


def test_a_program_that_cannot_run_stops_the_run_before_it_begins(
    make_study: MakeStudy, tmp_path: Path, upstream: str
) -> None:
    path = make_study(images=2, extra=upstream)
    (tmp_path / "upstream" / "enlarge.py").unlink()
    with pytest.raises(DiscernError, match=r"upstream: cannot run: command: .*enlarge\.py"):
        run(path)
    assert stage.manifest(Workspace(studies.load(path).workspace)).read().empty


def test_every_output_tells_how_it_came_about(make_study: MakeStudy, tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth")
    _, workspace, _ = run(make_study(images=1, size=(40, 56), extra=NETWORK))
    rows = {row["method"]: row for row in stage.manifest(workspace).rows()}
    facts = stage.provenance_of(workspace, rows["net"])
    expected = {
        "method": "net",
        "kind": "checkpoint",
        "weights_sha256": weights.sha256_of(tmp_path / "net.pth"),
        "device": "cpu",
        "precision": "float32",
        "tile": 32,
        "overlap": 8,
        "code": version.code_version(),
        "host": platform.node(),
    }
    assert facts.items() >= expected.items()
    assert facts["seconds"] > 0
    assert facts["peak_memory"] > 10_000_000
    plain = stage.provenance_of(workspace, rows["bicubic"])
    assert plain["algorithm"] == "bicubic"
    assert "seed" not in plain


def test_parts_are_done_side_by_side_and_the_run_finds_them_done(make_study: MakeStudy) -> None:
    path = make_study(images=4)
    study = studies.load(path)
    workspace = Workspace(study.workspace)
    ingest.run(study, workspace)
    parts = stage.plan(study, workspace)
    assert [(part.method, part.kind, len(part.images)) for part in parts] == [
        ("nearest", "interpolation", 4),
        ("bicubic", "interpolation", 4),
        ("sharp", "interpolation", 4),
    ]
    with workspace.lock(shared=True), ThreadPoolExecutor(4) as pool:
        halves = [(part.method, half) for part in parts for half in (part.images[:2], part.images[2:])]
        reports = list(pool.map(lambda half: stage.run_part(study, workspace, *half), halves))
    assert [(report.outputs, report.new) for report in reports] == [(2, 2)] * 6
    assert stage.plan(study, workspace) == ()
    with workspace.lock():
        assert stage.run(study, workspace).new == 0
    with pytest.raises(DiscernError, match="'magic': the study has no such method; it has nearest, bicubic, sharp"):
        stage.run_part(study, workspace, "magic", [])
