"""Both stages on a small study: who learns from what, in which direction, and what is kept."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines import ingest
from pipelines import study as studies
from pipelines.calibration import model, pretraining, stage
from pipelines.calibration.split import held_out_sources
from pipelines.degradation import blur, noise
from pipelines.errors import DiscernError
from pipelines.evaluation import stage as evaluation
from pipelines.images import Pixels
from pipelines.ranking.counts import Votes
from pipelines.study import Study
from pipelines.super_resolution import stage as super_resolution
from pipelines.workspace import Workspace
from tests.conftest import save, textured

MakeStudy = Callable[..., Path]
SOURCES = ("river", "castle", "market")
CALIBRATION = '\n[calibration]\nrated = "rated/rated.csv"\nheld_out = ["market"]\nepochs = 60\nlearning_rate = 0.01\n'
SCORES = {"nearest": -1.0, "bicubic": 0.2, "sharp": 0.8}


def versions(original: Pixels) -> list[Pixels]:
    """Poorer and poorer."""
    random = np.random.default_rng(0)
    return [original, noise(original, 12, random), blur(original, 1.5), noise(original, 45, random)]


def write_rated(folder: Path, sources: tuple[str, ...]) -> None:
    rows = []
    for s, source in enumerate(sources):
        for index in range(3):
            for level, pixels in enumerate(versions(textured(100 + 10 * s + index, 64, 64))):
                name = f"{source}_{index}_{level}.png"
                save(folder / name, pixels)
                rows.append([name, 5 - level, source])
    with (folder / "rated.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "mos", "source"], *rows])


def prepared(
    make_study: MakeStudy, tmp_path: Path, rated: tuple[str, ...] = SOURCES, extra: str = CALIBRATION
) -> tuple[Study, Workspace]:
    for s, source in enumerate(SOURCES):
        for index in range(3):
            save(tmp_path / "more" / source / f"{source}_{index}.png", textured(200 + 10 * s + index))
    write_rated(tmp_path / "rated", rated)
    path = make_study(images=3, replace={'folder = "lr"': 'folder = "lr"\nunlabelled = "more"'}, extra=extra)
    study = studies.load(path)
    workspace = Workspace(study.workspace)
    ingest.run(study, workspace)
    super_resolution.run(study, workspace)
    return study, workspace


def calibrated(study: Study, workspace: Workspace, scores: dict[str, float]) -> stage.Calibration:
    base = pretraining.run(study, workspace).model
    return stage.run(study, workspace, base, scores, ranking={"made": "up"})


def mean_quality(study: Study, workspace: Workspace, result: stage.Calibration) -> dict[str, float]:
    outputs = super_resolution.outputs(study, workspace)
    outputs = outputs[outputs["role"] == "unlabelled"]
    return {
        method: float(result.model.encode([workspace.get_image(sha256) for sha256 in rows["sha256"]]).quality.mean())
        for method, rows in outputs.groupby("method")
    }


@pytest.mark.parametrize("sign", [1, -1])
def test_methods_come_to_stand_as_the_ranking_has_them(make_study: MakeStudy, tmp_path: Path, sign: int) -> None:
    study, workspace = prepared(make_study, tmp_path, extra=CALIBRATION + "rated_weight = 0.0\n")
    result = calibrated(study, workspace, {method: sign * score for method, score in SCORES.items()})
    quality = mean_quality(study, workspace, result)
    assert result.training.chosen > 0
    assert sign * quality["nearest"] < sign * quality["bicubic"] < sign * quality["sharp"]


def test_neither_stage_learns_from_held_out_or_voted_content(make_study: MakeStudy, tmp_path: Path) -> None:
    # "image_1" is the source of a candidate: its ratings must not be used.
    study, workspace = prepared(make_study, tmp_path, rated=(*SOURCES, "image_1"))
    rated = pretraining.rated_images(study, workspace)
    assert rated.left_out == 12
    assert set(rated.sources) == set(SOURCES)
    assert {source for source, apart in zip(rated.sources, rated.held_out, strict=True) if apart} == {"market"}
    result = calibrated(study, workspace, SCORES)
    assert len(result.model.base.support) == 24  # three images in four versions, of river and castle
    assert result.training.batch == 6  # three LR images of each of these two sources
    facts = json.loads((workspace.root / "models" / "quality" / "model.json").read_text())["provenance"]
    assert (facts["rated_images"], facts["left_out_for_voted_content"]) == (24, 12)
    facts = json.loads((workspace.root / "models" / "calibrated" / "model.json").read_text())["provenance"]
    assert facts["held_out_sources"] == ["market"]
    assert facts["ranking"] == {"made": "up"}
    assert facts["base_sha256"] == result.model.base.fingerprint


def test_what_is_kept_gives_the_same_scores(make_study: MakeStudy, tmp_path: Path) -> None:
    study, workspace = prepared(make_study, tmp_path)
    result = calibrated(study, workspace, SCORES)
    kept = model.load(workspace.root / "models" / "calibrated")
    pixels = [textured(7, 50, 60), textured(8, 40, 40)]
    np.testing.assert_array_equal(kept.encode(pixels).quality, result.model.encode(pixels).quality)


def test_a_rated_set_with_sources_of_its_own_is_divided_too(make_study: MakeStudy, tmp_path: Path) -> None:
    without = CALIBRATION.replace('held_out = ["market"]\n', "")
    study, workspace = prepared(make_study, tmp_path, rated=("boat", "tree", "face"), extra=without)
    rated = pretraining.rated_images(study, workspace)
    assert 0 < rated.held_out.sum() < len(rated.hashes)
    assert rated.held_out_sources & {"boat", "tree", "face"}
    assert rated.held_out_sources & set(SOURCES)
    assert calibrated(study, workspace, SCORES).training.history


def test_sources_are_held_out_as_asked_or_drawn() -> None:
    asked = held_out_sources(["a", "b"], ["a", "b", "c"], ["b"], seed=0)
    assert asked == {"b"}
    drawn = held_out_sources("abcdefghij", "klmnopqrst", [], seed=0)
    assert len(drawn & set("abcdefghij")) == len(drawn & set("klmnopqrst")) == 2
    assert drawn == held_out_sources("jihgfedcba", "tsrqponmlk", [], seed=0)
    for unlabelled, rated, wanted, message in (
        ("ab", "ab", "z", "no image has the source 'z'"),
        ("ab", "cd", "a", "of 2 source.s. of rated images 0 are held out"),
        ("ab", "ab", "ab", "of 2 source.s. of unlabelled images 2 are held out"),
        ("a", "a", "", "of 1 source.s. of unlabelled images 1 are held out"),
    ):
        with pytest.raises(DiscernError, match=message):
            held_out_sources(unlabelled, rated, wanted, seed=0)


def test_a_ranking_that_lacks_a_method_is_refused(make_study: MakeStudy, tmp_path: Path) -> None:
    study, workspace = prepared(make_study, tmp_path)
    with pytest.raises(DiscernError, match=r"holds no score for .* sharp;"):
        calibrated(study, workspace, {"nearest": 0.0, "bicubic": 1.0})


def votes_on(stem: str) -> Votes:
    two = np.array([0, 0, 1]), np.array([1, 1, 0])
    return Votes(("nearest", "sharp"), *two, np.ones(3, np.int64), images=(stem, "image_2"), image=np.array([0, 0, 1]))


def test_models_are_scored_on_candidates_and_never_on_what_they_learned_from(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study, workspace = prepared(make_study, tmp_path)
    result = calibrated(study, workspace, SCORES)
    models = {"before": result.model.base, "after": result.model}
    with pytest.raises(DiscernError, match="on 'river_0', but the workspace holds no such candidate output"):
        evaluation.run(study, workspace, votes_on("river_0"), models)


def test_a_changed_study_is_not_evaluated_on_old_outputs(make_study: MakeStudy, tmp_path: Path) -> None:
    study, workspace = prepared(make_study, tmp_path)
    changed = make_study(
        images=3,
        replace={'folder = "lr"': 'folder = "lr"\nunlabelled = "more"', '"bicubic_unsharp"': '"lanczos"'},
        extra=CALIBRATION,
    )
    with pytest.raises(DiscernError, match="no outputs of sharp as the study describes them"):
        super_resolution.outputs(studies.load(changed), workspace)
    assert len(super_resolution.outputs(study, workspace)) == 36
