"""`discern simulate`: subjects that vote through the HTTP API, as browsers do, but are programs.

They are invited as simulated, and everything that they do is marked so in the database. What they are shown they know
by looking at it: the pixels of an image tell which output it is.
"""

import re
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
from sqlalchemy.orm import Session, sessionmaker

from app import simulated_world, studies
from app.simulated_world import Place, Shown, World
from pipelines import images
from pipelines.errors import DiscernError
from pipelines.progress import Progress
from pipelines.ranking import observers
from pipelines.ranking.observers import Floats, Observers, Population

AHEAD = 8
AT_ONCE = 4


def run(
    sessions: sessionmaker[Session],
    url: str,
    study_name: str,
    *,
    subjects: int,
    seed: int,
    population: Population,
    quality: Path | None = None,
    verify: ssl.SSLContext | bool = True,
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
        verify: what the server is verified by, where it has a certificate of its own.
        progress: called after each vote that counts.

    Returns:
        How many votes were cast that count.

    Raises:
        DiscernError: the study is unknown or not open, or the server does not answer.
    """
    with sessions.begin() as db:
        study = studies.find(db, study_name)
        if study.state != "open":
            raise DiscernError(f"study {study_name!r} is {study.state}: open it first")
        world = simulated_world.read(db, study, quality, seed)
        links = [f"/i/{studies.invite(db, study, 'single', simulated=True).token}" for _ in range(subjects)]
    people = observers.draw(population, subjects, world.methods, np.random.default_rng(seed))
    voting = [_Subject(url, verify, world, people, index, seed) for index in range(subjects)]
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

    def __init__(
        self, url: str, verify: ssl.SSLContext | bool, world: World, people: Observers, index: int, seed: int
    ) -> None:
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False, verify=verify)
        self._world, self._people, self._index, self._seed = world, people, index, seed
        self._page = str(uuid4())
        self._voted_on: set[str] = set()
        self._questions: Counter[Shown] = Counter()

    def take_part(self, link: str, voted: Callable[[int], None]) -> int:
        """Agree, then vote until there is nothing left; returns how many of the votes count."""
        votes = 0
        with self._client:
            self._send("POST", link, data={"consent": "yes"})
            while trials := self._next():
                for trial in trials:
                    answer = self._vote_on(trial)
                    if answer["voted"] > votes:
                        votes = answer["voted"]
                        voted(answer["total"])
        return votes

    def _next(self) -> list[dict[str, Any]]:
        """The next trials; none after the last one."""
        found = self._send("POST", "/api/subject/trials", json={"ahead": AHEAD}).json()
        if not found["trials"] and not found["finished"]:
            raise DiscernError(f"a simulated subject was asked to wait: {found['pause']}; programs need no breaks")
        if again := [trial["id"] for trial in found["trials"] if trial["id"] in self._voted_on]:
            raise DiscernError(f"trial {again[0]} was voted on, and came again")
        trials: list[dict[str, Any]] = found["trials"]
        return trials

    def _vote_on(self, trial: dict[str, Any]) -> dict[str, Any]:
        painted_at = datetime.now(UTC).isoformat()
        shown = self._pixels(trial["left"]), self._pixels(trial["right"])
        choice = "left" if self._prefers_left(trial, shown) else "right"
        vote = self._circumstances(trial) | {"choice": choice, "painted_at": painted_at}
        vote |= {"left_sha256": shown[0], "right_sha256": shown[1]}
        self._voted_on.add(trial["id"])
        answer: dict[str, Any] = self._send("PUT", f"/api/subject/trials/{trial['id']}/vote", json=vote).json()
        return answer

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **content)
        except httpx.TransportError as error:
            raise DiscernError(f"{self._client.base_url}: the server does not answer ({error})") from error
        if response.is_error:
            raise DiscernError(f"{method} {re.sub('/i/.*', '/i/...', path)}: {response.status_code} {response.text}")
        return response

    def _pixels(self, path: str) -> str:
        return images.pixel_hash(images.decode_bytes(self._send("GET", path).content))

    def _prefers_left(self, trial: dict[str, Any], shown: Shown) -> bool:
        turned = shown[::-1]
        if shown in self._world.better or turned in self._world.better:
            random = self._noise(shown)
            lapsed = bool(random.random() < self._people.lapse_rate)
            return bool(random.random() < 0.5) if lapsed else shown in self._world.better
        if places := self._recognise(shown):
            return self._judge(*places, self._noise(shown, places))
        if shown not in self._world.alike and turned not in self._world.alike:
            raise DiscernError(f"trial {trial['id']}: its images are not two outputs of one LR image of this study")
        return self._prefers_first(np.zeros(2), np.zeros(2), self._noise(shown))

    def _noise(self, shown: Shown, places: tuple[Place, Place] | None = None) -> np.random.Generator:
        """Noise of its own for every question, which belongs to the images and not to their places.

        Answers depend neither on the order of the questions nor, but for the side bias, on the sides. A question that
        comes again is thought about anew.
        """
        question = min(shown, shown[::-1])
        before = self._questions[question]
        self._questions[question] += 1
        if places is None:
            about = [number for pixels in question for number in simulated_world.number(pixels)]
        else:
            (stem, left), (_, right) = places
            about = [*simulated_world.number(stem), *sorted((left, right))]
        return np.random.default_rng([self._seed, self._index, *about, *([before] if before else [])])

    def _judge(self, left: Place, right: Place, random: np.random.Generator) -> bool:
        """Whether the left one is preferred: the question is about the method that comes first in study order."""
        turned = left > right
        first, second = (right, left) if turned else (left, right)
        quality = np.array([self._world.quality[first], self._world.quality[second]])
        taste = self._people.taste[self._index][[first[1], second[1]]]
        return self._prefers_first(quality, taste, random, turned=turned) != turned

    def _prefers_first(
        self, quality: Floats, taste: Floats, random: np.random.Generator, *, turned: bool = False
    ) -> bool:
        """Whether the first of two images is chosen, which is on the left unless they are turned."""
        me = Observers(
            sensitivity=self._people.sensitivity[[self._index]],
            taste=taste[None],
            side_bias=self._people.side_bias[[self._index]] * (-1 if turned else 1),
            lapse_rate=self._people.lapse_rate,
        )
        return bool(observers.vote(me, quality[None], np.array([[0, 0, 0, 1]]), random)[0])

    def _recognise(self, shown: Shown) -> tuple[Place, Place] | None:
        """Which outputs stand left and right; equal pixels of several outputs are told apart by their LR image."""
        left, right = (self._world.of_pixels.get(pixels, []) for pixels in shown)
        pairs = [(a, b) for a in left for b in right if a[0] == b[0] and a[1] != b[1]]
        return pairs[0] if pairs else None

    def _circumstances(self, trial: dict[str, Any]) -> dict[str, Any]:
        random = np.random.default_rng([self._seed, self._index, trial["number"]])
        return {
            "revision": trial["revision"],
            "response_ms": round(float(random.lognormal(np.log(1500), 0.5)), 1),
            "input": "key",
            "device_pixel_ratio": 1.0,
            "window_width": 1440,
            "window_height": 900,
            "screen_width": 1440,
            "screen_height": 900,
            "hidden": False,
            "client": self._page,
        }
