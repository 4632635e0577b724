"""Votes over HTTP: stored once, with their counters."""

from tests.app.conftest import Site, next_trials, vote_on


def test_a_vote_sent_twice_counts_once(site: Site) -> None:
    subject = site.subject()
    trial = next_trials(subject)[0]
    first, second = vote_on(subject, trial, "left"), vote_on(subject, trial, "right")
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert first.json()["choice"] == "left"
    assert first.json()["voted"] == 1
