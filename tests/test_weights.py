"""Weights files: the expected one or none, nothing in them is executed, and every damage is one clear line."""

import hashlib
import io
import os
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines import weights
from pipelines.errors import WeightsError

STATE = {"body.weight": torch.arange(12.0).reshape(3, 4), "body.bias": torch.ones(3), "steps": torch.tensor(7)}

# Words of torch's own messages: how to read the file without protection.
ADVICE = ("weights_only", "safe_globals", "allowlist", "torch.load", "PyTorch 2.6")


def refusal(path: Path) -> str:
    """Why a file cannot be used: one line that names it first and advises no risk."""
    with pytest.raises(WeightsError) as caught:
        weights.load_state(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert len(text.splitlines()) == 1
    assert not [words for words in ADVICE if words in text]
    return text


def assert_same(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name


def written(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"weights")
    assert weights.sha256_of(tmp_path / "net.pth") == hashlib.sha256(b"weights").hexdigest()


def test_the_expected_file_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert weights.local_file(tmp_path / "net.pth") == digest
    assert weights.local_file(tmp_path / "net.pth", digest) == digest


def test_another_file_is_refused_with_both_hashes(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"other weights")
    expected, actual = (hashlib.sha256(content).hexdigest() for content in (b"weights", b"other weights"))
    with pytest.raises(WeightsError, match=rf"net\.pth: sha256 is {actual}, expected {expected}"):
        weights.local_file(tmp_path / "net.pth", expected)


def test_a_state_is_not_read_from_another_file_than_expected(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "net.pth")
    assert_same(weights.load_state(tmp_path / "net.pth", weights.sha256_of(tmp_path / "net.pth")), STATE)
    with pytest.raises(WeightsError, match=f"expected {'0' * 64}"):
        weights.load_state(tmp_path / "net.pth", "0" * 64)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"net\.pth: weights cannot be read \(No such file or directory\)"):
        weights.sha256_of(tmp_path / "net.pth")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights cannot be read \(Is a directory\)"):
        weights.local_file(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"weights")
    (tmp_path / "net.pth").chmod(0)
    with pytest.raises(WeightsError, match="Permission denied"):
        weights.local_file(tmp_path / "net.pth")


WRAPPINGS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "bare": lambda state: state,
    "params": lambda state: {"params": state},
    "params_ema before params": lambda state: {"params": {"old": torch.zeros(1)}, "params_ema": state},
    "state_dict of a trainer": lambda state: {"epoch": 3, "state_dict": state, "loss": 0.5},
    "an only key": lambda state: {"generator": state},
    "parallel training": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "values beside the tensors": lambda state: state | {"iterations": 3, "note": "x"},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_the_wrapping_of_training_is_taken_off(
    tmp_path: Path, wrapping: Callable[[dict[str, torch.Tensor]], Any], zipped: bool
) -> None:
    torch.save(wrapping(STATE), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    assert_same(weights.load_state(tmp_path / "net.pth"), STATE)


def test_a_safetensors_file_holds_the_same(tmp_path: Path) -> None:
    safetensors.torch.save_file(STATE, tmp_path / "net.safetensors")
    assert_same(weights.load_state(tmp_path / "net.safetensors"), STATE)


def test_weights_in_half_precision_stay_in_it(tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in STATE.items()}
    torch.save(halves, tmp_path / "net.pth")
    assert {tensor.dtype for tensor in weights.load_state(tmp_path / "net.pth").values()} == {torch.float16}


def test_an_unusual_protocol_that_can_be_checked_is_read_in_silence(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "net.pth", pickle_protocol=3)
    assert_same(weights.load_state(tmp_path / "net.pth"), STATE)  # torch's warning would fail the test


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(2)], torch.zeros(2), {}, {"epoch": 3}, {0: torch.zeros(2)}, {"state": {0: torch.zeros(2)}}],
    ids=["list", "tensor", "nothing", "numbers", "numbered", "optimiser"],
)
def test_what_holds_no_weights_by_name_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pth")
    assert "holds no weights by name" in refusal(tmp_path / "net.pth")


def test_a_safetensors_file_without_tensors_is_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({}, tmp_path / "net.safetensors")
    assert "holds no weights by name" in refusal(tmp_path / "net.safetensors")


class Runs:
    """Pickled, it becomes a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.mkdir, "mkdir"), (os.system, "system"), (eval, "eval"), (np.save, "numpy.save")],
    ids=["mkdir", "system", "eval", "numpy"],
)
def test_calls_are_refused_by_name_and_not_made(
    tmp_path: Path, function: Callable[..., object], name: str, zipped: bool
) -> None:
    mark = str(tmp_path / "executed")
    argument = {"system": f"touch {mark}", "eval": f"open({mark!r}, 'w')"}.get(name, mark)
    call = Runs(function, argument, [1]) if name == "numpy.save" else Runs(function, argument)
    torch.save({"params": STATE, "more": call}, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    text = refusal(tmp_path / "net.pth")
    assert name in text
    assert "could run code" in text
    assert not list(tmp_path.glob("executed*"))


@pytest.mark.parametrize("value", [np.float64(0.5), np.ones(3)], ids=["scalar", "array"])
def test_numpy_values_are_refused_by_name(tmp_path: Path, value: object) -> None:
    torch.save({"params": STATE, "loss": value}, tmp_path / "net.pth")
    text = refusal(tmp_path / "net.pth")
    assert "numpy" in text
    assert "ask its authors for a safetensors file" in text


def test_a_pickled_network_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pth")
    assert "torch.nn.modules.linear.Linear" in refusal(tmp_path / "net.pth")


def test_a_program_is_refused_as_such(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and still about
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), str(tmp_path / "net.pth"))
    assert "TorchScript" in refusal(tmp_path / "net.pth")


def test_an_archive_of_the_oldest_kind_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "net.pth", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    assert "cannot be read safely" in refusal(tmp_path / "net.pth")


def test_a_protocol_that_cannot_be_checked_is_refused_without_a_suspicion(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "net.pth", pickle_protocol=4)
    assert "save its state dict anew" in refusal(tmp_path / "net.pth")


def zip_archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net.pth", b"")
    return buffer.getvalue()


# What is found in the place of weights: error pages, pointers to large files, archives.
NO_CHECKPOINTS = {
    "empty": b"",
    "text": b"not a checkpoint",
    "web page": b"<!DOCTYPE html>\n<html><body>404: Not Found</body></html>",
    "LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb\n",
    "torn zip": b"PK\x03\x04 torn",
    "zip archive": zip_archive(),
    "zeros": bytes(1000),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(50),
}
VALID = {
    "zip.pth": written({"params": STATE, "epoch": 3}),
    "legacy.pth": written({"params": STATE, "epoch": 3}, _use_new_zipfile_serialization=False),
    "net.safetensors": safetensors.torch.save(STATE),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    text = refusal(path)
    assert "fetch it again" in text
    assert "run code" not in text


@pytest.mark.parametrize("name", VALID)
def test_a_download_that_was_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    content, path = VALID[name], tmp_path / name
    path.write_bytes(content)
    assert_same(weights.load_state(path), STATE)
    for length in {*range(40), *range(40, len(content), 37), len(content) - 1}:
        path.write_bytes(content[:length])
        # In the oldest format, a name that was cut is a foreign name.
        assert "fetch it again" in refusal(path) or name == "legacy.pth"


@given(name=st.sampled_from(sorted(VALID)), data=st.data())
def test_damaged_bytes_are_refused_or_do_no_harm(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray(VALID[name])
    places = st.integers(0, len(content) - 1) | st.integers(0, 200)  # most names and shapes are there
    for place in data.draw(st.lists(places, min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(content)
    try:
        state = weights.load_state(path)
    except WeightsError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017 - most of the damages are harmless or refused
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_file_that_is_gone_is_named(tmp_path: Path, name: str) -> None:
    assert "No such file or directory" in refusal(tmp_path / name)
