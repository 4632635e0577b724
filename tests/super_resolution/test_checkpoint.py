"""Networks from their checkpoints: recognised, run, refused with the reason. The networks are small and random."""

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from pipelines import images, weights
from pipelines.errors import DiscernError, WeightsError
from pipelines.super_resolution import checkpoint
from pipelines.super_resolution.method import fingerprint
from pipelines.super_resolution.network import Precision, Settings
from tests.conftest import textured, write_network
from tests.super_resolution.networks import pixels_of, refusal, rgt, steps_between, swin, values_of, written

X4 = Settings(scale=4)


pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_checkpoint_gives_what_the_network_gives(tmp_path: Path) -> None:
    network = write_network(tmp_path / "net.pth")
    method = checkpoint.recognised("small", tmp_path / "net.pth", X4)
    pixels = textured(0)
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)[0]
    expected_pixels = (expected.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(method.upscale("image", pixels).pixels, expected_pixels)


def test_provenance_holds_all_that_determines_the_outputs(tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth")
    facts = checkpoint.recognised("small", tmp_path / "net.pth", X4).provenance
    assert facts["weights_sha256"] == weights.sha256_of(tmp_path / "net.pth")
    assert facts["device"] == "cpu"


def test_a_file_with_another_sha256_is_refused(tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=f"expected {'0' * 64}"):
        checkpoint.recognised("small", tmp_path / "net.pth", X4, sha256="0" * 64)


def test_a_network_of_another_scale_is_refused(tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth", upscale=2)
    with pytest.raises(WeightsError, match="needs an RGB network x4"):
        checkpoint.recognised("small", tmp_path / "net.pth", X4).prepare()


def test_unknown_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"some.weight": torch.zeros(3)}, tmp_path / "net.pth")
    text = refusal(checkpoint.recognised("small", tmp_path / "net.pth", X4))
    assert "no architecture" in text
    # They would be recognised if that were a help.
    assert ("discern[noncommercial]" in text) == (find_spec("spandrel_extra_arches") is None)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.pth"):
        checkpoint.recognised("small", tmp_path / "net.pth", X4).prepare()


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_code_in_a_checkpoint_is_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"params": Malicious()}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="read safely"):
        checkpoint.recognised("bad", tmp_path / "net.pth", X4).prepare()
    assert "executed" not in capsys.readouterr().out


def test_a_network_of_other_channels_is_refused(tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth", channels=1)
    text = refusal(checkpoint.recognised("small", tmp_path / "net.pth", X4))
    assert "x4 with 1 input and 1 output channels" in text


def test_another_file_than_the_one_that_was_hashed_is_not_loaded(tmp_path: Path) -> None:
    """The network may be loaded hours later, or on another host, where the path leads to something else."""
    write_network(tmp_path / "net.pth")
    method = checkpoint.recognised("small", tmp_path / "net.pth", X4)
    expected = method.provenance["weights_sha256"]
    torch.save(torch.load(tmp_path / "net.pth", weights_only=True) | {"epoch": 1}, tmp_path / "net.pth")
    assert f"expected {expected}" in refusal(method)


def test_a_program_in_place_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.warns(Warning, match="deprecated"):
        torch.jit.save(torch.jit.trace(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4)), str(tmp_path / "net.pth"))
    assert "TorchScript" in refusal(checkpoint.recognised("program", tmp_path / "net.pth", X4))


def test_numpy_values_are_refused_and_nobody_is_told_to_switch_safety_off(tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth")
    state = torch.load(tmp_path / "net.pth", weights_only=True)
    torch.save(state | {"psnr": np.float64(27.5)}, tmp_path / "net.pth")
    text = refusal(checkpoint.recognised("small", tmp_path / "net.pth", X4))
    assert re.search(r"it holds numpy[\w.]+\.scalar beside tensors", text)
    assert not re.search("weights_only|safe_globals|False", text)


# Layouts.


def rrdb_net(blocks: int = 2) -> nn.Module:
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    return ESRGAN(in_nc=3, out_nc=3, num_filters=4, num_blocks=blocks, scale=4).eval()


def renamed(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """A state dict with the names of another implementation; every entry must get one."""
    new = {}
    for old, tensor in state.items():
        [(pattern, name)] = [rule for rule in names.items() if re.fullmatch(rule[0], old)]
        new[re.sub(pattern, name, old)] = tensor
    return new


# What RRDBNet's modules are called in ESRGAN's first release (as in `ESRGAN`), in BSRGAN's, and in Real-ESRGAN's.
LAYOUTS: dict[str, dict[str, str]] = {
    "ESRGAN": {r"(model\..*)": r"\1"},
    "BSRGAN": {
        r"model\.0\.(.*)": r"conv_first.\1",
        r"model\.1\.sub\.(\d)\.(RDB\d\.conv\d)\.0\.(.*)": r"RRDB_trunk.\1.\2.\3",
        r"model\.1\.sub\.2\.(weight|bias)": r"trunk_conv.\1",
        r"model\.3\.(.*)": r"upconv1.\1",
        r"model\.6\.(.*)": r"upconv2.\1",
        r"model\.8\.(.*)": r"HRconv.\1",
        r"model\.10\.(.*)": r"conv_last.\1",
    },
    "Real-ESRGAN": {
        r"model\.0\.(.*)": r"conv_first.\1",
        r"model\.1\.sub\.(\d)\.RDB(\d)\.(conv\d)\.0\.(.*)": r"body.\1.rdb\2.\3.\4",
        r"model\.1\.sub\.2\.(weight|bias)": r"conv_body.\1",
        r"model\.3\.(.*)": r"conv_up1.\1",
        r"model\.6\.(.*)": r"conv_up2.\1",
        r"model\.8\.(.*)": r"conv_hr.\1",
        r"model\.10\.(.*)": r"conv_last.\1",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_the_layouts_of_one_network_give_the_same(tmp_path: Path, layout: str) -> None:
    network, low = rrdb_net(), textured(0)
    state = renamed(dict(network.state_dict()), LAYOUTS[layout])
    method = checkpoint.recognised("net", written(tmp_path / "net.pth", {"params_ema": state}), X4)
    output = method.upscale("image", low).pixels
    np.testing.assert_array_equal(output, pixels_of(network(values_of(low))))
    assert output.std() > 1  # so that weights left out would show


def test_a_safetensors_file_gives_the_same(tmp_path: Path) -> None:
    network = write_network(tmp_path / "net.pth")
    safetensors.torch.save_file(network.state_dict(), tmp_path / "net.safetensors")
    one, other = (checkpoint.recognised("net", tmp_path / name, X4) for name in ("net.pth", "net.safetensors"))
    low = textured(0)
    np.testing.assert_array_equal(one.upscale("image", low).pixels, other.upscale("image", low).pixels)
    assert fingerprint(one) != fingerprint(other)


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    network = write_network(tmp_path / "net.pth")
    state = {"params": {key: value * 2 for key, value in network.state_dict().items()}, "params_ema": {}}
    state["params_ema"] = dict(network.state_dict())
    method = checkpoint.recognised("net", written(tmp_path / "both.pth", state), X4)
    expected = checkpoint.recognised("net", tmp_path / "net.pth", X4).upscale("image", textured(0)).pixels
    np.testing.assert_array_equal(method.upscale("image", textured(0)).pixels, expected)


# Precision, and sizes.


@pytest.mark.parametrize(("height", "width"), [(5, 9), (16, 17), (21, 40)])
@torch.inference_mode()
def test_an_image_below_the_smallest_size_of_a_network_is_padded_for_it(
    tmp_path: Path, height: int, width: int
) -> None:
    method = checkpoint.recognised("rgt", written(tmp_path / "net.pth", rgt().state_dict()), X4)
    low = textured(0, height, width)
    output = method.upscale("image", low).pixels
    assert output.shape == (4 * height, 4 * width, 3)
    if min(height, width) >= 16:
        np.testing.assert_array_equal(output, pixels_of(rgt()(values_of(low))))


def test_a_transformer_in_bfloat16_comes_close_and_refuses_float16(tmp_path: Path) -> None:
    path, low = written(tmp_path / "net.pth", rgt().state_dict()), textured(0)
    exact = checkpoint.recognised("rgt", path, X4).upscale("image", low)
    output = checkpoint.recognised("rgt", path, replace(X4, precision="bfloat16")).upscale("image", low)
    assert output.precision == "bfloat16"
    assert 0 < steps_between(output.pixels, exact.pixels) <= 4
    with pytest.raises(DiscernError, match="'float16' does not work with this network; choose 'float32' or 'bfloat16'"):
        checkpoint.recognised("rgt", path, replace(X4, precision="float16")).prepare()


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_precision_that_spandrel_wrongly_believes_in_is_refused_before_the_first_image(
    tmp_path: Path, precision: Precision
) -> None:
    """SwinIR makes its attention mask in float32 wherever an image is not of the size of its training."""
    path = written(tmp_path / "net.pth", swin().state_dict())
    with pytest.raises(DiscernError, match=f"precision '{precision}' does not work with this network"):
        checkpoint.recognised("swin", path, replace(X4, precision=precision)).prepare()
    assert checkpoint.recognised("swin", path, X4).upscale("image", textured(0)).precision == "float32"


# Damaged state dicts.

RECOGNISED_BY = ("conv_first.weight", "body.0.rdb1.conv1.weight", "conv_body.weight", "conv_last.weight")
DAMAGES: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "only the keys that it is recognised by": lambda state: {key: state[key] for key in RECOGNISED_BY},
    "one entry missing": lambda state: {key: value for key, value in state.items() if key != "conv_hr.bias"},
    "an entry of another shape": lambda state: state | {"conv_hr.bias": torch.zeros(5)},
    "an entry without axes": lambda state: state | {"conv_first.weight": torch.tensor(1.0)},
    "all entries flat": lambda state: {key: value.flatten() for key, value in state.items()},
    "no tensors in half of it": lambda state: dict(list(state.items())[::2]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_weights_that_do_not_fit_their_architecture_are_refused_in_a_few_words(
    tmp_path: Path, damage: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    state = renamed(dict(rrdb_net().state_dict()), LAYOUTS["Real-ESRGAN"])
    path = written(tmp_path / "net.pth", damage(state))
    assert refusal(checkpoint.recognised("net", path, X4)).startswith(f"{path}: ")


# Real files.


@pytest.mark.parametrize("name", ["DITN_Real_x4", "DITN_Real_GAN_x4", "CRAFT_x4"])
def test_real_checkpoints_enlarge_real_photographs(sample_data: Path, name: str) -> None:
    method = checkpoint.recognised(name, sample_data / "weights" / f"{name}.pth", X4)
    pixels = images.decode(sample_data / "realsrset" / "lr" / "chip.png").pixels[:50, :45]
    output = method.upscale("chip", pixels).pixels
    assert output.shape == (200, 180, 3)
    # A super-resolved image averaged back over 4 x 4 pixels looks like the LR image.
    small = output.reshape(50, 4, 45, 4, 3).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), pixels.ravel())[0, 1] > 0.95


@pytest.mark.parametrize(("name", "largest"), [("DITN_Real_x4", 4), ("CRAFT_x4", 25)])
def test_real_transformers_in_tiles_come_close(sample_data: Path, name: str, largest: int) -> None:
    pixels = images.decode(sample_data / "realsrset" / "lr" / "dog.png").pixels[:101, :40]
    weights_file = sample_data / "weights" / f"{name}.pth"
    whole, tiled = (
        checkpoint.recognised(name, weights_file, replace(X4, tile=tile, overlap=32)).upscale("dog", pixels).pixels
        for tile in (128, 64)
    )
    assert steps_between(tiled, whole) <= largest  # with tiles anywhere: more than 100
    assert np.abs(tiled.astype(int) - whole).mean() < 1
