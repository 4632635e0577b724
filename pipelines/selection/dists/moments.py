"""Means and co-moments of N maps over the same pixels, taken tile by tile and merged."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Of N maps over the same pixels, for each channel.

    Attributes:
        count: pixels.
        means: (C, N) float64.
        comoments: (C, N, N) float64, sums over pixels of products of departures from the means.
    """

    count: int
    means: Tensor
    comoments: Tensor

    @classmethod
    def of(cls, maps: Tensor) -> "Moments":
        """Of the pixels of a tile, (N, C, h, w); it centres them in place, since E[xy] - E[x]E[y] would cancel."""
        pixels = maps.flatten(2)
        means = pixels.mean(2)
        by_channel = pixels.sub_(means[..., None]).transpose(0, 1)
        comoments = torch.bmm(by_channel, by_channel.transpose(1, 2))
        return cls(pixels.shape[2], means.t().double(), comoments.double())

    def merged(self, other: "Moments") -> "Moments":
        """Of both sets of pixels together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        steps = other.means - self.means
        between = steps[:, :, None] * steps[:, None, :] * (self.count * other.count / count)
        means = self.means + steps * (other.count / count)
        return Moments(count, means, self.comoments + other.comoments + between)
