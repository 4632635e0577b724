"""Many browsers at once: everybody is served, and streams keep nobody out."""

import socket
from contextlib import ExitStack

import httpx

from app import database
from tests.app.conftest import Site, next_trials, vote_on

CROWD = 6 * database.POOL


def test_more_requests_at_once_than_connections_are_all_answered(site: Site) -> None:
    """Threads that wait for connections, held by requests that wait for threads, once stopped everything."""
    subject = site.subject()
    trials = next_trials(subject, 4)
    header = "; ".join(f"{name}={value}" for name, value in subject.cookies.items())
    host, port = site.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection((host, int(port)), timeout=60)) for _ in range(CROWD)]
        for number, connection in enumerate(crowd):
            path = trials[number % 4]["left" if number % 2 else "right"]
            request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {header}\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
        answers = [connection.makefile("rb").readline() for connection in crowd]
    assert answers == [b"HTTP/1.1 200 OK\r\n"] * CROWD
    assert vote_on(subject, trials[0]).status_code == 200


def test_watching_browsers_take_no_room_from_voting_ones(site: Site) -> None:
    watcher = site.staff("experimenter")
    with ExitStack() as streams:
        for _ in range(database.POOL + 5):
            client = streams.enter_context(
                httpx.Client(base_url=site.url, cookies=dict(watcher.cookies), timeout=60, trust_env=False)
            )
            stream = streams.enter_context(client.stream("GET", "/studies/small/events"))
            assert next(stream.iter_lines()) == "event: snapshot"
        subject = site.subject()
        assert vote_on(subject, next_trials(subject)[0]).status_code == 200


def test_a_body_that_no_page_sends_is_refused_before_it_is_read(site: Site) -> None:
    answer = site.client().put("/api/subject/trials/x/vote", content=b"x" * (2 << 20))
    assert answer.status_code == 413


def test_slow_senders_keep_nobody_out(site: Site) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    head = f"PUT /api/subject/trials/x/vote HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100\r\n\r\n{{"
    with ExitStack() as stack:
        for _ in range(database.REQUESTS + 5):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            connection.sendall(head.encode())
        subject = site.subject()
        assert vote_on(subject, next_trials(subject)[0]).status_code == 200
