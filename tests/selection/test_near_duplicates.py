"""Near-duplicates: found where they were planted, in short and in long embeddings, and nowhere else."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines import photographs
from pipelines.selection import near_duplicates, semantics


def planted(dimensions: int, images: int = 60) -> NDArray[np.float32]:
    """Unlike embeddings with an offset in common, 41 much like 7, and 50 equal to 7."""
    random = np.random.default_rng(0)
    vectors = 20 + random.normal(size=(images, dimensions))
    vectors[41] = vectors[7] + 0.3 * random.normal(size=dimensions)
    vectors[50] = vectors[7]
    return vectors.astype(np.float32)


@pytest.mark.parametrize("dimensions", [120, 4000])
def test_what_was_planted_is_found_and_nothing_else(dimensions: int) -> None:
    found = near_duplicates.find(planted(dimensions))
    assert [(one.image, one.original) for one in found] == [(41, 7), (50, 7)]
    assert found[0].similarity == pytest.approx(1 / np.hypot(1, 0.3), abs=0.03)
    assert found[1].similarity == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dimensions", [120, 4000])
def test_blocks_change_nothing(dimensions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = near_duplicates.find(planted(dimensions))
    monkeypatch.setattr(near_duplicates, "_BLOCK", 7)
    assert near_duplicates.find(planted(dimensions)) == whole


def test_every_image_equal_is_a_line_for_each_and_not_for_each_pair() -> None:
    vectors = np.concatenate([np.ones((6, 30)), np.zeros((6, 30))]).astype(np.float32)
    found = near_duplicates.find(vectors)
    assert [one.image for one in found] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert all(one.original == (0 if one.image < 6 else 6) for one in found)


@pytest.mark.parametrize("images", [1, 4])
def test_images_without_any_difference_have_no_direction_to_compare(images: int) -> None:
    assert near_duplicates.find(np.ones((images, 30))) == []


def test_copies_and_small_crops_of_photographs_are_found_by_the_descriptor() -> None:
    pictures = [photographs.load(name) for name in photographs.PHOTOGRAPHS]
    copy = io.BytesIO()
    Image.fromarray(pictures[2]).save(copy, "JPEG", quality=50)
    pictures.append(np.asarray(Image.open(copy).convert("RGB")))
    height, width = pictures[4].shape[:2]
    pictures.append(pictures[4][height // 30 :, width // 30 :])
    embed = semantics.get("colour_gradient")
    found = near_duplicates.find(np.stack([embed(np.ascontiguousarray(picture)) for picture in pictures]))
    count = len(photographs.PHOTOGRAPHS)
    assert [(one.image, one.original) for one in found] == [(count, 2), (count + 1, 4)]
