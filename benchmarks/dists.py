"""DISTS of all pairs from N passes against a loop over pairs, against bare passes of VGG-16, and its memory."""

import copy
import itertools
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import piq
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor, nn
from torchvision.models import vgg

from benchmarks.timing import seconds, spread
from pipelines.images import Pixels
from pipelines.selection.dists.metric import Dists
from pipelines.selection.dists.network import CHANNELS

IMAGES = 12
PAIRS = list(itertools.combinations(range(IMAGES), 2))
TIMED_PAIRS = {256: len(PAIRS), 512: 6}  # the loop takes minutes on large images, and every pair takes the same
FASTER, SLOWER = 9, 1.25  # the goals: than the loop at least, than bare passes at most
LARGE = 2048
PEAK_GOAL = 6  # GB


def sections(repeats: int) -> list[str]:
    """The parts of the page about DISTS.

    Args:
        repeats: of each comparison.
    """
    network, weights = random_weights()
    return [_speed(network, weights, repeats), _memory(), _gpu(network, weights, repeats)]


def random_weights() -> tuple[nn.Sequential, dict[str, Tensor]]:
    """The layers of VGG-16, initialised as torchvision does it, so that features stay alive; alpha and beta."""
    torch.manual_seed(0)
    network = vgg.make_layers(vgg.cfgs["D"]).eval()
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return network, {name: torch.rand(1, sum(CHANNELS), 1, 1) for name in ("alpha", "beta")}


def metric_of(network: nn.Sequential, weights: dict[str, Tensor], **options: Any) -> Dists:
    """Our metric with these weights."""
    return Dists({f"features.{name}": tensor for name, tensor in network.state_dict().items()}, weights, **options)


def synthetic(count: int, side: int) -> list[Pixels]:
    """Smooth patches with noise on them, each another one."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Resampling.BICUBIC)).astype(np.float32)
        noise = 4 * random.standard_normal(smooth.shape, dtype=np.float32)
        found.append(np.clip(smooth + noise, 0, 255).astype(np.uint8))
    return found


def _speed(network: nn.Sequential, weights: dict[str, Tensor], repeats: int) -> str:
    rows = [_speed_row(network, weights, side, timed, repeats) for side, timed in TIMED_PAIRS.items()]
    return (
        f"### DISTS: {len(PAIRS)} pairs of {IMAGES} images\n\n"
        "The loop is `piq.DISTS` with the same weights, once for each pair, without its shrinking of large images; at "
        f"512 pixels {TIMED_PAIRS[512]} pairs are timed and scaled to {len(PAIRS)}. The bare passes are torchvision's "
        f"`vgg16().features[:30]` (which pools the largest value) on one image after the other, {IMAGES} in all. "
        f"Random weights, float32, CPU, {torch.get_num_threads()} threads, in turn; medians of {repeats} runs, range "
        "in brackets.\n\n"
        "| side of the images | all pairs, s | loop / all pairs | goal | all pairs / bare passes | goal |\n"
        "| --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows)
    )


def _speed_row(network: nn.Sequential, weights: dict[str, Tensor], side: int, timed: int, repeats: int) -> str:
    images, metric = synthetic(IMAGES, side), metric_of(network, weights)
    tensors = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 for image in images]
    loop, bare = _loop(network, weights, tensors, PAIRS[:: len(PAIRS) // timed]), _bare(network, tensors)
    times = _alternating([lambda: metric.pairwise(images), loop, bare], repeats)
    faster = [second / first * len(PAIRS) / timed for first, second, _ in times]
    slower = [first / third for first, _, third in times]
    return (
        f"| {side} | {statistics.median(first for first, *_ in times):.2f} | {spread(faster)} | at least {FASTER} "
        f"| {spread(slower)} | at most {SLOWER} |"
    )


def _loop(
    network: nn.Sequential, weights: dict[str, Tensor], tensors: Sequence[Tensor], pairs: Sequence[tuple[int, int]]
) -> Callable[[], object]:
    """The library's metric on each pair; it would download its weights, so it is given ours."""
    module = nn.Module()
    module.features = copy.deepcopy(network)  # it replaces the pooling
    total = sum(float(values.sum()) for values in weights.values())
    normalised = {name: values / total for name, values in weights.items()}
    with (
        mock.patch("piq.perceptual.vgg16", return_value=module),
        mock.patch("torch.hub.load_state_dict_from_url", return_value=normalised),
    ):
        metric = piq.DISTS(reduction="none").eval()

    def run() -> None:
        with torch.inference_mode():
            for i, j in pairs:
                super(piq.DISTS, metric).forward(tensors[i], tensors[j])

    return run


def _bare(network: nn.Sequential, tensors: Sequence[Tensor]) -> Callable[[], object]:
    passes = network[:30]

    def run() -> None:
        with torch.inference_mode():
            for tensor in tensors:
                passes(tensor)

    return run


PEAKS = """
import sys
from benchmarks import dists
from pipelines import memory

metric = dists.metric_of(*dists.random_weights())
for _ in range(int(sys.argv[2])):
    metric.pairwise(dists.synthetic(dists.IMAGES, int(sys.argv[1])))
    print(memory.peak() / 1e9, flush=True)
"""


def _memory() -> str:
    once, twice = _peaks(LARGE, 2)
    return (
        "### DISTS: memory\n\n"
        f"Peak memory of a process, with all that it has imported, that compares {IMAGES} outputs of {LARGE} x {LARGE} "
        f"pixels: {once:.2f} GB (goal: under {PEAK_GOAL} GB); after {IMAGES} outputs of a second image: {twice:.2f} GB "
        "(goal: no growth)."
    )


def _peaks(side: int, times: int) -> list[float]:
    """GB, after each image, in a process of its own."""
    command = [sys.executable, "-c", PEAKS, str(side), str(times)]
    return [float(line) for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]


def _gpu(network: nn.Sequential, weights: dict[str, Tensor], repeats: int) -> str:
    heading = "### DISTS on a GPU\n\n"
    if not torch.cuda.is_available():
        return heading + "Not measured: there was no GPU."
    rows = [
        _gpu_row(network, weights, side, dtype, repeats)
        for side in TIMED_PAIRS
        for dtype in (torch.float32, torch.float16)
    ]
    return (
        heading
        + f"Images per second on {torch.cuda.get_device_name()}, {IMAGES} at once; medians of {repeats} runs.\n\n"
        "| side of the images | features | all pairs | bare passes |\n| --- | --- | --- | --- |\n" + "\n".join(rows)
    )


def _gpu_row(network: nn.Sequential, weights: dict[str, Tensor], side: int, dtype: torch.dtype, repeats: int) -> str:
    images = synthetic(IMAGES, side)
    metric = metric_of(network, weights, device="cuda", features_dtype=dtype)
    module = copy.deepcopy(network[:30]).to("cuda", dtype)

    def bare() -> None:
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(images)).to("cuda").permute(0, 3, 1, 2)
            module((batch / 255).to(dtype))
        torch.cuda.synchronize()

    times = _alternating([lambda: metric.pairwise(images), bare], repeats)
    ours, bares = (statistics.median(IMAGES / pair[which] for pair in times) for which in (0, 1))
    return f"| {side} | {str(dtype).removeprefix('torch.')} | {ours:.0f} | {bares:.0f} |"


def _alternating(works: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Seconds of each, in turn."""
    for work in works:
        work()  # once for caches and lazy imports
    return [[seconds(work) for work in works] for _ in range(repeats)]
