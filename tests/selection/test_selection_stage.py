"""The stage: distances once, picks as Eq. (1) has them from the stored values, gaps left out and reported."""

import shutil
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chi2

from pipelines import images, ingest, pretrained, weights
from pipelines import study as studies
from pipelines.errors import DiscernError, WeightsError
from pipelines.progress import silent
from pipelines.selection import distances, mad, record, selected, semantics, stage
from pipelines.selection.choices import Candidates, choose
from pipelines.selection.dists.metric import Dists
from pipelines.study import Selection, Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace, WorkspaceError
from tests.conftest import save, textured

MakeStudy = Callable[..., Path]
NOTHING = pd.DataFrame(columns=selected.SCHEMA.names)


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


def test_a_distance_that_cannot_be_had_fails_before_any_work(make_study: MakeStudy, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    study = studies.load(make_study(replace={'distance = "gmsd"': 'distance = "dists"'}))
    with pytest.raises(WeightsError, match=r"weights\.vgg16: vgg16-397923af\.pth is not in the cache.*put it at"):
        stage.check(study)


def test_what_is_known_is_not_measured_again(make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_study(images=4)
    _, workspace, _ = run(path)
    measured = record.distances(workspace).read()
    assert (len(measured), set(measured["metric"]), set(measured["resize"])) == (4 * 3, {"gmsd"}, {"native"})
    save(path.parent / "lr" / "image_4.png", textured(4))
    (path.parent / "lr" / "image_0.png").rename(path.parent / "lr" / "another_name.png")
    told = []
    study = studies.load(path)
    ingest.run(study, workspace)
    super_resolution.run(study, workspace)
    stage.run(study, workspace, lambda task, done, total: told.append((task, total)))
    assert ("distances D1", 1) in told
    assert ("embeddings D2", 1) in told
    assert len(record.distances(workspace).read()) == 5 * 3


def test_a_damaged_embedding_is_named_and_made_again_when_it_is_gone(make_study: MakeStudy) -> None:
    path = make_study(images=4)
    _, workspace, _ = run(path)
    before = selected.manifest(workspace).read()
    embedding = semantics.get("colour_gradient")
    stored = record.vectors(workspace, embedding.fingerprint)
    name = sorted(stored.names())[0]
    stored.path(name).write_bytes(b"not an array")
    changed = make_study(images=4, replace={"per_pair = 2": "per_pair = 1"})
    with pytest.raises(WorkspaceError, match=f"{name}.npy: damaged"):
        run(changed)
    stored.path(name).unlink()
    run(changed)
    run(make_study(images=4))
    assert selected.manifest(workspace).read().equals(before)


def test_another_resize_policy_is_another_distance(make_study: MakeStudy) -> None:
    small = make_study(images=3, size=(80, 90))
    _, workspace, _ = run(small)
    policy = {'distance = "gmsd"': 'distance = "gmsd"\nresize = "short_side_256"'}
    _, _, report = run(make_study(images=3, size=(80, 90), replace=policy))
    assert report.new
    table = record.distances(workspace).read()
    assert table.groupby("resize").size().to_dict() == {"native": 9, "short_side_256": 9}
    row = table[table["resize"] == "short_side_256"].iloc[0]
    small_outputs = [images.resize_short_side(workspace.get_image(row[side]), 256) for side in ("output_a", "output_b")]
    assert small_outputs[0].shape[:2] == (256, 288)
    assert row["distance"] == pytest.approx(distances.get("gmsd").pairwise(small_outputs)[0, 1], rel=1e-6)


class TestControlGroup:
    CONTROL: ClassVar = {"per_pair = 2": "per_pair = 2\nrandom_per_pair = 3"}

    def test_it_is_drawn_from_what_eq_1_has_not_chosen(self, make_study: MakeStudy) -> None:
        study, workspace, report = run(make_study(images=8, replace=self.CONTROL))
        table = selected.manifest(workspace).read()
        assert report.by_group == {"mad": 6, "random": 9}
        for pair in study.method_pairs:
            rows = table[(table["method_a"] == pair[0]) & (table["method_b"] == pair[1])]
            assert rows["image"].is_unique
            drawn = rows[rows["group"] == "random"]
            assert list(drawn["rank"]) == [1, 2, 3]
            assert drawn["rank_by_distance"].between(1, 8).all()
            assert (drawn["distance"] > 0).all()
            assert list(drawn["semantics"] > 0) == [False, True, True]

    def test_it_does_not_depend_on_other_methods_or_images_but_on_the_seed(self, make_study: MakeStudy) -> None:
        def drawn(**changes: str) -> set[tuple[str, str, str]]:
            _, workspace, _ = run(make_study(images=8, replace=self.CONTROL | changes))
            table = selected.manifest(workspace).read()
            table = table[table["group"] == "random"]
            return set(zip(table["method_a"], table["method_b"], table["stem"], strict=True))

        first = drawn()
        assert {row for row in drawn(**{'"bicubic_unsharp"': '"lanczos"'}) if "sharp" not in row} == {
            row for row in first if "sharp" not in row
        }
        assert drawn(**{'name = "small"': 'name = "small"\nseed = 1'}) != first

    def test_every_image_is_drawn_about_as_often(self) -> None:
        candidates = Candidates(
            [(f"{index}", f"{index}") for index in range(10)],
            [(f"a{pair}", "b") for pair in range(400)],
            {(f"{index}", method): "" for index in range(10) for method in ["b", *(f"a{pair}" for pair in range(400))]},
            np.tile(np.arange(10.0), (400, 1)),
        )
        settings = Selection(per_pair=1, random_per_pair=2, trade_off=0)
        rows = choose(candidates, np.eye(10, dtype=np.float32), settings, seed=0, kept=NOTHING, progress=silent).rows
        counts = Counter(row["stem"] for row in rows if row["group"] == "random")
        assert counts["9"] == 0  # the largest distance is always chosen by Eq. (1)
        expected = 400 * 2 / 9
        assert sum((counts[str(index)] - expected) ** 2 / expected for index in range(9)) < chi2.ppf(0.999, 8)

    def test_too_few_images_for_both_groups_are_refused(self, make_study: MakeStudy) -> None:
        with pytest.raises(DiscernError, match=r"2 images, and 3 more at random, are asked for, but only 4"):
            run(make_study(images=4, replace=self.CONTROL))


LATER = """
[[methods]]
id = "later"
kind = "interpolation"
algorithm = "lanczos"
"""
ANCHORS = {"per_pair = 2": 'per_pair = 2\nanchors = {later = ["nearest", "sharp"]}'}


class TestAMethodThatCameLater:
    def test_only_its_outputs_distances_and_pairs_are_made(self, make_study: MakeStudy) -> None:
        _, workspace, _ = run(make_study(images=6))
        before, measured = selected.manifest(workspace).read(), record.distances(workspace).read()
        # An image more, and other pixels of one: Eq. (1) would choose otherwise now.
        study, _, report = run(make_study(images=7, replace=ANCHORS, extra=LATER))
        after = selected.manifest(workspace).read()
        added = after[after["method_b"] == "later"]
        assert after[after["method_b"] != "later"].reset_index(drop=True).equals(before)
        assert Counter(added["method_a"]) == {"nearest": 2, "sharp": 2}
        assert (report.new, report.pairs) == (True, 10)
        now = record.distances(workspace).read()
        outputs = super_resolution.outputs(study, workspace)
        made = set(outputs[outputs["method"] == "later"]["sha256"])
        fresh = now[~now["output_a"].isin(measured["output_a"]) | ~now["output_b"].isin(measured["output_b"])]
        old_images = len(fresh[fresh["output_a"].isin(made) ^ fresh["output_b"].isin(made)])
        assert (old_images, len(now) - len(measured)) == (7 * 2, 7 * 2 + 3)
        assert not stage.run(study, workspace).new

    def test_its_picks_are_those_of_a_study_that_had_it_from_the_start(self, make_study: MakeStudy) -> None:
        run(make_study(images=6))
        _, workspace, _ = run(make_study(images=6, replace=ANCHORS, extra=LATER))
        added = selected.manifest(workspace).read()
        _, _, report = run(make_study(images=6, extra=LATER))
        everything = selected.manifest(workspace).read()
        assert report.pairs == 12
        added = added[added["method_b"] == "later"]
        both = added.merge(everything, on=list(added.columns))
        assert len(both) == len(added) == 4

    def test_a_reuse_limit_counts_the_pairs_that_stay(self, make_study: MakeStudy) -> None:
        limit = {"per_pair = 2": "per_pair = 2\nreuse_limit = 2"}
        run(make_study(images=6, replace=limit))
        later = {"per_pair = 2": ANCHORS["per_pair = 2"] + "\nreuse_limit = 2"}
        _, workspace, _ = run(make_study(images=6, replace=later, extra=LATER))
        assert selected.manifest(workspace).read()["stem"].value_counts().max() == 2

    def test_pairs_that_stay_cannot_be_selected_in_another_way(self, make_study: MakeStudy) -> None:
        run(make_study(images=6))
        changed = {"per_pair = 2": ANCHORS["per_pair = 2"].replace("per_pair = 2", "per_pair = 3")}
        with pytest.raises(DiscernError, match=r"selection\.per_pair: 3, but the pairs that stay were selected with 2"):
            run(make_study(images=6, replace=changed, extra=LATER))
        with pytest.raises(DiscernError, match=r"selection\.distance: 'psnr', but .* with 'gmsd'"):
            run(make_study(images=6, replace=ANCHORS | {'"gmsd"': '"psnr"'}, extra=LATER))

    def test_nor_with_other_weights(self, make_study: MakeStudy, random_vgg: Path, tmp_path: Path) -> None:
        def of(path: Path) -> str:
            return f'[weights]\nvgg16 = "{path}"\n'

        other = tmp_path / "other.pt"
        torch.save({key: 0.9 * value for key, value in weights.load_state(random_vgg).items()}, other)
        semantic = {'"colour_gradient"': '"vgg16"'}
        run(make_study(images=4, replace=semantic, extra=of(random_vgg)))
        changed = ANCHORS | {'"colour_gradient"': '"vgg16"'}
        with pytest.raises(DiscernError, match=r"selection\.semantics: other weights \(vgg16 \w{8}\) than when"):
            run(make_study(images=4, replace=changed, extra=LATER + of(other)))
        assert run(make_study(images=4, replace=changed, extra=LATER + of(random_vgg)))[2].pairs == 10


class TestWhatHasNoDistance:
    def test_it_is_left_out_for_the_two_methods_and_reported_every_time(self, make_study: MakeStudy) -> None:
        """HaarPSI is not defined between blank images; a blank LR image has blank outputs."""
        path = make_study(images=4, replace={'"gmsd"': '"haarpsi"'})
        save(path.parent / "lr" / "blank.png", np.zeros((24, 32, 3), np.uint8))
        save(path.parent / "done" / "blank.png", textured(9, 96, 128))
        for index in range(4):
            save(path.parent / "done" / f"image_{index}.png", textured(20 + index, 96, 128))
        text = path.read_text().replace('algorithm = "bicubic_unsharp"', 'folder = "done"')
        path.write_text(text.replace('id = "sharp"\nkind = "interpolation"', 'id = "done"\nkind = "folder"'))
        for _ in range(2):
            _, workspace, report = run(path)
            # Equal outputs are at distance 0 without being measured; a blank one against a textured one is measured.
            assert all("blank" in str(problem) for problem in report.problems)
        table = selected.manifest(workspace).read()
        assert np.isfinite(table["distance"]).all()

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_distance_that_is_not_finite_leaves_out_that_image_for_these_two_methods(
        self, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch, bad: float
    ) -> None:
        study, workspace, _ = run(make_study(images=5))
        sha = super_resolution.outputs(study, workspace).set_index(["stem", "method"])["sha256"]
        pair = sorted((sha["image_1", "bicubic"], sha["image_1", "sharp"]))
        rows = record.distances(workspace).rows()
        for row in rows:
            if [row["output_a"], row["output_b"]] == pair:
                row["distance"] = np.nan
        record.distances(workspace).replace(rows)
        for _ in range(2):
            report = stage.run(study, workspace)
            (problem,) = report.problems
            assert (problem.image, problem.method) == ("image_1", "bicubic, sharp")
            assert "gmsd gives no finite distance between the outputs of bicubic and sharp" in problem.reason
        table = selected.manifest(workspace).read()
        chosen = table[(table["method_a"] == "bicubic") & (table["method_b"] == "sharp")]
        assert "image_1" not in set(chosen["stem"])


@pytest.mark.slow
def test_a_ray_cluster_measures_what_this_process_measures(make_study: MakeStudy, random_vgg: Path) -> None:
    pytest.importorskip("ray", reason="the Ray engine is an optional extra")
    replace = {'distance = "gmsd"': 'distance = "dists"', '"colour_gradient"': '"vgg16"'}
    path = make_study(images=3, replace=replace, extra=f'[weights]\nvgg16 = "{random_vgg}"\n')
    _, workspace, _ = run(path)
    here = selected.manifest(workspace).read()
    shutil.rmtree(workspace.root)
    text = path.read_text()
    path.write_text(text.replace("[execution]", '[execution]\nengine = "ray"'))
    _, workspace, report = run(path)
    there = selected.manifest(workspace).read()
    assert report.problems == ()
    assert list(there["stem"]) == list(here["stem"])
    np.testing.assert_allclose(there["distance"], here["distance"], atol=1e-6)
    np.testing.assert_allclose(there["semantics"], here["semantics"], rtol=1e-4)


def test_a_constant_image_is_an_image_like_others(make_study: MakeStudy) -> None:
    path = make_study(images=3, replace={"per_pair = 2": "per_pair = 4"})
    save(path.parent / "lr" / "grey.png", np.full((24, 32, 3), 128, np.uint8))
    _, workspace, report = run(path)
    table = selected.manifest(workspace).read()
    assert (report.problems, len(table)) == ((), 12)
    assert (table[table["stem"] == "grey"]["distance"] == 0).all()


def test_the_report_tells_of_reuse_and_near_duplicates_of_earlier_runs_too(make_study: MakeStudy) -> None:
    path = make_study(images=6)
    pixels = textured(0).copy()
    pixels[3, 3] = 0
    save(path.parent / "lr" / "nearly_image_0.png", pixels)
    _, workspace, first = run(path)
    second = run(path)[2]
    assert (first.reuse, first.near_duplicates) == (second.reuse, second.near_duplicates)
    assert ("nearly_image_0", "image_0") in [(one.image, one.original) for one in first.near_duplicates]
    assert first.reuse[0].images == selected.manifest(workspace).read()["image"].nunique()
    assert first.reuse[0].limit is None


@pytest.mark.parametrize("which", ["distance", "semantics"])
def test_weights_that_do_not_fit_are_one_error_and_not_one_for_each_image(
    make_study: MakeStudy, tmp_path: Path, which: str
) -> None:
    torch.save({"features.0.weight": torch.zeros(3, 3)}, tmp_path / "wrong.pt")
    replace = {"distance": {'"gmsd"': '"lpips_vgg"'}, "semantics": {'"colour_gradient"': '"vgg16"'}}[which]
    with pytest.raises(WeightsError, match=r"not weights of .*vgg"):
        run(make_study(images=4, replace=replace, extra='[weights]\nvgg16 = "wrong.pt"\n'))


def test_own_weights_are_marked(make_study: MakeStudy, random_vgg: Path) -> None:
    replace = {'distance = "gmsd"': 'distance = "dists"', '"colour_gradient"': '"vgg16"'}
    _, workspace, report = run(make_study(images=3, replace=replace, extra=f'[weights]\nvgg16 = "{random_vgg}"\n'))
    assert report.weights == (f"vgg16 from {random_vgg}",)
    facts = workspace.read_provenance("selection")
    vgg, alpha_beta = facts["distance"]["weights"]
    assert (vgg["published"], alpha_beta["published"]) == (False, True)
    assert vgg["sha256"] == weights.sha256_of(random_vgg) == facts["semantics"]["weights"][0]["sha256"]
    dists = Dists.from_files(random_vgg, pretrained.resolve("dists").path)
    row = selected.manifest(workspace).read().iloc[0]
    assert row["distance"] == pytest.approx(
        dists.pair(workspace.get_image(row["output_a"]), workspace.get_image(row["output_b"])), abs=1e-6
    )


def test_what_cannot_be_measured_is_named_with_its_image(make_study: MakeStudy) -> None:
    path = make_study(images=3, size=(48, 48), replace={'"gmsd"': '"ms_ssim"'})
    save(path.parent / "lr" / "tiny.png", textured(7))
    _, workspace, report = run(path)
    (problem,) = report.problems
    assert problem.image == "tiny"
    assert problem.reason.startswith("'tiny': ms_ssim needs images of at least 161 pixels a side, got 96")
    assert "tiny" not in set(selected.manifest(workspace).read()["stem"])


def test_distances_by_other_weights_do_not_count(make_study: MakeStudy, random_vgg: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    torch.save({key: 0.5 * value for key, value in weights.load_state(random_vgg).items()}, other)
    dists = {'"gmsd"': '"dists"'}

    def first_pair(path: Path) -> pd.Series:
        _, workspace, _ = run(make_study(images=3, replace=dists, extra=f'[weights]\nvgg16 = "{path}"\n'))
        row = selected.manifest(workspace).read().iloc[0]
        metric = Dists.from_files(path, pretrained.resolve("dists").path)
        outputs = [workspace.get_image(row[side]) for side in ("output_a", "output_b")]
        assert row["distance"] == pytest.approx(metric.pair(*outputs), abs=1e-6)
        return row

    assert first_pair(random_vgg)["distance"] != first_pair(other)["distance"]
