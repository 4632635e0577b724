"""Groups of pairs: what experimenters see of the votes on each of them, apart and together."""

import io
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from app.experimenters import tallies
from app.studies import find
from pipelines.ranking import stage, tables
from pipelines.ranking.counts import of_group
from tests.app import grouped
from tests.app.conftest import Site, next_trials, vote_on

API = "/api/studies/small"
METHODS = ["nearest", "bicubic", "sharp"]


@pytest.fixture
def voted(grouped_site: Site) -> Site:
    """Three people have voted on everything, and a simulated subject on some of it."""
    grouped.panel_votes(grouped_site)
    subject = grouped_site.subject(simulated=True)
    for trial in next_trials(subject, 7):
        assert vote_on(subject, trial).status_code == 200
    return grouped_site


@pytest.fixture
def browser(voted: Site) -> httpx.Client:
    return voted.staff("experimenter")


def read(browser: httpx.Client, what: str, **asked: str) -> dict[str, Any]:
    answer = browser.get(f"{API}/{what}".rstrip("/"), params=asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def log(browser: httpx.Client) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(browser.get(f"{API}/votes.csv").text))


def counted(table: pd.DataFrame) -> list[list[int]]:
    counts = pd.crosstab(table["winner"], table["loser"]).reindex(index=METHODS, columns=METHODS, fill_value=0)
    return counts.to_numpy().tolist()


def test_the_matrix_of_a_group_is_what_the_log_counts_to_on_its_pairs(voted: Site, browser: httpx.Client) -> None:
    everything = log(browser)
    assert len(everything) == 61
    for row in everything.itertuples():
        place = (row.image, *sorted((METHODS.index(row.winner), METHODS.index(row.loser))))
        assert place in grouped.places(voted, row.group)
    for simulated, voters in ((False, "people"), (True, "simulated")):
        of_voters = everything[everything["simulated"] == simulated]
        numbers = of_voters["group"].value_counts().to_dict()
        for group in ("mad", "random"):
            shown = read(browser, "matrix", voters=voters, group=group)
            assert shown["counts"] == counted(of_voters[of_voters["group"] == group])
            assert (shown["group"], shown["votes"]) == (group, numbers.get(group, 0))
            assert shown["votes_by"][voters] == shown["votes"]
            assert shown["votes_by_group"] == {name: numbers.get(name, 0) for name in ("mad", "random")}
        whole = read(browser, "matrix", voters=voters)
        assert whole["counts"] == counted(of_voters)
        assert (whole["group"], whole["votes"]) == (None, len(of_voters))
        assert whole["votes_by_group"] == shown["votes_by_group"]


def test_the_default_voters_do_not_depend_on_the_group(grouped_site: Site) -> None:
    """People who have voted on pairs of one group are shown for the other one, too."""
    person = grouped_site.subject()
    (trial,) = next_trials(person)
    assert vote_on(person, trial).status_code == 200
    grouped_site.vote_all(lambda *_: True, simulated=True)
    _, *place = grouped_site.shown(trial["id"])
    other = "mad" if tuple(place) in grouped.places(grouped_site, "random") else "random"
    shown = read(grouped_site.staff("experimenter"), "matrix", group=other)
    assert (shown["voters"], shown["votes"]) == ("people", 0)


def test_the_snapshot_of_a_group_is_of_its_pairs_and_votes_alone(voted: Site, browser: httpx.Client) -> None:
    table = log(browser)
    people = table[~table["simulated"]]
    for group, pairs, votes in (("mad", 12, 36), ("random", 6, 18)):
        snapshot = read(browser, "snapshot", voters="people", group=group)
        assert (snapshot["group"], snapshot["pairs"], snapshot["pairs_without_votes"]) == (group, pairs, 0)
        assert (snapshot["votes"], snapshot["ranking_votes"], snapshot["votes_per_minute"]) == (votes, votes, votes / 5)
        newest = people[people["group"] == group]["received_at"].max()
        assert pd.Timestamp(snapshot["last_vote_at"]) == pd.Timestamp(newest)
        # Subjects are asked about the pairs of all groups.
        assert [(subject["voted"], subject["total"]) for subject in snapshot["subjects"]] == [(18, 18)] * 3
    whole = read(browser, "snapshot", voters="people")
    assert (whole["group"], whole["pairs"], whole["votes"]) == (None, 18, 54)
    assert pd.Timestamp(whole["last_vote_at"]) == pd.Timestamp(people["received_at"].max())


def test_the_current_ranking_of_a_group_is_that_of_its_votes_in_the_exported_log(
    browser: httpx.Client, tmp_path: Path
) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(browser.get(f"{API}/votes.csv?voters=people").text)
    votes = tables.read(path)
    orders = {}
    for group in ("mad", "random"):
        shown = read(browser, "snapshot", voters="people", group=group)["ranking"]
        expected = stage.rank(votes, group=group).as_dict()
        orders[group] = [row["method"] for row in shown["methods"]]
        assert orders[group] == [row["method"] for row in expected["methods"]]
        scores = [row["score"] for row in expected["methods"]]
        assert [row["score"] for row in shown["methods"]] == pytest.approx(scores, abs=1e-7)
        assert (shown["group"], shown["votes_by_group"]) == (group, {group: expected["votes"]})
    assert orders["mad"] == orders["random"][::-1] == METHODS
    whole = read(browser, "snapshot", voters="people")["ranking"]
    assert (whole["group"], whole["votes_by_group"]) == (None, {"mad": 36, "random": 18})


def test_the_stored_votes_know_their_groups(voted: Site) -> None:
    with voted.sessions() as db:
        study = find(db, "small")
        everything, random = (tallies.votes(db, study, "people", group=group) for group in (None, "random"))
    assert everything is not None
    assert random is not None
    part = of_group(everything, "random")
    assert random.groups == everything.groups == ("mad", "random")
    for column in ("winner", "loser", "group"):
        assert getattr(random, column).tolist() == getattr(part, column).tolist()
    for votes in (random, part):
        assert votes.images is not None
        assert votes.image is not None
        assert {votes.images[index] for index in votes.image} == {stem for stem, *_ in grouped.places(voted, "random")}


def test_a_group_without_votes_says_so(grouped_site: Site) -> None:
    snapshot = read(grouped_site.staff("experimenter"), "snapshot", group="random")
    assert (snapshot["votes"], snapshot["ranking"], snapshot["last_vote_at"]) == (0, None, None)
    assert snapshot["ranking_problem"] == "Nobody has voted on the pairs of group random yet."


@pytest.mark.parametrize(
    "path",
    [
        f"{API}/matrix",
        f"{API}/snapshot",
        "/studies/small",
        "/studies/small/events",
        "/studies/small/pairs?first=sharp&second=nearest",
    ],
)
def test_an_unknown_group_is_refused_with_the_groups_that_there_are(grouped_site: Site, path: str) -> None:
    browser = grouped_site.staff("experimenter")
    for group in ("mid", ""):
        answer = browser.get(
            f"{path}{'&' if '?' in path else '?'}group={group}", headers={"Accept": "application/json"}
        )
        assert answer.status_code == 404
        assert answer.json() == {"detail": f"study 'small' has no group {group!r} of pairs; its groups: mad, random"}


def test_the_live_page_offers_groups_where_there_are_several(voted: Site, browser: httpx.Client) -> None:
    assert read(browser, "")["groups"] == ["mad", "random"]
    page = browser.get("/studies/small?voters=people&group=random").text
    for address in ("?voters=people", "?voters=people&amp;group=mad", "?voters=simulated&amp;group=random"):
        assert f'href="{address}"' in page
    assert '<a href="?voters=people&amp;group=random" aria-current="true">random <span data-votes-of-group' in page
    assert 'data-events="/studies/small/events?voters=people&amp;group=random"' in page
    assert 'href="/studies/small/pairs?voters=people&amp;group=random&amp;first=nearest&amp;second=bicubic"' in page
    assert 'href="/api/studies/small/matrix?voters=people&amp;group=random"' in page


def test_a_study_with_one_group_shows_no_choice(site: Site) -> None:
    browser = site.staff("experimenter")
    assert read(browser, "")["groups"] == ["mad"]
    for page in ("/studies/small", "/studies/small/pairs?first=sharp&second=nearest"):
        assert "group=" not in browser.get(page).text


def test_a_cell_shows_its_pairs_by_group_and_rank_or_those_of_one_group(voted: Site, browser: httpx.Client) -> None:
    asked = {"first": "sharp", "second": "nearest", "voters": "people"}
    with voted.sessions() as db:
        cell = tallies.cell(db, find(db, "small"), 2, 0, "people")
    assert [(row["group"], row["rank"]) for row in cell] == [
        *(("mad", rank) for rank in range(1, 5)),
        *(("random", rank) for rank in range(1, 3)),
    ]
    page = browser.get("/studies/small/pairs", params=asked).text
    places = [page.index(f"<b>{row['rank']}. {row['stem']}</b>") for row in cell]
    assert places == sorted(places)
    assert "of 18 votes" in page
    assert "on 6 pairs" in page
    random = browser.get("/studies/small/pairs", params=asked | {"group": "random"}).text
    assert random.count("<figure>") == 2
    assert "sharp was preferred in 4 of 6 votes (67 %) on 2 random pairs" in " ".join(random.split())
    assert 'href="?voters=people&amp;group=random&amp;first=nearest&amp;second=sharp"' in random
