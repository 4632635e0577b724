"""USRNet and USRGAN: super-resolution for a known blur and noise level, by an unrolled optimisation.

Zhang, Van Gool and Timofte, "Deep Unfolding Network for Image Super-Resolution", CVPR 2020. A low-resolution image is
y = Hx + n, where H blurs x and keeps one pixel of every scale x scale block. Each iteration solves

    z = argmin |y - Hz|^2 + alpha |z - x|^2,    x = prior(z, beta):

a data step in closed form, then a denoiser. A small network gives alpha and beta from the scale and the noise level.
Written from the paper; module names are those of the published state dicts (github.com/cszn/KAIR,
`models/network_usrnet_v1.py`, MIT), so that the authors' weights load strictly.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import linalg
from torch import Tensor, nn
from torch.nn import functional

from pipelines.errors import DiscernError
from pipelines.super_resolution.state_dict import length_of, load_strictly, size_of

LAYOUT = "USRNet (KAIR's usrnet.pth, usrgan.pth or a tiny one)"
SMALLEST_SIDE = 8
LARGEST_SCALE = 4  # that it was trained for; larger ones do not fit the kernel
BORDER = 16  # pixels of the enlarged grid: more than half of the kernel
MULTIPLE = 8  # the prior halves its features three times

Widths = tuple[int, int, int, int]
WIDTHS: Widths = (64, 128, 256, 512)
_convolution = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
_halve = partial(nn.Conv2d, kernel_size=2, stride=2, bias=False)
_double = partial(nn.ConvTranspose2d, kernel_size=2, stride=2, bias=False)


@dataclass(frozen=True)
class Observation:
    """H: periodic blur by a kernel, then the upper-left pixel of every scale x scale block.

    Attributes:
        spectrum: (N, 1, scale h, scale w // 2 + 1) complex, of the kernel with its middle element at the origin.
        gain: (N, 1, h, w // 2 + 1): the Fourier transform over the small grid makes H Hᵀ this diagonal.
        scale: how many times larger x is than y.
    """

    spectrum: Tensor
    gain: Tensor
    scale: int

    @classmethod
    def of(cls, kernel: Tensor, scale: int, height: int, width: int) -> "Observation":
        """H for a kernel (N, 1, k, l), float32 or float64, and for small images of height x width.

        Raises:
            DiscernError: the kernel is larger than the enlarged image.
        """
        tall, wide = scale * height, scale * width
        rows, columns = kernel.shape[-2:]
        if rows > tall or columns > wide:
            raise DiscernError(f"the {columns}x{rows} kernel exceeds the {wide}x{tall} output: use larger images")
        placed = functional.pad(kernel, (0, wide - columns, 0, tall - rows))
        full = torch.fft.fft2(placed.roll((-(rows // 2), -(columns // 2)), dims=(2, 3)))
        aliases = full.abs().square().unflatten(3, (scale, width)).unflatten(2, (scale, height))
        return cls(full[..., : wide // 2 + 1], aliases.mean(dim=(2, 4))[..., : width // 2 + 1], scale)

    def apply(self, high: Tensor) -> Tensor:
        """Hx: (N, C, scale h, scale w) to (N, C, h, w)."""
        blurred = torch.fft.irfft2(self.spectrum * torch.fft.rfft2(high), s=high.shape[-2:])
        return blurred[..., :: self.scale, :: self.scale]

    def adjoint(self, low: Tensor) -> Tensor:
        """Hᵀy: (N, C, h, w) to (N, C, scale h, scale w)."""
        spread = low.new_zeros((*low.shape[:2], self.scale * low.shape[2], self.scale * low.shape[3]))
        spread[..., :: self.scale, :: self.scale] = low
        return torch.fft.irfft2(self.spectrum.conj() * torch.fft.rfft2(spread), s=spread.shape[-2:])

    def solve(self, estimate: Tensor, low: Tensor, alpha: Tensor) -> Tensor:
        """The data step: the z of (HᵀH + alpha) z = Hᵀy + alpha x, with x = `estimate`, y = `low`, alpha (N, 1, 1, 1).

        As z = x + Hᵀ (H Hᵀ + alpha)⁻¹ (y - Hx): equal to the paper's equation 7, without its division of a difference
        of large numbers by a small alpha.
        """
        residual = torch.fft.rfft2(low - self.apply(estimate)) / (self.gain + alpha)
        return estimate + self.adjoint(torch.fft.irfft2(residual, s=low.shape[-2:]))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res = nn.Sequential(_convolution(channels, channels), nn.ReLU(), _convolution(channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.res(features)


class _Prior(nn.Module):
    """The denoiser: a U-Net of four levels with residual blocks, without biases."""

    def __init__(self, colours: int, widths: Widths, blocks: int) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.m_head = _convolution(colours + 1, first)
        self.m_down1 = nn.Sequential(*_residuals(first, blocks), _halve(first, second))
        self.m_down2 = nn.Sequential(*_residuals(second, blocks), _halve(second, third))
        self.m_down3 = nn.Sequential(*_residuals(third, blocks), _halve(third, fourth))
        self.m_body = nn.Sequential(*_residuals(fourth, blocks))
        self.m_up3 = nn.Sequential(_double(fourth, third), *_residuals(third, blocks))
        self.m_up2 = nn.Sequential(_double(third, second), *_residuals(second, blocks))
        self.m_up1 = nn.Sequential(_double(second, first), *_residuals(first, blocks))
        self.m_tail = _convolution(first, colours)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = functional.pad(image, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")
        level1 = self.m_head(padded)
        level2 = self.m_down1(level1)
        level3 = self.m_down2(level2)
        level4 = self.m_down3(level3)
        features = self.m_up3(self.m_body(level4) + level4)
        features = self.m_up1(self.m_up2(features + level3) + level2)
        return self.m_tail(features + level1)[..., :height, :width]


class USRNet(nn.Module):
    """The unrolled network; by default of the size of `usrnet.pth` and `usrgan.pth`, 17.0 million parameters.

    The prior is the same in all `iterations`; its four levels have `widths` channels and `blocks`, at least 2, residual
    blocks. The network that gives alpha and beta has `hidden` channels.
    """

    def __init__(
        self, iterations: int = 8, hidden: int = 64, widths: Widths = WIDTHS, blocks: int = 2, colours: int = 3
    ) -> None:
        super().__init__()
        sizes = (2, hidden), (hidden, hidden), (hidden, 2 * iterations)
        first, second, third = (nn.Conv2d(*size, kernel_size=1) for size in sizes)
        # The names here, and of all that these two hold, are dictated by the state dict.
        self.p = _Prior(colours, widths, blocks)
        self.h = nn.ModuleDict({"mlp": nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)})

    def forward(self, low: Tensor, kernel: Tensor, scale: int, noise_level: Tensor) -> Tensor:
        """Super-resolve images that are periodic, or made so by `extend`; data steps are done at least in float32.

        Args:
            low: (N, C, h, w) in [0, 1], of the network's dtype; the result is (N, C, scale h, scale w), not clipped.
            kernel: (N or 1, 1, k, l), on the enlarged grid, sums to one.
            scale: 1 to 4 in training.
            noise_level: (N or 1, 1, 1, 1), standard deviation of the noise in `low`, in its units.

        Raises:
            DiscernError: the kernel is larger than the enlarged image.
        """
        observed = _precise(low)
        observation = Observation.of(kernel.to(observed.dtype), scale, *low.shape[-2:])
        estimate = functional.interpolate(observed, scale_factor=scale, mode="nearest")
        conditions = torch.cat((noise_level, torch.full_like(noise_level, scale)), dim=1).to(low.dtype)
        alphas, betas = (functional.softplus(_precise(self.h["mlp"](conditions))) + 1e-6).chunk(2, dim=1)
        for alpha, beta in zip(alphas.split(1, dim=1), betas.split(1, dim=1), strict=True):
            solved = observation.solve(estimate, observed, alpha)
            level = beta.expand(len(low), 1, *solved.shape[-2:])
            estimate = _precise(self.p(torch.cat((solved, level), dim=1).to(low.dtype)))
        return estimate.to(low.dtype)


def from_state(state: Mapping[str, Tensor]) -> USRNet:
    """A float32 network with the sizes and the weights of a state dict of KAIR's layout.

    Raises:
        WeightsError: the state dict is not exactly one of such a network; the message does not name the file.
    """
    blocks = length_of(state, "p.m_body")
    sized = ["p.m_head", *(f"p.m_down{level}.{blocks}" for level in (1, 2, 3)), "p.m_tail", "h.mlp.0", "h.mlp.4"]
    sizes = [size_of(state, f"{name}.weight", 0, LAYOUT) for name in sized]
    first, second, third, fourth, colours, hidden, hyperparameters = sizes
    network = USRNet(hyperparameters // 2, hidden, (first, second, third, fourth), blocks, colours)
    return load_strictly(network, state, LAYOUT)


def gaussian_kernel(width: float, scale: int, size: int = 25) -> Tensor:
    """A Gaussian blur kernel that samples the scale x scale blocks at their centres: (1, 1, size, size) float32, sum 1.

    H keeps a block's upper-left pixel; its centre lies (scale - 1) / 2 pixels further down and right. So the kernel's
    centre is at size // 2 - (scale - 1) / 2 in both directions. As upstream it gets there by linear interpolation of
    the centred kernel: at half a pixel (scales 2 and 4) this adds 1/4 to the variance in each direction. `width`, the
    standard deviation before that, is in pixels of the enlarged grid and positive; `size` is odd.
    """
    pixels = torch.arange(size, dtype=torch.float64)
    profile = torch.exp(-((pixels - size // 2) ** 2) / (2 * width**2))
    sources = (pixels + (scale - 1) / 2).clamp(max=size - 1)
    shifted = torch.lerp(profile[sources.floor().long()], profile[sources.ceil().long()], sources.frac())
    return (torch.outer(shifted, shifted) / shifted.sum() ** 2).float()[None, None]


def extend(image: Tensor, height: int, width: int) -> Tensor:
    """Extend (N, C, h, w) to (N, C, height, width), to the right and downwards, so that it repeats without a seam.

    Each new pixel is the mean of its four neighbours on the torus, so none leaves the image's range: the aim of Liu and
    Jia, "Reducing boundary artifacts in image deconvolution", ICIP 2008. Upstream solves three such problems, for two
    strips and a corner, on the image enlarged by repetition; this solves one, on the small grid.
    """
    extended = functional.pad(image.detach(), (0, width - image.shape[-1], 0, height - image.shape[-2]))
    new = np.ones((height, width), dtype=bool)
    new[: image.shape[-2], : image.shape[-1]] = False
    rows, columns = np.nonzero(new)
    around = [((rows + y) % height) * width + (columns + x) % width for y, x in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    pairs = (np.tile(np.arange(len(rows)), 4), np.concatenate(around))
    adjacency = sparse.csr_array((np.ones(4 * len(rows)), pairs), shape=(len(rows), height * width))
    laplacian = 4 * sparse.eye_array(len(rows)) - adjacency[:, new.ravel()]
    values = extended.double().cpu().numpy().reshape(-1, height * width)
    solution = linalg.splu(laplacian.tocsc()).solve(adjacency @ values.T)
    extended[..., rows, columns] = torch.from_numpy(solution.T.reshape(*image.shape[:2], -1)).to(extended)
    return extended


def restore(network: USRNet, low: Tensor, scale: int, *, kernel_width: float, noise_level: float) -> Tensor:
    """Super-resolve images as if a Gaussian blur, subsampling and white noise had made them.

    Args:
        network: of the dtype and on the device of `low`.
        low: (N, 3, h, w) in [0, 1]; the result is (N, 3, scale h, scale w), of its dtype and device, not clipped.
        scale: 1 to 4.
        kernel_width: as `width` of `gaussian_kernel`.
        noise_level: standard deviation of the noise in 8-bit units, 0 to 255.

    Raises:
        DiscernError: the images are too small.
    """
    height, width = low.shape[-2:]
    if min(height, width) < SMALLEST_SIDE:
        raise DiscernError(f"the image is {width}x{height}: USRNet needs sides of {SMALLEST_SIDE}; use larger images")
    # Room for the kernel around the image and, enlarged, a multiple of 8, so that the prior pads nothing.
    step = math.lcm(scale, MULTIPLE)
    sides = [math.ceil((scale * side + BORDER) / step) * step // scale for side in (height, width)]
    level = low.new_full((1, 1, 1, 1), noise_level / 255)
    kernel = gaussian_kernel(kernel_width, scale).to(low.device)
    return network(extend(low, *sides), kernel, scale, level)[..., : scale * height, : scale * width]


def _precise(values: Tensor) -> Tensor:
    """At least float32: there is no Fourier transform of bfloat16, and not everywhere one of float16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _residuals(channels: int, blocks: int) -> list[nn.Module]:
    return [_Residual(channels) for _ in range(blocks)]
