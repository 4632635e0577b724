"""What tests of the server share: a real PostgreSQL, a small study, and the application under real HTTP."""

import csv
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import uvicorn
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app import database, embedded_postgres, runs, studies
from app.config import Settings
from app.models import LowResolutionImage, Pair, Trial, User
from app.security import users
from app.store import Store
from app.web import create_app
from pipelines.progress import silent
from tests.app import grouped, seats
from tests.conftest import save, textured

PASSWORD = "a long enough password"
UNLABELLED, RATED = 6, 12

STUDY = """
name = "small"

[images]
folder = "lr"
unlabelled = "unlabelled"

[[methods]]
id = "nearest"
kind = "interpolation"
algorithm = "nearest"

[[methods]]
id = "bicubic"
kind = "interpolation"
algorithm = "bicubic"

[[methods]]
id = "sharp"
kind = "interpolation"
algorithm = "bicubic_unsharp"

[selection]
distance = "gmsd"
semantics = "colour_gradient"
per_pair = 4

[calibration]
rated = "rated/rated.csv"
epochs = 3

[protocol]                      # nothing but consent and trials: what else there can be has tests of its own
device_check = false
training = 0
warm_up = 0
warm_up_later = 0
break_seconds = 0

[execution]
workers = 2
"""


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL whose database `template_discern` is migrated."""
    with embedded_postgres.running(tmp_path_factory.mktemp("postgres") / "data") as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            for durable in ("fsync", "synchronous_commit", "full_page_writes"):  # no test pulls the plug of the machine
                connection.execute(f"ALTER SYSTEM SET {durable} = off")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CREATE DATABASE template_discern")
        database.migrate(_on(server.url, "template_discern"))
        yield server.url


_numbers = count(1)


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """The URL of a database without any table."""
    with _fresh(postgres, "template0") as url:
        yield url


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """The URL of a migrated database of this test's own."""
    with _fresh(postgres, "template_discern") as url:
        yield url


@pytest.fixture
def other_database_url(postgres: str) -> Iterator[str]:
    """Another one."""
    with _fresh(postgres, "template_discern") as url:
        yield url


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a study of three methods, with 12 selected pairs, and all that a calibration needs."""
    folder = tmp_path_factory.mktemp("study")
    for index in range(6):
        save(folder / "lr" / f"image_{index}.png", textured(index, 40, 48))
    for index in range(UNLABELLED):
        save(folder / "unlabelled" / f"source_{index % 3}" / f"un_{index}.png", textured(100 + index, 40, 48))
    rows = [["path", "mos", "source"]]
    for index in range(RATED):
        name = f"rated_{index}.png"
        save(folder / "rated" / name, textured(200 + index, 96, 96))
        rows.append([name, str(1 + index % 5), f"rated_source_{index % 4}"])
    with (folder / "rated" / "rated.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "study.toml").write_text(STUDY)
    return runs.run(folder / "study.toml", silent).workspace.root


@dataclass(frozen=True)
class Imported:
    """The small study, imported and open: a database to be copied, and the folder of its images."""

    template: str
    images: Path


@pytest.fixture(scope="session")
def imported(postgres: str, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """Imported once: each test that wants the study gets a copy, which is much sooner there."""
    made = Imported("template_study", tmp_path_factory.mktemp("imported") / "store")
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {made.template} TEMPLATE template_discern")
    sessions = database.sessions(_on(postgres, made.template))
    with sessions.begin() as db:
        studies.set_state(db, studies.import_workspace(db, Store(made.images.as_uri()), workspace), "open")
    sessions.kw["bind"].dispose()  # a database that somebody is connected to cannot be copied
    return made


@pytest.fixture
def study_sessions(postgres: str, imported: Imported) -> Iterator[sessionmaker[Session]]:
    """Sessions of a database of this test's own with the small study, open; its images are in no store."""
    with _fresh(postgres, imported.template) as url:
        sessions = database.sessions(url)
        yield sessions
        sessions.kw["bind"].dispose()


@pytest.fixture
def copied(workspace: Path, tmp_path: Path) -> Path:
    """The workspace on another host: in another folder, without the study file and its images."""
    return shutil.copytree(workspace, tmp_path / "elsewhere" / "copied")


@pytest.fixture
def sessions(database_url: str) -> Iterator[sessionmaker[Session]]:
    """Sessions of a migrated database of this test's own."""
    made = database.sessions(database_url)
    yield made
    made.kw["bind"].dispose()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store of this test's own."""
    return Store((tmp_path / "store").as_uri())


@dataclass
class Site:
    """A running server with the small study imported and open."""

    url: str
    database_url: str
    sessions: sessionmaker[Session]
    settings: Settings
    study: str = "small"
    clients: list[httpx.Client] = field(default_factory=list)

    def invite(self, kind: str = "single", *, simulated: bool = False, study: str | None = None) -> str:
        """A fresh invitation: its absolute link."""
        with self.sessions.begin() as db:
            made = studies.invite(db, studies.find(db, study or self.study), kind, simulated=simulated)  # type: ignore[arg-type]
            return f"{self.url}/i/{made.token}"

    def client(self) -> httpx.Client:
        """A browser that is nobody yet."""
        client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        self.clients.append(client)
        return client

    def subject(self, link: str | None = None, *, simulated: bool = False) -> httpx.Client:
        """The browser of a subject who has consented."""
        client = self.client()
        answer = client.post(link or self.invite(simulated=simulated), data={"consent": "yes"})
        assert answer.status_code == 303, answer.text
        return client

    def vote_all(self, prefers: Callable[[str, int, int], bool], *, simulated: bool = False) -> None:
        """A new subject votes on everything, and chooses the first method where `prefers(stem, first, second)`."""
        subject = self.subject(simulated=simulated)
        while trials := next_trials(subject, 20):
            for trial in trials:
                first_on_left, *question = self.shown(trial["id"])
                assert vote_on(subject, trial, "left" if prefers(*question) == first_on_left else "right").is_success

    def shown(self, trial: str) -> tuple[bool, str, int, int]:
        """Behind a trial: whether its first method is on the left, the LR image's stem, and the two methods."""
        query = (
            select(Trial.first_on_left, LowResolutionImage.stem, Pair.first, Pair.second)
            .join(Pair, Trial.pair_id == Pair.id)
            .join(LowResolutionImage, Pair.low_resolution_image_id == LowResolutionImage.id)
        )
        with self.sessions() as db:
            return tuple(db.execute(query.where(Trial.id == UUID(trial))).one())

    def panel_votes(self, *, simulated: bool = False) -> None:
        """Three subjects vote on everything: 8 of 12 votes on each two methods are for the first."""
        for number in range(3):
            self.vote_all(lambda stem, *_, number=number: (int(stem[-1]) + number) % 3 > 0, simulated=simulated)

    def staff(self, role: str) -> httpx.Client:
        """The browser of a signed-in experimenter or admin, with a name of its own."""
        client, name = self.client(), f"{role}-{next(_numbers)}"
        self.add_user(name, role)
        answer = client.post("/sign-in", data={"name": name, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return client

    def add_user(self, name: str, role: str) -> User:
        """Somebody who can sign in with PASSWORD."""
        with self.sessions.begin() as db:
            token, _ = users.new_link(db, role)  # type: ignore[arg-type]
            db.flush()
            return users.use_link(db, token, name, PASSWORD)


def vote_on(client: httpx.Client, trial: dict[str, Any], choice: str = "left", **changes: Any) -> httpx.Response:
    """Send a subject's vote, as the page does."""
    body = {"revision": trial.get("revision", 1), "choice": choice, **seats.MADE}
    return client.put(f"/api/subject/trials/{trial['id']}/vote", json=body | changes)


def next_trials(client: httpx.Client, ahead: int = 1) -> list[dict[str, Any]]:
    """The subject's next trials."""
    answer = client.post("/api/subject/trials", json={"ahead": ahead})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["trials"])


@pytest.fixture
def site(postgres: str, imported: Imported, tmp_path: Path) -> Iterator[Site]:
    """The application in this process, under real HTTP on a free port; the small study is open."""
    with _serving_copy(postgres, imported, tmp_path / "home") as made:
        yield made


@pytest.fixture
def other_site(postgres: str, imported: Imported, tmp_path: Path) -> Iterator[Site]:
    """Another server like `site`, with a database and a home of its own."""
    with _serving_copy(postgres, imported, tmp_path / "other_home") as made:
        yield made


@pytest.fixture
def grouped_site(database_url: str, workspace: Path, tmp_path: Path) -> Iterator[Site]:
    """A server like `site`, whose study has 6 further pairs in the group `random`."""
    with serving_study(database_url, grouped.copy(workspace, tmp_path / "grouped"), tmp_path / "home") as made:
        yield made


@contextmanager
def _serving_copy(postgres: str, imported: Imported, home: Path) -> Iterator[Site]:
    shutil.copytree(imported.images, home / "store")
    with _fresh(postgres, imported.template) as url, _serving(url, Settings(home=home, DATABASE_URL=url)) as made:
        yield made


@contextmanager
def serving_study(database_url: str, workspace: Path, home: Path) -> Iterator[Site]:
    """A server whose only study is that of a workspace, open."""
    settings = Settings(home=home, DATABASE_URL=database_url)
    with _serving(database_url, settings) as made:
        with made.sessions.begin() as db:
            study = studies.import_workspace(db, Store(settings.store_url), workspace)
            studies.set_state(db, study, "open")
        yield made


@contextmanager
def _serving(database_url: str, settings: Settings) -> Iterator[Site]:
    sessions = database.sessions(database_url)
    with serving_app(database_url, settings) as url:
        made = Site(url, database_url, sessions, settings)
        yield made
        for client in made.clients:
            client.close()
    sessions.kw["bind"].dispose()


class serving_app:  # noqa: N801 - used as a function
    """The application under uvicorn in a thread, on a free port."""

    def __init__(self, database_url: str, settings: Settings) -> None:
        config = uvicorn.Config(
            create_app(database_url, settings), port=0, log_level="warning", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        deadline = time.monotonic() + 30
        while not self.server.started:
            assert time.monotonic() < deadline, "the server did not start"
            assert self.thread.is_alive(), "the server ended"
            time.sleep(0.01)
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive(), "the server did not stop"


def wait_for(condition: Callable[[], Any], *, seconds: float = 30, what: str = "it") -> Any:
    """The first true value of a condition; fails after some seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.05)
    return value


@contextmanager
def _fresh(postgres: str, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _on(postgres, name)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _on(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")
