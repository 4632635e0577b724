"""Many browsers at once: everybody is served, and streams keep nobody out."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx

from app import database
from tests.app.conftest import Site, next_trials, vote_on

CROWD = 3 * database.POOL


def test_more_requests_at_once_than_connections_are_all_answered(site: Site) -> None:
    """Threads that wait for connections, held by requests that wait for threads, once stopped everything."""
    subject = site.subject()
    trials = next_trials(subject, 4)
    cookies = dict(subject.cookies)

    def look(number: int) -> int:
        address = f"{site.url}{trials[number % 4]['left' if number % 2 else 'right']}"
        return httpx.get(address, cookies=cookies, timeout=60, trust_env=False).status_code

    with ThreadPoolExecutor(CROWD) as crowd:
        assert list(crowd.map(look, range(4 * CROWD))) == [200] * 4 * CROWD
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
