"""Small random networks for the tests of what runs them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.images import Pixels
from pipelines.super_resolution.network import Loaded, Network, Settings

BOTH = frozenset({"float16", "bfloat16"})


class Doubling(nn.Module):
    """A random network x2 which reaches 2 pixels far, and records what it is given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.seen: list[torch.Size] = []
        self.dtypes: set[torch.dtype] = set()

    def forward(self, low: Tensor) -> Tensor:
        self.seen.append(low.shape[-2:])
        features = torch.relu(self.first(low))
        self.dtypes |= {low.dtype, features.dtype, self.first.weight.dtype}
        details = nn.functional.pixel_shuffle(self.last(features), 2)
        return low.repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.3 * details


class Greedy(Doubling):
    """Runs out of memory on images of more than `limit` pixels."""

    def __init__(self, limit: int, error: Exception | None = None) -> None:
        super().__init__()
        self.limit, self.error = limit, error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        self.failures = 0

    def forward(self, low: Tensor) -> Tensor:
        if low.shape[-2] * low.shape[-1] > self.limit:
            self.failures += 1
            raise self.error
        return super().forward(low)


def of(module: nn.Module, half: frozenset[str] = BOTH, **settings: Any) -> Network:
    """A method that runs a module."""
    loaded = Loaded(module, lambda _: module, half)
    return Network("net", {"kind": "test"}, lambda: loaded, Settings(2, **settings))


def expected(low: Pixels) -> Pixels:
    """What the random network gives for a whole image in float32."""
    with torch.inference_mode():
        values = Doubling()(torch.from_numpy(low).permute(2, 0, 1)[None] / 255)
    return (values[0] * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def steps_between(one: Pixels, other: Pixels) -> int:
    """The largest difference, in 8-bit steps."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


def loaded_of(kind: type[nn.Module]) -> Loaded:
    module = kind()
    return Loaded(module, lambda _: module)


def values_of(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def pixels_of(values: Tensor) -> Pixels:
    return (values[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def refusal(method: Network) -> str:
    """Why a network cannot be loaded: in one line of reasonable length."""
    with pytest.raises(WeightsError) as caught:
        method.prepare()
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 600
    return text


def written(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def rgt() -> nn.Module:
    """RGT x4, which does not claim float16."""
    from spandrel.architectures.RGT import RGT

    torch.manual_seed(0)
    return RGT(in_chans=3, embed_dim=32, depth=[2], num_heads=[2], upscale=4, split_size=[4, 4]).eval()


def swin() -> nn.Module:
    """SwinIR x4, which wrongly claims both half precisions."""
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"img_size": 32, "embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4}
    return SwinIR(**sizes, in_chans=3, mlp_ratio=2, upscale=4, upsampler="nearest+conv").eval()


def srformer() -> nn.Module:
    """SRFormer x4, which comes with spandrel_extra_arches; skips the test where that is not installed."""
    pytest.importorskip("spandrel_extra_arches")
    from spandrel_extra_arches.architectures.SRFormer import SRFormer

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"img_size": 32, "embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4}
    return SRFormer(**sizes, in_chans=3, mlp_ratio=2, upscale=4, upsampler="pixelshuffle").eval()
