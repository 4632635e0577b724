"""D2 of Eq. (1): embeddings of LR images, whose mean squared difference says how unlike two contents are.

D2(x, S) is the mean (or least), over the images y of S, of the mean squared error between the embeddings of x and y.

    colour_gradient   what colour is where, and which way edges run where; needs no weights
    vgg16             the paper's: the last feature map of torchvision's VGG-16
    vgg16_bn          the public release's: the same with batch normalisation
    clip:MODEL[/TAG]  an image tower of open_clip; see `clip_models`

The scales differ: a trade-off lambda1 that suits one does not suit another. Embeddings by CLIP have length 1, so that
theirs is at most 4 / d.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.feature import hog
from torch import Tensor, nn

from pipelines import devices, pretrained, weights
from pipelines.errors import DiscernError, WeightsError
from pipelines.images import Pixels
from pipelines.lazy import Lazy
from pipelines.study import Weights
from pipelines.super_resolution.state_dict import load_strictly

Vector = NDArray[np.float32]
Describe = Callable[[Pixels], Vector]

VGG = ("vgg16", "vgg16_bn")
CLIP = "clip:"
NAMES = ("colour_gradient", *VGG, "clip:MODEL", "clip:MODEL/TAG")
LONGEST = 16  # times the short side

_SIDE = 64
_CELLS = 4
_ORIENTATIONS = 8
_NO_FILES = Weights()
_CENTRE = f"the central part that is at most {LONGEST} times as long as wide"


class Embedding(Protocol):
    """What an LR image shows, as a vector; picklable, and callable from several threads."""

    @property
    def name(self) -> str:
        """The name in the study file."""
        ...

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides on the values: preprocessing, weights, versions of libraries, kind of device; JSON values."""
        ...

    @property
    def fingerprint(self) -> str:
        """The sha256 of the provenance without what differs from host to host: equal ones, equal values."""
        ...

    def prepare(self) -> None:
        """Load the network, if there is one, so that weights that do not fit are found before the first image.

        Raises:
            WeightsError: they do not fit.
            DiscernError: the device cannot be used.
        """
        ...

    def __call__(self, pixels: Pixels) -> Vector:
        """Embed an image.

        Args:
            pixels: (height, width, 3) uint8, of any size.

        Returns:
            (d,) float32, finite.

        Raises:
            WeightsError: the weights do not fit the network; at the first call, which loads it.
            DiscernError: the device cannot be used, or the values are not finite.
        """
        ...


def get(name: str, weights: Weights = _NO_FILES, device: str = "cpu") -> Embedding:
    """Find an embedding, and its weights, which are loaded only at its first call in a process.

    Args:
        name: one of `NAMES`.
        weights: local files from the study file.
        device: where a network runs, as torch names it.

    Raises:
        WeightsError: the weights cannot be had.
        DiscernError: there is no embedding of that name.
    """
    if name == "colour_gradient":
        facts = _COLOUR_GRADIENT | _libraries("numpy", "pillow", "scikit-image")
        return _Embedding(name, facts, Lazy(_colour_gradient))
    if name in VGG:
        return _vgg(name, getattr(weights, name), device)
    if name.startswith(CLIP) and name != CLIP:
        return _clip(name, weights.clip, device)
    raise DiscernError(f"selection.semantics: unknown semantics {name!r}; choose {' or '.join(NAMES)}")


@dataclass(frozen=True)
class _Embedding:
    """An embedding; see `Embedding`.

    Attributes:
        facts: its provenance, apart from its name.
        describe: what computes it.
    """

    name: str
    facts: dict[str, Any]
    describe: Lazy[Describe]

    @property
    def provenance(self) -> dict[str, Any]:
        return {"name": self.name} | self.facts

    @property
    def fingerprint(self) -> str:
        facts = self.provenance
        # The rest of the weights' facts follows from the hash, or is another on every host.
        facts["weights"] = [one["sha256"] for one in facts.get("weights", [])]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def prepare(self) -> None:
        self.describe.get()

    def __call__(self, pixels: Pixels) -> Vector:
        vector = self.describe.get()(pixels)
        if not np.isfinite(vector).all():
            raise DiscernError(f"{self.name}: the embedding of an image is not finite; use other weights")
        return vector


def colour_gradient(pixels: Pixels) -> Vector:
    """A descriptor that needs no weights: what colour is where, and which way edges run where.

    The image is resized to 64 x 64 and divided into 4 x 4 cells; each contributes its mean colour and a histogram of
    gradient orientations (Dalal and Triggs 2005, each cell normalised by itself).

    Args:
        pixels: (height, width, 3) uint8.

    Returns:
        (176,) float32 in [0, 1]: 48 colour values, then 128 histogram values.
    """
    small = np.asarray(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)) / 255.0
    cell = _SIDE // _CELLS
    colour = small.reshape(_CELLS, cell, _CELLS, cell, 3).mean(axis=(1, 3))
    edges = hog(small, _ORIENTATIONS, (cell, cell), (1, 1), block_norm="L2", channel_axis=-1)
    return np.concatenate([colour.ravel(), edges]).astype(np.float32)


_COLOUR_GRADIENT = {"preprocessing": "resized to 64 x 64 by area; 4 x 4 cells, 8 orientations", "device": "cpu"}


def _colour_gradient() -> Describe:
    return colour_gradient


def _vgg(name: str, given: Path | None, device: str) -> Embedding:
    found = pretrained.resolve(name, given)
    facts = {
        "preprocessing": f"{_CENTRE}; short side to 256 (bilinear), central 224 x 224, ImageNet mean and sd",
        "values": "the 512 x 7 x 7 feature map after the last max-pool",
        "weights": [found.provenance],
        "device": _kind(device),
    }
    load = partial(_load_vgg, name, given, found.sha256, device)
    return _Embedding(name, facts | _libraries("torch", "torchvision", "pillow"), Lazy(load))


def _load_vgg(name: str, given: Path | None, sha256: str, device: str) -> Describe:
    import torchvision

    path = pretrained.resolve(name, given).path  # perhaps on another host, with a cache of its own
    state = weights.load_state(path, sha256)
    with torch.device("meta"):  # the classifier, 494 MB, is never made
        network = getattr(torchvision.models, name)(weights=None).features
    network.to_empty(device="cpu")
    features = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
    try:
        load_strictly(network, _counters(network) | features, f"torchvision's {name}")
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    preset = torchvision.models.get_weight(pretrained.TORCHVISION[name]).transforms()
    return _Network(network, preset, torch.flatten, device)


def _counters(network: nn.Module) -> dict[str, Tensor]:
    """How many batches were seen in training: files older than torch 0.4.1 do not say, and evaluation does not ask."""
    return {key: torch.tensor(0) for key in network.state_dict() if key.endswith("num_batches_tracked")}


def _clip(name: str, given: Path | None, device: str) -> Embedding:
    from pipelines import clip_models  # the import takes seconds

    model = clip_models.find(name.removeprefix(CLIP), given)
    facts = model.provenance | {"values": "the tower's output, divided by its length", "device": _kind(device)}
    facts["preprocessing"] = f"{_CENTRE}; {facts['preprocessing']}"
    load = partial(_load_clip, name.removeprefix(CLIP), given, model.found.sha256, device)
    libraries = _libraries("torch", "torchvision", "pillow", "open_clip_torch", "timm")
    return _Embedding(name, facts | libraries, Lazy(load))


def _load_clip(model_name: str, given: Path | None, sha256: str, device: str) -> Describe:
    from pipelines import clip_models

    model = clip_models.find(model_name, given)
    weights.local_file(model.found.path, sha256)
    return _Network(model.load(), model.transform, _unit, device)


def _unit(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    pooled = output if isinstance(output, Tensor) else output[0]
    return nn.functional.normalize(pooled, dim=-1).flatten()


class _Network:
    """A network on its device, and what is done before and after it."""

    def __init__(
        self, network: nn.Module, prepare: Callable[[Any], Tensor], finish: Callable[[Any], Tensor], device: str
    ) -> None:
        self.device = devices.usable(device)
        self.network, self.prepare, self.finish = network.eval().to(self.device), prepare, finish
        self.turn = devices.turn(self.device)  # threads decode and resize meanwhile

    def __call__(self, pixels: Pixels) -> Vector:
        batch = self.prepare(Image.fromarray(_central(pixels))).unsqueeze(0)
        with self.turn, torch.inference_mode():
            return self.finish(self.network(batch.to(self.device))).float().cpu().numpy()


def _central(pixels: Pixels) -> Pixels:
    """Without the ends of an image that is very long: networks see its centre, but all of it would be enlarged."""
    longest = LONGEST * min(pixels.shape[:2])
    top, left = (max(side - longest, 0) // 2 for side in pixels.shape[:2])
    return pixels[top : top + longest, left : left + longest]


def _kind(device: str) -> str:
    """A GPU and a CPU round differently."""
    return device.partition(":")[0]


def _libraries(*names: str) -> dict[str, Any]:
    return {"libraries": {name: metadata.version(name) for name in names}}
