"""D1 and D2: what a distance must be, and one clear error for what cannot be had."""

import numpy as np
import pytest

from pipelines import full_reference
from pipelines.degradation import blur, noise
from pipelines.errors import DiscernError, WeightsError
from pipelines.selection import distances, semantics
from tests.conftest import textured


@pytest.mark.parametrize("name", distances.NAMES)
def test_a_distance_is_symmetric_zero_for_equal_images_and_grows(name: str) -> None:
    original = textured(0, 180, 176)
    matrix = distances.get(name).pairwise([original, blur(original, 0.8), blur(original, 3.0), original])
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diagonal(matrix), 0)
    assert matrix[0, 3] == pytest.approx(0, abs=1e-5)
    assert 0 < matrix[0, 1] < matrix[0, 2]


@pytest.mark.parametrize("name", full_reference.METRICS)
def test_a_full_reference_metric_has_the_declared_direction_bounds_and_symmetry(name: str) -> None:
    metric = full_reference.get(name)
    original = textured(1, 180, 176)
    random = np.random.default_rng(0)
    images = np.stack([original, noise(original, 5, random), noise(original, 40, random), blur(original, 4)])
    references = np.repeat(original[None], 4, axis=0)
    scores = metric.score(references, images)
    assert scores[0] == pytest.approx(metric.identical, abs=1e-5)
    better = scores if metric.higher_is_better else -scores
    assert better[0] > better[1] > better[2]
    assert (scores >= metric.bounds[0] - 1e-5).all()
    assert (scores <= metric.bounds[1] + 1e-5).all()
    swapped = metric.score(images, references)
    assert np.allclose(scores, swapped, atol=1e-6) == metric.symmetric


def test_a_batch_gives_what_single_images_give() -> None:
    metric = full_reference.get("gmsd")
    first, second = textured(2, 40, 40), textured(3, 40, 40)
    together = metric.score(np.stack([first, first]), np.stack([second, blur(first, 1)]))
    alone = [metric.score(first[None], second[None])[0], metric.score(first[None], blur(first, 1)[None])[0]]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_images_that_are_too_small_or_unlike_in_shape_are_refused() -> None:
    with pytest.raises(DiscernError, match="ms_ssim needs images of at least 161 pixels a side, got 24"):
        distances.get("ms_ssim").pairwise([textured(0), textured(1)])
    with pytest.raises(DiscernError, match="references of shape"):
        full_reference.get("gmsd").score(textured(0)[None], textured(0, 30, 30)[None])


def test_blank_images_have_a_distance_or_an_error_but_never_nan() -> None:
    blank = np.zeros((64, 64, 3), dtype=np.uint8)
    assert distances.get("gmsd").pairwise([blank, blank])[0, 1] == 0
    with pytest.raises(DiscernError, match="blank"):
        distances.get("haarpsi").pairwise([blank, blank])


@pytest.mark.parametrize("registry", [distances, semantics])
def test_the_papers_choice_is_one_clear_error_until_it_exists(registry) -> None:
    name = "dists" if registry is distances else "vgg16"
    with pytest.raises(WeightsError, match=f"'{name}' \\(the paper's choice\\).*choose"):
        registry.get(name)
    with pytest.raises(DiscernError, match=r"unknown .* 'nothing'; choose"):
        registry.get("nothing")


def test_an_asymmetric_metric_cannot_be_a_distance() -> None:
    assert "vif" not in distances.NAMES
    with pytest.raises(DiscernError, match="unknown distance 'vif'"):
        distances.get("vif")


def test_the_descriptor_tells_colours_and_edges_apart() -> None:
    embed = semantics.get("colour_gradient")
    red = np.full((40, 60, 3), (200, 20, 20), dtype=np.uint8)
    blue = np.full((40, 60, 3), (20, 20, 200), dtype=np.uint8)
    stripes = red.copy()
    stripes[::4] = 0
    vectors = [embed(image) for image in (red, blue, stripes, stripes.transpose(1, 0, 2))]
    assert all(v.shape == (176,) and v.dtype == np.float32 and (v >= 0).all() and (v <= 1).all() for v in vectors)
    assert np.abs(vectors[0] - vectors[1])[:48].max() > 0.5
    assert np.abs(vectors[2] - vectors[3])[48:].max() > 0.5
    np.testing.assert_array_equal(vectors[0], embed(red))


def test_an_image_of_any_size_and_grey_value_can_be_embedded() -> None:
    for shape in ((8, 200, 3), (300, 5, 3)):
        assert np.isfinite(semantics.colour_gradient(np.zeros(shape, dtype=np.uint8))).all()
