"""The stage: distances once, picks as Eq. (1) has them from the stored values, gaps left out and reported."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipelines import ingest
from pipelines import study as studies
from pipelines.errors import DiscernError, WeightsError
from pipelines.selection import distances, mad, selected, semantics, stage
from pipelines.study import Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace
from tests.conftest import save, textured

MakeStudy = Callable[..., Path]


def run(path: Path) -> tuple[Study, Workspace, stage.Report]:
    study = studies.load(path)
    workspace = Workspace(study.workspace)
    ingest.run(study, workspace)
    super_resolution.run(study, workspace)
    return study, workspace, stage.run(study, workspace)


def test_the_picks_follow_from_the_pixels(make_study: MakeStudy) -> None:
    study, workspace, report = run(make_study(images=6))
    table = selected.manifest(workspace).read()
    assert (report.pairs, report.new, report.problems) == (6, True, ())
    outputs = super_resolution.outputs(study, workspace)
    sha = {(row["stem"], row["method"]): row["sha256"] for _, row in outputs.iterrows()}
    images = ingest.manifest(workspace).read()
    stems = list(images["stem"])
    embeddings = np.stack([semantics.colour_gradient(workspace.get_image(s)) for s in images["sha256"]])
    for a, b in combinations(study.method_ids, 2):
        outputs_of = [[workspace.get_image(sha[stem, method]) for method in (a, b)] for stem in stems]
        d1 = np.array([distances.get("gmsd").pairwise(pair)[0, 1] for pair in outputs_of])
        expected = mad.select(d1, embeddings, per_pair=2, trade_off=0.1)
        rows = table[(table["method_a"] == a) & (table["method_b"] == b)].sort_values("rank")
        assert [stems[index] for index in expected] == list(rows["stem"])
        np.testing.assert_allclose(rows["distance"], d1[expected], rtol=1e-6)
        np.testing.assert_allclose(rows["score"], rows["distance"] + 0.1 * rows["semantics"])
        assert list(rows["output_a"]) == [sha[stem, a] for stem in rows["stem"]]
        by_distance = sorted(range(6), key=lambda i: -d1[i])
        assert [by_distance.index(index) + 1 for index in expected] == list(rows["rank_by_distance"])


def test_a_second_run_does_nothing_and_a_changed_setting_selects_again(make_study: MakeStudy) -> None:
    path = make_study(images=5)
    _, workspace, first = run(path)
    files = {file: file.stat().st_mtime_ns for file in workspace.root.rglob("*.parquet")}
    _, _, second = run(path)
    assert (first.new, second.new) == (True, False)
    assert {file: file.stat().st_mtime_ns for file in workspace.root.rglob("*.parquet")} == files
    _, _, third = run(make_study(images=5, replace={"per_pair = 2": "per_pair = 3"}))
    assert (third.new, third.pairs) == (True, 9)


def test_renamed_images_are_selected_under_their_new_names(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=3)
    run(path)
    for index in range(3):
        (tmp_path / "lr" / f"image_{index}.png").rename(tmp_path / "lr" / f"new_{index}.png")
    _, workspace, report = run(path)
    assert report.new
    assert set(selected.manifest(workspace).read()["stem"]) <= {"new_0", "new_1", "new_2"}


def test_an_output_that_was_damaged_and_made_again_is_selected_again(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=4)
    _, whole, _ = run(path)
    expected = selected.manifest(whole).read()
    for kept in ("distances", "pairs"):
        for part in (whole.root / "manifests" / kept).iterdir():
            part.unlink()
    outputs = super_resolution.manifest(whole).read()
    damaged = whole.image_path(outputs["sha256"].iloc[0])
    damaged.write_bytes(damaged.read_bytes()[:60])
    _, _, poorer = run(path)
    assert len(poorer.problems) == 1
    damaged.unlink()
    _, _, mended = run(path)
    assert mended.new
    assert selected.manifest(whole).read().equals(expected)


def test_an_image_without_all_outputs_is_left_out_for_that_method_only(make_study: MakeStudy, tmp_path: Path) -> None:
    for index in (0, 1, 2):
        save(tmp_path / "done" / f"image_{index}.png", textured(50 + index, 96, 128))
    method = '\n[[methods]]\nid = "done"\nkind = "folder"\nfolder = "done"\n'
    _, workspace, _ = run(make_study(images=4, replace={"per_pair = 2": "per_pair = 3"}, extra=method))
    table = selected.manifest(workspace).read()
    with_done = table[(table["method_a"] == "done") | (table["method_b"] == "done")]
    assert set(with_done["stem"]) == {"image_0", "image_1", "image_2"}
    assert "image_3" in set(table[(table["method_a"] != "done") & (table["method_b"] != "done")]["stem"])


def test_unlabelled_images_are_never_selected(make_study: MakeStudy, tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "more" / f"more_{index}.png", textured(80 + index))
    path = make_study(images=3, replace={'folder = "lr"': 'folder = "lr"\nunlabelled = "more"'})
    _, workspace, _ = run(path)
    assert set(selected.manifest(workspace).read()["stem"]) <= {"image_0", "image_1", "image_2"}


def test_fewer_images_than_k_is_one_clear_error(make_study: MakeStudy) -> None:
    path = make_study(images=2, replace={"per_pair = 2": "per_pair = 5"})
    with pytest.raises(DiscernError, match=r"per_pair: 5 images are asked for, but only 2 have usable outputs"):
        run(path)


def test_equal_outputs_of_two_methods_have_distance_zero(make_study: MakeStudy) -> None:
    _, workspace, _ = run(make_study(images=3, replace={'"bicubic_unsharp"': '"bicubic"'}))
    table = selected.manifest(workspace).read()
    same = table[(table["method_a"] == "bicubic") & (table["method_b"] == "sharp")]
    np.testing.assert_array_equal(same["distance"], 0)


def test_images_too_small_for_the_distance_are_reported(make_study: MakeStudy) -> None:
    path = make_study(images=3, replace={'"gmsd"': '"ms_ssim"'})
    with pytest.raises(DiscernError, match="only 0 have usable outputs"):
        run(path)


def test_a_distance_that_cannot_be_had_fails_before_any_work(make_study: MakeStudy) -> None:
    study = studies.load(make_study(replace={'distance = "gmsd"': 'distance = "dists"'}))
    with pytest.raises(WeightsError, match=r"selection\.distance: 'dists'"):
        stage.check(study)
