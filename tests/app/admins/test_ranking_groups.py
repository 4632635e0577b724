"""Rankings of one group of pairs: fitted on its votes alone, marked as such, and calibrated with on the same votes."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.admins import calibrations
from app.models import Calibration, Ranking
from app.store import Store
from pipelines.ranking import stage, tables
from tests.app import grouped
from tests.app.conftest import Site

RANKINGS = "/api/studies/small/rankings"


@pytest.fixture
def voted(grouped_site: Site) -> Site:
    grouped.panel_votes(grouped_site)
    return grouped_site


@pytest.fixture
def admin(voted: Site) -> httpx.Client:
    return voted.staff("admin")


def fit(admin: httpx.Client, **wanted: Any) -> dict[str, Any]:
    answer = admin.post(RANKINGS, json=wanted)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_fit_of_a_group_is_what_the_command_line_finds_in_its_votes(admin: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text(admin.get("/api/studies/small/votes.csv").text)
    votes = tables.read(tmp_path / "votes.csv")
    orders = {}
    for group, number in (("mad", 36), ("random", 18), (None, 54)):
        made = fit(admin, group=group, level=0.8)
        assert (made["group"], made["votes"]) == (group, number)
        expected = stage.rank(votes, group=group, level=0.8).as_dict()
        orders[group] = [row["method"] for row in made["result"]["methods"]]
        for row, wanted in zip(made["result"]["methods"], expected["methods"], strict=True):
            assert row == pytest.approx(wanted, abs=1e-7)
        for key in ("group", "votes_by_group", "votes", "clusters", "simulated"):
            assert made["result"][key] == expected[key], key
    assert orders["mad"] == orders["random"][::-1]
    assert [row["group"] for row in admin.get(RANKINGS).json()] == [None, "random", "mad"]


def test_without_a_group_all_votes_are_ranked(voted: Site, admin: httpx.Client) -> None:
    made = fit(admin)
    assert (made["group"], made["result"]["votes_by_group"]) == (None, {"mad": 36, "random": 18})
    with voted.sessions() as db:
        assert db.get_one(Ranking, made["id"]).group is None


@pytest.mark.parametrize("group", ["mid", ""])
def test_an_unknown_group_is_refused_with_the_groups_that_there_are(voted: Site, group: str) -> None:
    answer = voted.staff("admin").post(RANKINGS, json={"group": group})
    assert answer.status_code == 404
    assert answer.json() == {"detail": f"study 'small' has no group {group!r} of pairs; its groups: mad, random"}
    with voted.sessions() as db:
        assert db.scalars(select(Ranking)).all() == []


def test_a_group_that_nobody_has_voted_on_is_refused(grouped_site: Site) -> None:
    answer = grouped_site.staff("admin").post(RANKINGS, json={"group": "random"})
    assert answer.status_code == 409
    detail = "small: people have not voted on pairs of group 'random' yet; collect votes first"
    assert answer.json() == {"detail": detail}


def test_pages_say_which_group_a_ranking_is_of(admin: httpx.Client) -> None:
    of_random, of_all = fit(admin, group="random"), fit(admin)
    page = admin.get("/studies/small/manage").text
    assert '<select name="group">' in page
    assert "<td>random</td>" in page
    assert "<td>all groups</td>" in page
    page = admin.get(f"/studies/small/rankings/{of_random['id']}").text
    assert "from 18 votes on random pairs." in page
    assert "<dd>random</dd>" in page
    assert 'href="/studies/small?voters=people&amp;group=random"' in page
    page = admin.get(f"/studies/small/rankings/{of_all['id']}").text
    assert "from 54 votes." in page
    assert "<dd>all groups</dd>" in page
    assert "36 on mad, 18 on random pairs" in page


def test_with_a_single_group_nothing_is_said_of_groups(site: Site) -> None:
    site.panel_votes()
    admin = site.staff("admin")
    made = fit(admin)
    assert (made["group"], made["result"]["votes_by_group"]) == (None, {"mad": 36})
    for page in ("/studies/small/manage", f"/studies/small/rankings/{made['id']}"):
        assert "group" not in admin.get(page).text


def test_a_ranking_of_before_there_were_groups_is_shown(voted: Site, admin: httpx.Client) -> None:
    made = fit(admin)
    with voted.sessions.begin() as db:
        row = db.get_one(Ranking, made["id"])
        row.result = {key: value for key, value in row.result.items() if key not in ("group", "votes_by_group")}
    page = admin.get(f"/studies/small/rankings/{made['id']}")
    assert page.status_code == 200
    assert "<dd>54</dd>" in page.text


def test_a_calibration_learns_from_and_is_scored_on_the_votes_of_its_rankings_group(
    voted: Site, admin: httpx.Client
) -> None:
    made = fit(admin, group="mad")
    # Later votes belong to no ranking that there is.
    voted.vote_all(lambda *_: True)
    answer = admin.post("/api/studies/small/calibrations", json={"ranking": made["id"]})
    assert answer.status_code == 201, answer.text
    launched = answer.json()
    assert launched["group"] == "mad"
    with voted.sessions.begin() as db:
        job = db.get_one(Calibration, launched["id"]).job
        job.status, job.attempt = "running", 1
    calibrations.run(voted.sessions, Store(voted.settings.store_url), job.id, 1)
    done = admin.get(f"/api/studies/small/calibrations/{launched['id']}").json()
    assert done["status"] == "succeeded"
    figures = done["result"]["two_afc"]
    assert (figures["votes"], figures["pairs"]) == (36, 12)
    # Two of three votes on each pair are for the method that is ranked higher.
    assert figures["ranking_only_in_sample"] == pytest.approx(2 / 3)
    assert "mad pairs" in admin.get("/studies/small/manage").text
    assert "of mad pairs" in admin.get(f"/studies/small/calibrations/{launched['id']}").text
