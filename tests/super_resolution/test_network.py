"""Networks as the stage runs them: their errors, threads, other processes, and what determines their outputs."""

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.errors import DiscernError
from pipelines.super_resolution import tiling
from pipelines.super_resolution.method import fingerprint
from pipelines.super_resolution.network import Loaded, Network, Settings
from tests.conftest import textured
from tests.super_resolution.networks import Doubling, Greedy, loaded_of, of

pytestmark = pytest.mark.usefixtures("one_thread")


# Errors.


class Failing(Doubling):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("The size of tensor a (3) must match\nmore"), r"The size of tensor a \(3\) must match"),
        (RuntimeError(), "RuntimeError"),
        (AssertionError("flatten img_tokens has wrong size"), "flatten img_tokens has wrong size"),
        (AssertionError(), "AssertionError"),
        (IndexError("list index out of range"), "list index out of range"),
        (ValueError("bad size"), "bad size"),
    ],
    ids=str,
)
def test_what_fails_in_a_network_is_a_problem_of_this_image(error: Exception, reason: str) -> None:
    with pytest.raises(DiscernError, match=rf"^net: the network cannot do 'a b' \({reason}\)$"):
        of(Failing(error)).upscale("a b", textured(0))


def test_what_the_network_says_to_its_user_is_passed_on() -> None:
    with pytest.raises(DiscernError, match=r"^use larger images$"):
        of(Failing(DiscernError("use larger images"))).upscale("a b", textured(0))


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "", "cuda:x"])
def test_a_device_that_cannot_be_used_is_named(device: str) -> None:
    with pytest.raises(DiscernError, match=f"^execution.device: '{device}' cannot be used"):
        of(Doubling(), device=device).prepare()


class TooLarge(Doubling):
    """Does not fit on any device."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "TooLarge":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")


def test_a_network_that_does_not_fit_on_its_device_says_so() -> None:
    with pytest.raises(
        DiscernError, match=r"^net: out of memory on cpu before the first image \(CUDA.*; free some memory$"
    ):
        of(TooLarge()).prepare()


# Threads and processes.


def test_several_threads_make_the_pixels_that_one_makes() -> None:
    lows = [textured(seed, 20 + 9 * seed, 70 - 7 * seed) for seed in range(8)]
    alone = [of(Doubling(), tile=32, overlap=12).upscale("image", low).pixels for low in lows]
    method = of(Doubling(), tile=32, overlap=12)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(partial(method.upscale, "image"), lows * 3))
    for output, pixels in zip(together, alone * 3, strict=True):
        np.testing.assert_array_equal(output.pixels, pixels)


def test_a_network_is_loaded_once_for_all_threads() -> None:
    loads, together = [], threading.Barrier(2)

    def load() -> Loaded:
        loads.append(1)
        # A second thread is given the time to come here as well.
        with suppress(threading.BrokenBarrierError):
            together.wait(0.3)
        return loaded_of(Doubling)

    method = Network("net", {}, load, Settings(2))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(partial(method.upscale, "image"), [textured(seed) for seed in range(8)]))
    method.prepare()
    assert len(loads) == 1


def test_what_is_loaded_stays_behind_when_a_network_travels() -> None:
    method = Network("net", {"kind": "test"}, partial(loaded_of, Doubling), Settings(2, tile=32, overlap=8))
    before = pickle.dumps(method)
    output = method.upscale("image", textured(0))
    travelled = pickle.dumps(method)
    assert len(travelled) == len(before) < 2000
    copy = pickle.loads(travelled)
    assert (copy.id, copy.settings) == (method.id, method.settings)
    assert fingerprint(copy) == fingerprint(method)
    np.testing.assert_array_equal(copy.upscale("image", textured(0)).pixels, output.pixels)


# What is found out before others do the work.


def test_a_check_finds_what_would_keep_the_network_from_running() -> None:
    def fail() -> Loaded:
        raise DiscernError("no such weights")

    with pytest.raises(DiscernError, match="no such weights"):
        Network("net", {}, fail, Settings(2)).check()
    with pytest.raises(DiscernError, match="precision 'float16' does not work"):
        of(Doubling(), frozenset(), precision="float16", device="cuda:7").check()


def test_a_check_needs_no_gpu_and_keeps_nothing() -> None:
    loads = []

    def load() -> Loaded:
        loads.append(1)
        return loaded_of(Doubling)

    for precision in ("auto", "float32", "float16"):
        method = Network("net", {}, load, Settings(2, device="cuda:7", precision=precision))
        method.check()
        method.check()
    assert len(loads) == 6


# Provenance.

BASE = Settings(2, device="cuda:0", precision="auto", tile=256, overlap=32)


@pytest.mark.parametrize(
    "change", [{"scale": 4}, {"device": "cpu"}, {"precision": "float16"}, {"tile": 255}, {"overlap": 31}], ids=str
)
def test_each_setting_that_can_change_an_output_changes_the_fingerprint(change: dict[str, Any]) -> None:
    one = Network("net", {"kind": "test"}, partial(loaded_of, Doubling), BASE)
    other = replace(one, settings=replace(BASE, **change))
    assert fingerprint(one) != fingerprint(other)


def test_the_facts_change_the_fingerprint_and_nothing_else_does() -> None:
    one = Network("net", {"kind": "test", "weights_sha256": "0"}, partial(loaded_of, Doubling), BASE)
    assert fingerprint(one) != fingerprint(replace(one, facts={"kind": "test", "weights_sha256": "1"}))
    same = [
        replace(one, id="renamed"),
        replace(one, settings=replace(BASE, device="cuda:1")),
        replace(one, settings=replace(BASE, device="cuda")),
        replace(one, load=partial(loaded_of, Greedy)),
    ]
    assert {fingerprint(other) for other in same} == {fingerprint(one)}


def test_the_cut_of_the_tiles_belongs_to_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Network("net", {}, partial(loaded_of, Doubling), BASE)
    before = fingerprint(one)
    monkeypatch.setattr(tiling, "STEP", 1)
    assert fingerprint(one) != before


def test_running_a_network_leaves_its_fingerprint_as_it_was() -> None:
    method = of(Greedy(40 * 40))
    before = fingerprint(method)
    assert method.upscale("image", textured(0, 128, 96)).tile == 32
    assert fingerprint(method) == before
    assert not method.by_stem
