"""Eqs. (3)-(5) against plain arithmetic, scipy and finite differences, and the properties of the loss."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pipelines.calibration.fidelity import fidelity_loss, pair_label, preference, ranking_label

PROBABILITY = st.floats(0, 1)
LABEL = st.sampled_from([0.0, 0.5, 1.0])


def loss(label: float, predicted: float) -> float:
    return fidelity_loss(*torch.tensor([label, predicted], dtype=torch.float64)).item()


def test_labels_of_pairs() -> None:
    scores = torch.tensor([0.3, -1.0, 0.3])
    first, second, label = ranking_label(scores)
    rows = torch.stack([first, second, label], dim=1)
    assert rows.tolist() == [[0, 1, 1], [0, 2, 0.5], [1, 2, 0]]
    assert pair_label(torch.tensor([1.0, 2, 2]), torch.tensor([2.0, 1, 2])).tolist() == [0, 1, 0.5]


def test_preference_is_the_normal_distribution_of_a_difference_of_two() -> None:
    difference = np.linspace(-6, 6, 49)
    ours = preference(torch.from_numpy(difference)).numpy()
    np.testing.assert_allclose(ours, norm.cdf(difference, scale=math.sqrt(2)), rtol=1e-12)


def test_loss_by_plain_arithmetic() -> None:
    label, predicted = np.meshgrid([0, 0.25, 0.5, 1], [0.01, 0.3, 0.5, 0.99])
    expected = 1 - np.sqrt(label * predicted) - np.sqrt((1 - label) * (1 - predicted))
    ours = fidelity_loss(torch.from_numpy(label), torch.from_numpy(predicted)).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@given(PROBABILITY, PROBABILITY)
def test_loss_is_bounded_and_symmetric(label: float, predicted: float) -> None:
    assert 0 <= loss(label, predicted) <= 1
    assert loss(label, predicted) == pytest.approx(loss(1 - label, 1 - predicted), abs=1e-7)
    assert loss(label, predicted) == pytest.approx(loss(predicted, label), abs=1e-12)


@given(st.floats(1e-4, 1 - 1e-4) | LABEL)
def test_loss_is_zero_where_both_agree(label: float) -> None:
    assert loss(label, label) == pytest.approx(0, abs=1e-12)


@given(PROBABILITY)
def test_the_departure_from_zero_at_the_ends_is_as_small_as_stated(label: float) -> None:
    assert loss(label, label) <= 3e-5


@given(LABEL, st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_loss_grows_with_the_distance_from_the_label(label: float, one: float, other: float) -> None:
    near, far = sorted((one, other), key=lambda value: abs(value - label))
    assert loss(label, near) <= loss(label, far) + 1e-12


def test_the_opposite_of_the_label_costs_everything() -> None:
    assert loss(1, 0) == loss(0, 1) == 1


@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])
def test_gradient_equals_finite_differences(label: float) -> None:
    difference = torch.linspace(-3, 3, 12, dtype=torch.float64, requires_grad=True)
    labels = torch.full_like(difference, label)
    assert torch.autograd.gradcheck(lambda d: fidelity_loss(labels, preference(d)), (difference,), atol=1e-7)


@pytest.mark.parametrize("difference", [-40.0, -6.0, 0.0, 6.0, 40.0])
@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])
def test_gradient_is_finite_however_large_the_difference(label: float, difference: float) -> None:
    value = torch.tensor(difference, requires_grad=True)
    torch.autograd.backward(fidelity_loss(torch.tensor(label), preference(value)))
    assert value.grad is not None
    assert torch.isfinite(value.grad)
