"""Stage two on synthetic data with a planted rectification."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from pipelines.calibration.data import Rated, Unlabelled
from pipelines.calibration.rectifier import Rectifier
from pipelines.calibration.training import Options, Training, train
from pipelines.errors import DiscernError

D, METHODS = 6, 5
SCORES = np.array([0.9, 0.4, 0.0, -0.5, -0.8])
OPTIONS = Options(epochs=120, hidden=16, batch=16, learning_rate=3e-3)


def planted(features: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """What the rectifier has to find: q_w overrates images with a large first feature."""
    truth: np.ndarray = quality - 1.5 * features[..., 0]
    return truth


def outputs(images: int, seed: int) -> Unlabelled:
    random = np.random.default_rng(seed)
    features = random.normal(size=(images, METHODS, D))
    features[..., 0] -= SCORES
    # q_w sees the method's worth upside down; only the first feature mends it.
    quality = 3 - 0.5 * SCORES + random.normal(0, 0.1, (images, METHODS))
    return Unlabelled(features.astype(np.float32), quality.astype(np.float32))


def ratings(n: int, seed: int) -> Rated:
    random = np.random.default_rng(seed)
    features, quality = random.normal(size=(n, D)).astype(np.float32), random.normal(3, 1, n).astype(np.float32)
    return Rated(features, quality, planted(features, quality), [f"source{i % 5}" for i in range(n)])


def run(options: Options = OPTIONS, **changes: object) -> Training:
    data = {
        "unlabelled": outputs(40, 1),
        "rated": ratings(120, 2),
        "held_out_unlabelled": outputs(20, 3),
        "held_out_rated": ratings(60, 4),
        "scores": SCORES,
    }
    return train(**(data | changes), options=options)  # type: ignore[arg-type]


def rectified(training: Training, features: np.ndarray, quality: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        rectifier = Rectifier.from_state(training.state)
        return np.asarray(rectifier(torch.from_numpy(features), torch.from_numpy(quality)))


@pytest.fixture(scope="module")
def trained() -> Training:
    return run()


def test_a_planted_rectification_is_recovered(trained: Training) -> None:
    new = ratings(200, 5)
    before = spearmanr(new.quality, new.mos).statistic
    assert before < 0.7
    assert spearmanr(rectified(trained, new.features, new.quality), new.mos).statistic > 0.9


def test_methods_come_into_the_order_of_their_scores(trained: Training) -> None:
    new = outputs(100, 6)
    assert spearmanr(new.quality.mean(0), SCORES).statistic == pytest.approx(-1)
    assert spearmanr(rectified(trained, new.features, new.quality).mean(0), SCORES).statistic == pytest.approx(1)


def test_training_lowers_both_held_out_losses(trained: Training) -> None:
    first, best = trained.history[0].held_out, trained.history[trained.chosen].held_out
    assert best.ranking < 0.8 * first.ranking
    assert best.rated < 0.5 * first.rated


def test_the_chosen_epoch_has_the_lowest_held_out_loss(trained: Training) -> None:
    totals = [epoch.held_out.total(OPTIONS.rated_weight) for epoch in trained.history]
    assert len(totals) == OPTIONS.epochs + 1
    assert trained.chosen == totals.index(min(totals))


def test_the_state_is_that_of_the_chosen_epoch(trained: Training) -> None:
    """Training that stops at the chosen epoch ends with the same weights."""
    assert trained.chosen > 0
    stopped = run(replace(OPTIONS, epochs=trained.chosen))
    assert stopped.chosen == trained.chosen
    assert all(torch.equal(stopped.state[name], trained.state[name]) for name in trained.state)


def test_the_identity_is_kept_where_training_cannot_help() -> None:
    """Held-out data that contradict the training data: every step makes them worse."""
    held_out = ratings(60, 4)
    upside_down = replace(held_out, mos=-planted(held_out.features, -held_out.quality))
    few, turned = replace(OPTIONS, epochs=5), _reversed(outputs(20, 3))
    training = run(few, held_out_unlabelled=turned, held_out_rated=upside_down)
    assert training.chosen == 0
    new = ratings(50, 5)
    np.testing.assert_array_equal(rectified(training, new.features, new.quality), new.quality)


def _reversed(data: Unlabelled) -> Unlabelled:
    """The same outputs, under the names of the methods in the opposite order."""
    return Unlabelled(data.features[:, ::-1].copy(), data.quality[:, ::-1].copy())


def test_no_epochs_leave_the_identity() -> None:
    training = run(replace(OPTIONS, epochs=0))
    assert training.chosen == 0
    assert len(training.history) == 1


@pytest.mark.parametrize(("images", "batch"), [(40, 16), (10, 10)])
def test_the_batch_is_the_largest_that_the_data_allow(images: int, batch: int) -> None:
    training = run(replace(OPTIONS, epochs=1), unlabelled=outputs(images, 1))
    assert training.batch == batch


def test_training_copes_with_missing_outputs() -> None:
    part, held_out = outputs(40, 1), outputs(20, 3)
    for data in (part, held_out):
        missing = np.random.default_rng(0).random(data.quality.shape) < 0.3
        data.quality[missing] = np.nan
        data.features[missing] = np.nan
    training = run(unlabelled=part, held_out_unlabelled=held_out)
    new = outputs(100, 6)
    assert all(torch.isfinite(training.state[name]).all() for name in training.state)
    assert spearmanr(rectified(training, new.features, new.quality).mean(0), SCORES).statistic == pytest.approx(1)


def test_training_is_deterministic_and_depends_on_its_seed_alone() -> None:
    short = replace(OPTIONS, epochs=3)
    first = run(short)
    torch.manual_seed(999)
    assert run(short).history == first.history
    assert run(replace(short, seed=1)).history != first.history


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(replace(OPTIONS, epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_without_weight_the_ratings_are_not_learned_from() -> None:
    other = replace(ratings(120, 2), mos=np.arange(120.0))
    alone = replace(OPTIONS, epochs=3, rated_weight=0)
    assert run(alone).history[-1].train.ranking == run(alone, rated=other).history[-1].train.ranking
    weighted = replace(alone, rated_weight=1)
    assert run(weighted).history[-1].train.ranking != run(weighted, rated=other).history[-1].train.ranking


def test_pairs_of_one_content_train_as_well() -> None:
    training = run(replace(OPTIONS, rated_pairs="same_content"))
    new = ratings(200, 5)
    assert spearmanr(rectified(training, new.features, new.quality), new.mos).statistic > 0.9


def test_progress_is_reported_after_each_epoch() -> None:
    seen: list[tuple[int, int]] = []
    run(replace(OPTIONS, epochs=3), on_epoch=lambda epoch, total: seen.append((epoch, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def _without(data: Unlabelled, method: int) -> Unlabelled:
    quality = data.quality.copy()
    quality[:, method] = np.nan
    return Unlabelled(data.features, quality)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.full(METHODS, 0.3)}, "all 5 methods have the same score"),
        ({"scores": np.array([1.0])}, "1 scores for the training outputs of 5 methods"),
        ({"scores": np.array([1.0, 0, np.nan, 0, 0])}, "the score of method 3 of 5 is not finite"),
        ({"unlabelled": _without(outputs(9, 1), 2)}, "method 3 of 5 has no training output"),
        ({"held_out_unlabelled": _without(outputs(9, 1), 4)}, "method 5 of 5 has no held-out output"),
    ],
)
def test_outputs_that_cannot_be_learned_from_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        run(**changes)


def test_one_method_is_no_ranking() -> None:
    one = Unlabelled(np.zeros((4, 1, D), dtype=np.float32), np.zeros((4, 1), dtype=np.float32))
    with pytest.raises(DiscernError, match="1 method: at least two"):
        run(unlabelled=one, held_out_unlabelled=one, scores=np.array([1.0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"hidden": 0}, "hidden is 0"),
        ({"rated_weight": -0.5}, "rated_weight is -0.5"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"rated_pairs": "all"}, "choose random or same_content"),
    ],
)
def test_unusable_options_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        run(replace(OPTIONS, **change))  # type: ignore[arg-type]
