"""D1 of Eq. (1): the registry of perceptual distances between two outputs of one LR image.

A distance is made of a full-reference metric: by how much its value departs from the value of an image against itself.
It is 0 for equal images and grows with the difference. Neither of two outputs is the reference, so a metric that is not
symmetric is taken in both orders, and the mean counts.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines import devices, full_reference, pretrained, weights
from pipelines.errors import DiscernError
from pipelines.full_reference import FullReferenceMetric
from pipelines.images import Pixels
from pipelines.lazy import Lazy
from pipelines.pretrained import Found
from pipelines.selection import installed_metrics
from pipelines.selection.dists.metric import Dists
from pipelines.study import Weights
from pipelines.super_resolution.state_dict import load_strictly

Pairs = Sequence[tuple[int, int]]
# The distances of some pairs of images, in their order.
Measure = Callable[[Sequence[Pixels], Pairs], Sequence[float]]
Pairwise = Callable[[Sequence[Pixels]], NDArray[np.float64]]
Score = Callable[[torch.Tensor, torch.Tensor], float]


@dataclass(frozen=True)
class Description:
    """What the numbers of a metric mean, and what it needs.

    Attributes:
        name: in the study file.
        higher_is_better: direction of the metric; the distance made of it always grows with the difference.
        bounds: smallest and largest value of the metric.
        symmetric: whether exchanging the two images leaves its value unchanged; None where that is not known.
        smallest_side: shortest side of an image that it accepts, in pixels.
        weights: names of the pretrained weights that it needs; see `pretrained`.
        library: the distribution that computes it.
    """

    name: str
    higher_is_better: bool
    bounds: tuple[float, float]
    symmetric: bool | None
    smallest_side: int
    weights: tuple[str, ...]
    library: str


@dataclass(frozen=True)
class Distance:
    """A perceptual distance: 0 for identical images, larger for more different ones, symmetric.

    Attributes:
        description: of the metric it is made of.
        found: its weights.
        measure: computes it.
        network: what `measure` loads at the first use in each process, if anything.
    """

    description: Description
    found: tuple[Found, ...]
    measure: Measure
    network: Lazy[Any] | None = None

    @property
    def name(self) -> str:
        """The name in the study file."""
        return self.description.name

    @property
    def provenance(self) -> dict[str, Any]:
        """What determines its values, and where the weights came from."""
        library = self.description.library
        return {
            "name": self.name,
            "library": f"{library} {metadata.version(library)}",
            "weights": [found.provenance for found in self.found],
        }

    @property
    def fingerprint(self) -> str:
        """Tells distances apart that give other values: the sha256 of name, library and weights, in hexadecimal."""
        facts = self.provenance | {"weights": [found.sha256 for found in self.found]}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def prepare(self) -> None:
        """Load the network, if there is one, so that weights that do not fit are found before the first image.

        Raises:
            WeightsError: they do not fit.
            DiscernError: the device cannot be used.
        """
        if self.network is not None:
            self.network.get()

    def between(self, images: Sequence[Pixels], pairs: Pairs) -> NDArray[np.float64]:
        """The distances of some pairs among the outputs of one LR image.

        Args:
            images: N arrays (height, width, 3) uint8 of one size.
            pairs: of indices into them.

        Returns:
            (pairs,) float64, at least 0; NaN where the metric gives no finite number.

        Raises:
            DiscernError: the images differ in size, or are too small for the metric.
        """
        sizes = sorted({f"{image.shape[1]}x{image.shape[0]}" for image in images})
        if len(sizes) > 1:
            raise DiscernError(
                f"{self.name}: outputs of {' and '.join(sizes)} pixels cannot be compared; make them equal in size"
            )
        shortest = min(min(image.shape[:2]) for image in images)
        if shortest < self.description.smallest_side:
            raise DiscernError(
                f"{self.name} needs images of at least {self.description.smallest_side} pixels a side, got {shortest}: "
                "use larger images or another metric"
            )
        values = np.array(self.measure(images, pairs), dtype=np.float64).reshape(-1)
        return np.where(np.isfinite(values), np.maximum(values, 0), np.nan)

    def pairwise(self, images: Sequence[Pixels]) -> NDArray[np.float64]:
        """All distances among the outputs of one LR image: (N, N) float64, symmetric; see `between`."""
        pairs = list(combinations(range(len(images)), 2))
        distances = np.zeros((len(images), len(images)))
        for (i, j), value in zip(pairs, self.between(images, pairs), strict=True):
            distances[i, j] = distances[j, i] = value
        return distances


def describe(name: str) -> Description:
    """What is known of a distance before its weights are looked for.

    Raises:
        DiscernError: there is none of that name, or the library that has it is not installed.
    """
    if name.startswith(installed_metrics.PREFIX):
        facts = installed_metrics.facts(name)
        return Description(name, facts.higher_is_better, facts.bounds, None, 1, (), installed_metrics.LIBRARY)
    if name not in _DESCRIPTIONS:
        raise DiscernError(
            f"selection.distance: unknown distance {name!r}; choose one of {', '.join(NAMES)}, or "
            f"{installed_metrics.PREFIX}NAME for a metric of that library"
        )
    return _DESCRIPTIONS[name]


def get(name: str, given: Weights | None = None, device: str = "cpu") -> Distance:
    """Look a distance up by its name in the study file, and its weights.

    Args:
        name: one of `NAMES`, or `pyiqa:NAME`.
        given: local files of weights.
        device: for networks, as torch names it.

    Raises:
        WeightsError: weights that it needs cannot be had.
        DiscernError: see `describe`.
    """
    description = describe(name)
    files = given or Weights()
    found = tuple(pretrained.resolve(need, getattr(files, need)) for need in description.weights)
    if name == "dists":
        vgg, alpha_beta = found
        dists = Lazy(partial(_load_dists, vgg, alpha_beta, device))
        return Distance(description, found, _AllAtOnce(dists), dists)
    if name in _TRUNKS:
        lpips = Lazy(partial(_load_lpips, name, found[0], device))
        return Distance(description, found, _OneWay(lpips), lpips)
    if name.startswith(installed_metrics.PREFIX):
        metric = Lazy(partial(installed_metrics.load, name, device))
        return Distance(description, found, _BothWays(metric), metric)
    return Distance(description, found, root_mean_square if name == "psnr" else _Departure(full_reference.get(name)))


def root_mean_square(images: Sequence[Pixels], pairs: Pairs) -> list[float]:
    """Root mean squared errors, in [0, 1]: 10^(-PSNR / 20), since PSNR has no value for equal images to depart from."""
    values = [image.astype(np.float64) / 255 for image in images]
    return [float(np.sqrt(np.mean((values[i] - values[j]) ** 2))) for i, j in pairs]


@dataclass(frozen=True)
class _Departure:
    """By how much a symmetric metric of known value for equal images departs from that."""

    metric: FullReferenceMetric

    def __call__(self, images: Sequence[Pixels], pairs: Pairs) -> list[float]:
        return [abs(self.metric.score(images[i][None], images[j][None])[0] - self.metric.identical) for i, j in pairs]


@dataclass(frozen=True)
class _AllAtOnce:
    """DISTS: one pass of the network for each image that is in some pair."""

    pairwise: Lazy[Pairwise]

    def __call__(self, images: Sequence[Pixels], pairs: Pairs) -> list[float]:
        used = sorted({index for pair in pairs for index in pair})
        place = {index: number for number, index in enumerate(used)}
        distances = self.pairwise.get()([images[index] for index in used])
        return [float(distances[place[i], place[j]]) for i, j in pairs]


@dataclass(frozen=True)
class _OneWay:
    """A symmetric metric of tensors that is 0 for equal images."""

    score: Lazy[Score]

    def __call__(self, images: Sequence[Pixels], pairs: Pairs) -> list[float]:
        tensors, score = [full_reference.to_tensor(image[None]) for image in images], self.score.get()
        return [score(tensors[i], tensors[j]) for i, j in pairs]


@dataclass(frozen=True)
class _BothWays:
    """A metric of which little is known: its departure from each image's value against itself, averaged over both."""

    score: Lazy[Score]

    def __call__(self, images: Sequence[Pixels], pairs: Pairs) -> list[float]:
        tensors, score = [full_reference.to_tensor(image[None]) for image in images], self.score.get()
        itself = {index: score(tensors[index], tensors[index]) for index in {index for pair in pairs for index in pair}}

        def departure(image: int, reference: int) -> float:
            return abs(score(tensors[image], tensors[reference]) - itself[reference])

        return [(departure(i, j) + departure(j, i)) / 2 for i, j in pairs]


def _load_dists(vgg: Found, alpha_beta: Found, device: str) -> Pairwise:
    place = devices.usable(device)
    dists, turn = Dists.from_files(vgg.path, alpha_beta.path, device=device), devices.turn(place)

    def pairwise(images: Sequence[Pixels]) -> NDArray[np.float64]:
        with turn:
            return dists.pairwise(images)

    return pairwise


def _load_lpips(name: str, trunk: Found, device: str) -> Score:
    """LPIPS v0.1 (Zhang et al. 2018) with the linear layers that its package carries, on the given trunk."""
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it calls torchvision in a way that is deprecated
        network = lpips.LPIPS(net=_TRUNKS[name], pnet_rand=True, verbose=False)
    state = weights.load_state(trunk.path)
    # Its slices keep the numbers of torchvision's layers: slice2.3.weight is features.3.weight.
    layers = {key: f"features.{key.partition('.')[2]}" for key in network.net.state_dict()}
    known = {key: state[layer] for key, layer in layers.items() if layer in state}
    load_strictly(network.net, known, f"{trunk.name}, in {trunk.path}")
    place = devices.usable(device)
    network, turn = network.to(place).eval(), devices.turn(place)

    def score(image: torch.Tensor, reference: torch.Tensor) -> float:
        with turn, torch.inference_mode():
            return float(network(image.to(place), reference.to(place), normalize=True))

    return score


_TRUNKS = {"lpips": "alex", "lpips_vgg": "vgg"}


def _of_piq(name: str) -> Description:
    metric = full_reference.get(name)
    return Description(name, metric.higher_is_better, metric.bounds, metric.symmetric, metric.smallest_side, (), "piq")


_DESCRIPTIONS = {
    one.name: one
    for one in (
        Description("dists", False, (0.0, 2.0), True, 1, ("vgg16", "dists"), "discern"),
        Description("lpips", False, (0.0, float("inf")), True, 31, ("alexnet",), "lpips"),
        Description("lpips_vgg", False, (0.0, float("inf")), True, 16, ("vgg16",), "lpips"),
        *(_of_piq(name) for name in full_reference.METRICS if full_reference.get(name).symmetric),
        Description("psnr", True, (0.0, float("inf")), True, 1, (), "discern"),
    )
}
NAMES = tuple(_DESCRIPTIONS)
