"""Trials that are asked for another purpose: what is chosen for them, and how the worse image is made."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from app import probes
from app.probes import RECIPES, Material, Worse
from pipelines.images import Pixels, pixel_hash
from pipelines.protocol import Protocol
from tests.conftest import textured

METHODS = ("a", "b", "c")


def hashed(text: str) -> str:
    return pixel_hash(np.frombuffer(text.ljust(12).encode(), np.uint8).reshape(2, 2, 3))


def materials(number: int) -> list[Material]:
    return [
        Material(hashed(f"x{index}"), {name: hashed(f"{name}{index}") for name in METHODS}) for index in range(number)
    ]


def test_a_protocol_says_how_many_there_are_of_each_kind() -> None:
    protocol = Protocol(training=4, warm_up=5, warm_up_later=3, gold_rate=0.03, identical_rate=0.0)
    assert probes.numbers(protocol, 100) == {"training": 4, "warm_up": 14, "gold": 3, "identical": 0}
    assert probes.numbers(Protocol(gold_rate=0.5, identical_rate=0.001), 1056)["gold"] == probes.MOST
    assert probes.numbers(Protocol(identical_rate=0.001), 12)["identical"] == 1
    nothing = Protocol(training=0, warm_up=0, warm_up_later=0)
    assert set(probes.numbers(nothing, 1000).values()) == {0}


def test_each_probe_has_an_lr_image_of_its_own_as_long_as_there_is_one() -> None:
    found = probes.plan({"training": 4, "warm_up": 6, "gold": 5, "identical": 3}, materials(18), "seed")
    assert Counter(wish.kind for wish in found) == {"training": 4, "warm_up": 6, "gold": 5, "identical": 3}
    assert len({wish.image for wish in found}) == 18


def test_few_images_give_many_probes_none_of_them_twice_and_no_more_than_there_are() -> None:
    few = materials(2)
    found = probes.plan({"warm_up": 100, "identical": 100}, few, "seed")
    assert Counter(wish.kind for wish in found) == {"warm_up": 6, "identical": 6}
    assert len(set(found)) == 12
    assert len(probes.plan({"gold": 12}, few, "seed")) == 12


def test_the_same_seed_chooses_the_same_and_another_one_others() -> None:
    wanted = {"training": 2, "warm_up": 3}
    assert probes.plan(wanted, materials(50), "seed") == probes.plan(wanted, materials(50)[::-1], "seed")
    assert probes.plan(wanted, materials(50), "seed") != probes.plan(wanted, materials(50), "another")


def test_kinds_hold_what_their_names_say() -> None:
    found = probes.plan({"training": 5, "warm_up": 9, "gold": 12, "identical": 3}, materials(40), "seed")
    by_kind = {kind: [wish for wish in found if wish.kind == kind] for kind in ("training", "warm_up", "gold")}
    known = {material.image: material.outputs for material in materials(40)}
    for wish in found:
        assert known[wish.image][wish.methods[0]] == wish.first
    for wish in by_kind["warm_up"]:
        first, second = wish.methods
        assert METHODS.index(first) < METHODS.index(second)
        assert wish.second == known[wish.image][second]
    assert all(wish.first == wish.second for wish in found if wish.kind == "identical")
    assert [wish.second.easy for wish in by_kind["training"]] == [True, True, False, False, False]  # type: ignore[union-attr]
    assert [wish.second.recipe for wish in by_kind["training"]] == [*RECIPES, *RECIPES[:2]]  # type: ignore[union-attr]
    assert {wish.second for wish in by_kind["gold"]} == {Worse(recipe, easy=True) for recipe in RECIPES}


def test_outputs_that_are_alike_are_no_warm_up_trial() -> None:
    alike = Material(hashed("x"), dict.fromkeys(METHODS, hashed("flat")))
    assert probes.plan({"warm_up": 3}, [alike], "seed") == []
    assert probes.plan({"warm_up": 3}, [], "seed") == []


def enlarged(seed: int) -> Pixels:
    """What the blurriest of methods makes: smooth already."""
    return np.asarray(Image.fromarray(textured(seed, 40, 48)).resize((192, 160), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("easy", [True, False])
def test_what_is_made_worse_differs_beyond_doubt_and_is_the_same_each_time(recipe: probes.Recipe, easy: bool) -> None:
    pixels = enlarged(1)
    made, words = probes.worsen(pixels, Worse(recipe, easy), 4)
    again, _ = probes.worsen(pixels.copy(), Worse(recipe, easy), 4)
    assert (made.shape, made.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(made, again)
    assert words.startswith({"blur": "blurred, sigma", "blocks": "JPEG of quality", "noise": "white noise"}[recipe])
    assert np.sqrt(np.mean((made.astype(float) - pixels) ** 2)) >= probes.LEAST_CHANGE


def test_the_easy_ones_are_further_from_the_output_than_the_others() -> None:
    for recipe in RECIPES:
        easy, hard = (
            np.mean((probes.worsen(enlarged(2), Worse(recipe, easy), 4)[0].astype(float) - enlarged(2)) ** 2)
            for easy in (True, False)
        )
        assert easy > hard


def test_noise_is_what_tells_flat_images_apart() -> None:
    flat = np.full((64, 64, 3), 120, np.uint8)
    made, words = probes.worsen(flat, Worse("blur", easy=True), 4)
    assert words.startswith("white noise")
    assert made.std() > 20
