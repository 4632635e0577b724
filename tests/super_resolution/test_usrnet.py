"""USRNet: its layout, the data step against dense linear algebra, kernel, border, and the whole procedure."""

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipelines.errors import DiscernError, WeightsError
from pipelines.super_resolution.usrnet import Observation, USRNet, extend, from_state, gaussian_kernel, restore
from tests.conftest import textured

FLOAT64 = torch.float64


pytestmark = pytest.mark.usefixtures("one_thread")


def tiny(iterations: int = 2, blocks: int = 2) -> USRNet:
    """A small random network with outputs about as large as its inputs, which depend visibly on the noise level."""
    torch.manual_seed(0)
    network = USRNet(iterations, hidden=5, widths=(4, 6, 8, 10), blocks=blocks).eval()
    with torch.no_grad():
        network.p.m_tail.weight.mul_(4)
        for parameter in network.h.parameters():
            parameter.mul_(3)
    return network


def random_kernel(generator: torch.Generator, rows: int, columns: int) -> Tensor:
    kernel = torch.rand(1, 1, rows, columns, generator=generator, dtype=FLOAT64)
    return kernel / kernel.sum()


def photograph(height: int, width: int) -> Tensor:
    return torch.from_numpy(textured(0, height, width)).permute(2, 0, 1)[None] / 255


def kair_layout(n_iter: int, h_nc: int, nc: list[int], nb: int) -> dict[str, tuple[int, ...]]:
    """The entries of KAIR's state dict, written down from its module tree."""

    def residuals(place: str, start: int, width: int) -> dict[str, tuple[int, ...]]:
        places = itertools.product(range(start, start + nb), (0, 2))
        return {f"{place}.{block}.res.{layer}.weight": (width, width, 3, 3) for block, layer in places}

    entries: dict[str, tuple[int, ...]] = {"p.m_head.weight": (nc[0], 4, 3, 3), "p.m_tail.weight": (3, nc[0], 3, 3)}
    for level in (1, 2, 3):
        upper, lower = nc[level - 1], nc[level]
        entries |= residuals(f"p.m_down{level}", 0, upper) | {f"p.m_down{level}.{nb}.weight": (lower, upper, 2, 2)}
        entries |= residuals(f"p.m_up{level}", 1, upper) | {f"p.m_up{level}.0.weight": (lower, upper, 2, 2)}
    entries |= residuals("p.m_body", 0, nc[3])
    for layer, (inputs, outputs) in {0: (2, h_nc), 2: (h_nc, h_nc), 4: (h_nc, 2 * n_iter)}.items():
        entries |= {f"h.mlp.{layer}.weight": (outputs, inputs, 1, 1), f"h.mlp.{layer}.bias": (outputs,)}
    return entries


@pytest.mark.parametrize(
    ("n_iter", "h_nc", "nc", "parameters"),
    [(8, 64, [64, 128, 256, 512], 17_016_016), (6, 32, [16, 32, 64, 64], None)],
    ids=["usrgan", "usrgan_tiny"],
)
def test_published_state_dicts_load(n_iter: int, h_nc: int, nc: list[int], parameters: int | None) -> None:
    layout = kair_layout(n_iter, h_nc, nc, nb=2)
    state = {name: torch.full(shape, 0.01) for name, shape in layout.items()}
    network = from_state(state)
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == layout
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    if parameters is not None:
        assert sum(tensor.numel() for tensor in USRNet().parameters()) == parameters


@pytest.mark.parametrize("make", [USRNet, partial(tiny, 1, 2), partial(tiny, 3, 3)], ids=["default", "1-2", "3-3"])
def test_a_state_dict_gives_the_network_that_it_came_from(make: Callable[[], USRNet]) -> None:
    network = make()
    arguments = (photograph(9, 10), gaussian_kernel(1.5, 3), 3, torch.full((1, 1, 1, 1), 0.01))
    with torch.inference_mode():
        torch.testing.assert_close(from_state(network.state_dict())(*arguments), network(*arguments), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("p.m_up2.1.res.2.weight", None, r"1 missing \(p\.m_up2\.1\.res\.2\.weight\)\. Give another file"),
        ("p.m_body.0.res.0.weight", None, r"1 missing \(p\.m_body\.0\.res\.0\.weight\)"),
        ("p.m_head.weight", None, r"not weights of USRNet .*: p\.m_head\.weight is missing"),
        ("p.m_extra.weight", (1,), r"1 not known \(p\.m_extra\.weight\)"),
        ("p.m_tail.weight", (3, 4, 5, 5), r"1 of another shape .*\(3, 4, 5, 5\) for \(3, 4, 3, 3\)"),
        ("p.m_head.weight", (4, 5, 3, 3), r"p\.m_head\.weight \(4, 5, 3, 3\) for \(4, 4, 3, 3\)"),
        ("h.mlp.4.weight", (5, 5, 1, 1), r"1 of another shape .*\(5, 5, 1, 1\) for \(4, 5, 1, 1\)"),
        ("h.mlp.0.weight", (), r"h\.mlp\.0\.weight has only 0 axes"),
    ],
)
def test_another_state_dict_is_refused(name: str, shape: tuple[int, ...] | None, message: str) -> None:
    state = {key: tensor for key, tensor in tiny().state_dict().items() if key != name}
    if shape is not None:
        state[name] = torch.zeros(shape)
    with pytest.raises(WeightsError, match=message):
        from_state(state)


def dense(kernel: NDArray[np.float64], scale: int, height: int, width: int) -> NDArray[np.float64]:
    """H as a matrix, by the definition of periodic convolution."""
    matrix = np.zeros((height, width, scale * height, scale * width))
    for row, column in np.ndindex(height, width):
        for (y, x), value in np.ndenumerate(kernel):
            source = (scale * row - (y - kernel.shape[0] // 2), scale * column - (x - kernel.shape[1] // 2))
            matrix[row, column, source[0] % (scale * height), source[1] % (scale * width)] += value
    return matrix.reshape(height * width, -1)


@given(
    scale=st.integers(1, 4),
    size=st.tuples(st.integers(3, 5), st.integers(3, 5)),
    kernel_size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    alpha=st.floats(1e-6, 10),
    seed=st.integers(0, 2**31),
)
def test_the_data_step_solves_its_normal_equations(
    scale: int, size: tuple[int, int], kernel_size: tuple[int, int], alpha: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    kernel = random_kernel(generator, *kernel_size)
    low = torch.rand(1, 2, height, width, generator=generator, dtype=FLOAT64)
    estimate = torch.rand(1, 2, scale * height, scale * width, generator=generator, dtype=FLOAT64)
    matrix = dense(kernel[0, 0].numpy(), scale, height, width)
    y, x = low.reshape(2, -1).numpy().T, estimate.reshape(2, -1).numpy().T
    expected = np.linalg.solve(matrix.T @ matrix + alpha * np.eye(len(x)), matrix.T @ y + alpha * x)
    observation = Observation.of(kernel, scale, height, width)
    np.testing.assert_allclose(observation.apply(estimate).reshape(2, -1).numpy().T, matrix @ x, atol=1e-12)
    np.testing.assert_allclose(observation.adjoint(low).reshape(2, -1).numpy().T, matrix.T @ y, atol=1e-12)
    solved = observation.solve(estimate, low, torch.tensor(alpha, dtype=FLOAT64).view(1, 1, 1, 1))
    np.testing.assert_allclose(solved.reshape(2, -1).numpy().T, expected, atol=1e-7)


def test_the_data_step_keeps_a_constant_image() -> None:
    observation = Observation.of(gaussian_kernel(2.0, 4), 4, 8, 10)
    solved = observation.solve(torch.full((1, 3, 32, 40), 0.6), torch.full((1, 3, 8, 10), 0.6), torch.tensor(1e-6))
    torch.testing.assert_close(solved, torch.full((1, 3, 32, 40), 0.6), rtol=0, atol=1e-4)


def reference_prior(state: dict[str, Tensor], image: Tensor) -> Tensor:
    """The U-Net for two blocks a level, read off the paper's figure; edges are repeated up to multiples of 8."""

    def residuals(place: str, start: int, features: Tensor) -> Tensor:
        for block in (start, start + 1):
            first, second = (state[f"{place}.{block}.res.{layer}.weight"] for layer in (0, 2))
            inner = functional.conv2d(features, first, padding=1).clamp(min=0)
            features = features + functional.conv2d(inner, second, padding=1)
        return features

    rows, columns = (torch.arange(-(-side // 8) * 8).clamp(max=side - 1) for side in image.shape[-2:])
    levels = [functional.conv2d(image[..., rows, :][..., columns], state["p.m_head.weight"], padding=1)]
    for level in (1, 2, 3):
        features = residuals(f"p.m_down{level}", 0, levels[-1])
        levels.append(functional.conv2d(features, state[f"p.m_down{level}.2.weight"], stride=2))
    features = residuals("p.m_body", 0, levels[3])
    for level in (3, 2, 1):
        up = functional.conv_transpose2d(features + levels[level], state[f"p.m_up{level}.0.weight"], stride=2)
        features = residuals(f"p.m_up{level}", 1, up)
    output = functional.conv2d(features + levels[0], state["p.m_tail.weight"], padding=1)
    return output[..., : image.shape[-2], : image.shape[-1]]


def test_the_network_is_the_papers_iteration() -> None:
    network = tiny(iterations=3).double()
    state = network.state_dict()
    low, scale, noise_level = photograph(4, 5).double(), 3, 0.02
    kernel = random_kernel(torch.Generator().manual_seed(1), 5, 7)
    matrix = dense(kernel[0, 0].numpy(), scale, 4, 5)
    hidden = np.array([noise_level, scale])
    for layer in (0, 2, 4):
        hidden = state[f"h.mlp.{layer}.weight"][..., 0, 0].numpy() @ hidden + state[f"h.mlp.{layer}.bias"].numpy()
        hidden = np.log1p(np.exp(hidden)) + 1e-6 if layer == 4 else np.maximum(hidden, 0)
    estimate = low.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    for alpha, beta in zip(hidden[:3], hidden[3:], strict=True):
        right = matrix.T @ low.reshape(3, -1).numpy().T + alpha * estimate.reshape(3, -1).numpy().T
        solved = np.linalg.solve(matrix.T @ matrix + alpha * np.eye(len(right)), right).T.reshape(1, 3, 12, 15)
        estimate = reference_prior(state, torch.from_numpy(np.append(solved, np.full((1, 1, 12, 15), beta), axis=1)))
    with torch.inference_mode():
        output = network(low, kernel, scale, torch.full((1, 1, 1, 1), noise_level, dtype=FLOAT64))
    torch.testing.assert_close(output, estimate, rtol=0, atol=1e-10)


def test_each_image_of_a_batch_has_its_own_kernel_and_noise_level() -> None:
    network = tiny()
    low = torch.cat((photograph(10, 9), photograph(9, 10).mT))
    kernels = torch.cat((gaussian_kernel(0.7, 3), gaussian_kernel(2.0, 3)))
    noise_levels = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    with torch.inference_mode():
        together, swapped = (network(low, kernels, 3, levels) for levels in (noise_levels, noise_levels.flip(0)))
        alone = [network(low[[i]], kernels[[i]], 3, noise_levels[[i]]) for i in (0, 1)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4)
    assert ((swapped - together).abs().amax(dim=(1, 2, 3)) > 1e-3).all()


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [0.4, 1.0, 2.0])
def test_the_kernel_is_centred_on_the_blocks(scale: int, width: float) -> None:
    kernel = gaussian_kernel(width, scale)
    assert (kernel.shape, kernel.dtype) == ((1, 1, 25, 25), torch.float32)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-5)
    for marginal in (kernel[0, 0].sum(0), kernel[0, 0].sum(1)):
        mean = (marginal * torch.arange(25)).sum()
        assert mean.item() == pytest.approx(12 - (scale - 1) / 2, abs=1e-3)
        if width == 2.0:
            added = 0.25 if scale in (2, 4) else 0
            assert (marginal * (torch.arange(25) - mean) ** 2).sum().item() == pytest.approx(4 + added, rel=1e-3)
    # On a ramp, every observed pixel is then the mean of its block; far from the seam of the periodic image.
    ramp = torch.arange(64.0 * scale) + 3 * torch.arange(64.0 * scale)[:, None]
    observed = Observation.of(kernel, scale, 64, 64).apply(ramp[None, None])
    blocks = functional.avg_pool2d(ramp[None, None], scale)
    torch.testing.assert_close(observed[..., 20:-20, 20:-20], blocks[..., 20:-20, 20:-20], rtol=1e-3, atol=5e-3)


@given(size=st.tuples(st.integers(8, 14), st.integers(8, 14)), more=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_the_extension_is_harmonic_on_the_torus(size: tuple[int, int], more: tuple[int, int]) -> None:
    image = photograph(*size).double()
    extended = extend(image, size[0] + more[0], size[1] + more[1])
    assert extended.shape == (1, 3, size[0] + more[0], size[1] + more[1])
    assert torch.equal(extended[..., : size[0], : size[1]], image)
    neighbours = sum(extended.roll(step, dims=axis) for step in (1, -1) for axis in (2, 3))
    departure = extended - neighbours / 4
    departure[..., : size[0], : size[1]] = 0
    assert departure.abs().max() < 1e-9
    assert extended.min() >= image.min() - 1e-9
    assert extended.max() <= image.max() + 1e-9


@given(size=st.tuples(st.integers(8, 21), st.integers(8, 21)), scale=st.integers(2, 4))
@example(size=(66, 82), scale=4)
def test_restored_images_have_exactly_the_size(size: tuple[int, int], scale: int) -> None:
    with torch.inference_mode():
        output = restore(tiny(), photograph(*size), scale, kernel_width=2.0, noise_level=2.0)
    assert output.shape == (1, 3, scale * size[0], scale * size[1])
    assert torch.isfinite(output).all()


def test_the_noise_level_is_in_8_bit_units() -> None:
    network, kernel, low = tiny(), gaussian_kernel(1.5, 4), photograph(8, 12)
    with torch.inference_mode():
        restored = restore(network, low, 4, kernel_width=1.5, noise_level=51)
        # 8 and 12 pixels, enlarged, are already multiples of 8: four pixels more are the border of 16.
        expected = network(extend(low, 12, 16), kernel, 4, torch.full((1, 1, 1, 1), 0.2))[..., :32, :48]
    torch.testing.assert_close(restored, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 0.02), (torch.bfloat16, 0.15), (FLOAT64, 1e-4)])
def test_other_precisions_give_nearly_the_same(dtype: torch.dtype, error: float) -> None:
    network, low = tiny(), photograph(9, 11)
    with torch.inference_mode():
        expected = restore(network, low, 4, kernel_width=2.0, noise_level=2.0)
        output = restore(network.to(dtype), low.to(dtype), 4, kernel_width=2.0, noise_level=2.0)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=error)


@pytest.mark.parametrize(
    ("size", "scale", "message"),
    [((7, 9), 4, "the image is 9x7: USRNet needs sides of 8"), ((8, 30), 1, "25x25 kernel exceeds the 48x24 output")],
)
def test_images_that_are_too_small_are_refused(size: tuple[int, int], scale: int, message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        restore(tiny(), photograph(*size), scale, kernel_width=2.0, noise_level=2.0)
