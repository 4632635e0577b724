"""DISTS against a plain double loop in float64, against two other implementations, and against its published value."""

import os
import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from pipelines import images
from pipelines.degradation import blur, noise
from pipelines.errors import DiscernError, WeightsError
from pipelines.images import Pixels
from pipelines.selection.dists import segments
from pipelines.selection.dists.metric import Dists
from tests.conftest import textured

# Of torchvision's VGG-16: numbers of the convolutions of each stage, and their channels.
STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
CHANNELS = [3, 64, 128, 256, 512, 512]


def vgg_state() -> dict[str, Tensor]:
    """Random weights that keep features alive through all stages: half of them positive, of about one size."""
    generator = torch.Generator().manual_seed(0)
    state, before = {}, 3
    for numbers, channels in zip(STAGES, CHANNELS[1:], strict=True):
        for number in numbers:
            spread = (2 / (9 * before)) ** 0.5
            state[f"features.{number}.weight"] = spread * torch.randn(channels, before, 3, 3, generator=generator)
            state[f"features.{number}.bias"] = 0.1 * torch.randn(channels, generator=generator)
            before = channels
    return state


def random_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(1, 1475, 1, 1, generator=generator) for name in ("alpha", "beta")}


VGG, WEIGHTS = vgg_state(), random_weights()
EXACT, SINGLE = Dists(VGG, WEIGHTS, dtype=torch.float64), Dists(VGG, WEIGHTS)


def outputs(count: int, height: int, width: int) -> list[Pixels]:
    """What methods of different merit might make of one image."""
    original, random = textured(0, height, width), np.random.default_rng(0)
    made = [original, blur(original, 1.0), noise(original, 25, random), blur(original, 3.0), 255 - original]
    return made[:count]


def maps_by_hand(image: Pixels) -> list[Tensor]:
    """The six levels of one image in float64."""
    raw = torch.from_numpy(image.astype(np.float64).transpose(2, 0, 1)[None] / 255)
    mean, std = ([[[[value]] for value in values]] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    maps, found = (raw - torch.tensor(mean, dtype=torch.float64)) / torch.tensor(std, dtype=torch.float64), [raw]
    for stage, numbers in enumerate(STAGES):
        maps = pooled_by_hand(maps) if stage else maps
        for number in numbers:
            weight, bias = (VGG[f"features.{number}.{kind}"].double() for kind in ("weight", "bias"))
            maps = functional.conv2d(maps, weight, bias, padding=1).clamp(min=0)
        found.append(maps)
    return found


def pooled_by_hand(maps: Tensor) -> Tensor:
    """L2 pooling as a sum of nine shifted maps."""
    padded, (height, width) = functional.pad(maps**2, (1, 2, 1, 2)), maps.shape[2:]
    total, window = torch.zeros(()), (0.25, 0.5, 0.25)
    for down in range(3):
        for right in range(3):
            shifted = padded[:, :, down : down + height : 2, right : right + width : 2]
            total = total + window[down] * window[right] * shifted
    return (total + 1e-12).sqrt()


def score_by_hand(first: list[Tensor], second: list[Tensor]) -> float:
    """The formula of the paper for one pair."""
    alpha, beta = (WEIGHTS[name].double().flatten().split(CHANNELS) for name in ("alpha", "beta"))
    similarity = 0.0
    for level, (x, y) in enumerate(zip(first, second, strict=True)):
        mx, my = x.mean((2, 3), keepdim=True), y.mean((2, 3), keepdim=True)
        vx, vy = ((x - mx) ** 2).mean((2, 3)), ((y - my) ** 2).mean((2, 3))
        covariance, mx, my = ((x - mx) * (y - my)).mean((2, 3)), mx[..., 0, 0], my[..., 0, 0]
        texture = (2 * mx * my + 1e-6) / (mx**2 + my**2 + 1e-6)
        structure = (2 * covariance + 1e-6) / (vx + vy + 1e-6)
        similarity += float((alpha[level] * texture + beta[level] * structure).sum())
    return 1 - similarity / float(WEIGHTS["alpha"].double().sum() + WEIGHTS["beta"].double().sum())


def by_hand(given_images: list[Pixels]) -> np.ndarray:
    found, distances = [maps_by_hand(image) for image in given_images], np.zeros((len(given_images),) * 2)
    for i, j in combinations(range(len(given_images)), 2):
        distances[i, j] = distances[j, i] = score_by_hand(found[i], found[j])
    return distances


SIZES = [(4, 37, 53), (3, 64, 48), (5, 17, 16)]


@pytest.mark.parametrize(("count", "height", "width"), SIZES)
def test_pairwise_is_what_a_double_loop_over_pairs_gives(count: int, height: int, width: int) -> None:
    made = outputs(count, height, width)
    expected = by_hand(made)
    assert expected[np.triu_indices(count, 1)].min() > 0.01, "the images must differ for this test to mean anything"
    exact, single = EXACT.pairwise(made), SINGLE.pairwise(made)
    np.testing.assert_allclose(exact, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5)
    for found in (exact, single):
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, found.T)
        np.testing.assert_array_equal(np.diagonal(found), 0)
    assert SINGLE.pair(made[0], made[1]) == pytest.approx(expected[0, 1], abs=1e-5)


def test_features_are_those_of_the_network_with_l2_pooling() -> None:
    image = textured(0, 37, 53)
    found = EXACT.features(image)
    shapes = [(3, 37, 53), (64, 37, 53), (128, 19, 27), (256, 10, 14), (512, 5, 7), (512, 3, 4)]
    assert [tuple(level.shape) for level in found] == shapes
    for level, expected in zip(found, maps_by_hand(image), strict=True):
        assert (expected > 0).double().mean() > 0.2, "features must be alive for this test to mean anything"
        np.testing.assert_allclose(level, expected[0], rtol=1e-10, atol=1e-12)


@settings(max_examples=8)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([8, 16, 32]))
def test_the_tile_does_not_matter(height: int, width: int, tile: int) -> None:
    made = outputs(3, height, width)
    found = Dists(VGG, WEIGHTS, tile=tile).pairwise(made)
    np.testing.assert_allclose(found, SINGLE.pairwise(made), rtol=0, atol=1e-6)


def test_many_tiles_give_exactly_what_the_whole_gives() -> None:
    made = outputs(2, 37, 41)
    found = Dists(VGG, WEIGHTS, dtype=torch.float64, tile=16).pairwise(made)
    np.testing.assert_allclose(found, EXACT.pairwise(made), rtol=0, atol=1e-12)


def test_tiles_of_the_last_stage_do_not_matter_either() -> None:
    made = outputs(2, 11, 170)  # so long that there is more than the halo on both sides of a tile
    found = Dists(VGG, WEIGHTS, tile=8).pairwise(made)
    np.testing.assert_allclose(found, SINGLE.pairwise(made), rtol=0, atol=1e-6)


def test_identical_images_are_at_zero_and_worse_ones_farther_away() -> None:
    original = textured(3, 64, 64)
    distances = SINGLE.pairwise([original, original.copy(), blur(original, 0.5), blur(original, 2.0)])
    assert distances[0, 1] == pytest.approx(0, abs=1e-7)
    assert 1e-5 < distances[0, 2] < distances[0, 3] < 1
    almost = original.copy()
    almost[30, 30, 0] ^= 1
    assert 0 < SINGLE.pair(original, almost) < 1e-5


@settings(max_examples=15)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_distances_lie_in_their_range(height: int, width: int, seed: int, level: int) -> None:
    any_image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    constant = np.full_like(any_image, level)
    distances = SINGLE.pairwise([any_image, constant, 255 - any_image, np.zeros_like(any_image)])
    beta = float(WEIGHTS["beta"].sum() / (WEIGHTS["alpha"].sum() + WEIGHTS["beta"].sum()))
    assert (distances >= 0).all()
    assert (distances <= 1 + beta).all()


def test_one_image_has_only_itself() -> None:
    np.testing.assert_array_equal(SINGLE.pairwise([textured(0)]), np.zeros((1, 1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dead_channels_and_constant_images_never_give_nan(dtype: torch.dtype) -> None:
    dead = {name: torch.zeros_like(tensor) for name, tensor in VGG.items()}
    black, white = np.zeros((20, 20, 3), dtype=np.uint8), np.full((20, 20, 3), 255, dtype=np.uint8)
    assert Dists(dead, WEIGHTS, dtype=dtype).pair(black, textured(0, 20, 20)) > 0
    assert 0 < Dists(VGG, WEIGHTS, dtype=dtype).pair(black, white) < 1
    assert Dists(VGG, WEIGHTS, dtype=dtype).pair(white, white) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(("features_dtype", "tolerance"), [(torch.float16, 2e-4), (torch.bfloat16, 2e-3)])
def test_features_in_half_precision_stay_near(features_dtype: torch.dtype, tolerance: float) -> None:
    made = outputs(4, 37, 53)
    half = Dists(VGG, WEIGHTS, features_dtype=features_dtype)
    assert {level.dtype for level in half.features(made[0])[1:]} == {features_dtype}
    np.testing.assert_allclose(half.pairwise(made), SINGLE.pairwise(made), rtol=0, atol=tolerance)


def test_squares_may_exceed_half_precision_but_features_may_not() -> None:
    made = outputs(2, 24, 24)
    large = {name: tensor * (500 if name.startswith("features.0.") else 1) for name, tensor in VGG.items()}
    assert max(level.max() for level in Dists(large, WEIGHTS).features(made[0])) > 256
    half, single = (Dists(large, WEIGHTS, features_dtype=kind).pair(*made) for kind in (torch.float16, None))
    assert half == pytest.approx(single, abs=1e-3)
    too_large = {name: tensor * (1e6 if name.startswith("features.0.") else 1) for name, tensor in VGG.items()}
    with pytest.raises(DiscernError, match=r"features exceed the range of torch.float16: use torch.float32"):
        Dists(too_large, WEIGHTS, features_dtype=torch.float16).pairwise(made)


def random_vgg(*arguments: object, **options: object) -> nn.Module:
    """In the place of torchvision's constructor, which the other implementations call and which downloads."""
    from torchvision.models import vgg

    module = nn.Module()
    module.features = vgg.make_layers(vgg.cfgs["D"])
    module.load_state_dict(VGG)
    return module


def piqs(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    import piq

    monkeypatch.setattr("piq.perceptual.vgg16", random_vgg)
    total = WEIGHTS["alpha"].sum() + WEIGHTS["beta"].sum()  # piq expects weights divided by their total
    monkeypatch.setattr(
        "torch.hub.load_state_dict_from_url", lambda *_, **__: {name: WEIGHTS[name] / total for name in WEIGHTS}
    )
    return piq.DISTS(reduction="none")


def the_authors(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    import torchvision

    monkeypatch.setattr(torchvision.models, "vgg16", random_vgg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from DISTS_pytorch import DISTS
    module = DISTS(load_weights=False)
    module.alpha.data, module.beta.data = WEIGHTS["alpha"], WEIGHTS["beta"]
    return module.double().requires_grad_(False)


@pytest.mark.parametrize("implementation", [piqs, the_authors])
def test_other_implementations_agree(
    monkeypatch: pytest.MonkeyPatch, implementation: Callable[[pytest.MonkeyPatch], nn.Module]
) -> None:
    other, made = implementation(monkeypatch), outputs(3, 27, 34)
    tensors = [torch.from_numpy(image.transpose(2, 0, 1)[None] / 255) for image in made]
    distances = EXACT.pairwise(made)
    for i, j in combinations(range(3), 2):
        with torch.no_grad():
            expected = other(tensors[i], tensors[j]).item()
        assert distances[i, j] == pytest.approx(expected, abs=1e-7)  # their constants are in single precision


def test_memory_is_what_the_description_says(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, torch.dtype]] = []

    def recorded(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        taken.append((count, dtype))
        return torch.empty(count, dtype=dtype, device=device)

    monkeypatch.setattr(segments, "_empty", recorded)
    n, height, width, tile = 3, 96, 64, 32
    Dists(VGG, WEIGHTS, features_dtype=torch.bfloat16, tile=tile).pairwise(outputs(n, height, width))
    scratch = [count * 4 for count, dtype in taken if dtype == torch.float32]
    kept = [count * 2 for count, dtype in taken if dtype == torch.bfloat16]
    assert sum(scratch[:3]) <= 100 * n * tile**2 * 4
    assert max(scratch[3:]) <= 100 * n * tile**2 * 4
    assert kept == [n * height * width * 2 * share for share in (8, 4, 2)]


def test_it_can_be_pickled_and_used_by_several_threads() -> None:
    made = outputs(3, 24, 32)
    restored = pickle.loads(pickle.dumps(SINGLE))
    expected = SINGLE.pairwise(made)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(restored.pairwise, [made] * 6):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_images_are_not_changed_and_may_be_read_only_views() -> None:
    whole = textured(0, 40, 40)
    before = whole.copy()
    whole.flags.writeable = False
    views = [whole[:, ::-1], whole[::-1], whole.transpose(1, 0, 2)]
    expected = SINGLE.pairwise([view.copy() for view in views])
    np.testing.assert_allclose(SINGLE.pairwise(views), expected, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(whole, before)


@pytest.mark.parametrize(
    ("given_images", "message"),
    [
        ([], "no image came: give at least one"),
        ([textured(0, 20, 30), textured(0, 20, 31)], r"images of 30x20, 31x20 pixels came together: .* one size"),
        ([textured(0)[..., 0]], r"shape \(24, 32\) and type uint8 came: give \(height, width, 3\) uint8"),
        ([textured(0)[..., :2]], r"shape \(24, 32, 2\)"),
        ([textured(0).astype(np.float32)], "type float32 came"),
        ([textured(0)[:0]], r"shape \(0, 32, 3\)"),
    ],
)
def test_wrong_images_give_one_clear_error(given_images: list[Pixels], message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        SINGLE.pairwise(given_images)


NOT_VGG = "not the weights of torchvision's VGG-16: "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features.28.bias": None}, NOT_VGG + r"features.28.bias is missing. Give another file"),
        (
            {"features.5.weight": torch.zeros(128, 64, 1, 1)},
            NOT_VGG + r"features.5.weight is \(128, 64, 1, 1\), expected \(128, 64, 3, 3\)",
        ),
        ({"features.0.bias": torch.full((64,), torch.nan)}, "features.0.bias holds values that are not finite"),
        ({"alpha": None}, "not the weights of DISTS: alpha is missing"),
        ({"beta": torch.ones(1, 1472, 1, 1)}, r"beta is \(1, 1472, 1, 1\), expected \(1, 1475, 1, 1\)"),
        ({"beta": torch.full((1, 1475, 1, 1), -0.5)}, "must not be negative, and not all zero; the least is -0.5"),
    ],
)
def test_wrong_weights_give_one_clear_error(changes: dict[str, Tensor | None], message: str) -> None:
    changed = {name: tensor for name, tensor in {**VGG, **WEIGHTS, **changes}.items() if tensor is not None}
    alpha_beta = {name: changed.pop(name) for name in ("alpha", "beta") if name in changed}
    with pytest.raises(WeightsError, match=message):
        Dists(changed, alpha_beta)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": torch.float16}, "dtype is torch.float16: choose torch.float32 or torch.float64"),
        ({"features_dtype": torch.float64}, "features_dtype is torch.float64: choose .* torch.float32, as dtype"),
        ({"tile": 12}, "tile is 12: choose a positive multiple of 8"),
        ({"tile": 0}, "tile is 0"),
    ],
)
def test_wrong_options_give_one_clear_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        Dists(VGG, WEIGHTS, **options)


def test_weights_come_from_files(tmp_path: Path) -> None:
    torch.save({**VGG, "classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg16.pth")
    torch.save({name: nn.Parameter(tensor) for name, tensor in WEIGHTS.items()}, tmp_path / "dists.pt")
    made = outputs(2, 24, 32)
    restored = Dists.from_files(tmp_path / "vgg16.pth", tmp_path / "dists.pt", tile=64)
    assert restored.pair(*made) == pytest.approx(SINGLE.pair(*made), abs=1e-7)
    with pytest.raises(WeightsError, match=r"nothing.pt: weights cannot be read"):
        Dists.from_files(tmp_path / "vgg16.pth", tmp_path / "nothing.pt")
    with pytest.raises(WeightsError, match=r"features.0.weight is missing"):
        Dists.from_files(tmp_path / "dists.pt", tmp_path / "dists.pt")


def in_folder(variable: str, name: str) -> Path:
    folder = os.environ.get(variable)
    path = Path(folder or ".").resolve() / name
    if not folder or not path.is_file():
        pytest.skip(f"{variable} is not set, or its folder lacks {name}")
    return path


def test_the_authors_weights_load() -> None:
    path = in_folder("DISCERN_SAMPLE_DATA", "weights/dists_alpha_beta.pt")
    from pipelines import weights

    Dists(VGG, weights.load_state(path)).pair(*outputs(2, 24, 32))


@pytest.mark.needs_weights
def test_the_published_value() -> None:
    names = ("weights/dists_alpha_beta.pt", "dists/r0.png", "dists/r1.png")
    weights_path, *pictures = [in_folder("DISCERN_SAMPLE_DATA", name) for name in names]
    metric = Dists.from_files(in_folder("DISCERN_WEIGHTS", "vgg16-397923af.pth"), weights_path)
    resized = [images.resize_short_side(images.decode(picture).pixels, 256) for picture in pictures]
    assert metric.pair(*resized) == pytest.approx(0.3347, abs=1e-4)
