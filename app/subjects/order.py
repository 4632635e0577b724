"""In what order trials stand: at random, with no LR image in two trials running where that can be avoided."""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random


def arranged(
    contents: Sequence[str], draw: Random, *, after: str | None = None, before: str | None = None
) -> list[int]:
    """Places of `contents` in a random order in which as few neighbours as possible are alike.

    Each next one is the first, in a random order, that leaves an order with the fewest. That number is known at each
    step (`fewest_alike`), so that nothing is ever tried and taken back.

    Args:
        contents: the LR image of each trial.
        draw: where chance comes from.
        after: the LR image of the trial before them.
        before: an LR image that the last of them had better not show.
    """
    waiting = draw.sample(range(len(contents)), len(contents))
    left = Counter(contents)
    order: list[int] = []
    while waiting:
        fewest = fewest_alike(left, after, before)
        refused: set[str] = set()
        for index in waiting:
            content = contents[index]
            if content in refused:
                continue
            left[content] -= 1
            if (content == after) + fewest_alike(left, content, before) == fewest:
                break
            left[content] += 1
            refused.add(content)
        after = content
        waiting.remove(index)
        order.append(index)
    return order


def fewest_alike(left: Mapping[str, int], after: str | None, before: str | None) -> int:
    """How many neighbours are alike in the best order of so many trials of each LR image between two others.

    n trials of an image have at most one place each beside the m - n others: m - n + 1 places, less those next to an
    end that shows the image too. As many as have none stand next to their like.
    """
    total = sum(left.values())
    if not total:
        return int(after is not None and after == before)
    # Most often, no image has nearly half of all trials.
    if 2 * max(left.values()) < total:
        return 0
    without_place = (2 * n - total - 1 + (image == after) + (image == before) for image, n in left.items())
    return max(0, *without_place)


def majority(contents: Sequence[str]) -> str | None:
    """The LR image of more than half of the trials, if there is one: these had better begin with it, after another."""
    if not contents:
        return None
    ((image, n),) = Counter(contents).most_common(1)
    return image if 2 * n > len(contents) else None


def alike_if_inserted(contents: Sequence[str], slot: int, content: str, after: str | None) -> int:
    """How many more neighbours are alike once a trial stands before the one that is now at a place."""
    left = contents[slot - 1] if slot else after
    right = contents[slot] if slot < len(contents) else None
    return (left == content) + (right == content) - (left is not None and left == right)
