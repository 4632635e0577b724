"""Moments against NumPy in float64, tile by tile and at once."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.selection.dists.moments import Moments


def maps(seed: int, mean: float, height: int = 9, width: int = 14) -> torch.Tensor:
    """Three maps of two channels, alike in part."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(1, 2, height, width))
    return torch.from_numpy(mean + shared + 0.5 * random.normal(size=(3, 2, height, width)))


def expected(values: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    by_channel = values.double().numpy().transpose(1, 0, 2, 3).reshape(2, 3, -1)
    return by_channel.mean(2), np.stack([np.cov(channel, bias=True) for channel in by_channel]) * by_channel.shape[2]


@pytest.mark.parametrize("mean", [0.0, 3000.0])
def test_float32_does_not_cancel_where_means_are_large(mean: float) -> None:
    values = maps(0, mean, 100, 100).float()
    means, comoments = expected(values)
    found = Moments.of(values)
    assert (found.count, found.means.dtype, found.comoments.dtype) == (10_000, torch.float64, torch.float64)
    np.testing.assert_allclose(found.means, means, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.comoments, comoments, rtol=1e-4)


@given(st.integers(0, 9), st.lists(st.integers(1, 13), max_size=4), st.sampled_from([0.0, 1e6]))
def test_merged_tiles_give_what_the_whole_gives(seed: int, cuts: list[int], mean: float) -> None:
    values = maps(seed, mean)
    edges = sorted({0, *cuts, 14})
    tiles = [Moments.of(values[..., a:b].clone()) for a, b in pairwise(edges)]
    merged = tiles[0]
    for tile in tiles[1:]:
        merged = merged.merged(tile)
    means, comoments = expected(values)
    assert merged.count == 126
    np.testing.assert_allclose(merged.means, means, rtol=1e-14, atol=1e-12)
    np.testing.assert_allclose(merged.comoments, comoments, rtol=1e-8, atol=1e-8)
