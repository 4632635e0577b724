"""USRNet and DASR from their files: what they give, what determines it, and which file is wrong."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines import weights
from pipelines.errors import DiscernError, WeightsError
from pipelines.images import Pixels
from pipelines.super_resolution import checkpoint, dasr, tiling, usrnet
from pipelines.super_resolution.method import fingerprint
from pipelines.super_resolution.network import Network, Precision, Settings
from tests.conftest import textured, write_network
from tests.super_resolution.networks import pixels_of, refusal, steps_between, values_of, written

X4 = Settings(scale=4)


pytestmark = pytest.mark.usefixtures("one_thread")


def write_usrnet(path: Path) -> usrnet.USRNet:
    torch.manual_seed(0)
    network = usrnet.USRNet(2, hidden=5, widths=(4, 6, 8, 10))
    with torch.no_grad():
        network.p.m_tail.weight.mul_(4)
    torch.save({"params": network.state_dict()}, path)
    return network.eval()


@torch.inference_mode()
def test_usrnet_gives_what_its_network_gives(tmp_path: Path) -> None:
    network, low = write_usrnet(tmp_path / "usr.pth"), textured(0)
    method = checkpoint.usr("usr", tmp_path / "usr.pth", X4, kernel_width=1.5, noise_level=5.0)
    expected = usrnet.restore(network, values_of(low), 4, kernel_width=1.5, noise_level=5.0)
    np.testing.assert_array_equal(method.upscale("image", low).pixels, pixels_of(expected))


def test_usrnets_parameters_change_its_outputs_and_its_fingerprint(tmp_path: Path) -> None:
    write_usrnet(tmp_path / "usr.pth")
    given = [{"kernel_width": 1.5, "noise_level": 5.0}, {"kernel_width": 2.5, "noise_level": 5.0}]
    given += [{"kernel_width": 1.5, "noise_level": 50.0}]
    made = [checkpoint.usr("usr", tmp_path / "usr.pth", X4, **parameters) for parameters in given]
    assert len({fingerprint(method) for method in made}) == 3
    assert len({method.upscale("image", textured(0)).pixels.tobytes() for method in made}) == 3
    for method, parameters in zip(made, given, strict=True):
        facts = method.provenance
        assert {key: facts[key] for key in parameters} == parameters
        assert facts["kind"] == "usrnet"
        assert facts["weights_sha256"] == weights.sha256_of(tmp_path / "usr.pth")


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_usrnet_computes_in_half_precision(tmp_path: Path, precision: Precision) -> None:
    write_usrnet(tmp_path / "usr.pth")
    outputs = [
        checkpoint.usr(
            "usr", tmp_path / "usr.pth", replace(X4, precision=choice), kernel_width=1.5, noise_level=5.0
        ).upscale("image", textured(0))
        for choice in ("float32", precision)
    ]
    assert outputs[1].precision == precision
    assert 0 < steps_between(outputs[0].pixels, outputs[1].pixels) <= 8


def test_usrnet_says_which_image_is_too_small_for_it(tmp_path: Path) -> None:
    write_usrnet(tmp_path / "usr.pth")
    method = checkpoint.usr("usr", tmp_path / "usr.pth", X4, kernel_width=1.5, noise_level=5.0)
    with pytest.raises(DiscernError, match="the image is 20x5: USRNet needs sides of 8"):
        method.upscale("image", textured(0, 5, 20))


def test_a_scale_that_usrnet_was_not_made_for_is_refused(tmp_path: Path) -> None:
    write_usrnet(tmp_path / "usr.pth")
    method = checkpoint.usr("usr", tmp_path / "usr.pth", Settings(8), kernel_width=1.5, noise_level=5.0)
    assert refusal(method).endswith("usr.pth: USRNet enlarges by 4 at most, the study by 8; leave it out")


def test_weights_of_another_network_are_not_usrnets(tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth")
    method = checkpoint.usr("usr", tmp_path / "net.pth", X4, kernel_width=1.5, noise_level=5.0)
    assert refusal(method).startswith(f"{tmp_path / 'net.pth'}: these are not weights of USRNet")


def test_usrnet_from_another_file_than_expected_is_refused(tmp_path: Path) -> None:
    network = write_usrnet(tmp_path / "usr.pth")
    with pytest.raises(WeightsError, match=f"expected {'0' * 64}"):
        checkpoint.usr("usr", tmp_path / "usr.pth", X4, kernel_width=1.5, noise_level=5.0, sha256="0" * 64)
    method = checkpoint.usr("usr", tmp_path / "usr.pth", X4, kernel_width=1.5, noise_level=5.0)
    torch.save(network.state_dict(), tmp_path / "usr.pth")
    assert "sha256 is" in refusal(method)


class Dasr:
    """DASR in two files."""

    def __init__(self, folder: Path, experts: int = 3) -> None:
        torch.manual_seed(0)
        self.enlarge = dasr.DynamicSRResNet(features=6, blocks=1, experts=experts).eval()
        self.predict = dasr.DegradationPredictor(features=5, parameters=7, hidden=4, experts=experts).eval()
        with torch.no_grad():
            for layer in self.predict.ConvNet[::2]:
                layer.weight.mul_(2.6)  # so that what it sees makes a difference
        self.generator, self.predictor = folder / "net_g.pth", folder / "net_p.pth"
        torch.save({"params": self.enlarge.state_dict()}, self.generator)
        torch.save({"params": self.predict.state_dict()}, self.predictor)

    def method(self, settings: Settings = X4) -> Network:
        return checkpoint.adaptive("dasr", self.generator, self.predictor, settings)


def one_sided(height: int, width: int) -> Pixels:
    """An image whose halves are degraded in different ways."""
    low = textured(0, height, width)
    low[: height // 2] = low[: height // 2].mean(axis=(0, 1)).astype(np.uint8)
    return low


@torch.inference_mode()
def test_dasr_gives_what_its_networks_give(tmp_path: Path) -> None:
    files, low = Dasr(tmp_path), textured(0)
    expected = files.enlarge(values_of(low), files.predict(values_of(low))[1])
    np.testing.assert_array_equal(files.method().upscale("image", low).pixels, pixels_of(expected))


@torch.inference_mode()
def test_dasrs_predictor_sees_the_whole_image_where_its_generator_sees_tiles(tmp_path: Path) -> None:
    files, low = Dasr(tmp_path), one_sided(90, 56)
    experts = files.predict(values_of(low))[1]
    whole = pixels_of(files.enlarge(values_of(low), experts))
    output = files.method(replace(X4, tile=48, overlap=24)).upscale("image", low)
    assert output.tile == 48
    assert steps_between(output.pixels, whole) <= 1

    def from_tiles_alone(part: Tensor) -> Tensor:
        return files.enlarge(part, files.predict(part)[1])

    # So that the test can fail: with the tiles' own predictions the image is another one.
    wrong = tiling.upscale(from_tiles_alone, values_of(low), 4, tile=48, overlap=24)
    assert steps_between(pixels_of(wrong), whole) > 20


def test_dasrs_fingerprint_depends_on_both_files(tmp_path: Path) -> None:
    files = Dasr(tmp_path)
    before = files.method()
    assert before.provenance["generator_sha256"] == weights.sha256_of(files.generator)
    assert before.provenance["predictor_sha256"] == weights.sha256_of(files.predictor)
    prints = {fingerprint(before)}
    for path in (files.generator, files.predictor):
        torch.save(torch.load(path, weights_only=True) | {"epoch": 1}, path)
        prints.add(fingerprint(files.method()))
    assert len(prints) == 3
    assert "sha256 is" in refusal(before)


@pytest.mark.parametrize("wrong", ["generator", "predictor"])
def test_dasr_from_another_file_than_expected_is_refused(tmp_path: Path, wrong: str) -> None:
    files = Dasr(tmp_path)
    with pytest.raises(WeightsError, match=f"^{re.escape(str(getattr(files, wrong)))}: .*expected {'0' * 64}"):
        checkpoint.adaptive("dasr", files.generator, files.predictor, X4, **{f"{wrong}_sha256": "0" * 64})


def swapped(files: Dasr) -> Path:
    files.generator, files.predictor = files.predictor, files.generator
    return files.generator


def without_an_entry(path: Path) -> Path:
    state = torch.load(path, weights_only=True)["params"]
    state.popitem()
    return written(path, state)


def cut_short(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def of_more_experts(files: Dasr) -> Path:
    experts = dasr.DegradationPredictor(features=5, parameters=7, hidden=4, experts=5)
    return written(files.predictor, experts.state_dict())


WRONG_FILES: dict[str, Callable[[Dasr], Path]] = {
    "swapped": swapped,
    "generator for predictor": lambda files: written(files.predictor, files.enlarge.state_dict()),
    "predictor for generator": lambda files: written(files.generator, files.predict.state_dict()),
    "incomplete generator": lambda files: without_an_entry(files.generator),
    "incomplete predictor": lambda files: without_an_entry(files.predictor),
    "torn generator": lambda files: cut_short(files.generator),
    "torn predictor": lambda files: cut_short(files.predictor),
    "empty predictor": lambda files: written(files.predictor, {"epoch": 3}),
    "predictor of more experts": of_more_experts,
}


@pytest.mark.parametrize("spoil", WRONG_FILES.values(), ids=WRONG_FILES)
def test_the_message_names_the_file_that_is_wrong_and_no_other(tmp_path: Path, spoil: Callable[[Dasr], Path]) -> None:
    files = Dasr(tmp_path)
    wrong = spoil(files)
    text = refusal(files.method())
    assert text.startswith(f"{wrong}: ")
    assert str({files.generator, files.predictor}.difference({wrong}).pop()) not in text


def test_dasr_enlarges_by_four_alone(tmp_path: Path) -> None:
    assert "DASR enlarges by 4, the study by 2" in refusal(Dasr(tmp_path).method(Settings(scale=2)))
