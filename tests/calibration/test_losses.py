"""Both terms of Eq. (6) against loops over pairs."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from pipelines.calibration.data import Rated, Unlabelled
from pipelines.calibration.losses import RankingLoss, RatedLoss
from pipelines.calibration.rectifier import Rectifier
from pipelines.errors import DiscernError

D = 3
SCORES = np.array([0.4, -1.0, 0.4, 0.2])


def identity() -> Rectifier:
    return Rectifier(torch.zeros(D), torch.ones(D), 2)


def outputs(images: int = 6, seed: int = 0) -> Unlabelled:
    random = np.random.default_rng(seed)
    features = random.normal(size=(images, 4, D)).astype(np.float32)
    return Unlabelled(features, random.normal(size=(images, 4)).astype(np.float32))


def rated(n: int = 8) -> Rated:
    random = np.random.default_rng(1)
    features, quality = random.normal(size=(n, D)), random.normal(size=n)
    mos = random.integers(1, 4, n).astype(np.float64)
    return Rated(features.astype(np.float32), quality.astype(np.float32), mos, [f"source{i % 3}" for i in range(n)])


def fidelity(label: float, difference: float) -> float:
    predicted = norm.cdf(difference / np.sqrt(2))
    return float(1 - np.sqrt(label * predicted) - np.sqrt((1 - label) * (1 - predicted)))


def label(one: float, other: float) -> float:
    return 1.0 if one > other else 0.5 if one == other else 0.0


def expected_ranking_loss(means: np.ndarray, methods: list[int]) -> float:
    pairs = combinations(methods, 2)
    return float(np.mean([fidelity(label(SCORES[i], SCORES[j]), means[i] - means[j]) for i, j in pairs]))


def test_ranking_loss_compares_the_means_of_all_pairs_of_methods() -> None:
    data = outputs()
    rows = torch.tensor([0, 2, 5])
    ours = RankingLoss.of(data, SCORES).batch(identity(), rows).item()
    assert ours == pytest.approx(expected_ranking_loss(data.quality[rows].mean(0), [0, 1, 2, 3]), abs=1e-6)


def test_a_missing_output_is_left_out_of_its_method_s_mean() -> None:
    data = outputs()
    data.quality[1, 2] = np.nan
    data.features[1, 2] = np.nan
    ours = RankingLoss.of(data, SCORES).batch(identity(), torch.arange(6)).item()
    assert ours == pytest.approx(expected_ranking_loss(np.nanmean(data.quality, axis=0), [0, 1, 2, 3]), abs=1e-6)


def test_a_method_without_output_in_the_batch_is_left_out_of_its_pairs() -> None:
    data = outputs()
    data.quality[:3, 2] = np.nan
    loss = RankingLoss.of(data, SCORES)
    ours = loss.batch(identity(), torch.arange(3)).item()
    assert ours == pytest.approx(expected_ranking_loss(data.quality[:3].mean(0), [0, 1, 3]), abs=1e-6)


def test_missing_outputs_leave_the_gradient_finite() -> None:
    data = outputs()
    data.quality[:, 0] = data.quality[3:, 1] = np.nan
    data.features[:, 0] = np.nan
    rectifier = identity()
    torch.autograd.backward(RankingLoss.of(data, SCORES).batch(rectifier, torch.tensor([4, 5])))
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in rectifier.parameters())


def test_the_shift_of_a_rectifier_does_not_reach_missing_outputs() -> None:
    data, shifted = outputs(), identity()
    data.quality[1:4, 2] = np.nan
    loss = RankingLoss.of(data, SCORES)
    before = loss.batch(shifted, torch.arange(6)).item()
    with torch.no_grad():
        shifted.outer.bias += torch.tensor([0.0, 5.0])
    # The same shift for every output that exists changes no difference of means.
    assert loss.batch(shifted, torch.arange(6)).item() == pytest.approx(before, abs=1e-5)


@pytest.mark.parametrize(("batch", "sizes"), [(2, [2, 2, 2]), (4, [4]), (6, [6]), (64, [6])])
def test_an_epoch_holds_full_batches_of_different_images(batch: int, sizes: list[int]) -> None:
    loss = RankingLoss.of(outputs(), SCORES)
    batches = loss.batches(batch, torch.Generator().manual_seed(0))
    assert [len(rows) for rows in batches] == sizes
    assert len(set(torch.cat(batches).tolist())) == sum(sizes)


def test_the_mean_over_all_images_is_that_of_its_batches() -> None:
    data = outputs(7)
    # Seven images in parts of three at least: none is left out.
    means = [data.quality[:4].mean(0), data.quality[4:].mean(0)]
    expected = np.mean([expected_ranking_loss(m, [0, 1, 2, 3]) for m in means])
    assert RankingLoss.of(data, SCORES).mean(identity(), 3) == pytest.approx(expected, abs=1e-6)


def test_rated_loss_compares_single_images() -> None:
    data = rated()
    pairs = [(0, 1), (3, 2), (5, 7)]
    expected = np.mean([fidelity(label(data.mos[i], data.mos[j]), data.quality[i] - data.quality[j]) for i, j in pairs])
    ours = RatedLoss.of(data, same_content=False).of_pairs(identity(), torch.tensor(pairs))
    assert ours.item() == pytest.approx(expected, abs=1e-6)


def test_random_pairs_are_of_any_two_different_images() -> None:
    drawn = RatedLoss.of(rated(), same_content=False).draw(3000, torch.Generator().manual_seed(0))
    assert {tuple(pair) for pair in drawn.tolist()} == {(i, j) for i in range(8) for j in range(8) if i != j}


def test_pairs_of_the_same_content_share_their_source() -> None:
    drawn = RatedLoss.of(rated(), same_content=True).draw(3000, torch.Generator().manual_seed(0))
    expected = {(i, j) for i in range(8) for j in range(i + 1, 8) if i % 3 == j % 3}
    assert {tuple(pair) for pair in drawn.tolist()} == expected


def test_no_pair_of_the_same_content_is_an_error() -> None:
    data = rated(3)
    with pytest.raises(DiscernError, match="no two rated images have one source"):
        RatedLoss.of(data, same_content=True)
