"""Trials that are asked for another purpose than to compare methods: which images they show, and how these are made.

Everything follows from a seed, so that an import that is repeated finds what it made before.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations, count
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageFilter

from pipelines.images import Pixels
from pipelines.protocol import Protocol

T = TypeVar("T")
Kind = Literal["training", "warm_up", "gold", "identical"]
Recipe = Literal["blur", "blocks", "noise"]
RECIPES: tuple[Recipe, ...] = ("blur", "blocks", "noise")
# In a sitting, or in the later sittings that have warm-up trials of their own, nobody sees the same one twice.
LATER_SITTINGS = 3
MOST = 40
# So many training trials, the first ones, are easier than the others.
EASY = 2
# Grey levels, root mean square: what changes an image less is not worse beyond doubt.
LEAST_CHANGE = 8.0


@dataclass(frozen=True)
class Material:
    """What probes are made of: an LR image, and its outputs by method, all of one size and in study order."""

    image: str
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Worse:
    """How the worse image of an obvious pair is made: beyond doubt, and still a little more so where it is `easy`."""

    recipe: Recipe
    easy: bool


@dataclass(frozen=True)
class Wish:
    """A probe to make: `second` is another output, or how `first` is made worse.

    Attributes:
        kind: see `app.models.Probe`.
        image: the LR image.
        first: pixel hash of an output.
        second: what stands beside it.
        methods: that made the outputs.
    """

    kind: Kind
    image: str
    first: str
    second: str | Worse
    methods: tuple[str, ...]


def numbers(protocol: Protocol, pairs: int) -> dict[Kind, int]:
    """How many probes of each kind a protocol asks for, where subjects may vote on all pairs."""
    return {
        "training": protocol.training,
        "warm_up": protocol.warm_up + LATER_SITTINGS * protocol.warm_up_later,
        "gold": min(MOST, math.ceil(protocol.gold_rate * pairs)),
        "identical": min(MOST, math.ceil(protocol.identical_rate * pairs)),
    }


def plan(wanted: Mapping[Kind, int], materials: Sequence[Material], seed: str) -> list[Wish]:
    """Choose images: a new LR image for each probe as long as there is one, then other outputs of these.

    Args:
        wanted: how many of each kind.
        materials: to choose from.
        seed: the order of the choice follows from it.

    Returns:
        As many as there can be, kind by kind, the easy ones of training first.
    """
    ordered = sorted(materials, key=lambda material: _drawn(seed, material.image))
    places = count()
    return [
        wish for kind, number in wanted.items() if number and ordered for wish in _some(kind, number, ordered, places)
    ]


def worsen(pixels: Pixels, worse: Worse, scale: int) -> tuple[Pixels, str]:
    """An image made worse beyond doubt, and how, in words; noise does it where another way changes next to nothing."""
    made, words = _RECIPES[worse.recipe](pixels, worse.easy, scale)
    change = np.sqrt(np.mean((made.astype(np.float32) - pixels) ** 2))
    return (made, words) if change >= LEAST_CHANGE else _noise(pixels, worse.easy, scale)


def _some(kind: Kind, number: int, ordered: Sequence[Material], places: Iterator[int]) -> list[Wish]:
    # Each place gives another choice, until every image has given all of its own.
    tries = number + len(ordered) * len(RECIPES) * max(len(material.outputs) ** 2 for material in ordered)
    found: dict[object, Wish] = {}
    for place in (next(places) for _ in range(tries)):
        turn, index = divmod(place, len(ordered))
        wish = _wish(kind, ordered[index], turn, len(found))
        if wish is not None:
            found.setdefault((wish.first, wish.second), wish)
        if len(found) == number:
            break
    return list(found.values())


def _wish(kind: Kind, material: Material, turn: int, done: int) -> Wish | None:
    """The choice of a material in its turn; None where it has none of this kind."""
    if kind == "warm_up":
        pairs = [(a, b) for a, b in combinations(material.outputs, 2) if material.outputs[a] != material.outputs[b]]
        if not pairs:
            return None
        methods = _turned(pairs, material.image, turn)
        first, second = (material.outputs[name] for name in methods)
        return Wish(kind, material.image, first, second, methods)
    method = _turned(list(material.outputs), material.image, turn)
    output = material.outputs[method]
    other = output if kind == "identical" else _worse(kind, material, turn, done)
    return Wish(kind, material.image, output, other, (method,))


def _worse(kind: Kind, material: Material, turn: int, done: int) -> Worse:
    """Of training, whose probes come first, every way in turn; of others, what changes with no protocol's numbers."""
    if kind == "training":
        return Worse(RECIPES[done % len(RECIPES)], easy=done < EASY)
    return Worse(_turned(RECIPES, material.image[8:], turn // len(material.outputs)), easy=True)


def _turned(choices: Sequence[T], digits: str, turn: int) -> T:
    return choices[(int(digits[:8], 16) + turn) % len(choices)]


def _drawn(seed: str, image: str) -> str:
    return sha256(f"{seed} {image}".encode()).hexdigest()


def _blur(pixels: Pixels, easy: bool, scale: int) -> tuple[Pixels, str]:
    sigma = (1.5 if easy else 0.75) * scale
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma))), f"blurred, sigma {sigma:g} px"


def _blocks(pixels: Pixels, easy: bool, scale: int) -> tuple[Pixels, str]:  # noqa: ARG001 - blocks have a size of theirs
    quality, buffer = 4 if easy else 10, io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)), f"JPEG of quality {quality}"


def _noise(pixels: Pixels, easy: bool, scale: int) -> tuple[Pixels, str]:  # noqa: ARG001 - noise has no size
    sd = 50 if easy else 30
    random = np.random.default_rng(int.from_bytes(sha256(pixels.tobytes()).digest()[:8]))
    noise = random.normal(0, sd, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8), f"white noise, standard deviation {sd}"


_RECIPES = {"blur": _blur, "blocks": _blocks, "noise": _noise}
