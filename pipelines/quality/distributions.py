"""Generalised Gaussian distributions, fitted by matching moments.

Symmetric (GGD): Sharifi and Leon-Garcia, "Estimation of shape parameter for generalized Gaussian distributions in
subband decompositions of video" (1995). Asymmetric (AGGD): Lasmar, Stitou and Berthoumieu, "Multiscale skewed heavy
tailed model for texture analysis" (2009). Both as used by BRISQUE.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Values = NDArray[np.floating[Any]]

# The shapes that BRISQUE searches; what lies outside is given the nearest end.
_SHAPES = np.linspace(0.2, 10.0, 9801)
# (E|x|)^2 / E[x^2] of a GGD with each of these shapes: increases with the shape, so that it can be inverted.
_RATIOS = np.exp(2 * gammaln(2 / _SHAPES) - gammaln(1 / _SHAPES) - gammaln(3 / _SHAPES))
# The second moment under which values count as constant.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Asymmetric:
    """An asymmetric generalised Gaussian.

    Attributes:
        shape: alpha, .2 (spiky) to 10 (flat); 2 is a Gaussian, 1 a Laplacian.
        mean: eta, the mean of the fitted distribution.
        left: mean square of the negative values.
        right: mean square of the positive values.
    """

    shape: float
    mean: float
    left: float
    right: float


def fit_symmetric(values: Values) -> tuple[float, float]:
    """Fit a GGD with mean zero.

    Args:
        values: of any shape, finite.

    Returns:
        The shape, .2 to 10, and the variance. Values that are all zero give the flattest shape and no variance.
    """
    variance = float(np.mean(values**2))
    if variance < _NOTHING:
        return float(_SHAPES[-1]), 0.0
    return _shape(float(np.mean(np.abs(values))) ** 2 / variance), variance


def fit_asymmetric(values: Values) -> Asymmetric:
    """Fit an AGGD with mode zero.

    Args:
        values: of any shape, finite; values on one side of zero only are allowed.
    """
    second = float(np.mean(values**2))
    if second < _NOTHING:
        return Asymmetric(float(_SHAPES[-1]), 0.0, 0.0, 0.0)
    left, right = _mean_square(values[values < 0]), _mean_square(values[values > 0])
    ratio = float(np.mean(np.abs(values))) ** 2 / second
    shape = _shape(ratio * _skew_correction(np.sqrt(left), np.sqrt(right)))
    spread = np.exp(gammaln(2 / shape) - (gammaln(1 / shape) + gammaln(3 / shape)) / 2)
    return Asymmetric(shape, float((np.sqrt(right) - np.sqrt(left)) * spread), left, right)


def _shape(ratio: float) -> float:
    """The shape of which `ratio` = (E|x|)^2 / E[x^2]."""
    return float(np.interp(ratio, _RATIOS, _SHAPES))


def _mean_square(values: Values) -> float:
    return float(np.mean(values**2)) if values.size else 0.0


def _skew_correction(left: float, right: float) -> float:
    """(g^3 + 1)(g + 1) / (g^2 + 1)^2 with g = left / right, written so that either side may be zero."""
    return (left**3 + right**3) * (left + right) / (left**2 + right**2) ** 2
