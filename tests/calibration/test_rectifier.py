"""The rectifier starts at the identity, and its state dict is all there is to it."""

import numpy as np
import pytest
import torch

from pipelines.calibration.rectifier import Rectifier


def rectifier(d: int = 5, hidden: int = 7, seed: int = 0) -> Rectifier:
    torch.manual_seed(seed)
    return Rectifier(torch.arange(float(d)), torch.arange(1.0, d + 1), hidden)


def trained(**arguments: int) -> Rectifier:
    """With weights as training might leave them."""
    made = rectifier(**arguments)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return made


def test_an_untrained_rectifier_changes_nothing_at_all() -> None:
    features, quality = torch.randn(6, 3, 5) * 100, torch.randn(6, 3)
    alpha, beta = rectifier().scale_and_shift(features)
    assert (alpha == 1).all()
    assert (beta == 0).all()
    assert torch.equal(rectifier()(features, quality), quality)


def test_forward_equals_plain_arithmetic() -> None:
    made = trained()
    features, quality = np.random.default_rng(0).normal(size=(4, 5)), np.array([1.0, 2, 3, 4])
    w1, b1, w2, b2 = (parameter.detach().double().numpy() for parameter in made.parameters())
    hidden = np.maximum((features - np.arange(5)) / np.arange(1, 6) @ w1.T + b1, 0)
    alpha, beta = (hidden @ w2.T + b2).T
    ours = made(torch.from_numpy(features).float(), torch.from_numpy(quality).float())
    np.testing.assert_allclose(ours.detach(), alpha * quality + beta, rtol=1e-4)


def test_a_feature_that_never_varied_is_left_out_of_account() -> None:
    torch.manual_seed(0)
    made = Rectifier(torch.tensor([2.0, 300.0]), torch.tensor([1.0, 1e-5]), 32)
    torch.nn.init.normal_(made.outer.weight)
    one, other = torch.tensor([2.5, 300.0]), torch.tensor([2.5, -7000.0])
    assert torch.equal(made(one, torch.tensor(1.0)), made(other, torch.tensor(1.0)))
    assert not torch.equal(made(one, torch.tensor(1.0)), made(one + torch.tensor([1.0, 0]), torch.tensor(1.0)))


@pytest.mark.parametrize("hidden", [1, 16])
def test_state_dict_round_trip(hidden: int) -> None:
    made = trained(hidden=hidden)
    again = Rectifier.from_state(made.state_dict())
    features, quality = torch.randn(9, 5), torch.randn(9)
    assert torch.equal(again(features, quality), made(features, quality))
    assert not again.training


def test_a_state_of_something_else_is_refused() -> None:
    state = dict(trained().state_dict())
    with pytest.raises(RuntimeError, match=r"outer\.bias"):
        Rectifier.from_state(state | {"outer.bias": torch.zeros(3)})
    with pytest.raises(KeyError):
        Rectifier.from_state({name: array for name, array in state.items() if name != "mean"})
