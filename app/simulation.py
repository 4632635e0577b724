"""`discern simulate`: subjects that vote through the HTTP API, as browsers do, but are programs.

They are invited as simulated, and everything that they do is marked so in the database. What they are shown they know
by looking at it: the pixels of an image tell which output it is.
"""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import or_, select
from sqlalchemy.orm import Session, sessionmaker

from app import studies
from app.models import LowResolutionImage, Output, Pair, Study
from pipelines import images
from pipelines.errors import DiscernError
from pipelines.progress import Progress
from pipelines.ranking import observers
from pipelines.ranking.observers import Observers, Population
from pipelines.workspace import write_atomically

QUALITY = "simulated_quality.csv"
AHEAD = 8
AT_ONCE = 4
# Where nothing is known of the images: how much methods differ, and how much that varies from image to image.
METHOD_SD, IMAGE_SD = 0.5, 0.55

Place = tuple[str, int]  # stem of the LR image, position of the method


@dataclass(frozen=True)
class World:
    """What simulated subjects judge by.

    Attributes:
        of_pixels: which output an image is, by the hash of its pixels.
        quality: of each output, in units of a vote's own noise.
        methods: how many.
    """

    of_pixels: Mapping[str, list[Place]]
    quality: Mapping[Place, float]
    methods: int


def run(
    sessions: sessionmaker[Session],
    url: str,
    study_name: str,
    *,
    subjects: int,
    seed: int,
    population: Population,
    quality: Path | None = None,
    progress: Progress,
) -> int:
    """Let simulated subjects take part in an open study.

    Args:
        sessions: of the server's database, for the invitations and for what the images are.
        url: of the server.
        study_name: of the study.
        subjects: how many, at least 1.
        seed: the same seed gives the same people, and the same answers to the same questions.
        population: what they are drawn from.
        quality: a CSV file with the columns stem, method, quality; by default the one in the study's workspace, and
            where there is none, quality is drawn from the seed.
        progress: called after each vote.

    Returns:
        How many votes were cast.

    Raises:
        DiscernError: the study is unknown or not open, or the server does not answer.
    """
    with sessions.begin() as db:
        study = studies.find(db, study_name)
        if study.state != "open":
            raise DiscernError(f"study {study_name!r} is {study.state}: open it first")
        world = _world(db, study, quality, seed)
        links = [f"/i/{studies.invite(db, study, 'single', simulated=True).token}" for _ in range(subjects)]
    people = observers.draw(population, subjects, world.methods, np.random.default_rng(seed))
    voting = [_Subject(url, world, people, index, seed) for index in range(subjects)]
    return _vote_at_once(voting, links, progress)


def _vote_at_once(voting: "Sequence[_Subject]", links: Sequence[str], progress: Progress) -> int:
    """Several at a time; returns how many votes they cast."""
    done, stop = count(1), Event()

    def voted(total: int) -> None:
        progress("simulated votes", next(done), total * len(voting))
        if stop.is_set():
            raise DiscernError("the simulation was stopped")

    with ThreadPoolExecutor(min(AT_ONCE, len(voting))) as pool:
        try:
            tasks = [pool.submit(one.take_part, link, voted) for one, link in zip(voting, links, strict=True)]
            return sum(task.result() for task in as_completed(tasks))
        finally:
            # After an error, or Ctrl-C, nobody votes to the end.
            stop.set()
            pool.shutdown(cancel_futures=True)


class _Subject:
    """One simulated subject and its browser."""

    def __init__(self, url: str, world: World, people: Observers, index: int, seed: int) -> None:
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._world, self._people, self._index, self._seed = world, people, index, seed

    def take_part(self, link: str, voted: Callable[[int], None]) -> int:
        """Agree, then vote until there is nothing left; returns how many votes that were."""
        votes = 0
        with self._client:
            self._send("POST", link, data={"consent": "yes"})
            while trials := self._send("POST", "/api/subject/trials", json={"ahead": AHEAD}).json()["trials"]:
                for trial in trials:
                    choice = "left" if self._prefers_left(trial) else "right"
                    answer = self._send(
                        "PUT", f"/api/subject/trials/{trial['id']}/vote", json=self._vote(trial, choice)
                    )
                    votes += 1
                    voted(answer.json()["total"])
        return votes

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **content)
        except httpx.TransportError as error:
            raise DiscernError(f"{self._client.base_url}: the server does not answer ({error})") from error
        if response.is_error:
            raise DiscernError(f"{method} {re.sub('/i/.*', '/i/...', path)}: {response.status_code} {response.text}")
        return response

    def _prefers_left(self, trial: dict[str, Any]) -> bool:
        (stem, left), (_, right) = self._recognise(trial)
        first, second = sorted((left, right))
        # Noise of its own for every question, which belongs to the images and not to their places: answers depend
        # neither on the order of the questions nor, but for the side bias, on the sides.
        random = np.random.default_rng([self._seed, self._index, *_number(stem), first, second])
        values = np.array([[self._world.quality[stem, first], self._world.quality[stem, second]]])
        first_on_left = first == left
        me = Observers(
            sensitivity=self._people.sensitivity[[self._index]],
            taste=self._people.taste[[self._index]][:, [first, second]],
            side_bias=self._people.side_bias[[self._index]] * (1 if first_on_left else -1),
            lapse_rate=self._people.lapse_rate,
        )
        prefers_first = bool(observers.vote(me, values, np.array([[0, 0, 0, 1]]), random)[0])
        return prefers_first == first_on_left

    def _recognise(self, trial: dict[str, Any]) -> tuple[Place, Place]:
        """Which outputs stand left and right; equal pixels of several outputs are told apart by their LR image."""
        left, right = (self._places(trial[side]) for side in ("left", "right"))
        pairs = [(a, b) for a in left for b in right if a[0] == b[0] and a[1] != b[1]]
        if not pairs:
            raise DiscernError(f"trial {trial['id']}: its images are not two outputs of one LR image of this study")
        return pairs[0]

    def _places(self, path: str) -> list[Place]:
        pixels = images.decode_bytes(self._send("GET", path).content)
        return self._world.of_pixels.get(images.pixel_hash(pixels), [])

    def _vote(self, trial: dict[str, Any], choice: str) -> dict[str, Any]:
        random = np.random.default_rng([self._seed, self._index, trial["number"]])
        return {
            "choice": choice,
            "response_ms": round(float(random.lognormal(np.log(1500), 0.5)), 1),
            "input": "key",
            "device_pixel_ratio": 1.0,
            "window_width": 1440,
            "window_height": 900,
            "screen_width": 1440,
            "screen_height": 900,
            "hidden": False,
        }


def write_quality(path: Path, stems: Sequence[str], methods: Sequence[str], quality: NDArray[np.float64]) -> None:
    """Write what observers judge by, (stems, methods), as the CSV file that `run` reads.

    Raises:
        WorkspaceError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stem", "method", "quality"])
    rows = zip(stems, quality.tolist(), strict=True)
    writer.writerows([stem, m, f"{q:.9g}"] for stem, row in rows for m, q in zip(methods, row, strict=True))
    write_atomically(path, text.getvalue().encode())


def _world(db: Session, study: Study, quality: Path | None, seed: int) -> World:
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
        return World(of_pixels, _drawn(places, len(names), seed), len(names))
    return World(of_pixels, _read(quality or in_workspace, places, names), len(names))


def _drawn(places: Sequence[Place], methods: int, seed: int) -> dict[Place, float]:
    """A score for each method, and how each output differs from it."""
    scores = METHOD_SD * np.random.default_rng(seed).standard_normal(methods)
    return {
        (stem, method): float(
            scores[method] + IMAGE_SD * np.random.default_rng([seed, *_number(stem), method]).standard_normal()
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


def _number(stem: str) -> list[int]:
    """A name as numbers for a seed."""
    return list(sha256(stem.encode()).digest()[:8])
