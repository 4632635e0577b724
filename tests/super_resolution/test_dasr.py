"""DASR: its layouts, and its mixtures of experts against plain networks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pipelines.errors import WeightsError
from pipelines.super_resolution.dasr import DegradationPredictor, DynamicSRResNet, MixedConvolution, from_states
from tests.conftest import textured

EXPERTS = 3


pytestmark = pytest.mark.usefixtures("one_thread")


def small() -> tuple[DynamicSRResNet, DegradationPredictor]:
    torch.manual_seed(0)
    generator = DynamicSRResNet(features=6, blocks=2, experts=EXPERTS)
    for name, parameter in generator.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return generator.eval(), DegradationPredictor(features=5, parameters=7, hidden=4, experts=EXPERTS).eval()


def photographs(count: int, height: int, width: int) -> Tensor:
    return (
        torch.stack([torch.from_numpy(textured(seed, height, width)).permute(2, 0, 1) for seed in range(count)]) / 255
    )


def generator_layout(features: int, blocks: int, experts: int) -> dict[str, tuple[int, ...]]:
    """The entries of `MSRResNetDynamic`'s state dict for x4, written down from its module tree."""
    inner = {f"body.{block}.conv{layer}": (features, features) for block in range(blocks) for layer in (1, 2)}
    outer = {
        "conv_first": (features, 3),
        "upconv1": (4 * features, features),
        "upconv2": (4 * features, features),
        "conv_hr": (features, features),
        "conv_last": (3, features),
    }
    layout: dict[str, tuple[int, ...]] = {}
    for name, (outputs, inputs) in (inner | outer).items():
        layout |= {f"{name}.weight": (experts, outputs, inputs, 3, 3), f"{name}.bias": (experts, outputs)}
    return layout


def predictor_layout(features: int, parameters: int, hidden: int, experts: int) -> dict[str, tuple[int, ...]]:
    """The entries of `Degradation_Predictor`'s state dict, written down from its module tree."""
    weights: dict[str, tuple[int, ...]] = {
        "ConvNet.0": (features, 3, 5, 5),
        **{f"ConvNet.{place}": (features, features, 5, 5) for place in (2, 4, 6, 8)},
        "ConvNet.10": (parameters, features, 5, 5),
        "MappingNet.0": (hidden, parameters),
        "MappingNet.1": (experts, hidden),
    }
    layout: dict[str, tuple[int, ...]] = {}
    for name, shape in weights.items():
        layout |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return layout


def test_published_state_dicts_load() -> None:
    layouts = generator_layout(64, 16, 5), predictor_layout(64, 33, 15, 5)
    states = [{name: torch.full(shape, 0.01) for name, shape in layout.items()} for layout in layouts]
    for network, layout in zip(from_states(*states), layouts, strict=True):
        assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == layout
    defaults = DynamicSRResNet(), DegradationPredictor()
    for network, layout in zip(defaults, layouts, strict=True):
        assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == layout


def test_state_dicts_give_the_networks_that_they_came_from() -> None:
    generator, predictor = small()
    loaded_generator, loaded_predictor = from_states(generator.state_dict(), predictor.state_dict())
    low = photographs(2, 9, 7)
    with torch.inference_mode():
        parameters, weights = predictor(low)
        assert (parameters.shape, weights.shape) == ((2, 7), (2, EXPERTS))
        torch.testing.assert_close(loaded_predictor(low), (parameters, weights), rtol=0, atol=0)
        torch.testing.assert_close(loaded_generator(low, weights), generator(low, weights), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("network", "name", "shape", "message"),
    [
        ("generator", "body.0.conv2.bias", None, r"generator.* 1 missing \(body\.0\.conv2\.bias\)"),
        ("generator", "upconv2.weight", None, r"generator.* 1 missing \(upconv2\.weight\)\. Give another file"),
        ("generator", "conv_first.weight", None, r"generator.* conv_first\.weight is missing"),
        ("generator", "conv_first.weight", (6, 3), r"generator.* conv_first\.weight has only 2 axes"),
        ("generator", "upconv3.weight", (1,), r"generator.* 1 not known \(upconv3\.weight\)"),
        ("generator", "conv_hr.bias", (4, 6), r"generator.* \(conv_hr\.bias \(4, 6\) for \(3, 6\)\)"),
        ("generator", "body.5.conv1.bias", (3, 6), r"generator.*15 missing \(body\.2\.conv1\.bias, .* and 12 more\)"),
        ("predictor", "ConvNet.6.bias", None, r"predictor.* 1 missing \(ConvNet\.6\.bias\)"),
        ("predictor", "MappingNet.0.weight", None, r"predictor.* MappingNet\.0\.weight is missing"),
        ("predictor", "MappingNet.2.bias", (1,), r"predictor.* 1 not known \(MappingNet\.2\.bias\)"),
        ("predictor", "ConvNet.10.bias", (8,), r"predictor.* \(ConvNet\.10\.bias \(8,\) for \(7,\)\)"),
    ],
)
def test_another_state_dict_is_refused(network: str, name: str, shape: tuple[int, ...] | None, message: str) -> None:
    generator, predictor = (made.state_dict() for made in small())
    changed = {"generator": generator, "predictor": predictor}[network]
    changed.pop(name, None)
    if shape is not None:
        changed[name] = torch.zeros(shape)
    with pytest.raises(WeightsError, match=message):
        from_states(generator, predictor)


def test_networks_of_different_numbers_of_experts_are_refused() -> None:
    generator, _ = small()
    predictor = DegradationPredictor(features=5, parameters=7, hidden=4, experts=EXPERTS + 1)
    with pytest.raises(WeightsError, match=r"predictor .* for the 3 experts .*2 of another shape"):
        from_states(generator.state_dict(), predictor.state_dict())


def plain_super_resolver(state: dict[str, Tensor], weights: Tensor, low: Tensor) -> Tensor:
    """The network of two blocks for one image, with the mixed kernels put into plain convolutions."""

    def convolve(name: str, features: Tensor) -> Tensor:
        kernel, bias = (
            sum(weight * expert for weight, expert in zip(weights, state[f"{name}.{part}"], strict=True))
            for part in ("weight", "bias")
        )
        return functional.conv2d(features, kernel, bias, padding=1)

    def leaky(features: Tensor) -> Tensor:
        return torch.where(features > 0, features, 0.1 * features)

    features = leaky(convolve("conv_first", low))
    for block in (0, 1):
        features = features + convolve(f"body.{block}.conv2", convolve(f"body.{block}.conv1", features).clamp(min=0))
    features = leaky(functional.pixel_shuffle(convolve("upconv1", features), 2))
    features = leaky(functional.pixel_shuffle(convolve("upconv2", features), 2))
    features = convolve("conv_last", leaky(convolve("conv_hr", features)))
    return features + functional.interpolate(low, scale_factor=4, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("expert", range(EXPERTS))
def test_one_expert_alone_is_a_plain_network(expert: int) -> None:
    generator, _ = small()
    low, weights = photographs(1, 8, 11), torch.eye(EXPERTS)[[expert]]
    only = {name: tensor[[expert]] for name, tensor in generator.state_dict().items()}
    with torch.inference_mode():
        expected = plain_super_resolver(only, torch.ones(1), low)
        torch.testing.assert_close(generator(low, weights), expected, rtol=0, atol=1e-4)


def test_each_image_of_a_batch_has_its_own_mixture() -> None:
    generator, _ = small()
    low, weights = photographs(3, 6, 9), torch.randn(3, EXPERTS, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together = generator(low, weights)
        expected = [plain_super_resolver(generator.state_dict(), weights[i], low[[i]]) for i in range(3)]
        alone = [generator(low[[i]], weights[[i]]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4)
    torch.testing.assert_close(together, torch.cat(expected), rtol=0, atol=1e-4)
    assert together.shape == (3, 3, 24, 36)


@given(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), st.integers(0, 2**31))
def test_a_convolution_is_linear_in_the_weights_of_the_experts(factors: tuple[float, float], seed: int) -> None:
    torch.manual_seed(seed)
    convolution = MixedConvolution(inputs=2, outputs=4, experts=EXPERTS).double()
    torch.nn.init.normal_(convolution.bias)
    features = torch.rand(2, 2, 5, 6, dtype=torch.float64)
    first, second = torch.randn(2, 2, EXPERTS, dtype=torch.float64)
    with torch.inference_mode():
        mixed = convolution(features, factors[0] * first + factors[1] * second)
        separate = factors[0] * convolution(features, first) + factors[1] * convolution(features, second)
    torch.testing.assert_close(mixed, separate, rtol=0, atol=1e-10)


def test_the_predictor_is_the_plain_network() -> None:
    _, predictor = small()
    state, low = predictor.state_dict(), photographs(2, 9, 12)
    features = low
    for place in (0, 2, 4, 6, 8, 10):
        kernel, bias = state[f"ConvNet.{place}.weight"], state[f"ConvNet.{place}.bias"]
        features = functional.conv2d(features, kernel, bias, padding=2, stride=2 if place == 6 else 1)
        features = torch.where(features > 0, features, 0.2 * features)
    expected = features.mean(dim=(2, 3))
    weights = expected
    for place in (0, 1):
        weights = weights @ state[f"MappingNet.{place}.weight"].T + state[f"MappingNet.{place}.bias"]
    with torch.inference_mode():
        torch.testing.assert_close(predictor(low), (expected, weights))


@given(st.integers(1, 9), st.integers(1, 9))
def test_outputs_are_four_times_as_large(height: int, width: int) -> None:
    generator, predictor = small()
    low = torch.rand(1, 3, height, width)
    with torch.inference_mode():
        output = generator(low, predictor(low)[1])
    assert output.shape == (1, 3, 4 * height, 4 * width)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 0.05), (torch.bfloat16, 0.3)])
def test_half_precision_gives_nearly_the_same(dtype: torch.dtype, error: float) -> None:
    low = photographs(2, 8, 8)
    generator, predictor = small()
    with torch.inference_mode():
        expected = generator(low, predictor(low)[1])
        generator, predictor, low = generator.to(dtype), predictor.to(dtype), low.to(dtype)
        output = generator(low, predictor(low)[1])
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=error)
