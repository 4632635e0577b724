"""Generalised Gaussians against samples of scipy's, and against piq's independent moment matching."""

import sys

import numpy as np
import piq
import pytest
import torch
from scipy import stats

from pipelines.quality import distributions

piq_brisque = sys.modules[piq.brisque.__module__]


@pytest.mark.parametrize("shape", [0.6, 1.0, 2.0, 4.0])
def test_shape_and_variance_of_samples_are_recovered(shape: float) -> None:
    values = stats.gennorm(shape, scale=3).rvs(200_000, random_state=1)
    fitted, variance = distributions.fit_symmetric(values)
    assert fitted == pytest.approx(shape, rel=0.03)
    assert variance == pytest.approx(stats.gennorm(shape, scale=3).var(), rel=0.03)


@pytest.mark.parametrize("seed", [0, 1])
def test_symmetric_fit_equals_piq(seed: int) -> None:
    values = np.random.default_rng(seed).laplace(0, 1.7, (64, 48))
    shape, sigma = piq_brisque._ggd_parameters(torch.from_numpy(values)[None, None])
    fitted, variance = distributions.fit_symmetric(values)
    # piq takes the nearest of shapes .001 apart, we interpolate between them.
    assert fitted == pytest.approx(shape.item(), abs=1e-3)
    assert variance == pytest.approx(sigma.item() ** 2, rel=1e-9)


@pytest.mark.parametrize("skew", [0.3, 1.0, 2.5])
def test_asymmetric_fit_equals_piq(skew: float) -> None:
    values = np.random.default_rng(3).normal(0, 1, (64, 48))
    values[values > 0] *= skew
    shape, left, right = piq_brisque._aggd_parameters(torch.from_numpy(values)[None, None])
    fitted = distributions.fit_asymmetric(values)
    assert fitted.shape == pytest.approx(shape.item(), abs=1e-3)
    assert fitted.left == pytest.approx(left.item() ** 2, rel=1e-9)
    assert fitted.right == pytest.approx(right.item() ** 2, rel=1e-9)


def test_all_parameters_of_an_asymmetric_gaussian_are_recovered() -> None:
    random = np.random.default_rng(4)
    values = np.abs(random.normal(0, 1, 200_000))
    # Both halves of the density meet at zero, so that the half of width .5 holds a third of the values.
    values[random.random(len(values)) < 1 / 3] *= -0.5
    fitted = distributions.fit_asymmetric(values)
    assert fitted.shape == pytest.approx(2, rel=0.03)
    assert (fitted.left, fitted.right) == pytest.approx((0.25, 1), rel=0.03)
    assert fitted.mean == pytest.approx(values.mean(), rel=0.03)


@pytest.mark.parametrize("values", [np.zeros(50), np.ones(50), -np.ones(50), np.array([1e-9, -1e-9])])
def test_degenerate_values_give_finite_numbers(values: np.ndarray) -> None:
    fitted = distributions.fit_asymmetric(values)
    assert np.isfinite([*distributions.fit_symmetric(values), fitted.shape, fitted.mean]).all()
    assert np.isfinite([fitted.left, fitted.right]).all()
