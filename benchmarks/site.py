"""A study of made-up images, imported into a PostgreSQL of its own and served by `discern web` while it is needed."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from sqlalchemy.orm import Session, sessionmaker

from app import children, database, embedded_postgres, runs, studies
from app.children import Lifeline
from app.config import Settings
from app.serving import listen
from app.store import Store
from pipelines.progress import silent

ALGORITHMS = ("nearest", "bilinear", "bicubic", "lanczos", "bicubic_unsharp", "back_projection")
START_SECONDS = 60


@dataclass(frozen=True)
class Served:
    """What runs: its address, its database, and the study's name there."""

    url: str
    database_url: str
    sessions: sessionmaker[Session]
    study: str

    def invitation(self, *, simulated: bool = False) -> str:
        """The path of a link for one subject."""
        with self.sessions.begin() as db:
            study = studies.find(db, self.study)
            return f"/i/{studies.invite(db, study, 'single', simulated=simulated).token}"


def make_workspace(folder: Path, *, images: int, side: int, methods: int, protocol: Mapping[str, object]) -> Path:
    """Run a study whose outputs have `side` pixels a side; every pair of methods is asked about on every image."""
    random = np.random.default_rng(side)
    (folder / "lr").mkdir(parents=True)
    for number in range(images):
        Image.fromarray(_picture(random, side // 4)).save(folder / "lr" / f"image-{number:04d}.png")
    blocks = [f'[[methods]]\nid = "{name}"\nkind = "interpolation"\nalgorithm = "{name}"' for name in ALGORITHMS]
    settings = [f"{key} = {_toml(value)}" for key, value in protocol.items()]
    text = [
        'name = "bench"\n[images]\nfolder = "lr"',
        *blocks[:methods],
        f'[selection]\ndistance = "psnr"\nsemantics = "colour_gradient"\nper_pair = {images}',
        "\n".join(["[protocol]", *settings]),
    ]
    (folder / "study.toml").write_text("\n".join(text), encoding="utf-8")
    return runs.run(folder / "study.toml", silent).workspace.root


@contextmanager
def serving(folder: Path, workspace: Path) -> Iterator[Served]:
    """Import a workspace, open the study, and serve it from a process of its own."""
    with embedded_postgres.running(folder / "postgres") as postgres:
        database.migrate(postgres.url)
        settings = Settings(home=folder / "home", DATABASE_URL=postgres.url)
        sessions = database.sessions(postgres.url)
        with sessions.begin() as db:
            study = studies.import_workspace(db, Store(settings.store_url), workspace)
            studies.set_state(db, study, "open")
            name = study.name
        with _web(folder / "home", postgres.url) as url:
            yield Served(url, postgres.url, sessions, name)
        sessions.kw["bind"].dispose()


@contextmanager
def _web(home: Path, database_url: str) -> Iterator[str]:
    lifeline = Lifeline()
    with listen("127.0.0.1", 0) as listening:
        environment = lifeline.environment({"DATABASE_URL": database_url, "DISCERN_HOME": str(home)})
        command = children.command("web", "--fd", str(listening.fileno()))
        server = subprocess.Popen(command, env=environment, pass_fds=(lifeline.reading, listening.fileno()))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            _wait_until_ready(url)
            yield url
        finally:
            lifeline.close()
            server.wait()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(f"{url}/health", timeout=START_SECONDS, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _picture(random: np.random.Generator, side: int) -> np.ndarray:
    """Waves and noise: as hard to compress as a photograph."""
    rows, columns = (axis[..., None] for axis in np.mgrid[:side, :side])
    waves = np.sin(rows * random.uniform(0.02, 0.4, 3) + columns * random.uniform(0.02, 0.4, 3))
    return np.clip(128 + 80 * waves + random.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
