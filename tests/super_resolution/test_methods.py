"""From blocks of a study file to methods: every kind gets what its block says, and nothing is loaded yet."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import study as studies
from pipelines import weights
from pipelines.errors import DiscernError, WeightsError
from pipelines.super_resolution import dasr, methods, usrnet
from pipelines.super_resolution.external.program import Program
from pipelines.super_resolution.folder import Folder
from pipelines.super_resolution.interpolation import Interpolation
from pipelines.super_resolution.method import Method, fingerprint
from pipelines.super_resolution.network import Network, Settings
from tests.conftest import save, textured, write_network
from tests.super_resolution.networks import srformer

STUDY = """
name = "small"
seed = 11
scale = {scale}
accept_licences = {accepted}

[images]
folder = "lr"

[execution]
device = "{device}"

[[methods]]
id = "bicubic"
kind = "interpolation"
algorithm = "bicubic"

[[methods]]
"""


pytestmark = pytest.mark.usefixtures("one_thread")


Make = Callable[..., Method | Program]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make the second method of a study from the text of its block."""

    def from_block(block: str, scale: int = 4, device: str = "cpu", accepted: tuple[str, ...] = ()) -> Method | Program:
        path = tmp_path / "study.toml"
        path.write_text(STUDY.format(scale=scale, device=device, accepted=list(accepted)) + block)
        study = studies.read(path)
        return methods.make(study, study.methods[1])

    return from_block


def test_an_interpolation(make: Make) -> None:
    method = make('id = "other"\nkind = "interpolation"\nalgorithm = "lanczos"', scale=3)
    assert method == Interpolation("other", "lanczos", 3)


def test_a_folder(make: Make, tmp_path: Path) -> None:
    output = textured(0, 96, 128)
    save(tmp_path / "made" / "image_x4.png", output)
    method = make('id = "done"\nkind = "folder"\nfolder = "made"\npattern = "{stem}_x4.png"')
    assert method == Folder("done", tmp_path / "made", "{stem}_x4.png", 4)
    assert isinstance(method, Folder)
    np.testing.assert_array_equal(method.upscale("image", textured(0)).pixels, output)


EXTERNAL = """
id = "upstream"
kind = "external"
repository = "Upstream-SR"
launcher = ["env/bin/python", "-u"]
command = ["inference.py", "-i", "{lr}", "-o", "{out}", "-s", "{scale}", "--steps", "{steps}"]
parameters = { steps = 15 }
config = "seed: {seed}"
results = "{out}/sample"
pattern = "{stem}_x.png"
variables = { CUDA_VISIBLE_DEVICES = "{gpu}" }
weights = ["weights/net.pth"]
seconds_per_image = 7.5
startup_seconds = 30.0
one_image_per_call = true
"""


def test_an_upstream_program(make: Make, tmp_path: Path) -> None:
    repository = tmp_path / "Upstream-SR"
    save(repository / "weights" / "net.pth.png", textured(0)).rename(repository / "weights" / "net.pth")
    program = make(EXTERNAL, scale=2)
    assert program == Program(
        id="upstream",
        repository=repository,
        launcher=(str(tmp_path / "env" / "bin" / "python"), "-u"),
        command=("inference.py", "-i", "{lr}", "-o", "{out}", "-s", "{scale}", "--steps", "{steps}"),
        parameters={"steps": 15},
        config="seed: {seed}",
        results="{out}/sample",
        pattern="{stem}_x.png",
        variables={"CUDA_VISIBLE_DEVICES": "{gpu}"},
        weights=(repository / "weights" / "net.pth",),
        seconds_per_image=7.5,
        startup_seconds=30.0,
        one_image_per_call=True,
        scale=2,
        seed=11,
    )


# Networks.

NETWORK_KEYS = '\nprecision = "bfloat16"\ntile = 96\noverlap = 24\n'


def settings_of(method: Method | Program) -> Settings:
    assert isinstance(method, Network)
    return method.settings


def pin(path: Path) -> str:
    return weights.sha256_of(path)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Weights of a small network of each kind."""
    torch.manual_seed(0)
    write_network(tmp_path / "net.pth")
    states: dict[str, torch.nn.Module] = {
        "usr": usrnet.USRNet(1, hidden=3, widths=(2, 2, 2, 2)),
        "net_g": dasr.DynamicSRResNet(features=3, blocks=1, experts=2),
        "net_p": dasr.DegradationPredictor(features=2, parameters=3, hidden=2, experts=2),
    }
    for name, network in states.items():
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
    return {path.stem: path for path in tmp_path.glob("*.pth")}


BLOCKS = {
    "checkpoint": 'id = "net"\nkind = "checkpoint"\nfile = "net.pth"\n',
    "usrnet": 'id = "net"\nkind = "usrnet"\nfile = "usr.pth"\nkernel_width = 1.25\nnoise_level = 4.0\n',
    "dasr": 'id = "net"\nkind = "dasr"\ngenerator = "net_g.pth"\npredictor = "net_p.pth"\n',
}


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.usefixtures("files")
def test_a_network_gets_the_settings_of_its_block_and_of_the_study(make: Make, kind: str) -> None:
    method = make(BLOCKS[kind] + NETWORK_KEYS, device="cuda:3")
    assert method.id == "net"
    assert method.provenance["kind"] == kind
    assert settings_of(method) == Settings(4, "cuda:3", "bfloat16", 96, 24)
    assert settings_of(make(BLOCKS[kind])) == Settings(4)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.usefixtures("files")
def test_a_network_of_a_study_enlarges(make: Make, kind: str) -> None:
    method = make(BLOCKS[kind])
    assert isinstance(method, Network)
    assert method.upscale("image", textured(0)).pixels.shape == (96, 128, 3)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("checkpoint", {"sha256": "net"}),
        ("usrnet", {"sha256": "usr"}),
        ("dasr", {"generator_sha256": "net_g"}),
        ("dasr", {"predictor_sha256": "net_p"}),
        ("dasr", {"generator_sha256": "net_g", "predictor_sha256": "net_p"}),
    ],
)
def test_the_hashes_of_a_block_are_checked(make: Make, files: dict[str, Path], kind: str, keys: dict[str, str]) -> None:
    pins = "".join(f'{key} = "{pin(files[name])}"\n' for key, name in keys.items())
    assert fingerprint(make(BLOCKS[kind] + pins)) == fingerprint(make(BLOCKS[kind]))
    for name in keys.values():
        with pytest.raises(WeightsError, match=rf"{name}\.pth: sha256 is {pin(files[name])}, expected {'0' * 64}"):
            make(BLOCKS[kind] + pins.replace(pin(files[name]), "0" * 64))


@pytest.mark.usefixtures("files")
def test_usrnets_parameters_arrive(make: Make) -> None:
    facts = make(BLOCKS["usrnet"]).provenance
    assert (facts["kernel_width"], facts["noise_level"]) == (1.25, 4.0)
    facts = make('id = "usr"\nkind = "usrnet"\nfile = "usr.pth"').provenance
    assert (facts["kernel_width"], facts["noise_level"]) == (2.0, 2.0)


def test_weights_that_are_not_there_are_named(make: Make) -> None:
    with pytest.raises(WeightsError, match=r"net\.pth: weights cannot be read \(No such file"):
        make(BLOCKS["checkpoint"])


# Who accepts which licence.


MINE = 'id = "mine"\nkind = "checkpoint"\nfile = "net.pth"\n'
# FeMaSR's block of the catalogue, with another network's weights.
PRESET = 'preset = "femasr"\nkind = "checkpoint"\nfile = "net.pth"\n'


@pytest.mark.parametrize(
    ("block", "accepted", "runs"),
    [
        (MINE, ("srformer",), True),  # the architecture
        (MINE, ("mine",), True),  # the method
        (MINE, (), False),
        (MINE, ("femasr", "another"), False),
        (PRESET, ("femasr",), True),  # the catalogue's method
        (PRESET, (), False),
        (PRESET, ("mine",), False),
        ('id = "mine"\n' + PRESET, ("mine",), False),  # a preset is accepted by its own name
        ('id = "mine"\n' + PRESET, ("femasr",), True),
    ],
)
def test_a_licence_is_accepted_by_the_name_of_the_architecture_or_of_the_method(
    make: Make, tmp_path: Path, block: str, accepted: tuple[str, ...], runs: bool
) -> None:
    torch.save(srformer().state_dict(), tmp_path / "net.pth")
    method = make(block, accepted=accepted)
    assert isinstance(method, Network)
    if runs:
        method.prepare()
    else:
        with pytest.raises(WeightsError, match=r"accept_licences = \['srformer'\]"):
            method.prepare()


# GPUs of upstream programs.


@pytest.mark.parametrize(
    ("device", "visible", "gpu"),
    [
        ("cpu", None, "0"),
        ("cuda", None, "0"),
        ("cuda:0", None, "0"),
        ("cuda:3", None, "3"),
        ("cuda:1", "", ""),
        ("cpu", "5", "5"),
        ("cuda", "5,2", "5"),
        ("cuda:0", "5,2", "5"),
        ("cuda:1", "5,2", "2"),
        ("cuda:1", "5, 2", "2"),
        ("cuda:1", "GPU-8a6f,GPU-11bc", "GPU-11bc"),
        ("cuda:0", "MIG-8a6f", "MIG-8a6f"),
        ("cuda:0", "-1", "-1"),
    ],
)
def test_the_gpu_of_an_upstream_program(device: str, visible: str | None, gpu: str) -> None:
    assert methods.gpu_of(device, visible) == gpu


def test_a_gpu_that_is_not_visible_is_refused() -> None:
    with pytest.raises(DiscernError, match=r"^execution.device: 'cuda:2', but CUDA_VISIBLE_DEVICES is '5,2'"):
        methods.gpu_of("cuda:2", "5,2")
