"""Eq. (1) at the paper's scale: time, memory, and how both grow with the number of LR images."""

import subprocess
import sys
from dataclasses import dataclass

PAIRS_OF_METHODS, PER_PAIR, DIMENSIONS = 66, 16, 25_088
GOAL_SECONDS, GOAL_GIB = 60, 4

# In a process of its own, so that its peak memory is that of the selection alone, its inputs included.
SELECT = """
import sys, time
import numpy as np
from pipelines import memory
from pipelines.selection import mad

images, dimensions, pairs, per_pair = map(int, sys.argv[1:])
random = np.random.default_rng(0)
embeddings = np.empty((images, dimensions), dtype=np.float32)
for start in range(0, images, 500):  # as rectified features are: half of the values are zero
    block = random.standard_normal((min(500, images - start), dimensions), dtype=np.float32)
    embeddings[start : start + 500] = np.maximum(block, 0)
distances = random.random((pairs, images))
started = time.perf_counter()
chosen = mad.select_all(distances, embeddings, per_pair=per_pair, trade_off=0.1)
seconds, peak = time.perf_counter() - started, memory.peak()
some = embeddings[:5000]
one = time.perf_counter()
np.mean((some - embeddings[0]) ** 2, axis=1)
one = (time.perf_counter() - one) * images / len(some)
print(seconds, peak / 2**30, len(np.unique(chosen.indices)), one)
"""


@dataclass(frozen=True)
class Run:
    """One selection: seconds, GiB at most, distinct images, and seconds of one bare difference to all images."""

    images: int
    seconds: float
    gib: float
    distinct: int
    bare: float


def sections(*, images: int) -> list[str]:
    """The part of the page about Eq. (1).

    Args:
        images: how many LR images; five times as many are tried, too.
    """
    runs = [_run(count) for count in (images, 2 * images, 5 * images)]
    return [_text(runs)]


def _run(images: int) -> Run:
    arguments = map(str, (images, DIMENSIONS, PAIRS_OF_METHODS, PER_PAIR))
    command = [sys.executable, "-c", SELECT, *arguments]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return Run(images, float(printed[0]), float(printed[1]), int(printed[2]), float(printed[3]))


def _text(runs: list[Run]) -> str:
    first = runs[0]
    differences = PAIRS_OF_METHODS * (PER_PAIR - 1)
    rows = "\n".join(
        f"| {run.images:,} | {run.seconds:.1f} | {run.seconds / first.seconds * first.images / run.images:.2f} | "
        f"{run.gib:.1f} | {run.distinct} | {run.bare * differences / run.seconds:.0f} |"
        for run in runs
    )
    return (
        "### Eq. (1) at the paper's scale\n\n"
        f"{PAIRS_OF_METHODS} pairs of methods x {PER_PAIR} images by `pipelines.selection.mad`, random embeddings of "
        f"{DIMENSIONS:,} values in float32, random D1: nearly every choice is another image, which is the most work "
        f"there can be. Goals for {first.images:,} images: under {GOAL_SECONDS} s and {GOAL_GIB} GiB; linear in the "
        "number of images. The bare loop is one line of NumPy (the mean squared difference to one chosen image), "
        f"measured once and taken {differences} times; it rounds to float32.\n\n"
        "| LR images | seconds | for each image, against the first row | GiB at most, inputs included | distinct | "
        "bare loop / ours |\n| --- | --- | --- | --- | --- | --- |\n" + rows
    )
