"""What simulated subjects know: which output an image is, how good it looks, and which pairs have an obvious answer."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.models import LowResolutionImage, Output, Pair, Probe, Study
from pipelines.errors import DiscernError
from pipelines.workspace import write_atomically

QUALITY = "simulated_quality.csv"
# Where nothing is known of the images: how much methods differ, and how much that varies from image to image.
METHOD_SD, IMAGE_SD = 0.5, 0.55

Place = tuple[str, int]  # stem of the LR image, position of the method
Shown = tuple[str, str]  # hashes of the pixels of two images


@dataclass(frozen=True)
class World:
    """What simulated subjects judge by.

    Attributes:
        of_pixels: which output an image is, by the hash of its pixels.
        quality: of each output, in units of a vote's own noise.
        methods: how many.
        better: pixels of two images, of which everybody sees that the first one is better.
        alike: pixels of two images of which nothing is known, or which are one image, shown for a vote all the same.
    """

    of_pixels: Mapping[str, list[Place]]
    quality: Mapping[Place, float]
    methods: int
    better: frozenset[Shown] = frozenset()
    alike: frozenset[Shown] = frozenset()


def write_quality(path: Path, stems: Sequence[str], methods: Sequence[str], quality: NDArray[np.float64]) -> None:
    """Write what observers judge by, (stems, methods), as the CSV file that `read` takes.

    Raises:
        WorkspaceError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stem", "method", "quality"])
    rows = zip(stems, quality.tolist(), strict=True)
    writer.writerows([stem, m, f"{q:.9g}"] for stem, row in rows for m, q in zip(methods, row, strict=True))
    write_atomically(path, text.getvalue().encode())


def read(db: Session, study: Study, quality: Path | None, seed: int) -> World:
    """What there is to know of a study's images.

    Args:
        db: the server's database.
        study: that will be voted on.
        quality: a CSV file as `write_quality` makes it; by default, the one in the study's workspace.
        seed: quality is drawn from it where there is no file.

    Raises:
        DiscernError: the file cannot be read, or does not know an output.
    """
    # Only what subjects are shown: a quality file need not know the rest, and equal pixels are told apart by pairs.
    shown = select(Pair.id).where(or_(Pair.first_output_id == Output.id, Pair.second_output_id == Output.id)).exists()
    query = (
        select(Output.sha256, LowResolutionImage.stem, Output.method_position)
        .join(LowResolutionImage, Output.low_resolution_image_id == LowResolutionImage.id)
        .where(Output.study_id == study.id, shown)
    )
    of_pixels: dict[str, list[Place]] = {}
    for pixels, stem, method in db.execute(query):
        of_pixels.setdefault(pixels, []).append((stem, method))
    places = sorted(place for same in of_pixels.values() for place in same)
    names = [method.name for method in study.methods]
    in_workspace = Path(study.workspace) / QUALITY
    if quality is None and not in_workspace.is_file():
        known = _drawn(places, len(names), seed)
    else:
        known = _read(quality or in_workspace, places, names)
    return World(of_pixels, known, len(names), *_probes(db, study))


def _probes(db: Session, study: Study) -> tuple[frozenset[Shown], frozenset[Shown]]:
    query = select(Probe.kind, Probe.first_sha256, Probe.second_sha256).where(Probe.study_id == study.id)
    rows = db.execute(query).all()
    better = frozenset((first, second) for kind, first, second in rows if kind in ("training", "gold"))
    return better, frozenset((first, second) for kind, first, second in rows if kind in ("warm_up", "identical"))


def _drawn(places: Sequence[Place], methods: int, seed: int) -> dict[Place, float]:
    """A score for each method, and how each output differs from it."""
    scores = METHOD_SD * np.random.default_rng(seed).standard_normal(methods)
    return {
        (stem, method): float(
            scores[method] + IMAGE_SD * np.random.default_rng([seed, *number(stem), method]).standard_normal()
        )
        for stem, method in places
    }


def _read(path: Path, places: Sequence[Place], names: Sequence[str]) -> dict[Place, float]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found = {(row["stem"], names.index(row["method"])): float(row["quality"]) for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError) as error:
        raise DiscernError(f"{path}: cannot be read ({error})") from error
    except (KeyError, ValueError, TypeError) as error:
        raise DiscernError(
            f"{path}: not a table of stem, method, quality with this study's methods ({error})"
        ) from error
    missing = [place for place in places if not np.isfinite(found.get(place, np.nan))]
    if missing:
        stem, method = missing[0]
        raise DiscernError(f"{path}: holds no quality of {names[method]!r} on {stem!r}; add the line")
    return found


def number(stem: str) -> list[int]:
    """A name as numbers for a seed."""
    return list(sha256(stem.encode()).digest()[:8])
