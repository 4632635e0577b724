"""A model's folder: what is saved is what is loaded, and damage is found."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.calibration import model
from pipelines.calibration.model import ARRAYS, FACTS, CalibratedModel
from pipelines.calibration.rectifier import Rectifier
from pipelines.errors import DiscernError, WeightsError
from pipelines.quality import scene_features, scene_statistics
from pipelines.quality.scene_statistics import SceneStatistics
from tests.conftest import save, textured

D = len(scene_features.FEATURE_NAMES)
IMAGES = [textured(seed, 24 + seed, 32) for seed in range(4)]


@pytest.fixture(scope="module")
def base() -> SceneStatistics:
    features = np.stack([scene_features.extract(textured(seed)) for seed in range(100, 112)])
    mos = np.linspace(1, 5, 12)
    return scene_statistics.fit(features, mos, [f"source{i % 3}" for i in range(12)], seed=0).model


@pytest.fixture(scope="module")
def calibrated(base: SceneStatistics) -> CalibratedModel:
    torch.manual_seed(0)
    rectifier = Rectifier(torch.from_numpy(base.mean).float(), torch.from_numpy(base.deviation).float(), 8)
    torch.nn.init.normal_(rectifier.outer.weight, std=0.1)
    return CalibratedModel(base, rectifier.eval())


@pytest.fixture(params=["base", "calibrated"])
def either(request: pytest.FixtureRequest) -> SceneStatistics | CalibratedModel:
    made: SceneStatistics | CalibratedModel = request.getfixturevalue(request.param)
    return made


def test_a_loaded_model_gives_identical_numbers(either: SceneStatistics | CalibratedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m", either, {"seed": 3})
    again = model.load(tmp_path / "m")
    assert type(again) is type(either)
    assert again.fingerprint == either.fingerprint
    assert again.name == either.name
    np.testing.assert_array_equal(again.encode(IMAGES).quality, either.encode(IMAGES).quality)
    np.testing.assert_array_equal(again.encode(IMAGES).features, either.encode(IMAGES).features)


def test_calibration_changes_quality_and_keeps_features(base: SceneStatistics, calibrated: CalibratedModel) -> None:
    plain, rectified = base.encode(IMAGES), calibrated.encode(IMAGES)
    np.testing.assert_array_equal(plain.features, rectified.features)
    assert not np.array_equal(plain.quality, rectified.quality)
    alpha, beta = calibrated.rectifier.scale_and_shift(torch.from_numpy(plain.features))
    expected = alpha.detach().numpy() * plain.quality + beta.detach().numpy()
    np.testing.assert_allclose(rectified.quality, expected, rtol=1e-6)


def test_models_that_differ_have_different_fingerprints(base: SceneStatistics, calibrated: CalibratedModel) -> None:
    other = Rectifier.from_state({name: array * 2 for name, array in calibrated.rectifier.state_dict().items()})
    prints = {base.fingerprint, calibrated.fingerprint, CalibratedModel(base, other).fingerprint}
    assert len(prints) == 3


def test_facts_tell_where_a_model_came_from(base: SceneStatistics, tmp_path: Path) -> None:
    model.save(tmp_path / "m", base, {"seed": 3})
    facts = json.loads((tmp_path / "m" / FACTS).read_text())
    assert facts["provenance"]["seed"] == 3
    assert facts["provenance"]["discern"]
    assert facts["architecture"] == base.name
    assert facts["feature_names"] == list(scene_features.FEATURE_NAMES)
    assert facts["calibrated"] is False


def test_an_older_model_is_replaced_and_nothing_is_left_beside(
    base: SceneStatistics, calibrated: CalibratedModel, tmp_path: Path
) -> None:
    model.save(tmp_path / "m", base, {})
    model.save(tmp_path / "m", calibrated, {})
    assert model.load(tmp_path / "m").fingerprint == calibrated.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_folder_of_something_else_is_left_alone(base: SceneStatistics, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(DiscernError, match="not a model's folder"):
        model.save(tmp_path / "photos", base, {})
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"precious"


@pytest.mark.parametrize("position", [9, 200, -1])
def test_a_changed_byte_is_found(calibrated: CalibratedModel, tmp_path: Path, position: int) -> None:
    model.save(tmp_path / "m", calibrated, {})
    content = bytearray((tmp_path / "m" / ARRAYS).read_bytes())
    content[position] ^= 1
    (tmp_path / "m" / ARRAYS).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{ARRAYS}: was cut short or changed"):
        model.load(tmp_path / "m")


@pytest.mark.parametrize("length", [0, 5, 1000])
def test_a_file_that_was_cut_short_is_found(calibrated: CalibratedModel, tmp_path: Path, length: int) -> None:
    model.save(tmp_path / "m", calibrated, {})
    content = (tmp_path / "m" / ARRAYS).read_bytes()
    (tmp_path / "m" / ARRAYS).write_bytes(content[:length])
    with pytest.raises(WeightsError, match="was cut short or changed"):
        model.load(tmp_path / "m")


@pytest.mark.parametrize("name", [FACTS, ARRAYS])
def test_a_missing_file_is_named(base: SceneStatistics, tmp_path: Path, name: str) -> None:
    model.save(tmp_path / "m", base, {})
    (tmp_path / "m" / name).unlink()
    with pytest.raises(WeightsError, match=name):
        model.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, this version reads up to 1: update Discern"),
        ({"format": "new"}, "damaged"),
        ({"architecture": "clip"}, "'clip', expected 'scene_statistics'"),
        ({"feature_names": []}, "fitted on other features"),
        ({"calibrated": True}, "not a model that this version can use"),
    ],
)
def test_facts_that_do_not_fit_are_refused(
    base: SceneStatistics, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    model.save(tmp_path / "m", base, {})
    path = tmp_path / "m" / FACTS
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(WeightsError, match=message):
        model.load(tmp_path / "m")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_facts_that_are_no_facts_are_refused(base: SceneStatistics, tmp_path: Path, text: str) -> None:
    model.save(tmp_path / "m", base, {})
    (tmp_path / "m" / FACTS).write_text(text)
    with pytest.raises(WeightsError, match=f"{FACTS}: damaged"):
        model.load(tmp_path / "m")


def test_files_are_scored_like_their_pixels(base: SceneStatistics, tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{index}.png", pixels) for index, pixels in enumerate(IMAGES)]
    scores = model.score_files(base, paths)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, base.encode(IMAGES).quality)


def test_a_file_that_cannot_be_scored_is_named(base: SceneStatistics, tmp_path: Path) -> None:
    good = save(tmp_path / "good.png", IMAGES[0])
    small = save(tmp_path / "small.png", textured(0, 8, 40))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DiscernError, match=r"text\.png"):
        model.score_files(base, [good, tmp_path / "text.png"])
    with pytest.raises(DiscernError, match=r"small\.png: image of 40x8 pixels"):
        model.score_files(base, [good, small])
