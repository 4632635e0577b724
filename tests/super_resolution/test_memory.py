"""Networks on large images, and on too small memory: in tiles, in smaller ones, or with a clear error."""

import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch

from pipelines.errors import DiscernError
from pipelines.super_resolution.network import SMALLEST_TILE
from tests.conftest import textured
from tests.super_resolution.networks import Doubling, Greedy, expected, of, steps_between

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("height", "width"), [(33, 32), (32, 33), (45, 101)])
def test_large_images_are_done_in_tiles(height: int, width: int) -> None:
    module, low = Doubling(), textured(0, height, width)
    output = of(module, tile=32, overlap=12).upscale("image", low)
    assert output.tile == 32
    assert max(max(size) for size in module.seen) == 32
    assert steps_between(output.pixels, expected(low)) <= 1


def test_an_image_that_fits_is_done_at_once() -> None:
    module, low = Doubling(), textured(0, 32, 20)
    assert of(module, tile=32, overlap=12).upscale("image", low).tile is None
    assert module.seen == [(32, 20)]


# What torch says where memory runs out: its own error, and those of the libraries that it calls.
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 3 GiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried"),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
    MemoryError("Unable to allocate 3.00 GiB for an array"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_the_tile_is_halved_until_memory_suffices(error: Exception) -> None:
    module, low = Greedy(40 * 40, error), textured(0, 128, 96)
    output = of(module).upscale("image", low)
    assert output.tile == 32
    assert module.failures == 2  # the whole image, tiles of 64
    assert {max(size) for size in module.seen} == {32}
    assert steps_between(output.pixels, expected(low)) <= 1


def test_what_memory_allows_is_remembered() -> None:
    module = Greedy(40 * 40)
    method = of(module)
    method.upscale("first", textured(0, 128, 96))
    assert method.upscale("large", textured(1, 80, 200)).tile == 32
    assert method.upscale("small", textured(2, 30, 32)).tile is None
    assert module.failures == 2


def test_a_tile_of_the_study_is_halved_too_and_stays_a_multiple_of_the_windows() -> None:
    module = Greedy(70 * 70)
    assert of(module, tile=150, overlap=20).upscale("image", textured(0, 170, 80)).tile == 64
    assert module.failures == 1


def test_the_smallest_tile_is_tried_however_large_the_image_is() -> None:
    module, low = Greedy(SMALLEST_TILE**2), textured(0, 50, 44)
    output = of(module).upscale("image", low)
    assert output.tile == SMALLEST_TILE
    assert steps_between(output.pixels, expected(low)) <= 1


@pytest.mark.parametrize(("size", "tried"), [((128, 96), SMALLEST_TILE), ((40, 50), SMALLEST_TILE), ((20, 24), 24)])
def test_where_no_tile_fits_the_error_says_so(size: tuple[int, int], tried: int) -> None:
    with pytest.raises(DiscernError, match=rf"net: out of memory on 'a b' even in tiles of {tried} LR pixels \(CUDA"):
        of(Greedy(0)).upscale("a b", textured(0, *size))


class Hoarding(Doubling):
    """Fails with a large tensor in its hands."""

    def __init__(self) -> None:
        super().__init__()
        self.hoards: list[weakref.ref[torch.Tensor]] = []

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        if max(low.shape[-2:]) > 40:
            hoard = torch.zeros(1000)
            self.hoards.append(weakref.ref(hoard))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(low)


def test_what_a_failed_attempt_held_is_free_before_the_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    module, alive = Hoarding(), []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.extend(hoard() is not None for hoard in module.hoards))
    of(module).upscale("image", textured(0, 128, 96))
    assert alive == [False, False, False]  # one after the first failure, two after the second


LIMITED = """
import resource, sys, torch
from torch import nn
from pipelines.super_resolution.network import Loaded, Network, Settings
from tests.conftest import textured

torch.set_num_threads(1)
torch.manual_seed(0)
# 256 features: 360 MB for this image, 1.4 MB for an image of 37 x 37.
module = nn.Sequential(nn.Conv2d(3, 256, 1), nn.Conv2d(256, 12, 1), nn.PixelShuffle(2))
low = textured(0, 600, 600)
make = lambda: Network("net", {}, lambda: Loaded(module, lambda _: module), Settings(2, tile=1024, overlap=16))
whole = make().upscale("image", low)
assert whole.tile is None
# Address space for a tenth of it; all that torch loads lazily has been loaded.
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 2**20,) * 2)
limited = make().upscale("image", low)
print(limited.tile, abs(limited.pixels.astype("int16") - whole.pixels).max())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much address space is in use")
def test_memory_that_really_runs_out_on_the_cpu_is_recognised() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "120"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    tile, steps = map(int, done.stdout.split())
    assert tile in (288, 128, 64)
    assert steps <= 1


def test_threads_agree_on_what_memory_allows() -> None:
    module = Greedy(40 * 40)
    method, lows = of(module), [textured(seed, 128, 96) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        outputs = list(pool.map(partial(method.upscale, "image"), lows))
    assert {output.tile for output in outputs} == {32}
    for output, low in zip(outputs, lows, strict=True):
        assert steps_between(output.pixels, expected(low)) <= 1


class Stubborn(Greedy):
    """Cannot do images that begin with a black pixel, however small the tile."""

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        if float(low[0, :, 0, 0].sum()) == 0:
            self.failures += 1
            raise self.error
        return super().forward(low)


def test_an_image_that_no_tile_fits_does_not_cut_the_others_up() -> None:
    module = Stubborn(10**9)
    method, black = of(module), textured(0, 100, 80)
    black[0, 0] = 0
    with pytest.raises(DiscernError, match="out of memory on 'black' even in tiles of 32 LR pixels"):
        method.upscale("black", black)
    low = textured(1, 100, 80)
    low[0, 0] = 200
    assert method.upscale("other", low).tile is None
