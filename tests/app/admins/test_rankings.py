"""Fitting a ranking: the same as `pipelines.ranking` on the same votes, and kept as it was."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.models import Ranking, Vote
from pipelines.ranking import stage, tables
from tests.app.conftest import Site

RANKINGS = "/api/studies/small/rankings"


def table(admin: httpx.Client, voters: str, path: Path) -> Path:
    path.write_text(admin.get("/api/studies/small/votes.csv", params={"voters": voters}).text)
    return path


def assert_same(result: dict[str, Any], expected: dict[str, Any]) -> None:
    assert result.keys() == expected.keys()
    assert [row["method"] for row in result["methods"]] == [row["method"] for row in expected["methods"]]
    for row, wanted in zip(result["methods"], expected["methods"], strict=True):
        assert row == pytest.approx(wanted, abs=1e-7)
    for key in result.keys() - {"methods"}:
        assert result[key] == pytest.approx(expected[key], abs=1e-6), key


def stored(site: Site) -> int:
    with site.sessions() as db:
        return db.scalar(select(func.count()).select_from(Ranking)) or 0


@pytest.mark.parametrize("settings", [{}, {"ridge": 0.5, "level": 0.8}])
@pytest.mark.parametrize("voters", ["people", "simulated"])
def test_a_fit_is_what_the_command_line_finds_in_the_same_votes(
    site: Site, tmp_path: Path, voters: str, settings: dict[str, float]
) -> None:
    site.panel_votes(simulated=voters == "simulated")
    site.vote_all(lambda *_: True, simulated=voters != "simulated")
    admin = site.staff("admin")
    answer = admin.post(RANKINGS, json={"voters": voters, **settings})
    assert answer.status_code == 201, answer.text
    fitted = answer.json()
    assert_same(fitted["result"], stage.rank(tables.read(table(admin, voters, tmp_path / "v")), **settings).as_dict())
    assert (fitted["voters"], fitted["votes"]) == (voters, 36)
    assert (fitted["ridge"], fitted["level"]) == (settings.get("ridge", 0.0), settings.get("level", 0.95))
    assert fitted["result"]["simulated"] is (voters == "simulated")


def test_a_fit_is_kept_and_later_votes_do_not_change_it(site: Site) -> None:
    site.panel_votes()
    admin = site.staff("admin")
    fitted = admin.post(RANKINGS, json={}).json()
    site.vote_all(lambda *_: False)
    experimenter = site.staff("experimenter")
    assert experimenter.get(f"{RANKINGS}/{fitted['id']}").json() == fitted
    second = admin.post(RANKINGS, json={}).json()
    assert second["votes"] == 48
    assert [row["id"] for row in experimenter.get(RANKINGS).json()] == [second["id"], fitted["id"]]
    with site.sessions() as db:
        first_row, second_row = db.get_one(Ranking, fitted["id"]), db.get_one(Ranking, second["id"])
        keys = list(db.scalars(select(Vote.id).order_by(Vote.id)))
        assert (first_row.last_vote_id, second_row.last_vote_id) == (keys[35], keys[47])
        assert first_row.created_by == fitted["created_by"]
        assert first_row.created_by.startswith("admin-")
    chart = experimenter.get(fitted["chart"])
    assert chart.status_code == 200
    assert fitted["result"]["methods"][0]["method"] in chart.text
    page = experimenter.get(f"/studies/small/rankings/{fitted['id']}")
    assert f"Ranking {fitted['id']}" in page.text


def test_votes_that_decide_nothing_are_refused_with_the_methods_that_cannot_be_compared(site: Site) -> None:
    # The last method always wins, the others win and lose.
    for number in range(2):
        site.vote_all(lambda stem, first, second: second != 2 and (int(stem[-1]) + number) % 2 == 0)  # noqa: B023
    refused = site.staff("admin").post(RANKINGS, json={})
    assert refused.status_code == 409
    detail = refused.json()["detail"]
    assert "\n" not in detail
    assert "[sharp] > [nearest, bicubic]" in detail
    assert stored(site) == 0
    # A ridge makes the scores finite.
    ridge = site.staff("admin").post(RANKINGS, json={"ridge": 0.1})
    assert ridge.status_code == 201
    assert ridge.json()["result"]["methods"][0]["method"] == "sharp"
    assert stored(site) == 1


@pytest.mark.parametrize("voters", ["people", "simulated"])
def test_without_votes_there_is_nothing_to_fit(site: Site, voters: str) -> None:
    other = "simulated" if voters == "people" else "people"
    site.panel_votes(simulated=other == "simulated")
    answer = site.staff("admin").post(RANKINGS, json={"voters": voters})
    assert answer.status_code == 409
    assert answer.json() == {"detail": f"small: {voters} have not voted yet; collect votes first"}
    assert stored(site) == 0


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"ridge": -1}, "ridge"), ({"level": 1}, "level"), ({"level": 0}, "level"), ({"voters": "cats"}, "voters")],
)
def test_settings_out_of_range_are_refused_in_one_sentence(site: Site, settings: dict[str, Any], field: str) -> None:
    answer = site.staff("admin").post(RANKINGS, json=settings)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail.startswith(f"{field}: ")
    assert detail.endswith(f", got {settings[field]!r}")


def test_an_experimenter_reads_rankings_but_fits_none(site: Site) -> None:
    site.panel_votes()
    assert site.staff("experimenter").post(RANKINGS, json={}).status_code == 403
    assert stored(site) == 0
