"""Live updates: a snapshot at once, another one soon after each vote, and none for whoever has signed out."""

import json
import queue
import threading
import time
from typing import Any

import httpx
import psycopg
import pytest

from tests.app import grouped
from tests.app.conftest import Site, next_trials, serving_app, vote_on, wait_for

SOON = 10.0  # before anybody would look without having been told


class Stream:
    """The snapshots that a browser gets, as they arrive."""

    def __init__(self, browser: httpx.Client, path: str = "/studies/small/events") -> None:
        self._snapshots: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._browser, self._path = browser, path
        self._response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def next(self, seconds: float = 30.0) -> dict[str, Any] | None:
        """The next snapshot; None at the end of the stream."""
        return self._snapshots.get(timeout=seconds)

    def until(self, votes: int, seconds: float = 30.0) -> dict[str, Any]:
        """The first snapshot with so many votes."""
        deadline = time.monotonic() + seconds
        while True:
            snapshot = self.next(max(0.0, deadline - time.monotonic()))
            assert snapshot is not None, "the stream ended"
            if snapshot["votes"] == votes:
                return snapshot

    def rest(self) -> list[dict[str, Any]]:
        """All that comes until the stream ends."""
        return list(iter(self.next, None))

    def _read(self) -> None:
        try:
            with self._browser.stream("GET", self._path, timeout=60) as response:
                assert response.headers["content-type"].startswith("text/event-stream")
                for line in response.iter_lines():
                    if line.startswith("data: "):
                        self._snapshots.put(json.loads(line.removeprefix("data: ")))
        except httpx.TransportError:
            pass  # the server stopped
        finally:
            self._snapshots.put(None)


def vote(subject: httpx.Client, choice: str = "left") -> None:
    assert vote_on(subject, next_trials(subject)[0], choice).status_code == 200


def listeners(site: Site) -> list[int]:
    """The database's processes that wait for notifications for this site."""
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN %'"
        return [row[0] for row in connection.execute(query)]


def connections(site: Site, state: str = "TRUE") -> set[int]:
    """The database's processes for this site, of which something holds."""
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        query = f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND {state}"
        return {row[0] for row in connection.execute(query)} - {connection.info.backend_pid}


@pytest.fixture
def watched(site: Site) -> Stream:
    """A stream whose first snapshot was read."""
    wait_for(lambda: listeners(site), what="listening")
    stream = Stream(site.staff("experimenter"))
    first = stream.next()
    assert first is not None
    assert first["votes"] == 0
    return stream


def test_the_first_snapshot_comes_at_once_and_is_that_of_the_api(site: Site) -> None:
    vote(site.subject())
    browser = site.staff("experimenter")
    snapshot = Stream(site.staff("experimenter")).next(SOON)
    assert snapshot == browser.get("/api/studies/small/snapshot").json()
    assert snapshot is not None
    assert [(s["name"], s["voted"], s["total"]) for s in snapshot["subjects"]] == [("S1", 1, 12)]


def test_a_vote_is_on_the_stream_within_a_second_or_so(site: Site, watched: Stream) -> None:
    subject = site.subject()
    for votes in (1, 2, 3):
        trial = next_trials(subject)[0]
        started = time.monotonic()
        assert vote_on(subject, trial).status_code == 200
        snapshot = watched.until(votes, SOON)
        assert time.monotonic() - started < SOON
        assert sum(map(sum, snapshot["counts"])) == votes
        assert snapshot["subjects"][0]["voted"] == votes


def test_many_votes_at_once_are_one_snapshot_or_a_few_and_the_last_has_all(site: Site, watched: Stream) -> None:
    subject = site.subject()
    started = time.monotonic()
    for _ in range(12):
        vote(subject)
    seconds = time.monotonic() - started
    snapshots = [watched.next(SOON)]
    while snapshots[-1] and snapshots[-1]["votes"] < 12:
        snapshots.append(watched.next(SOON))
    # One in 0.4 s at most, and those before and after the votes.
    assert len(snapshots) <= seconds / 0.4 + 2
    assert snapshots[-1]["subjects"][0]["state"] == "complete"


def test_a_change_of_the_study_is_on_the_stream(site: Site, watched: Stream) -> None:
    assert site.staff("admin").patch("/api/studies/small", json={"state": "closed"}).status_code == 200
    snapshot = watched.next(SOON)
    assert snapshot is not None
    assert snapshot["state"] == "closed"


def test_a_stream_shows_the_voters_it_was_asked_for(site: Site, watched: Stream) -> None:
    simulated = Stream(site.staff("experimenter"), "/studies/small/events?voters=simulated")
    assert simulated.next() is not None
    vote(site.subject(simulated=True))
    snapshot = simulated.until(1, SOON)
    assert snapshot["voters"] == "simulated"
    assert snapshot["subjects"][0]["name"] == "simulated-1"
    people = watched.next(SOON)
    assert people is not None
    assert (people["voters"], people["votes"], people["votes_by"]) == ("people", 0, {"people": 0, "simulated": 1})


def test_a_stream_shows_the_votes_on_the_pairs_of_the_group_it_was_asked_for(grouped_site: Site) -> None:
    wait_for(lambda: listeners(grouped_site), what="listening")
    streams = {
        group: Stream(grouped_site.staff("experimenter"), f"/studies/small/events?group={group}")
        for group in ("mad", "random")
    }
    assert all(stream.next() for stream in streams.values())
    subject, random = grouped_site.subject(), grouped.places(grouped_site, "random")
    numbers = dict.fromkeys(streams, 0)
    while not all(numbers.values()):
        trial = next_trials(subject)[0]
        _, *place = grouped_site.shown(trial["id"])
        group = "random" if tuple(place) in random else "mad"
        numbers[group] += 1
        assert vote_on(subject, trial).status_code == 200
        snapshot = streams[group].until(numbers[group], SOON)
        assert (snapshot["group"], snapshot["votes_by_group"]) == (group, numbers)
        assert sum(map(sum, snapshot["counts"])) == numbers[group]


def test_after_signing_out_the_stream_ends_and_shows_no_further_vote(site: Site) -> None:
    browser, subject = site.staff("experimenter"), site.subject()
    stream = Stream(browser)
    assert stream.next() is not None
    with httpx.Client(base_url=site.url, cookies=browser.cookies, trust_env=False, timeout=30) as same_browser:
        assert same_browser.post("/sign-out").status_code == 303
    vote(subject)
    assert [snapshot for snapshot in stream.rest() if snapshot["votes"]] == []


def test_nobody_gets_a_stream_without_signing_in(site: Site) -> None:
    for browser in (site.client(), site.subject()):
        answer = browser.get("/studies/small/events", headers={"Accept": "text/event-stream"})
        assert answer.status_code in (401, 403)
        assert "snapshot" not in answer.text


def test_a_lost_connection_to_the_database_is_made_again_and_votes_go_on_arriving(site: Site, watched: Stream) -> None:
    subject, lost = site.subject(), listeners(site)
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        for pid in lost:
            assert connection.execute("SELECT pg_terminate_backend(%s)", [pid]).fetchone() == (True,)
    vote(subject)  # while nobody listens
    watched.until(1, 10)
    wait_for(lambda: set(listeners(site)) - set(lost), what="listening again")
    vote(subject)
    watched.until(2, SOON)


def test_a_server_that_stops_while_a_snapshot_is_read_leaves_no_connection_behind(site: Site) -> None:
    wait_for(lambda: listeners(site), what="listening")
    watching, server = site.staff("experimenter"), serving_app(site.database_url, site.settings)
    with psycopg.connect(site.database_url) as holding:
        before = connections(site)
        url = server.__enter__()
        wait_for(lambda: len(listeners(site)) == 2, what="listening")
        holding.execute("LOCK TABLE tallies IN ACCESS EXCLUSIVE MODE")
        stream = Stream(watching, f"{url}/studies/small/events?voters=people")
        wait_for(lambda: connections(site, "wait_event_type = 'Lock'"), what="reading")
        server.server.should_exit = True
        assert stream.next() is None  # the server waits no longer for that browser
        holding.rollback()
        server.__exit__()
        wait_for(lambda: connections(site) <= before, seconds=10, what="the end of all connections")
