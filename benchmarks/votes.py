"""How many votes a second the server stores, and how long each takes, beside a bare loop of INSERT."""

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import psycopg

from app import database
from benchmarks import site
from benchmarks.site import Served

SUBJECTS, VOTES_EACH = 200, 60
RATE, GOAL_P95_MS = 300, 50
BARE_INSERTS = 3000
PLAIN = {"device_check": False, "training": 0, "warm_up": 0, "warm_up_later": 0, "break_seconds": 0}
HEADERS = {"Content-Type": "application/json", "Connection": "keep-alive"}


@dataclass(frozen=True)
class Load:
    """Votes of one run: seconds from the first to the last, and the milliseconds that each answer took."""

    seconds: float
    milliseconds: np.ndarray

    @property
    def rate(self) -> float:
        """Votes a second."""
        return len(self.milliseconds) / self.seconds


@dataclass(frozen=True)
class Voter:
    """A subject with trials to vote on: what is sent, ready to be written to a socket."""

    requests: list[bytes]


def sections(folder: Path) -> list[str]:
    """The part of the page about votes."""
    workspace = site.make_workspace(folder / "study", images=12, side=128, methods=6, protocol=PLAIN)
    with site.serving(folder, workspace) as served:
        paced = asyncio.run(_cast(served.url, _voters(served), RATE))
        full = asyncio.run(_cast(served.url, _voters(served), None))
        with database.transaction(served.database_url) as db:
            stored = db.connection().exec_driver_sql("SELECT count(*) FROM votes").scalar()
        assert stored == len(paced.milliseconds) + len(full.milliseconds), "votes are missing"
        bare = _bare_inserts(served.database_url)
    return [_text(paced, full, bare)]


def _voters(served: Served) -> list[Voter]:
    """Subjects who have agreed and hold their trials."""
    voters = []
    for number in range(SUBJECTS):
        with httpx.Client(base_url=served.url, timeout=60, trust_env=False) as client:
            agreed = client.post(served.invitation(simulated=True), data={"consent": "yes"})
            assert agreed.status_code == 303, agreed.text
            cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
            answer = client.post("/api/subject/trials", json={"ahead": 50}).raise_for_status().json()
            trials = answer["trials"][:VOTES_EACH]
        voters.append(Voter([_request(served.url, cookie, trial, number) for trial in trials]))
    return voters


def _request(url: str, cookie: str, trial: dict[str, object], number: int) -> bytes:
    body = {
        "revision": trial["revision"],
        "choice": "left" if number % 2 else "right",
        "response_ms": 1200.5,
        "painted_at": "2026-01-01T00:00:00Z",
        "input": "key",
        "device_pixel_ratio": 1,
        "window_width": 1440,
        "window_height": 900,
        "screen_width": 1440,
        "screen_height": 900,
        "hidden": False,
        "left_sha256": "0" * 64,
        "right_sha256": "0" * 64,
        "events": [],
        "client": "00000000-0000-4000-8000-000000000000",
    }
    content = json.dumps(body).encode()
    headers = HEADERS | {"Host": urlsplit(url).netloc, "Cookie": cookie, "Content-Length": str(len(content))}
    lines = [f"PUT /api/subject/trials/{trial['id']}/vote HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def _cast(url: str, voters: list[Voter], rate: float | None) -> Load:
    """Let all vote at once, each on a connection of its own: at a rate in all, or as fast as answers come."""
    address = urlsplit(url)
    started = time.perf_counter()
    tasks = []
    for place, voter in enumerate(voters):
        # Each votes every len(voters) / rate seconds, and they begin one after another.
        due = None if rate is None else [started + (place + n * len(voters)) / rate for n in range(len(voter.requests))]
        tasks.append(_vote(str(address.hostname), int(address.port or 80), voter, due))
    milliseconds = [one for ones in await asyncio.gather(*tasks) for one in ones]
    return Load(time.perf_counter() - started, np.array(milliseconds))


async def _vote(host: str, port: int, voter: Voter, due: list[float] | None) -> list[float]:
    """Times count from when a vote is due, so that a server that falls behind cannot hide it."""
    reader, writer = await asyncio.open_connection(host, port)
    milliseconds = []
    for number, request in enumerate(voter.requests):
        begun = time.perf_counter()
        if due is not None:
            await asyncio.sleep(max(0, due[number] - begun))
            begun = due[number]
        writer.write(request)
        await _answer(reader)
        milliseconds.append((time.perf_counter() - begun) * 1000)
    writer.close()
    await writer.wait_closed()
    return milliseconds


async def _answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 200"), head
    await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))


def _bare_inserts(database_url: str) -> Load:
    """One connection that inserts rows as wide as a vote, each in a transaction of its own."""
    milliseconds = []
    with psycopg.connect(database.psycopg_url(database_url), autocommit=True) as connection:
        connection.execute("CREATE TABLE bare AS SELECT * FROM votes LIMIT 1")
        started = time.perf_counter()
        for _ in range(BARE_INSERTS):
            begun = time.perf_counter()
            connection.execute("INSERT INTO bare SELECT * FROM bare LIMIT 1")
            milliseconds.append((time.perf_counter() - begun) * 1000)
        return Load(time.perf_counter() - started, np.array(milliseconds))


def _text(paced: Load, full: Load, bare: Load) -> str:
    def row(name: str, load: Load) -> str:
        p50, p95, p99 = np.percentile(load.milliseconds, [50, 95, 99])
        return f"| {name} | {len(load.milliseconds):,} | {load.rate:.0f} | {p50:.1f} | {p95:.1f} | {p99:.1f} |"

    rows = [
        row(f"{SUBJECTS} subjects, {RATE} votes due a second", paced),
        row(f"{SUBJECTS} subjects, each as soon as the last vote was answered", full),
        row("one connection, bare INSERT and commit", bare),
    ]
    return (
        "### Votes\n\n"
        f"{SUBJECTS} simulated subjects, each on a connection of its own, vote through `discern web` with a PostgreSQL "
        "on the same machine, load generator included. The milliseconds of a vote count from when it is due to the end "
        f"of its answer. Goal: {RATE} votes a second with a 95th percentile under {GOAL_P95_MS} ms.\n\n"
        "| | votes | votes a second | p50, ms | p95, ms | p99, ms |\n| --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(rows)
    )
