"""Tiles: they cover the image, their weights add up to 1, and an image made in tiles is the one made at once."""

from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from pipelines.super_resolution import tiling
from pipelines.super_resolution.tiling import Span, spans, upscale
from tests.conftest import textured

ROUNDING = 1e-5  # of float32 sums in another order; an 8-bit step is 4e-3


pytestmark = pytest.mark.usefixtures("one_thread")


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, int, int]:
    """Length, tile and overlap of an axis; often the largest overlap that a tile can have, and lengths around tiles."""
    overlap = draw(st.integers(0, 40))
    tile = draw(st.just(max(2 * overlap, 1)) | st.integers(max(2 * overlap, 1), 2 * overlap + 60))
    length = draw(st.integers(1, 6 * tile) | st.integers(-2, 2).map(lambda more: max(3 * tile - 2 * overlap + more, 1)))
    return length, tile, overlap


@given(cut=cuts())
@example(cut=(65, 64, 32))
@example(cut=(9, 2, 1))
@example(cut=(9, 2, 0))
def test_tiles_cover_the_axis_and_share_enough(cut: tuple[int, int, int]) -> None:
    length, tile, overlap = cut
    tiles = spans(*cut)
    assert (tiles[0].start, tiles[-1].stop) == (0, length)
    assert {one.stop - one.start for one in tiles[:-1]} <= {tile}
    assert length <= tile or tile - step_of(tile, overlap) < tiles[-1].stop - tiles[-1].start <= tile
    for one, following in pairwise(tiles):
        assert one.start < following.start
        assert one.stop - following.start >= overlap


def step_of(tile: int, overlap: int) -> int:
    """The largest of the steps by which neighbours can be apart."""
    return max(step for step in (1, 2, 4, 8, 16, 32) if step == 1 or step <= tile - overlap)


@given(cut=cuts())
@example(cut=(65, 64, 32))
@example(cut=(200, 64, 20))
def test_tiles_start_where_windows_do(cut: tuple[int, int, int]) -> None:
    _, tile, overlap = cut
    assert all(one.start % step_of(tile, overlap) == 0 for one in spans(*cut))


@given(cut=cuts())
def test_there_are_no_more_tiles_than_needed(cut: tuple[int, int, int]) -> None:
    length, tile, overlap = cut
    step = step_of(tile, overlap)
    farthest = (tile - overlap) // step * step  # that a tile may start after the one before it
    fewer = len(spans(*cut)) - 1
    assert fewer == 0 or (fewer - 1) * farthest + tile < length


@given(cut=cuts())
@example(cut=(65, 64, 32))
@example(cut=(9, 2, 1))
def test_only_neighbours_fade_into_each_other_and_far_from_their_borders(cut: tuple[int, int, int]) -> None:
    length, _, overlap = cut
    tiles = spans(*cut)
    for one in tiles:
        assert one.fade_in[1] <= one.fade_out[0]
    for one, following in pairwise(tiles):
        assert one.fade_out == following.fade_in
        begin, end = one.fade_out
        assert end - begin == overlap // 2
        assert begin - following.start >= overlap // 4
        assert one.stop - end >= overlap // 4
    assert tiles[0].fade_in == (0, 0)
    assert tiles[-1].fade_out == (length, length)


class Ones:
    """A network whose outputs are 1: in tiles, the sum of the weights."""

    def __init__(self, scale: int) -> None:
        self.scale = scale
        self.seen: list[tuple[int, int]] = []

    def __call__(self, low: torch.Tensor) -> torch.Tensor:
        height, width = low.shape[-2:]
        self.seen.append((height, width))
        return torch.ones(1, 3, self.scale * height, self.scale * width)


@given(rows=cuts(), scale=st.integers(1, 4), width=st.integers(1, 90))
@example(rows=(9, 2, 0), scale=4, width=7)
@example(rows=(9, 2, 1), scale=1, width=7)
@example(rows=(130, 64, 32), scale=3, width=65)
def test_weights_of_all_tiles_add_up_to_one_everywhere(rows: tuple[int, int, int], scale: int, width: int) -> None:
    height, tile, overlap = rows
    network = Ones(scale)
    whole = upscale(network, torch.zeros(1, 3, min(height, 150), width), scale, tile=tile, overlap=overlap)
    torch.testing.assert_close(whole, torch.ones_like(whole), rtol=0, atol=1e-6)
    assert max(max(seen) for seen in network.seen) <= tile


@given(cut=cuts(), scale=st.integers(1, 4))
def test_a_tile_weighs_nothing_where_it_sees_its_border(cut: tuple[int, int, int], scale: int) -> None:
    length, _, overlap = cut
    for one in spans(*cut):
        weight = tiling._weight(one, scale)
        edge = scale * (overlap // 4)
        assert weight.shape == (scale * (one.stop - one.start),)
        assert one.start == 0 or not weight[:edge].any()
        assert one.stop == length or not weight[len(weight) - edge :].any()


def test_neighbours_fade_into_each_other_evenly() -> None:
    first, second = spans(24, 16, 8)
    rising = torch.tensor([0, 0, 1, 3, 5, 7, 8, 8]) / 8  # at the centres of the pixels that they share
    assert torch.equal(tiling._weight(second, 1)[:8], rising)
    assert torch.equal(tiling._weight(first, 1)[8:], rising.flip(0))


class Convolutions(nn.Module):
    """A random network x4 with zero padding, so that it sees the borders of what it is given.

    Its receptive field reaches `layers` LR pixels far before the upsampler, and less than 1 in it.
    """

    def __init__(self, layers: int, dilation: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(
            nn.Conv2d(3 if index == 0 else 6, 6, 3, padding=dilation, dilation=dilation) for index in range(layers)
        )
        self.widen = nn.Conv2d(6, 48, 1)
        self.smooth = nn.Conv2d(3, 3, 3, padding=1)
        self.eval()

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        features = low
        for layer in self.layers:
            features = torch.tanh(2 * layer(features))
        return low.repeat_interleave(4, 2).repeat_interleave(4, 3) + self.smooth(
            functional.pixel_shuffle(self.widen(features), 4)
        )


def photograph(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(textured(3, height, width)).permute(2, 0, 1)[None] / 255


# Just above the tile, odd, narrow, several tiles in both directions, a side shorter than the overlap.
SIZES = [(49, 48), (48, 49), (97, 61), (131, 20), (101, 149), (5, 120), (47, 200)]


@pytest.mark.parametrize(("tile", "overlap"), [(48, 24), (48, 20), (49, 16)])
@pytest.mark.parametrize(("height", "width"), SIZES)
@torch.inference_mode()
def test_tiles_give_what_the_whole_image_gives(height: int, width: int, tile: int, overlap: int) -> None:
    network, low = Convolutions(layers=overlap // 4 - 1), photograph(height, width)
    whole = network(low)
    tiled = upscale(network, low, 4, tile=tile, overlap=overlap)
    assert tiled.shape == (1, 3, 4 * height, 4 * width)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=ROUNDING)


@torch.inference_mode()
def test_a_receptive_field_beyond_the_discarded_margin_shows() -> None:
    """So that the tests above can fail: a network that sees farther than the margin sees where a tile ends."""
    network, low = Convolutions(layers=1, dilation=15), photograph(120, 40)
    difference = (upscale(network, low, 4, tile=48, overlap=24) - network(low)).abs()
    assert difference.max() > 1 / 255


@given(layers=st.integers(1, 4), dilation=st.integers(1, 5), height=st.integers(41, 130))
@torch.inference_mode()
def test_what_a_wide_receptive_field_changes_stays_at_the_seams(layers: int, dilation: int, height: int) -> None:
    """A pixel is exact where every tile that contributes to it reaches as far around it as the network sees."""
    reach, low = layers * dilation + 1, photograph(height, 30)
    network = Convolutions(layers, dilation)
    exact = torch.ones(4 * height, dtype=torch.bool)
    for one in spans(height, 40, 20):
        exact &= ~contributes(one, height) | reaches(one, height, reach)
    difference = (upscale(network, low, 4, tile=40, overlap=20) - network(low)).abs().amax(dim=(0, 1, 3))
    assert difference[exact].max() < ROUNDING


def contributes(one: Span, height: int) -> torch.Tensor:
    """Output rows, x4, that a tile has a share in."""
    rows = torch.arange(4 * height)
    return (rows >= 4 * one.fade_in[0]) & (rows < 4 * one.fade_out[1])


def reaches(one: Span, height: int, reach: int) -> torch.Tensor:
    """Output rows, x4, that lie `reach` LR pixels inside a tile, or at a border that the image has as well."""
    rows = torch.arange(4 * height) // 4
    above = (rows - reach >= one.start) | torch.tensor(one.start == 0)
    return above & ((rows + reach < one.stop) | torch.tensor(one.stop == height))


class Windows(nn.Module):
    """A network x1 that sees one window at a time, and where an image ends within one, its last pixels again."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        height, width = low.shape[-2:]
        whole = functional.pad(low, (0, -width % self.side, 0, -height % self.side), mode="replicate")
        means = functional.avg_pool2d(whole, self.side)
        return means.repeat_interleave(self.side, 2).repeat_interleave(self.side, 3)[..., :height, :width]


@pytest.mark.parametrize(("side", "tile", "overlap"), [(32, 96, 32), (32, 64, 20), (16, 64, 40), (16, 32, 16)])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_network_of_windows_gives_in_tiles_what_it_gives_at_once(
    side: int, tile: int, overlap: int, height: int, width: int
) -> None:
    low = photograph(height, width)
    tiled = upscale(Windows(side), low, 1, tile=tile, overlap=min(overlap, tile // 2))
    torch.testing.assert_close(tiled, Windows(side)(low), rtol=0, atol=ROUNDING)


def test_a_network_that_sees_far_leaves_no_step_at_a_seam() -> None:
    """Where neighbours disagree, a hard cut would show; they fade into each other in steps that do not."""

    def with_what_is_below(low: torch.Tensor) -> torch.Tensor:
        return low + functional.avg_pool2d(functional.pad(low, (0, 0, 0, 29)), (30, 1), stride=1)

    low = torch.full((1, 3, 160, 20), 0.5)
    difference = upscale(with_what_is_below, low, 1, tile=80, overlap=40) - with_what_is_below(low)
    assert difference.abs().max() > 10 / 255
    assert difference.diff(dim=2).abs().max() < difference.abs().max() / 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tiles_are_gathered_in_float32_on_the_cpu(dtype: torch.dtype) -> None:
    low = photograph(40, 30).to(dtype)
    seen = []

    def nearest(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.dtype)
        return part.repeat_interleave(2, 2).repeat_interleave(2, 3)

    for tile in (16, 40):
        output = upscale(nearest, low, 2, tile=tile, overlap=8)
        assert (output.dtype, output.device.type) == (torch.float32, "cpu")
        torch.testing.assert_close(output, nearest(low).float(), rtol=0, atol=1e-6)
    assert set(seen) == {dtype}
    assert len(seen) > 3


def test_an_image_that_fits_is_given_to_the_network_as_it_is() -> None:
    low, seen = photograph(32, 17), []

    def network(part: torch.Tensor) -> torch.Tensor:
        seen.append(part)
        return part

    assert torch.equal(upscale(network, low, 1, tile=32, overlap=16), low)
    assert len(seen) == 1
    assert seen[0] is low
