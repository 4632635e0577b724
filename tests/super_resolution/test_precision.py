"""The precision of networks: the one that was asked for, really computed in; what does not work is refused."""

import numpy as np
import pytest
import torch

from pipelines.errors import DiscernError
from pipelines.super_resolution import network
from pipelines.super_resolution.network import Network, Precision, Settings, choose_precision
from tests.conftest import textured
from tests.super_resolution.networks import Doubling, expected, loaded_of, of, steps_between

pytestmark = pytest.mark.usefixtures("one_thread")


CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
CHOICES: list[tuple[Precision, torch.device, set[str], str]] = [
    ("float32", CPU, {"float16", "bfloat16"}, "float32"),
    ("float32", GPU, {"float16", "bfloat16"}, "float32"),
    ("float32", GPU, set(), "float32"),
    ("float16", CPU, {"float16"}, "float16"),
    ("float16", GPU, {"float16", "bfloat16"}, "float16"),
    ("bfloat16", CPU, {"bfloat16"}, "bfloat16"),
    ("bfloat16", GPU, {"float16", "bfloat16"}, "bfloat16"),
    ("auto", CPU, {"float16", "bfloat16"}, "float32"),
    ("auto", GPU, {"float16", "bfloat16"}, "float16"),
    ("auto", GPU, {"float16"}, "float16"),
    ("auto", GPU, {"bfloat16"}, "bfloat16"),
    ("auto", GPU, set(), "float32"),
]


def with_gpu(monkeypatch: pytest.MonkeyPatch, *, native: bool) -> None:
    """A GPU with bfloat16, or an older one on which torch only emulates it, slowly."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)


@pytest.mark.parametrize(("wanted", "device", "half", "precision"), CHOICES)
def test_the_precision_that_is_chosen(
    monkeypatch: pytest.MonkeyPatch, wanted: Precision, device: torch.device, half: set[str], precision: str
) -> None:
    with_gpu(monkeypatch, native=True)
    assert choose_precision(wanted, frozenset(half), device, "net") == precision


@pytest.mark.parametrize(("half", "precision"), [({"bfloat16"}, "float32"), ({"float16", "bfloat16"}, "float16")])
def test_automatic_precision_is_never_an_emulated_one(
    monkeypatch: pytest.MonkeyPatch, half: set[str], precision: str
) -> None:
    with_gpu(monkeypatch, native=False)
    assert choose_precision("auto", frozenset(half), GPU, "net") == precision


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize(
    ("wanted", "half", "allowed"),
    [
        ("float16", set(), "choose 'float32'"),
        ("bfloat16", set(), "choose 'float32'"),
        ("float16", {"bfloat16"}, "choose 'float32' or 'bfloat16'"),
        ("bfloat16", {"float16"}, "choose 'float32' or 'float16'"),
    ],
)
def test_a_precision_that_the_network_does_not_allow_is_refused(
    wanted: Precision, half: set[str], allowed: str, device: torch.device
) -> None:
    with pytest.raises(DiscernError, match=f"^net: precision '{wanted}' does not work with this network; {allowed}$"):
        choose_precision(wanted, frozenset(half), device, "net")


def test_float32_gives_exactly_what_the_network_gives() -> None:
    low = textured(0)
    output = of(Doubling()).upscale("image", low)
    np.testing.assert_array_equal(output.pixels, expected(low))
    assert (output.device, output.precision, output.tile) == ("cpu", "float32", None)
    assert output.peak_memory is not None
    assert output.peak_memory > 10 * 2**20


# A value of 1 has 10 bits after the point in float16, 7 in bfloat16: there, its last bit is half an 8-bit step or two.
@pytest.mark.parametrize(("precision", "steps"), [("float16", 1), ("bfloat16", 5)])
def test_half_precision_is_really_computed_in_and_comes_close(precision: Precision, steps: int) -> None:
    module, low = Doubling(), textured(0)
    output = of(module, precision=precision).upscale("image", low)
    assert module.dtypes == {getattr(torch, precision)}
    assert output.precision == precision
    assert 0 < steps_between(output.pixels, expected(low)) <= steps


def test_automatic_precision_is_float32_on_the_cpu() -> None:
    module = Doubling()
    assert of(module, precision="auto").upscale("image", textured(0)).precision == "float32"
    assert module.dtypes == {torch.float32}


def test_a_network_without_half_precision_refuses_it_before_the_first_image() -> None:
    with pytest.raises(DiscernError, match="net: precision 'float16' does not work with this network"):
        of(Doubling(), frozenset({"bfloat16"}), precision="float16").prepare()


class Mixing(Doubling):
    """Mixes float32 into its features, as transformers do with attention masks that they make anew."""

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        return super().forward(low * torch.ones(low.shape[-2:]))


class Overflowing(Doubling):
    """Computes with values that float16 does not have."""

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        return super().forward(low * 1000 * 1000 / 1000 / 1000)


@pytest.mark.parametrize(("module", "claim"), [(Mixing, "float16"), (Mixing, "bfloat16"), (Overflowing, "float16")])
def test_a_network_that_only_claims_half_precision_refuses_it(module: type[Doubling], claim: Precision) -> None:
    with pytest.raises(DiscernError, match=f"net: precision '{claim}' does not work with this network"):
        of(module(), precision=claim).prepare()
    assert steps_between(of(module()).upscale("image", textured(0)).pixels, expected(textured(0))) == 0


@pytest.mark.parametrize(("module", "precision"), [(Mixing, "float32"), (Overflowing, "bfloat16")])
def test_automatic_precision_is_one_that_works(
    monkeypatch: pytest.MonkeyPatch, module: type[Doubling], precision: str
) -> None:
    with_gpu(monkeypatch, native=True)
    # The choice of a GPU, computed here.
    monkeypatch.setattr(network, "choose_precision", lambda *given: choose_precision(*given[:2], GPU, *given[3:]))
    method = Network("net", {}, lambda: loaded_of(module), Settings(2, precision="auto"))
    output = method.upscale("image", textured(0))
    assert output.precision == precision
    # In float32, the weights are not those that half precision has rounded.
    assert steps_between(output.pixels, expected(textured(0))) <= (0 if precision == "float32" else 5)


class NotFinite(Doubling):
    """Has one value among many that is no number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        output = super().forward(low)
        output[0, 1, -1, -1] = self.value
        return output


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("tile", [32, 512])
def test_outputs_that_are_not_finite_are_refused(value: float, tile: int) -> None:
    with pytest.raises(DiscernError, match=r"^net: the network gave values for 'a b' that are not finite"):
        of(NotFinite(value), tile=tile, overlap=8).upscale("a b", textured(0, 40, 30))
