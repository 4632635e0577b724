"""D1: what a distance must be, what is declared of each, and one clear error for what cannot be had."""

import pickle
import sys
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torchvision.models import alexnet, vgg16

from pipelines import full_reference
from pipelines.degradation import blur, noise
from pipelines.errors import DiscernError, WeightsError
from pipelines.lazy import Lazy
from pipelines.selection import distances
from pipelines.study import Weights
from tests.conftest import textured


@pytest.fixture(scope="session")
def files(random_vgg: Path, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Random weights for every distance that needs some."""
    torch.manual_seed(1)
    state = {key: value for key, value in alexnet(weights=None).state_dict().items() if key.startswith("features.")}
    path = tmp_path_factory.mktemp("weights") / "alexnet.pt"
    torch.save(state, path)
    return Weights(vgg16=random_vgg, alexnet=path)


def side_of(distance: distances.Distance) -> int:
    """Of images that are large enough for it, and no larger than a test needs."""
    return max(distance.description.smallest_side, 96)


@pytest.mark.parametrize("name", distances.NAMES)
def test_a_distance_is_symmetric_zero_for_equal_images_and_grows(name: str, files: Weights) -> None:
    distance = distances.get(name, files)
    original = textured(0, side_of(distance), side_of(distance) + 4)
    matrix = distance.pairwise([original, blur(original, 0.8), blur(original, 3.0), original])
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diagonal(matrix), 0)
    assert matrix[0, 3] == pytest.approx(0, abs=1e-5)
    assert 0 < matrix[0, 1] < matrix[0, 2]


@pytest.mark.parametrize("name", distances.NAMES)
def test_some_pairs_have_the_distances_that_they_have_among_all(name: str, files: Weights) -> None:
    distance = distances.get(name, files)
    images = [textured(seed, side_of(distance), side_of(distance) + 4) for seed in range(4)]
    everything = distance.pairwise(images)
    some = distance.between(images, [(3, 1), (0, 2)])
    np.testing.assert_allclose(some, [everything[1, 3], everything[0, 2]], rtol=1e-5)


@pytest.mark.parametrize("name", distances.NAMES)
def test_what_is_declared_holds(name: str, files: Weights) -> None:
    distance = distances.get(name, files)
    description = distance.description
    assert tuple(found.name for found in distance.found) == description.weights
    smallest = description.smallest_side
    pair = [textured(seed, smallest, smallest + 3) for seed in range(2)]
    assert np.isfinite(distance.between(pair, [(0, 1)])).all()
    if smallest > 1:
        with pytest.raises(DiscernError, match=f"{name} needs images of at least {smallest} pixels a side, got"):
            distance.between([image[:, : smallest - 1] for image in pair], [(0, 1)])


def test_every_distance_is_listed_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "selection.md").read_text(encoding="utf-8")
    for name in distances.NAMES:
        one = distances.describe(name)
        low, high = ("inf" if bound == np.inf else f"{bound:g}" for bound in one.bounds)
        direction, symmetric = "higher" if one.higher_is_better else "lower", {True: "yes", False: "no"}[one.symmetric]
        needs = ", ".join(f"`{weights}`" for weights in one.weights) or "none"
        row = f"| `{name}` | {needs} | {low} .. {high} | {direction} | {symmetric} | {one.smallest_side} |"
        assert row in page, row


def test_other_weights_and_other_metrics_have_another_fingerprint(files: Weights, tmp_path: Path) -> None:
    prints = {distances.get(name, files).fingerprint for name in distances.NAMES}
    assert len(prints) == len(distances.NAMES)
    copy = tmp_path / "copy.pt"
    copy.write_bytes(files.alexnet.read_bytes())
    moved = files.model_copy(update={"alexnet": copy})
    assert distances.get("lpips", moved).fingerprint == distances.get("lpips", files).fingerprint
    torch.save({key: value + 1 for key, value in torch.load(copy).items()}, copy)
    assert distances.get("lpips", moved).fingerprint != distances.get("lpips", files).fingerprint


def test_the_rms_error_is_psnr_turned_into_a_distance() -> None:
    first, second = textured(0), textured(1)
    expected = 10 ** (-peak_signal_noise_ratio(first, second) / 20)
    assert distances.get("psnr").between([first, second], [(0, 1)])[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "trunk", "layers"), [("lpips", "alexnet", 5), ("lpips_vgg", "vgg16", 5)])
def test_lpips_is_what_its_paper_defines(name: str, trunk: str, layers: int, files: Weights) -> None:
    """Unit-normalised features, squared differences weighted by the package's linear layers, averaged over space."""
    first, second = textured(2, 70, 66), textured(3, 70, 66)
    state = torch.load(getattr(files, trunk), map_location="cpu")
    features = (alexnet if trunk == "alexnet" else vgg16)(weights=None).features
    features.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    folder = Path(find_spec("lpips").origin).parent / "weights" / "v0.1"
    linear = torch.load(folder / ("alex.pth" if trunk == "alexnet" else "vgg.pth"), map_location="cpu")
    taps = [1, 4, 7, 9, 11] if trunk == "alexnet" else [3, 8, 15, 22, 29]
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def at_taps(image) -> list[torch.Tensor]:
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        x = (x - shift[None, :, None, None]) / scale[None, :, None, None]
        found = []
        for index, layer in enumerate(features[: taps[-1] + 1]):
            x = layer(x)
            if index in taps:
                found.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return found

    with torch.inference_mode():
        parts = [
            ((a - b) ** 2 * linear[f"lin{level}.model.1.weight"]).sum(dim=1).mean().item()
            for level, (a, b) in enumerate(zip(at_taps(first), at_taps(second), strict=True))
        ]
    assert len(parts) == layers
    assert distances.get(name, files).between([first, second], [(0, 1)])[0] == pytest.approx(sum(parts), rel=1e-4)


def test_wrong_weights_are_refused_when_they_are_loaded(files: Weights) -> None:
    wrong = files.model_copy(update={"alexnet": files.vgg16})
    with pytest.raises(WeightsError, match=r"not weights of alexnet, in .*random_vgg16\.pt"):
        distances.get("lpips", wrong).between([textured(0, 40, 40)] * 2, [(0, 1)])


def test_a_distance_travels_to_another_process_without_its_network(files: Weights) -> None:
    distance = distances.get("dists", files)
    images = [textured(0), textured(1)]
    expected = distance.pairwise(images)
    sent = pickle.dumps(distance)
    assert len(sent) < 10_000
    np.testing.assert_allclose(pickle.loads(sent).pairwise(images), expected, atol=1e-7)


@pytest.mark.parametrize("name", full_reference.METRICS)
def test_a_full_reference_metric_has_the_declared_direction_bounds_and_symmetry(name: str) -> None:
    metric = full_reference.get(name)
    original = textured(1, 180, 176)
    random = np.random.default_rng(0)
    images = np.stack([original, noise(original, 5, random), noise(original, 40, random), blur(original, 4)])
    references = np.repeat(original[None], 4, axis=0)
    scores = metric.score(references, images)
    assert scores[0] == pytest.approx(metric.identical, abs=1e-5)
    better = scores if metric.higher_is_better else -scores
    assert better[0] > better[1] > better[2]
    assert (scores >= metric.bounds[0] - 1e-5).all()
    assert (scores <= metric.bounds[1] + 1e-5).all()
    swapped = metric.score(images, references)
    assert np.allclose(scores, swapped, atol=1e-6) == metric.symmetric


def test_a_batch_gives_what_single_images_give() -> None:
    metric = full_reference.get("gmsd")
    first, second = textured(2, 40, 40), textured(3, 40, 40)
    together = metric.score(np.stack([first, first]), np.stack([second, blur(first, 1)]))
    alone = [metric.score(first[None], second[None])[0], metric.score(first[None], blur(first, 1)[None])[0]]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_images_unlike_in_size_are_refused() -> None:
    with pytest.raises(DiscernError, match="gmsd: outputs of 30x30 and 32x24 pixels cannot be compared; make them"):
        distances.get("gmsd").pairwise([textured(0), textured(0, 30, 30)])
    with pytest.raises(DiscernError, match="references of shape"):
        full_reference.get("gmsd").score(textured(0)[None], textured(0, 30, 30)[None])


@pytest.mark.parametrize("name", distances.NAMES)
def test_constant_images_have_a_distance(name: str, files: Weights) -> None:
    black, grey = np.zeros((176, 176, 3), dtype=np.uint8), np.full((176, 176, 3), 100, dtype=np.uint8)
    values = distances.get(name, files).between([black, grey, textured(0, 176, 176)], [(0, 1), (0, 2), (1, 2)])
    assert np.isfinite(values).all()
    assert values[1] > 0


def test_what_is_not_a_number_is_nan_and_nothing_is_negative() -> None:
    gmsd = distances.get("gmsd")
    measure = replace(gmsd, measure=lambda images, pairs: [np.inf, np.nan, -1e-9, 0.25])
    values = measure.between([textured(0)] * 4, [(0, 1), (0, 2), (0, 3), (1, 2)])
    np.testing.assert_array_equal(values, [np.nan, np.nan, 0, 0.25])


def test_of_an_asymmetric_metric_both_orders_count_as_departures_from_the_value_of_equal_images() -> None:
    def score(image: torch.Tensor, reference: torch.Tensor) -> float:
        return 5 + float(image.mean()) - 3 * float(reference.mean())  # against itself: 5 - 2 m

    levels = [0, 51, 255]
    images = [np.full((4, 4, 3), level, dtype=np.uint8) for level in levels]
    both = distances._BothWays(Lazy(lambda: score))
    # |score(a, b) - score(b, b)| = |a - b|, in either order; a metric that weighs the order otherwise is averaged.
    assert both(images, [(0, 1), (2, 0)]) == pytest.approx([0.2, 1.0], abs=1e-6)
    squares = distances._BothWays(Lazy(lambda: lambda a, b: float(a.mean()) ** 2 * float(b.mean())))
    # |0.04 - 1| = 0.96 against the white one, |1 - 0.04| x 0.2 = 0.192 against the grey one.
    assert squares(images, [(1, 2)]) == pytest.approx([(0.96 + 0.192) / 2], abs=1e-6)
    assert squares(images, [(2, 1)]) == pytest.approx([(0.96 + 0.192) / 2], abs=1e-6)


def test_an_unknown_name_is_one_clear_error() -> None:
    with pytest.raises(DiscernError, match=r"unknown distance 'nothing'; choose one of dists, lpips, .*or pyiqa:NAME"):
        distances.get("nothing")


def test_an_asymmetric_metric_is_none_of_our_own() -> None:
    assert "vif" not in distances.NAMES
    assert all(distances.describe(name).symmetric for name in distances.NAMES)


def test_a_library_that_is_not_installed_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(DiscernError, match=r"pyiqa:NAME needs a package.*pip install 'discern\[iqa\]'.*commercial"):
        distances.get("pyiqa:ssim")


class TestAnInstalledLibrary:
    """Metrics that need no weights; where the optional extra is not installed, these are skipped."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip("pyiqa", reason="the extra `iqa` is not installed")

    def test_its_metrics_are_distances(self) -> None:
        original = textured(0, 96, 96)
        images = [original, blur(original, 0.8), blur(original, 3.0), original]
        for name in ("ssim", "gmsd", "psnr", "vif"):
            matrix = distances.get(f"pyiqa:{name}").pairwise(images)
            np.testing.assert_array_equal(matrix, matrix.T)
            assert matrix[0, 3] == pytest.approx(0, abs=1e-4)
            assert 0 < matrix[0, 1] < matrix[0, 2]

    def test_direction_and_range_are_the_declared_ones(self) -> None:
        vif, lpips = distances.describe("pyiqa:vif"), distances.describe("pyiqa:lpips")
        assert (vif.higher_is_better, vif.bounds, vif.symmetric) == (True, (0, 1), None)
        assert (lpips.higher_is_better, lpips.bounds) == (False, (0, 1))
        assert distances.describe("pyiqa:mad").bounds == (0, np.inf)

    def test_what_it_has_not_is_refused(self) -> None:
        with pytest.raises(DiscernError, match=r"no full-reference metric 'niqe'; choose"):
            distances.get("pyiqa:niqe")
