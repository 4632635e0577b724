"""The demo's inputs: originals, LR images made from them, and rated images of other photographs."""

import csv
import io
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from app import resources
from pipelines import degradation, executor, full_reference, images, photographs
from pipelines.images import Pixels
from pipelines.photographs import Patch
from pipelines.progress import Progress
from pipelines.super_resolution.interpolation import ALGORITHMS, Interpolation
from pipelines.workspace import write_atomically

VOTED = ("astronaut", "chelsea", "coffee")
UNLABELLED = ("china", "flower", "motorcycle", "rocket")
SCALE = 4
SEED = 0

# The observers of the demo judge by another metric, and D1 is a third one.
RATERS_METRIC = "haarpsi"
BLURS = (0.7, 1.2, 2.0, 3.5)
NOISES = (4.0, 8.0, 16.0, 30.0)
QUALITIES = (70, 40, 20, 10)


def prepare(directory: Path, progress: Progress) -> Path:
    """Write the study file and all that it names; what is there already is kept.

    Returns:
        The study file.
    """
    patches = [patch for name in photographs.PHOTOGRAPHS for patch in photographs.patches(name)]
    for done, patch in enumerate(patches, 1):
        role = "lr" if patch.photograph in VOTED else "unlabelled"
        _write(original(directory, patch.stem), patch.pixels)
        _write(directory / role / patch.photograph / f"{patch.stem}.png", low_resolution(patch))
        progress("photographs", done, len(patches))
    _write_rated(directory / "rated", [p for p in patches if p.photograph in UNLABELLED], progress)
    study_file = directory / "study.toml"
    if not study_file.exists():
        shutil.copyfile(resources.folder("templates") / "demo_study.toml", study_file)
    return study_file


def original(directory: Path, stem: str) -> Path:
    """Where the original of an LR image lies."""
    return directory / "originals" / f"{stem}.png"


def low_resolution(patch: Patch) -> Pixels:
    """The LR image of a patch, (48, 48, 3) uint8; the same each time."""
    random = degradation.generator(SEED, patch.stem)
    return degradation.low_resolution(patch.pixels, degradation.draw_degradation(random), random, SCALE)


def versions(patch: Patch) -> Iterator[tuple[str, Pixels]]:
    """Versions of an original to be rated, from perfect to poor: itself, classical distortions, and SR outputs.

    A quality model that never saw SR artefacts when it was trained cannot judge them.
    """
    yield "original", patch.pixels
    random = degradation.generator(SEED + 1, patch.stem)
    for sigma in BLURS:
        yield f"blur{sigma:g}", degradation.blur(patch.pixels, sigma)
    for sigma in NOISES:
        yield f"noise{sigma:g}", degradation.noise(patch.pixels, sigma, random)
    for quality in QUALITIES:
        yield f"jpeg{quality}", degradation.jpeg(patch.pixels, quality)
    small = low_resolution(patch)
    for algorithm in ALGORITHMS:
        yield algorithm, Interpolation(algorithm, algorithm, SCALE).upscale(patch.stem, small).pixels


def ratings(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratings from 1 (bad) to 5 (perfect) that use the whole scale evenly: the ranks of a metric's scores."""
    ranks = stats.rankdata(scores)
    return np.asarray(1 + 4 * (ranks - 1) / (len(ranks) - 1))


def _write_rated(folder: Path, patches: list[Patch], progress: Progress) -> None:
    """The rated images, and last of all `rated.csv`, whose presence says that all are there."""
    table = folder / "rated.csv"
    if table.exists():
        return
    rows: list[tuple[str, str, float]] = []
    for done, outcome in enumerate(executor.map_items(partial(_rate, folder), patches), 1):
        assert outcome.value is not None, outcome.problem
        rows += outcome.value
        progress("rated images", done, len(patches))
    rows.sort()
    mos = ratings(np.array([score for _, _, score in rows]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "mos", "source"])
    writer.writerows([name, f"{rating:.6f}", source] for (name, source, _), rating in zip(rows, mos, strict=True))
    write_atomically(table, text.getvalue().encode())


def _rate(folder: Path, patch: Patch) -> list[tuple[str, str, float]]:
    """Write a patch's versions; file name, source and score of each."""
    names, pixels = zip(*versions(patch), strict=True)
    files = [f"{patch.photograph}/{patch.stem}_{name}.png" for name in names]
    for file, version in zip(files, pixels, strict=True):
        _write(folder / file, version)
    references = np.repeat(patch.pixels[None], len(pixels), axis=0)
    scores = full_reference.get(RATERS_METRIC).score(references, np.stack(pixels))
    return [(file, patch.photograph, float(score)) for file, score in zip(files, scores, strict=True)]


def _write(path: Path, pixels: Pixels) -> None:
    if not path.exists():
        write_atomically(path, images.encode_png(pixels))
