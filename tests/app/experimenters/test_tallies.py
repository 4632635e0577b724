"""What experimenters read: the matrix, the votes, the pairs behind a cell, and how fast votes come."""

import io
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select, text, update

from app.experimenters import tallies
from app.models import Vote
from app.studies import find
from pipelines.images import decode_bytes, pixel_hash
from pipelines.ranking import tables
from pipelines.ranking.counts import count_matrix
from tests.app.conftest import Site, next_trials, vote_on
from tests.app.processes import discern

METHODS = ["nearest", "bicubic", "sharp"]


def vote(site: Site, choices: str, *, simulated: bool = False) -> httpx.Client:
    """A new subject who chooses by these letters; its browser."""
    subject = site.subject(simulated=simulated)
    for letter in choices:
        trial = next_trials(subject)[0]
        assert vote_on(subject, trial, {"l": "left", "r": "right"}[letter]).status_code == 200
    return subject


def matrix(browser: httpx.Client, voters: str | None = None) -> dict[str, object]:
    return dict(browser.get("/api/studies/small/matrix", params={"voters": voters} if voters else {}).json())


def log(browser: httpx.Client, voters: str | None = None) -> pd.DataFrame:
    answer = browser.get("/api/studies/small/votes.csv", params={"voters": voters} if voters else {})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return pd.read_csv(io.StringIO(answer.text))


def pixels(answer: httpx.Response) -> str:
    return pixel_hash(decode_bytes(answer.content))


def counted(table: pd.DataFrame) -> list[list[int]]:
    """The count matrix of a vote log."""
    counts = pd.crosstab(table["winner"], table["loser"]).reindex(index=METHODS, columns=METHODS, fill_value=0)
    return counts.to_numpy().tolist()


def test_the_matrix_is_what_the_log_counts_to_for_people_and_simulated_subjects_apart(site: Site) -> None:
    vote(site, "llrlrrlrlllr")
    vote(site, "rrrll")
    vote(site, "lrrrrrrl", simulated=True)
    browser = site.staff("experimenter")
    everybody = log(browser)
    assert len(everybody) == 25
    for voters, simulated in (("people", False), ("simulated", True)):
        table = log(browser, voters)
        assert table.equals(everybody[everybody["simulated"] == simulated].reset_index(drop=True))
        shown = matrix(browser, voters)
        assert shown["methods"] == METHODS
        assert shown["counts"] == counted(table)
        assert shown["votes"] == len(table)
        assert shown["votes_by"] == {"people": 17, "simulated": 8}


@pytest.mark.parametrize("choice", ["left", "right"])
def test_the_winner_is_the_method_whose_image_was_chosen_on_either_side(site: Site, choice: str) -> None:
    subject, browser = site.subject(), site.staff("experimenter")
    chosen = {}
    for _ in range(12):  # every pair: only over the whole block are the two orders sure to be balanced
        trial = next_trials(subject)[0]
        chosen[trial["id"]] = {side: pixels(subject.get(trial[side])) for side in ("left", "right")}
        vote_on(subject, trial, choice)
    table = log(browser).set_index("trial")
    assert len(table) == 12
    # Both orders of the methods were shown.
    assert len({METHODS.index(row.left) < METHODS.index(row.right) for row in table.itertuples()}) == 2
    for trial, images in chosen.items():
        row = table.loc[trial]
        assert row["winner"] == row[choice]
        assert {row["winner"], row["loser"]} == {row["left"], row["right"]}
        winner, loser = METHODS.index(row["winner"]), METHODS.index(row["loser"])
        with site.sessions() as db:
            pairs = tallies.cell(db, find(db, "small"), winner, loser, "people")
        behind = next(pair for pair in pairs if pair["stem"] == row["image"])
        assert pixels(browser.get(behind["first_image"])) == images[choice]
        assert (behind["first_votes"], behind["second_votes"]) == (1, 0)


def test_the_ranking_command_and_its_reader_take_the_vote_log_of_people(site: Site, tmp_path: Path) -> None:
    vote(site, "llrlrrlrlllr")
    vote(site, "rlrlrlrlrlrl")
    vote(site, "ll", simulated=True)
    path = tmp_path / "votes.csv"
    path.write_text(site.staff("experimenter").get("/api/studies/small/votes.csv?voters=people").text)
    votes = tables.read(path)
    with site.sessions() as db:
        stored = tallies.votes(db, find(db, "small"), "people")
    assert stored is not None
    order = [votes.methods.index(method) for method in stored.methods]
    assert count_matrix(votes)[np.ix_(order, order)].tolist() == count_matrix(stored).tolist()
    assert (votes.simulated, len(votes.winner)) == (False, 24)
    for names, read, kept in (
        ("images", votes.image, stored.image),
        ("subjects", votes.subject, stored.subject),
        ("methods", votes.winner, stored.winner),
    ):
        assert [getattr(votes, names)[i] for i in read] == [getattr(stored, names)[i] for i in kept]
    result = discern("rank", path, "--ridge", 0.1)
    assert result.returncode == 0, result.stderr
    assert "24 votes" in result.stdout


def test_votes_up_to_a_key_leave_out_later_ones(site: Site) -> None:
    vote(site, "lrl")
    with site.sessions() as db:
        last = db.scalars(select(Vote.id).order_by(Vote.id.desc())).first()
    vote(site, "rr")
    with site.sessions() as db:
        study = find(db, "small")
        earlier, everything = (tallies.votes(db, study, "people", up_to=limit) for limit in (last, None))
        assert earlier is not None
        assert everything is not None
        assert (len(earlier.winner), len(everything.winner)) == (3, 5)
        assert earlier.winner.tolist() == everything.winner[:3].tolist()
        assert tallies.votes(db, study, "simulated") is None


def test_by_default_people_are_shown_once_one_of_them_has_voted_and_simulated_subjects_before(site: Site) -> None:
    browser = site.staff("experimenter")
    assert matrix(browser)["voters"] == "people"
    vote(site, "l", simulated=True)
    assert matrix(browser)["voters"] == "simulated"
    assert browser.get("/api/studies/small/snapshot").json()["voters"] == "simulated"
    vote(site, "l")
    assert matrix(browser)["voters"] == "people"
    assert matrix(browser, "simulated")["voters"] == "simulated"


def test_the_pace_counts_the_votes_of_the_last_five_minutes(site: Site) -> None:
    browser = site.staff("experimenter")
    vote(site, "lrlrl")
    vote(site, "ll", simulated=True)
    assert browser.get("/api/studies/small/snapshot?voters=people").json()["votes_per_minute"] == 1.0
    with site.sessions.begin() as db:
        # The log refuses changes; the trigger that does so is out of the way for this one.
        db.execute(text("SET LOCAL session_replication_role = replica"))
        oldest = select(Vote.id).order_by(Vote.id).limit(2).scalar_subquery()
        db.execute(update(Vote).where(Vote.id.in_(oldest)).values(received_at=text("now() - interval '6 minutes'")))
    assert browser.get("/api/studies/small/snapshot?voters=people").json()["votes_per_minute"] == 0.6


def test_pairs_without_votes_are_counted(site: Site) -> None:
    browser = site.staff("experimenter")
    vote(site, "lrlr")
    snapshot = browser.get("/api/studies/small/snapshot").json()
    assert (snapshot["pairs"], snapshot["pairs_without_votes"]) == (12, 8)
    simulated = browser.get("/api/studies/small/snapshot?voters=simulated").json()
    assert (simulated["pairs"], simulated["pairs_without_votes"]) == (12, 12)


def test_a_cell_and_its_mirror_show_the_same_pairs_with_the_sides_exchanged(site: Site) -> None:
    vote(site, "llrlrrlrlllr")
    table = log(site.staff("experimenter"))
    with site.sessions() as db:
        study = find(db, "small")
        cell, mirror = (tallies.cell(db, study, *order, "people") for order in ((0, 2), (2, 0)))
        counts = tallies.count_matrix(db, study, "people")
    assert [row["rank"] for row in cell] == sorted(row["rank"] for row in cell)
    assert sum(row["first_votes"] for row in cell) == counts[0][2]
    assert sum(row["second_votes"] for row in cell) == counts[2][0]
    exchanged = [
        row
        | {"first_image": row["second_image"], "second_image": row["first_image"]}
        | {"first_votes": row["second_votes"], "second_votes": row["first_votes"]}
        for row in cell
    ]
    assert mirror == exchanged
    for row in cell:
        won = table[(table["image"] == row["stem"]) & (table["winner"] == "nearest") & (table["loser"] == "sharp")]
        assert row["first_votes"] == len(won)


def test_the_page_of_a_cell_shows_its_pairs_and_only_this_studys_images(site: Site) -> None:
    vote(site, "llrlrrlrlllr")
    browser = site.staff("experimenter")
    page = browser.get("/studies/small/pairs", params={"first": "sharp", "second": "nearest"})
    assert page.status_code == 200
    with site.sessions() as db:
        cell = tallies.cell(db, find(db, "small"), 2, 0, "people")
    assert len(cell) == 4
    for row in cell:
        for image in ("low_resolution", "first_image", "second_image"):
            assert f'src="{row[image]}"' in page.text
            shown = browser.get(row[image])
            assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    assert browser.get(f"/studies/small/images/{'0' * 64}.png").status_code == 404
    for first, second in (("sharp", "sharp"), ("sharp", "other")):
        assert browser.get("/studies/small/pairs", params={"first": first, "second": second}).status_code == 404
