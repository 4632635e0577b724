"""Arrays that stage two cannot learn from are refused where they come in."""

import numpy as np
import pytest

from pipelines.calibration.data import Rated, Unlabelled
from pipelines.errors import DiscernError


def test_features_of_missing_outputs_may_be_anything() -> None:
    features = np.full((2, 2, 3), np.nan, dtype=np.float32)
    features[0] = 0
    outputs = Unlabelled(features, np.array([[1, 2], [np.nan, np.nan]], dtype=np.float32))
    assert outputs.present.tolist() == [[True, True], [False, False]]


def test_features_of_present_outputs_must_be_finite() -> None:
    with pytest.raises(DiscernError, match="a feature is not finite though the output is not marked as missing"):
        Unlabelled(np.full((1, 2, 3), np.nan, dtype=np.float32), np.ones((1, 2), dtype=np.float32))


@pytest.mark.parametrize(("features", "quality"), [((4, 2, 3), (4, 3)), ((4, 2, 3), (4,)), ((3, 2, 3), (4, 2))])
def test_shapes_of_outputs_must_fit(features: tuple[int, ...], quality: tuple[int, ...]) -> None:
    with pytest.raises(DiscernError, match=r"expected \(images, methods, d\)"):
        Unlabelled(np.zeros(features, dtype=np.float32), np.zeros(quality, dtype=np.float32))


def rated(n: int, **changes: object) -> Rated:
    values = {
        "features": np.zeros((n, 2), dtype=np.float32),
        "quality": np.zeros(n, dtype=np.float32),
        "mos": np.zeros(n),
        "sources": ["a"] * n,
    }
    return Rated(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, 1])
def test_one_rated_image_makes_no_pair(n: int) -> None:
    with pytest.raises(DiscernError, match=f"{n} rated images: at least two"):
        rated(n)


@pytest.mark.parametrize("name", ["features", "quality", "mos"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rated_values_must_be_finite(name: str, value: float) -> None:
    broken = np.zeros((3, 2) if name == "features" else 3)
    broken[1] = value
    with pytest.raises(DiscernError, match="leave that image out"):
        rated(3, **{name: broken})


def test_rated_lengths_must_agree() -> None:
    with pytest.raises(DiscernError, match="3 feature vectors, 3 qualities, 3 ratings, 1 sources"):
        rated(3, sources=["a"])
