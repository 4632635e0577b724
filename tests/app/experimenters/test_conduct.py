"""What experimenters see of how subjects vote, and all rows of the log: flags, trials that do not count, undos."""

import csv
import io
from typing import Any

import httpx
import pytest

from app.admins import rankings
from app.experimenters import tallies
from app.models import Trial
from app.studies import find
from pipelines.ranking.counts import number_of_votes
from tests.app import seats
from tests.app.conftest import Site

API = "/api/studies/small"
KINDS = ("training", "warm_up", "test", "test", "test", "gold", "gold", "identical", "identical", "repeat", "repeat")
NOTHING = {
    "sitting": 0, "blocks": 0, "fast": 0, "hidden": 0, "pixels_different": 0, "pixels_unverifiable": 0, "gold": 0,
    "gold_right": 0, "identical": 0, "identical_left": 0, "repeats": 0, "repeats_agreeing": 0,
}  # fmt: skip


def seat(site: Site, kinds: Any = KINDS, **settings: Any) -> list[Trial]:
    with site.sessions.begin() as db:
        return seats.trials(db, seats.take(db, kinds, not_sure=True, **settings))


def cast(site: Site, trial: Trial, choice: str | None = "left", revision: int = 1, **facts: Any) -> None:
    with site.sessions.begin() as db:
        seats.cast(db, trial, choice, revision, **facts)


def vote_on_everything(site: Site) -> list[Trial]:
    """One right of two gold trials, one left of two identical ones, one repeat agrees; the third test is not sure."""
    trials = seat(site)
    training, warm_up, one, two, three, gold, wrong, same, same_again, repeat, other = trials
    for trial, choice in (
        (training, seats.side(training)), (warm_up, "left"), (one, seats.side(one)), (two, seats.side(two)),
        (three, "not_sure"), (gold, seats.side(gold)), (wrong, seats.side(wrong, first=False)), (same, "left"),
        (same_again, "right"), (repeat, seats.side(repeat)), (other, seats.side(other, first=False)),
    ):  # fmt: skip
        cast(site, trial, choice)
    return trials


def read(browser: httpx.Client, what: str = "snapshot", **asked: str) -> dict[str, Any]:
    answer = browser.get(f"{API}/{what}", params=asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def log(browser: httpx.Client, **asked: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(browser.get(f"{API}/votes.csv", params=asked).text)))


def shown(browser: httpx.Client) -> dict[str, Any]:
    (subject,) = read(browser, voters="people")["subjects"]
    return {name: subject[name] for name in NOTHING}


@pytest.fixture
def browser(site: Site) -> httpx.Client:
    return site.staff("experimenter")


def test_who_has_not_voted_has_nothing_to_show(site: Site, browser: httpx.Client) -> None:
    trials = seat(site)
    assert shown(browser) == NOTHING | {"sitting": 1}
    cast(site, trials[2])
    cast(site, trials[2], None, 2)
    assert shown(browser) == NOTHING | {"sitting": 1}


def test_conduct_is_of_the_votes_that_stand(site: Site, browser: httpx.Client) -> None:
    trials = vote_on_everything(site)
    expected = NOTHING | {"sitting": 1, "blocks": 1, "pixels_unverifiable": 11, "gold": 2, "gold_right": 1}
    expected |= {"identical": 2, "identical_left": 1, "repeats": 2, "repeats_agreeing": 1}
    assert shown(browser) == expected
    # The last vote is taken back, and cast again in another way.
    cast(site, trials[-1], None, 2)
    less = {"blocks": 0, "repeats": 1, "pixels_unverifiable": 10}
    assert shown(browser) == expected | less
    cast(site, trials[-1], seats.side(trials[-1]), 3, response_ms=10.0, hidden=True, left_sha256="0" * 64)
    more = {"fast": 1, "hidden": 1, "pixels_different": 1, "pixels_unverifiable": 10, "repeats_agreeing": 2}
    assert shown(browser) == expected | more


def test_a_repeat_of_an_undecided_answer_agrees_where_it_is_undecided_too(site: Site, browser: httpx.Client) -> None:
    first, second, again, other = seat(site, ("test", "test", "repeat", "repeat"))
    for trial, choice in ((first, "not_sure"), (second, "not_sure"), (again, "not_sure"), (other, "left")):
        cast(site, trial, choice)
    assert (shown(browser)["repeats"], shown(browser)["repeats_agreeing"]) == (2, 1)


def test_the_page_shows_what_there_is_and_no_empty_columns(site: Site, browser: httpx.Client) -> None:
    headings = {
        name: f'title="{title}'
        for name, title in {
            "gold": "trials with an obvious",
            "left": "one image shown",
            "flags": "votes to look",
        }.items()
    }

    def hidden(name: str) -> bool:
        page = browser.get("/studies/small?voters=people").text
        assert headings[name] in page
        return f"hidden {headings[name]}" in page

    seat(site)
    assert [hidden(name) for name in headings] == [True] * 3
    vote_on_everything(site)
    assert [hidden(name) for name in headings] == [False] * 3
    page = " ".join(browser.get("/studies/small?voters=people").text.split())
    assert "1 / 2" in page
    assert "11 unverified" in page


def test_only_votes_that_stand_on_trials_that_count_are_counted(site: Site, browser: httpx.Client) -> None:
    trials = vote_on_everything(site)
    assert len(log(browser)) == 2
    matrix = read(browser, "matrix", voters="people")
    assert (sum(map(sum, matrix["counts"])), matrix["votes"], matrix["not_sure"]) == (2, 2, 1)
    assert matrix["votes_by"] == {"people": 2, "simulated": 0}
    assert matrix["votes_by_group"] == {"mad": 2}
    snapshot = read(browser, voters="people")
    assert (snapshot["votes"], snapshot["ranking_votes"], snapshot["not_sure"]) == (2, 2, 1)
    assert (snapshot["votes_per_minute"], snapshot["pairs_without_votes"]) == (0.6, 9)
    newest = next(row for row in log(browser, rows="all") if row["trial"] == str(trials[4].id))
    assert snapshot["last_vote_at"] == newest["received_at"]


def test_answers_that_name_neither_are_mentioned_where_a_study_has_any(site: Site, browser: httpx.Client) -> None:
    one, other = seat(site, ("test", "test"))
    cast(site, one)
    sentence = '<p class="small quiet" data-not-sure{}>Answers that name neither image'
    assert sentence.format(" hidden") in browser.get("/studies/small?voters=people").text
    cast(site, other, "not_sure")
    assert sentence.format("") in browser.get("/studies/small?voters=people").text


def test_a_ranking_is_of_the_votes_that_stood_at_its_time(site: Site, browser: httpx.Client) -> None:
    first, second, third = seat(site, ("test",) * 3)
    cast(site, first)
    cast(site, second, "not_sure")
    with site.sessions.begin() as db:
        made = rankings.fit(db, find(db, "small"), voters="people", ridge=0.1, created_by="ada")
        last = made.last_vote_id
    cast(site, second, "left", 2)
    cast(site, third)
    cast(site, third, None, 2)
    with site.sessions() as db:
        study = find(db, "small")
        then, now = (tallies.votes(db, study, "people", up_to=limit) for limit in (last, None))
        assert then is not None
        assert now is not None
        assert (number_of_votes(then), number_of_votes(now)) == (made.votes, 2) == (1, 2)
        assert tallies.number_not_sure(db, study, "people", up_to=last) == 1
        assert tallies.number_not_sure(db, study, "people") == 0
    page = browser.get(f"/studies/small/rankings/{made.id}").text
    assert "kept and counted apart; the fit leaves them out" in page
    assert read(browser, f"rankings/{made.id}")["last_vote_id"] == last


def test_all_rows_of_the_log_are_there_for_whoever_asks(site: Site, browser: httpx.Client) -> None:
    trials = vote_on_everything(site)
    cast(site, trials[-1], None, 2)
    rows = log(browser, rows="all")
    assert [row["kind"] for row in rows] == [*KINDS, "repeat"]
    assert [row["revision"] for row in rows[-2:]] == ["1", "2"]
    assert [row["stands"] for row in rows] == ["true"] * 10 + ["false"] * 2
    for row, trial in zip(rows, [*trials, trials[-1]], strict=True):
        assert row["trial"] == str(trial.id)
        compared = trial.kind in ("test", "repeat")
        assert bool(row["left"] and row["right"] and row["group"]) == compared
        assert bool(row["winner"] and row["loser"]) == (compared and row["choice"] in ("left", "right"))
        assert row["better"] == (seats.side(trial) if trial.kind in ("training", "gold") else "")
    undone = rows[-1]
    assert (undone["choice"], undone["response_ms"], undone["hidden"], undone["events"]) == ("", "", "", "[]")


def test_the_log_has_all_that_is_known_of_a_vote(site: Site, browser: httpx.Client) -> None:
    (trial,) = seat(site, ("test",))
    client, painted = "6f1c4b0e-52d6-4bd8-8d54-8a1f7e3c2a11", "2026-03-01T12:30:15.250000+00:00"
    events = [{"ms": 5, "event": "flip"}]
    cast(site, trial, hidden=True, response_ms=1.0, events=events, client=client, painted_at=painted)
    (row,) = log(browser)
    facts = {"flags": "fast hidden", "events": '[{"ms": 5, "event": "flip"}]', "client": client, "block": "2"}
    facts |= {"sitting": "1", "pixels": "unverifiable", "painted_at": painted, "revision": "1"}
    assert {name: row[name] for name in facts} == facts
    assert "kind" not in row


def test_the_log_of_all_rows_has_a_name_of_its_own(browser: httpx.Client) -> None:
    for asked, name in (({}, "small-votes"), ({"rows": "all", "voters": "people"}, "small-votes-people-all")):
        header = browser.get(f"{API}/votes.csv", params=asked).headers["content-disposition"]
        assert header == f'attachment; filename="{name}.csv"'
    assert browser.get(f"{API}/votes.csv", params={"rows": "some"}).status_code == 422
