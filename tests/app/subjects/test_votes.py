"""Votes over HTTP: stored once, before they are acknowledged, with their counters; nothing else is stored."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import select, text

from app import verification
from app.models import Subject, Tally, Trial, Vote
from tests.app import seats
from tests.app.conftest import Site, next_trials, vote_on, wait_for
from tests.app.subjects.test_trials import at_once

GOOD: dict[str, Any] = {"choice": "left", **seats.MADE}


def votes(site: Site) -> list[Vote]:
    with site.sessions() as db:
        return list(db.scalars(select(Vote).order_by(Vote.id)))


def wins(site: Site) -> int:
    with site.sessions() as db:
        return sum(tally.wins_first + tally.wins_second for tally in db.scalars(select(Tally)))


def tabs(site: Site, subject: httpx.Client, number: int) -> list[httpx.Client]:
    """More windows of a subject's browser."""
    made = [site.client() for _ in range(number)]
    for tab in made:
        tab.cookies.update(subject.cookies)
    return made


def put(client: httpx.Client, trial: dict[str, Any], body: bytes) -> httpx.Response:
    return client.put(
        f"/api/subject/trials/{trial['id']}/vote", content=body, headers={"Content-Type": "application/json"}
    )


def test_a_vote_sent_twice_counts_once(site: Site) -> None:
    subject = site.subject()
    trial = next_trials(subject)[0]
    first, second, other = (vote_on(subject, trial, choice) for choice in ("left", "left", "right"))
    assert first.status_code == second.status_code == other.status_code == 200
    expected = {"trial": trial["id"], "revision": 1, "choice": "left", "stale": False, "voted": 1, "total": 12}
    assert first.json() == second.json() == expected | {"finished": False}
    # Of another choice it is said that it came too late.
    assert other.json() == first.json() | {"stale": True}


def test_what_was_sent_is_what_is_stored(site: Site) -> None:
    subject = site.subject()
    trial = next_trials(subject)[0]
    facts = {
        "response_ms": 1234.0625,
        "input": "click",
        "device_pixel_ratio": 1.5,
        "window_width": 1280,
        "window_height": 800,
        "screen_width": 2560,
        "screen_height": 1600,
        "hidden": True,
    }
    assert vote_on(subject, trial, "right", **facts).status_code == 200
    (vote,) = votes(site)
    assert str(vote.trial_id) == trial["id"]
    assert vote.choice == "right"
    assert {name: getattr(vote, name) for name in facts} == facts
    with site.sessions() as db:
        assert db.scalars(select(Subject)).one().last_vote_at == vote.received_at


def test_one_vote_sent_from_many_threads_at_once_counts_once(site: Site) -> None:
    subject = site.subject()
    trial = next_trials(subject)[0]
    answers = at_once(lambda tab=tab: vote_on(tab, trial, "right") for tab in tabs(site, subject, 12))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.text for answer in answers} == {answers[0].text}
    expected = {"trial": trial["id"], "revision": 1, "choice": "right", "stale": False, "voted": 1, "total": 12}
    assert answers[0].json() == expected | {"finished": False}
    assert (len(votes(site)), wins(site)) == (1, 1)


def test_choices_that_race_end_in_one_choice_and_everybody_is_told_that_one(site: Site) -> None:
    subject = site.subject()
    choices = {}
    for trial in next_trials(subject, 4):
        windows = tabs(site, subject, 6)
        answers = at_once(
            lambda tab=tab, side=side, trial=trial: vote_on(tab, trial, side).json()["choice"]
            for tab, side in zip(windows, ["left", "right"] * 3, strict=True)
        )
        assert len(set(answers)) == 1
        choices[trial["id"]] = answers[0]
    assert {str(vote.trial_id): vote.choice for vote in votes(site)} == choices
    assert wins(site) == 4
    with site.sessions() as db:
        assert verification.problems(db) == []
        assert db.scalars(select(Subject.voted)).one() == 4


def test_votes_on_several_trials_at_once_are_all_counted(site: Site) -> None:
    subject = site.subject()
    trials = next_trials(subject, 8)
    answers = at_once(
        lambda tab=tab, trial=trial: vote_on(tab, trial).json()["voted"]
        for tab, trial in zip(tabs(site, subject, 8), trials, strict=True)
    )
    assert max(answers) == 8
    assert (len(votes(site)), wins(site)) == (8, 8)
    with site.sessions() as db:
        assert verification.problems(db) == []


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("choice", {"choice": "both"}),
    ("choice", {"choice": "LEFT"}),
    ("choice", {"choice": ""}),
    ("choice", {"choice": 1}),
    ("choice", {"choice": "left" * 100_000}),
    ("input", {"input": "mouse"}),
    ("response_ms", {"response_ms": -0.001}),
    ("response_ms", {"response_ms": math.nan}),
    ("response_ms", {"response_ms": math.inf}),
    ("response_ms", {"response_ms": 10**400}),
    ("response_ms", {"response_ms": "soon"}),
    ("device_pixel_ratio", {"device_pixel_ratio": 0}),
    ("device_pixel_ratio", {"device_pixel_ratio": -1}),
    ("device_pixel_ratio", {"device_pixel_ratio": math.nan}),
    ("device_pixel_ratio", {"device_pixel_ratio": 101}),
    *(
        (name, {name: value})
        for name in ("window_width", "window_height", "screen_width", "screen_height")
        for value in (-1, 100_001, 10**30, 0.5)
    ),
    ("hidden", {"hidden": "perhaps"}),
    *(("revision", {"revision": value}) for value in (0, -1, 10_001, 1.5, None, "first")),
    *(("left_sha256", {"left_sha256": value}) for value in ("", "x" * 64, "A" * 64, "0" * 63, 7)),
    ("right_sha256", {"right_sha256": "0" * 65}),
    ("painted_at", {"painted_at": "yesterday"}),
    ("client", {"client": "me"}),
    ("events", {"events": "flip"}),
    ("events", {"events": [{}] * 501}),
    ("events.0", {"events": ["flip"]}),
]


def test_a_wrong_field_is_named_in_one_sentence_and_nothing_is_stored(site: Site) -> None:
    subject = site.subject()
    trial = next_trials(subject)[0]
    for field, change in WRONG:
        answer = put(subject, trial, json.dumps(GOOD | change).encode())
        assert answer.status_code == 422, change
        detail = answer.json()["detail"]
        assert detail.startswith(f"{field}: "), detail
        assert ", got " in detail
        assert len(detail) < 200
        assert ";" not in detail
    assert (votes(site), wins(site)) == ([], 0)
    assert vote_on(subject, trial).json()["voted"] == 1


def test_a_missing_field_is_named_and_nothing_is_stored(site: Site) -> None:
    subject = site.subject()
    trial = next_trials(subject)[0]
    for field in GOOD:
        for lacking in ({k: v for k, v in GOOD.items() if k != field}, GOOD | {field: None}):
            if "choice" in lacking and lacking["choice"] is None:
                continue  # which takes a vote back
            answer = put(subject, trial, json.dumps(lacking).encode())
            assert (answer.status_code, answer.json()["detail"]) == (422, f"{field}: missing")
    assert votes(site) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_a_number_is_refused_by_the_sentence_too(site: Site, value: float) -> None:
    """Python reads and writes NaN in JSON, browsers do neither: what is answered must be JSON."""
    subject = site.subject()
    trial = next_trials(subject)[0]
    answer = put(subject, trial, json.dumps(GOOD | {"response_ms": value}).encode())
    assert json.loads(answer.text, parse_constant=pytest.fail)["detail"].startswith("response_ms: ")


def test_what_is_no_json_object_is_refused_clearly(site: Site) -> None:
    subject = site.subject()
    trial = next_trials(subject)[0]
    for body, status in ((b"", 422), (b"{", 422), (b"[]", 422), (b"null", 422), (b'"x"', 422), (b"\xff", 400)):
        answer = put(subject, trial, body)
        assert answer.status_code == status, body
        assert "body" in answer.json()["detail"]
    answer = subject.put("/api/subject/trials/7/vote", json=GOOD)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("trial: ")
    assert votes(site) == []


def test_a_vote_is_there_for_everybody_before_it_is_acknowledged(site: Site) -> None:
    subject = site.subject()
    with psycopg.connect(site.database_url, autocommit=True) as elsewhere:
        for number, trial in enumerate(next_trials(subject, 5), 1):
            assert vote_on(subject, trial).status_code == 200
            assert elsewhere.execute("SELECT count(*) FROM votes").fetchone() == (number,)
            assert elsewhere.execute("SELECT voted FROM subjects").fetchone() == (number,)
            assert elsewhere.execute("SELECT sum(wins_first + wins_second) FROM tallies").fetchone() == (number,)


REFUSE_AT_COMMIT = """
CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$;
CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT ON votes DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse_commit();
"""


def test_a_vote_whose_commit_fails_is_not_acknowledged_and_can_be_sent_again(site: Site) -> None:
    subject = site.subject()
    trial = next_trials(subject)[0]
    with site.sessions.begin() as db:
        db.execute(text(REFUSE_AT_COMMIT))
    answer = vote_on(subject, trial)
    assert answer.status_code == 500
    assert "disk" not in answer.text
    assert (votes(site), wins(site)) == ([], 0)
    with site.sessions.begin() as db:
        db.execute(text("DROP TRIGGER refuse_commit ON votes"))
    (again,) = tabs(site, subject, 1)
    assert vote_on(again, trial).json()["voted"] == 1
    assert (len(votes(site)), wins(site)) == (1, 1)


def test_a_vote_after_the_database_dropped_every_connection_is_stored(site: Site) -> None:
    subject = site.subject()
    first, second = next_trials(subject, 2)
    assert vote_on(subject, first).status_code == 200
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert vote_on(subject, second).json()["voted"] == 2
    assert (len(votes(site)), wins(site)) == (2, 2)


def test_a_vote_that_waits_for_a_lock_is_acknowledged_only_when_it_is_stored(site: Site) -> None:
    """Somebody else holds the pair's counters: the answer comes after they let go, and not before."""
    subject = site.subject()
    trial = next_trials(subject)[0]
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(site.database_url) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("SELECT 1 FROM tallies FOR UPDATE")
        answer = pool.submit(vote_on, subject, trial)
        with psycopg.connect(site.database_url, autocommit=True) as watcher:
            wait_for(lambda: answer.done() or watcher.execute(waiting).fetchone(), what="waiting for the lock")
            assert not answer.done()
            assert watcher.execute("SELECT count(*) FROM votes").fetchone() == (0,)
        holder.rollback()
        assert answer.result().status_code == 200
    assert len(votes(site)) == 1


def test_a_trial_of_a_simulated_subject_counts_for_simulated_subjects_only(site: Site) -> None:
    subject = site.subject(simulated=True)
    vote_on(subject, next_trials(subject)[0])
    with site.sessions() as db:
        trial = db.scalars(select(Trial).join(Vote)).one()
        counted = {
            tally.simulated: tally.wins_first + tally.wins_second
            for tally in db.scalars(select(Tally).where(Tally.pair_id == trial.pair_id))
        }
    assert counted == {False: 0, True: 1}


def test_a_broken_rule_of_the_database_is_a_fault_of_the_server_and_the_page_keeps_the_vote(site: Site) -> None:
    """Not a refusal: the page sends a vote again after a 5xx, and gives up on a 4xx."""
    with site.sessions.begin() as db:
        db.execute(text("ALTER TABLE tallies ADD CONSTRAINT no_votes CHECK (wins_first + wins_second = 0)"))
    subject = site.subject()
    (trial,) = next_trials(subject)
    assert vote_on(subject, trial).status_code == 500
    with site.sessions.begin() as db:
        db.execute(text("ALTER TABLE tallies DROP CONSTRAINT no_votes"))
    again = site.client()  # the server closes the connection on which it failed
    again.cookies.update(subject.cookies)
    assert vote_on(again, trial).json()["voted"] == 1
