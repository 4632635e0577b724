"""Architectures whose licences forbid commercial use: refused, unless they are accepted."""

import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.super_resolution import checkpoint
from pipelines.super_resolution.network import Network, Settings
from tests.conftest import textured
from tests.super_resolution.networks import pixels_of, refusal, srformer, values_of, written

pytestmark = pytest.mark.usefixtures("one_thread")


def accepting(path: Path, accepted: Collection[str]) -> Network:
    return checkpoint.recognised("net", path, Settings(scale=4), accepted=accepted)


@pytest.mark.parametrize("accepted", [(), ("femasr",), ("net",)])
def test_a_licence_that_is_not_accepted_is_refused_with_the_line_to_add(
    tmp_path: Path, accepted: Collection[str]
) -> None:
    path = written(tmp_path / "net.pth", srformer().state_dict())
    text = refusal(accepting(path, accepted))
    assert text.startswith(f"{path}: SRFormer")
    assert "accept_licences = ['srformer']" in text


@pytest.mark.parametrize("accepted", [("srformer",), ("femasr", "srformer"), ("*",)])
@torch.inference_mode()
def test_a_network_whose_licence_is_accepted_is_run(tmp_path: Path, accepted: Collection[str]) -> None:
    network, low = srformer(), textured(0)
    method = accepting(written(tmp_path / "net.pth", network.state_dict()), accepted)
    np.testing.assert_array_equal(method.upscale("image", low).pixels, pixels_of(network(values_of(low))))


def test_without_their_package_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "net.pth", srformer().state_dict())
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches", None)
    assert "pip install 'discern[noncommercial]'" in refusal(accepting(path, ("*",)))


def write_femasr(path: Path) -> Path:
    """A checkpoint of FeMaSR x4 with all weights equal: it cannot be made small, but so its file is."""
    pytest.importorskip("spandrel_extra_arches")
    from spandrel_extra_arches.architectures.FeMaSR import FeMaSR

    with torch.device("meta"):
        network = FeMaSR(codebook_params=[[32, 8, 16]], LQ_stage=True, scale_factor=4, norm_type="in")
    entries = network.state_dict().items()
    state = {name: torch.full((), 0.01, dtype=entry.dtype).expand(entry.shape) for name, entry in entries}
    # What the published files hold besides.
    return written(path, {"params": state | {"vgg_feat_extractor.x": torch.zeros(1), "conv_semantic.0": torch.ones(1)}})


def test_femasr_is_loaded_where_its_licence_is_accepted(tmp_path: Path) -> None:
    path = write_femasr(tmp_path / "femasr.pth")
    assert "accept_licences = ['femasr']" in refusal(accepting(path, ("srformer",)))
    output = accepting(path, ("femasr",)).upscale("image", textured(0, 9, 7)).pixels
    assert output.shape == (36, 28, 3)
