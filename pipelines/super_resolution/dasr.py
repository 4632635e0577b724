"""DASR: a super-resolver whose convolutions are mixed, image by image, from several experts.

Liang, Zeng and Zhang, "Efficient and Degradation-Adaptive Network for Real-World Image Super-Resolution", ECCV 2022. A
small network estimates how an image was degraded and from it the weights of the experts; every kernel and bias of the
super-resolver is the weighted sum of the experts' ones.

Written from the paper; module names are those of the published state dicts (github.com/csjliang/DASR,
`MSRResNetDynamic` and `Degradation_Predictor`, Apache-2.0), so that the authors' weights load strictly.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.super_resolution.state_dict import length_of, load_strictly, size_of

GENERATOR = "DASR's generator (net_g.pth)"
PREDICTOR = "DASR's predictor (net_p.pth)"


class DegradationPredictor(nn.Module):
    """Estimates the degradation of whole images: tiles of one image would get other weights than the image.

    Args:
        features: channels between convolutions.
        parameters: of the degradation, 33 in the published weights.
        hidden: width between the two linear maps.
        experts: K of the super-resolver.
        colours: channels of the images.
    """

    def __init__(
        self, features: int = 64, parameters: int = 33, hidden: int = 15, experts: int = 5, colours: int = 3
    ) -> None:
        super().__init__()
        widths = (colours, *[features] * 5, parameters)
        layers: list[nn.Module] = []
        for (before, after), stride in zip(pairwise(widths), (1, 1, 1, 2, 1, 1), strict=True):
            layers += [nn.Conv2d(before, after, kernel_size=5, stride=stride, padding=2), nn.LeakyReLU(0.2)]
        # The names of these two, and the places in them, are dictated by the state dict.
        self.ConvNet = nn.Sequential(*layers)
        self.MappingNet = nn.Sequential(nn.Linear(parameters, hidden), nn.Linear(hidden, experts))

    def forward(self, low: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate parameters (N, 33) and weights (N, K) of images (N, 3, h, w) in [0, 1].

        Weights are used as they come: they may be negative and need not sum to one.
        """
        parameters = self.ConvNet(low).mean(dim=(2, 3))
        return parameters, self.MappingNet(parameters)


class MixedConvolution(nn.Module):
    """A 3x3 convolution with zero padding whose kernel and bias are mixed from K experts for each image."""

    def __init__(self, inputs: int, outputs: int, experts: int) -> None:
        super().__init__()
        # Names and shapes are dictated by the state dict.
        self.weight = nn.Parameter(torch.randn(experts, outputs, inputs, 3, 3) / math.sqrt(9 * inputs))
        self.bias = nn.Parameter(torch.zeros(experts, outputs))

    def forward(self, features: Tensor, weights: Tensor) -> Tensor:
        """(N, inputs, h, w) and weights (N, K) to (N, outputs, h, w)."""
        kernels = torch.einsum("nk,koiyx->noiyx", weights, self.weight).flatten(0, 1)
        # One group an image: each is convolved with its own kernel, all in one call.
        images = features.flatten(0, 1)[None]
        mixed = functional.conv2d(images, kernels, (weights @ self.bias).flatten(), padding=1, groups=len(features))
        return mixed[0].unflatten(0, (len(features), -1))


class _MixedResidual(nn.Module):
    def __init__(self, features: int, experts: int) -> None:
        super().__init__()
        self.conv1 = MixedConvolution(features, features, experts)
        self.conv2 = MixedConvolution(features, features, experts)

    def forward(self, features: Tensor, weights: Tensor) -> Tensor:
        return features + self.conv2(functional.relu(self.conv1(features, weights)), weights)


class DynamicSRResNet(nn.Module):
    """The super-resolver x4: a residual network of mixed convolutions on top of bilinear interpolation.

    Args:
        features: channels between convolutions.
        blocks: residual blocks.
        experts: K, kernels of each convolution.
        colours: channels of the images.
    """

    scale = 4

    def __init__(self, features: int = 64, blocks: int = 16, experts: int = 5, colours: int = 3) -> None:
        super().__init__()
        # All names are dictated by the state dict.
        self.conv_first = MixedConvolution(colours, features, experts)
        self.body = nn.ModuleList(_MixedResidual(features, experts) for _ in range(blocks))
        self.upconv1 = MixedConvolution(features, 4 * features, experts)
        self.upconv2 = MixedConvolution(features, 4 * features, experts)
        self.conv_hr = MixedConvolution(features, features, experts)
        self.conv_last = MixedConvolution(features, colours, experts)

    def forward(self, low: Tensor, weights: Tensor) -> Tensor:
        """Super-resolve (N, 3, h, w) in [0, 1] with weights (N, K) of the experts to (N, 3, 4h, 4w), not clipped."""
        features = _leaky(self.conv_first(low, weights))
        for block in self.body:
            features = block(features, weights)
        for convolution in (self.upconv1, self.upconv2):
            features = _leaky(functional.pixel_shuffle(convolution(features, weights), 2))
        details = self.conv_last(_leaky(self.conv_hr(features, weights)), weights)
        return details + functional.interpolate(low, scale_factor=self.scale, mode="bilinear", align_corners=False)


def _leaky(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, 0.1)


def from_states(
    generator: Mapping[str, Tensor], predictor: Mapping[str, Tensor]
) -> tuple[DynamicSRResNet, DegradationPredictor]:
    """Float32 networks with the sizes and the weights of the two state dicts of upstream's layout.

    Raises:
        WeightsError: one of them is not exactly such a state dict, or they do not belong together; the message says
            which of the two, but names no file.
    """
    experts, features, colours = (size_of(generator, "conv_first.weight", axis, GENERATOR) for axis in range(3))
    super_resolver = DynamicSRResNet(features, length_of(generator, "body"), experts, colours)
    estimator = DegradationPredictor(
        features=size_of(predictor, "ConvNet.0.weight", 0, PREDICTOR),
        parameters=size_of(predictor, "MappingNet.0.weight", 1, PREDICTOR),
        hidden=size_of(predictor, "MappingNet.0.weight", 0, PREDICTOR),
        experts=experts,
        colours=colours,
    )
    return (
        load_strictly(super_resolver, generator, GENERATOR),
        load_strictly(estimator, predictor, f"{PREDICTOR} for the {experts} experts of the generator"),
    )
