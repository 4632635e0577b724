"""The scene-statistics model: scikit-learn's predictions without scikit-learn, and what it refuses to learn from."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import StandardScaler

from pipelines.errors import DiscernError
from pipelines.quality import scene_features, scene_statistics
from pipelines.quality.model import score
from pipelines.quality.scene_statistics import Fit, SceneStatistics
from tests.conftest import textured

D = len(scene_features.FEATURE_NAMES)


def ratings(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features with a rating that a smooth function of three of them explains."""
    features = np.random.default_rng(seed).normal(2, 3, (n, D))
    mos = 3 + np.tanh(features[:, 0] / 3) + 0.2 * features[:, 1] - 0.1 * features[:, 2]
    return features, mos, [f"source{i % 6}" for i in range(n)]


@pytest.fixture(scope="module")
def fit() -> Fit:
    features, mos, sources = ratings()
    return scene_statistics.fit(features, mos, sources, seed=1)


def test_predictions_equal_those_of_scikit_learn(fit: Fit) -> None:
    features, mos, _ = ratings()
    new = ratings(seed=9)[0]
    scaler = StandardScaler().fit(features)
    ridge = KernelRidge(kernel="rbf", gamma=fit.gamma, alpha=fit.ridge).fit(
        scaler.transform(features), mos - mos.mean()
    )
    expected = ridge.predict(scaler.transform(new)) + mos.mean()
    np.testing.assert_allclose(fit.model.predict(new), expected, rtol=1e-6)


def test_validation_is_by_source() -> None:
    """A rating that belongs to the source alone cannot be predicted for a source that was never seen."""
    random = np.random.default_rng(5)
    centres, mos_of = random.normal(0, 5, (8, D)), random.permutation(8) / 2 + 1
    index = np.repeat(np.arange(8), 12)
    features = centres[index] + random.normal(0, 0.1, (96, D))
    names = [f"source{i}" for i in index]
    by_source = scene_statistics.fit(features, mos_of[index], names, seed=0)
    mixed = scene_statistics.fit(features, mos_of[index], [str(i) for i in range(96)], seed=0)
    assert mixed.srcc > 0.9
    assert by_source.srcc < 0.5


def test_a_real_relation_is_found(fit: Fit) -> None:
    features, mos, _ = ratings(seed=7)
    assert spearmanr(fit.model.predict(features), mos).statistic > 0.4
    assert fit.srcc > 0.4


def test_far_from_every_rated_image_the_mean_rating_is_predicted(fit: Fit) -> None:
    far = np.full((1, D), 1e4)
    assert fit.model.predict(far)[0] == pytest.approx(ratings()[1].mean())


def test_fitting_is_deterministic(fit: Fit) -> None:
    features, mos, sources = ratings()
    again = scene_statistics.fit(features, mos, sources, seed=1)
    assert again.model.fingerprint == fit.model.fingerprint
    assert scene_statistics.fit(features, mos + features[:, 3] / 99, sources, seed=1).model.fingerprint != (
        fit.model.fingerprint
    )


def test_an_image_is_scored_alike_in_any_company(fit: Fit) -> None:
    small, large = textured(1), textured(2, 40, 50)
    alone = [score(fit.model, [image])[0] for image in (small, large)]
    assert score(fit.model, [large, small, large]).tolist() == [alone[1], alone[0], alone[1]]
    encoded = fit.model.encode([small, large])
    assert encoded.features.dtype == encoded.quality.dtype == np.float32
    np.testing.assert_array_equal(encoded.features[1], scene_features.extract(large))


def test_no_images_give_no_scores(fit: Fit) -> None:
    encoded = fit.model.encode([])
    assert encoded.features.shape == (0, D)
    assert encoded.quality.shape == (0,)


def test_state_round_trip(fit: Fit) -> None:
    arrays, facts = fit.model.state()
    again = SceneStatistics.from_state(arrays, facts)
    assert again.fingerprint == fit.model.fingerprint
    np.testing.assert_array_equal(again.predict(ratings()[0]), fit.model.predict(ratings()[0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "clip"}, "'clip', expected 'scene_statistics'"),
        ({"feature_names": ["other"]}, "fit the model again"),
    ],
)
def test_other_architectures_are_refused(fit: Fit, change: dict[str, object], message: str) -> None:
    arrays, facts = fit.model.state()
    with pytest.raises(DiscernError, match=message):
        SceneStatistics.from_state(arrays, facts | change)


@pytest.mark.parametrize("name", ["mean", "support", "dual", "gamma"])
def test_arrays_that_do_not_fit_are_refused(fit: Fit, name: str) -> None:
    arrays, facts = fit.model.state()
    with pytest.raises(DiscernError, match="expected"):
        SceneStatistics.from_state({key: array for key, array in arrays.items() if key != name}, facts)
    with pytest.raises(DiscernError, match="expected"):
        SceneStatistics.from_state(arrays | {name: np.zeros((3, 3))}, facts)


def test_unusable_ratings_are_refused() -> None:
    features, mos, sources = ratings(12)
    broken = features.copy()
    broken[3, 4] = np.nan
    cases = [
        ((broken, mos, sources), "not finite"),
        ((features, np.full(12, np.inf), sources), "not finite"),
        ((features, mos[:5], sources), "12 feature vectors, 5 ratings"),
        ((features, mos, ["one"] * 12), "at least two"),
        ((features, np.full(12, 2.0), sources), "every rating is 2.0"),
    ]
    for arguments, message in cases:
        with pytest.raises(DiscernError, match=message):
            scene_statistics.fit(*arguments, seed=0)
