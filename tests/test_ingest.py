"""Ingest: every usable image is in the study once, everything else is reported, sources are kept apart."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import images, ingest
from pipelines import study as studies
from pipelines.errors import DiscernError
from pipelines.workspace import Workspace
from tests.conftest import save, textured
from tests.killed_runs import start, wait_for_rows

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
    text = "\n".join(map(str, report.problems))
    assert "broken.png: not a PNG, JPEG" in text
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
    assert any("castle_2.png: shares its source 'castle'" in str(problem) for problem in report.problems)
    assert any("copied.png: has the same pixels as" in str(problem) for problem in report.problems)


def test_a_study_without_images_says_where_to_put_them(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "lr").mkdir()
    path = make_study(images=0)
    with pytest.raises(DiscernError, match=r"lr: holds no usable image; put LR images there"):
        run(path)


NOT_UTF8 = os.fsdecode(b"caf\xe9")


def test_a_name_that_is_not_utf8_is_left_out_and_shown_escaped(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=2)
    save(tmp_path / "lr" / "good.png", textured(5)).rename(tmp_path / "lr" / f"{NOT_UTF8}.png")
    save(tmp_path / "lr" / NOT_UTF8 / "inside.png", textured(6))
    _, report = run(path)
    assert report.images == 2
    outside, inside = sorted(report.problems, key=lambda problem: len(problem.image))
    assert outside.image == str(tmp_path / "lr" / r"caf\udce9.png")
    assert outside.reason == f"{outside.image}: its path is not UTF-8; left out, rename it"
    assert inside.image == str(tmp_path / "lr" / r"caf\udce9" / "inside.png")
    assert run(path)[1].new == 0


def test_a_control_character_in_a_name_is_left_out_and_shown_escaped(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=2)
    save(tmp_path / "lr" / "a\x01b.png", textured(5))
    save(tmp_path / "lr" / "two\nlines" / "inside.png", textured(6))
    _, report = run(path)
    assert report.images == 2
    reasons = sorted(str(problem) for problem in report.problems)
    assert reasons == [
        rf"'{tmp_path}/lr/a\x01b.png': a control character in its path; left out, rename it",
        rf"'{tmp_path}/lr/two\nlines/inside.png': a control character in its path; left out, rename it",
    ]


def test_a_study_of_nothing_but_names_that_are_not_utf8_says_so(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=1)
    (tmp_path / "lr" / "image_0.png").rename(tmp_path / "lr" / f"{NOT_UTF8}.png")
    with pytest.raises(DiscernError, match=r"caf\\udce9\.png: its path is not UTF-8") as caught:
        run(path)
    assert str(caught.value).encode()


def test_a_file_that_vanishes_is_a_problem_of_its_own(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_study(images=3)
    run(path)
    listed = images.find(tmp_path / "lr")
    monkeypatch.setattr(images, "find", lambda _: listed)
    listed[0].unlink()
    decode = images.decode
    save(listed[1], textured(9))

    def decode_and_remove(file: Path) -> images.DecodedImage:
        decoded = decode(file)
        file.unlink()
        return decoded

    monkeypatch.setattr(images, "decode", decode_and_remove)
    _, report = run(path)
    assert [(problem.image, problem.reason) for problem in report.problems] == [
        (str(listed[0]), f"{listed[0]}: no such file")
    ]
    assert (report.images, report.new) == (2, 1)


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_study(images=2)
    file, decode = tmp_path / "lr" / "image_1.png", images.decode

    def decode_and_replace(path: Path) -> images.DecodedImage:
        decoded = decode(path)
        if path == file:
            save(file, textured(9))
            os.utime(file, ns=(0, 1))
        return decoded

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(images, "decode", decode_and_replace)
        run(path)
    workspace, report = run(path)
    assert report.new == 1
    assert ingest.manifest(workspace).rows()[1]["sha256"] == images.pixel_hash(textured(9))


def test_a_file_that_appears_while_it_is_read_is_left_to_the_next_run(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_study(images=2)
    file, decode = tmp_path / "lr" / "image_1.png", images.decode
    file.rename(tmp_path / "aside.png")
    file.symlink_to(tmp_path / "late.png")

    def appear_and_decode(path: Path) -> images.DecodedImage:
        if path == file:
            (tmp_path / "aside.png").rename(tmp_path / "late.png")
        return decode(path)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(images, "decode", appear_and_decode)
        (problem,) = run(path)[1].problems
    assert problem.reason == f"{file}: appeared while it was being read; run the study again"
    assert run(path)[1].images == 2


def test_a_killed_run_reads_at_most_one_file_for_each_worker_again(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_study(images=160, size=(256, 256))
    workspace = Workspace(studies.load(path).workspace)
    process = start(path)
    wait_for_rows(process, workspace.root, "files", 20)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    recorded = workspace.manifest("files", ingest.FILES, ["file"]).read()
    assert 20 <= len(recorded) < 160
    assert ingest.manifest(workspace).read().empty, "a study of a part of its images is no study"
    # Whatever is recorded is whole; what is not recorded was in the hands of one of two workers.
    assert all(workspace.get_image(sha256).size for sha256 in recorded["sha256"])
    assert len(workspace.stored_images()) - len(recorded) <= 2
    (workspace.root / "images" / "00").mkdir(exist_ok=True)
    (workspace.root / "images" / "00" / ".writing-0123.tmp").write_bytes(b"half")
    decode, read = images.decode, []
    monkeypatch.setattr(images, "decode", lambda file: read.append(str(file)) or decode(file))
    _, report = run(path)
    assert (report.images, report.new, report.problems) == (160, 160 - len(recorded), ())
    assert len(read) == 160 - len(recorded)
    assert not set(read) & set(recorded["file"])
    assert not list(workspace.root.rglob("*.tmp"))


def test_a_copy_is_reported_in_every_run_and_read_once(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=2)
    save(tmp_path / "lr" / "copy.png", textured(0))
    assert len(run(path)[1].problems) == 1
    workspace, report = run(path)
    assert (report.images, report.new, len(report.problems)) == (2, 0, 1)
    # It takes the place of its original.
    (tmp_path / "lr" / "image_0.png").unlink()
    (tmp_path / "lr" / "copy.png").rename(tmp_path / "lr" / "zebra.png")
    workspace, report = run(path)
    assert (report.images, report.problems) == (2, ())
    assert list(ingest.manifest(workspace).read()["stem"]) == ["image_1", "zebra"]
    assert set(workspace.manifest("files", ingest.FILES, ["file"]).read()["file"]) == {
        str(tmp_path / "lr" / name) for name in ("image_1.png", "zebra.png")
    }


def test_a_file_that_was_good_and_is_damaged_leaves_the_study(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=3)
    run(path)
    (tmp_path / "lr" / "image_1.png").write_text("nothing")
    for _ in range(2):
        workspace, report = run(path)
        assert (report.images, len(report.problems)) == (2, 1)
        assert list(ingest.manifest(workspace).read()["stem"]) == ["image_0", "image_2"]
