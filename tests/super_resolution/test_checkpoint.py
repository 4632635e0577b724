"""Checkpoints through spandrel: recognised, run, refused with the reason. The network here is small and random."""

from pathlib import Path

import numpy as np
import pytest
import torch
from spandrel.architectures.Compact import Compact

from pipelines import images, weights
from pipelines.errors import WeightsError
from pipelines.super_resolution import checkpoint
from tests.conftest import textured

CPU = torch.device("cpu")


def write_network(path: Path, upscale: int = 4, channels: int = 3) -> Compact:
    torch.manual_seed(0)
    network = Compact(num_in_ch=channels, num_out_ch=channels, num_feat=8, num_conv=2, upscale=upscale)
    torch.save({"params": network.state_dict()}, path)
    return network.eval()


def test_a_checkpoint_gives_what_the_network_gives(tmp_path: Path) -> None:
    network = write_network(tmp_path / "net.pth")
    method = checkpoint.load("small", tmp_path / "net.pth", scale=4, device=CPU)
    pixels = textured(0)
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)[0]
    expected_pixels = (expected.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(method.upscale("image", pixels), expected_pixels)


def test_provenance_holds_architecture_and_sha256(tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth")
    facts = checkpoint.load("small", tmp_path / "net.pth", scale=4, device=CPU).provenance
    assert facts["architecture"] == "RealESRGAN Compact"
    assert facts["weights_sha256"] == weights.sha256_of(tmp_path / "net.pth")
    assert facts["device"] == "cpu"


def test_a_file_with_another_sha256_is_refused(tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=f"expected {'0' * 64}"):
        checkpoint.load("small", tmp_path / "net.pth", scale=4, device=CPU, sha256="0" * 64)


def test_a_network_of_another_scale_is_refused(tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth", upscale=2)
    with pytest.raises(WeightsError, match="needs an RGB network x4"):
        checkpoint.load("small", tmp_path / "net.pth", scale=4, device=CPU)


def test_unknown_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"some.weight": torch.zeros(3)}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="no architecture"):
        checkpoint.load("small", tmp_path / "net.pth", scale=4, device=CPU)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.pth"):
        checkpoint.load("small", tmp_path / "net.pth", scale=4, device=CPU)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_code_in_a_checkpoint_is_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"params": Malicious()}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="read safely"):
        checkpoint.load("bad", tmp_path / "net.pth", scale=4, device=CPU)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["DITN_Real_x4", "DITN_Real_GAN_x4", "CRAFT_x4"])
def test_real_checkpoints_enlarge_real_photographs(sample_data: Path, name: str) -> None:
    method = checkpoint.load(name, sample_data / "weights" / f"{name}.pth", scale=4, device=CPU)
    pixels = images.decode(sample_data / "realsrset" / "lr" / "chip.png").pixels[:50, :45]
    output = method.upscale("chip", pixels)
    assert output.shape == (200, 180, 3)
    # A super-resolved image averaged back over 4 x 4 pixels looks like the LR image.
    small = output.reshape(50, 4, 45, 4, 3).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), pixels.ravel())[0, 1] > 0.95
