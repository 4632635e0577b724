"""`discern simulate`: programs that vote through the HTTP API as browsers do, and are marked so wherever they vote."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select, text

from app import models, simulated_world, simulation, studies, verification
from app.models import Subject
from app.store import Store
from pipelines import study as study_files
from pipelines.errors import DiscernError
from pipelines.progress import silent
from pipelines.protocol import Protocol
from pipelines.ranking import observers
from pipelines.ranking.observers import Population
from tests.app.conftest import Site
from tests.app.processes import discern, refused

METHODS = ("nearest", "bicubic", "sharp")
STEMS = [f"image_{index}" for index in range(6)]
PAIRS = 12
# Nobody favours a side, so that an answer follows from the question alone, however the sides were drawn.
UNBIASED = Population(side_bias_sd=0)


def simulate(site: Site, *arguments: object, study: str = "small") -> str:
    """Run the command beside a server; what it printed."""
    result = discern("simulate", study, *arguments, **environment(site))
    assert result.returncode == 0, result.stderr
    return result.stdout


def environment(site: Site) -> dict[str, str]:
    return {"DATABASE_URL": site.database_url, "DISCERN_HOME": str(site.settings.home)}


def run(site: Site, *, seed: int, quality: Path | None = None, subjects: int = 1, study: str = "small") -> int:
    """The same in this process."""
    return simulation.run(
        site.sessions,
        site.url,
        study,
        subjects=subjects,
        seed=seed,
        population=UNBIASED,
        quality=quality,
        progress=silent,
    )


def votes(site: Site, query: str = "") -> pd.DataFrame:
    return pd.read_csv(io.StringIO(site.staff("experimenter").get(f"/api/studies/small/votes.csv{query}").text))


def answers(site: Site) -> dict[tuple[str, str, str], str]:
    """Who won, by stem and the two methods."""
    table = votes(site)
    return {
        (row.image, *sorted((row.winner, row.loser))): row.winner  # type: ignore[misc]
        for row in table.itertuples()
    }


def test_simulated_subjects_vote_on_everything_and_are_marked_so_everywhere(site: Site) -> None:
    printed = simulate(site, "--subjects", 3, "--seed", 1, "--url", site.url)
    assert printed.splitlines()[-1] == "36 votes by 3 simulated subjects"
    with site.sessions() as db:
        assert [(s.simulated, s.voted, s.total) for s in db.scalars(select(Subject))] == [(True, PAIRS, PAIRS)] * 3
        assert verification.problems(db) == []
    table = votes(site)
    assert len(table) == 36
    assert set(table["simulated"]) == {True}
    assert set(table["subject"]) == {"simulated-1", "simulated-2", "simulated-3"}
    assert not table.duplicated(["subject", "image", "left", "right"]).any()
    assert votes(site, "?voters=people").empty
    browser = site.staff("experimenter")
    matrix = browser.get("/api/studies/small/matrix", params={"voters": "simulated"}).json()
    assert np.sum(matrix["counts"]) == matrix["votes"] == 36
    people = browser.get("/api/studies/small/matrix", params={"voters": "people"}).json()
    assert people["counts"] == [[0] * 3] * 3
    assert people["votes_by"] == {"people": 0, "simulated": 36}


def test_simulated_trials_are_counterbalanced_apart_from_those_of_people(site: Site) -> None:
    subject = site.subject()
    assert subject.post("/api/subject/trials", json={"ahead": 5}).status_code == 200
    run(site, seed=1, subjects=4)
    table = votes(site)
    table["pair"] = [(row.image, *sorted((row.left, row.right))) for row in table.itertuples()]
    sides = table.groupby(["pair", "left"]).size()
    assert sides.to_list() == [2] * 2 * PAIRS
    with site.sessions() as db:
        issued = db.execute(text("SELECT sum(issued_first_left + issued_first_right) FROM tallies WHERE NOT simulated"))
        assert issued.scalar_one() == PAIRS  # a block


def test_the_same_seed_gives_the_same_answers_to_the_same_questions(site: Site, other_site: Site) -> None:
    assert run(site, seed=1) == run(other_site, seed=1) == PAIRS
    first, again = votes(site), votes(other_site)
    assert answers(site) == answers(other_site)
    assert len(answers(site)) == PAIRS
    order = [table["image"].str.cat([table["left"], table["right"]]).to_list() for table in (first, again)]
    assert order[0] != order[1], "the questions came in the same order, so this test shows nothing"


def test_another_seed_gives_other_answers(site: Site, other_site: Site) -> None:
    run(site, seed=1)
    run(other_site, seed=2)
    assert answers(site) != answers(other_site)


def test_subjects_of_great_sensitivity_prefer_what_the_quality_file_says(site: Site, tmp_path: Path) -> None:
    quality = np.array([[0.0, 100.0, 200.0] if index % 2 else [200.0, 100.0, 0.0] for index in range(len(STEMS))])
    simulated_world.write_quality(tmp_path / "quality.csv", STEMS, METHODS, quality)
    simulate(site, "--subjects", 1, "--sensitivity", 50, "--quality", tmp_path / "quality.csv", "--url", site.url)
    rank = {"nearest": 0, "bicubic": 1, "sharp": 2}
    table = votes(site)
    odd = table["image"].str[-1].astype(int) % 2 == 1
    better = table["winner"].map(rank) > table["loser"].map(rank)
    # All but those votes that a lapse of attention left to a coin.
    assert (better == odd).sum() >= PAIRS - 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("stem,method,quality\nimage_0,nearest,1\n", "holds no quality of"),
        ("stem,method,quality\nimage_0,lanczos,1\n", "not a table of stem, method, quality with this study's methods"),
        ("stem,method,quality\nimage_0,nearest,good\n", "not a table of stem, method, quality"),
        ("stem,quality\nimage_0,1\n", "not a table of stem, method, quality"),
        ("stem,method,quality\n" + "".join(f"{s},{m},nan\n" for s in STEMS for m in METHODS), "holds no quality of"),
        (b"\xff\xfe\x00", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_quality_file_is_named_and_nobody_votes(
    site: Site, tmp_path: Path, content: str | bytes | None, complaint: str
) -> None:
    path = tmp_path / "quality.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DiscernError) as caught:
        run(site, seed=1, quality=path)
    assert str(caught.value).startswith(f"{path}: {complaint}")
    with site.sessions() as db:
        assert db.scalars(select(Subject)).all() == []


def test_a_wrong_quality_file_is_one_line_at_the_terminal(site: Site, tmp_path: Path) -> None:
    (tmp_path / "quality.csv").write_text("stem\nimage_0\n")
    result = discern("simulate", "small", "--quality", tmp_path / "quality.csv", "--url", site.url, **environment(site))
    assert refused(result).startswith(f"{tmp_path / 'quality.csv'}: not a table of stem, method, quality")


@pytest.mark.parametrize("state", ["draft", "closed"])
def test_a_study_that_is_not_open_is_refused(site: Site, state: str) -> None:
    with site.sessions.begin() as db:
        db.execute(text("UPDATE studies SET state = :state"), {"state": state})
    with pytest.raises(DiscernError, match=rf"^study 'small' is {state}: open it first$"):
        run(site, seed=1)


def test_an_unknown_study_is_refused(site: Site) -> None:
    with pytest.raises(DiscernError, match=r"^there is no study 'large'$"):
        run(site, seed=1, study="large")


def test_without_a_server_there_is_one_error(site: Site, tmp_path: Path) -> None:
    result = discern("simulate", "small", **environment(site))
    assert refused(result) == f"{site.settings.home}: no server runs here; start `discern serve`, or give --url"


def test_a_server_that_does_not_answer_is_one_error(site: Site) -> None:
    result = discern("simulate", "small", "--subjects", 2, "--url", "http://127.0.0.1:9", **environment(site))
    assert refused(result).startswith("http://127.0.0.1:9: the server does not answer (")


@pytest.fixture
def probed_site(site: Site, workspace: Path, tmp_path: Path) -> Site:
    """A server like `site`, whose study asks for trials of every kind."""
    folder = shutil.copytree(workspace, tmp_path / "probed")
    study = study_files.recorded(folder)
    asked = {"training": 2, "warm_up": 2, "gold_rate": 0.3, "identical_rate": 0.3, "repeat_rate": 0.3, "block": 6}
    protocol = Protocol.model_validate({"repeat_distance": 2, **asked})
    study_files.record(study.model_copy(update={"protocol": protocol}))
    with site.sessions.begin() as db:
        studies.import_workspace(db, Store(site.settings.store_url), folder)
    return site


def test_simulated_subjects_take_part_in_trials_of_every_kind(probed_site: Site) -> None:
    assert run(probed_site, seed=1, subjects=2) == 2 * PAIRS
    with probed_site.sessions() as db:
        assert verification.problems(db) == []
    rows = votes(probed_site, "?rows=all")
    assert set(rows["kind"]) == {"training", "warm_up", "test", "gold", "identical", "repeat"}
    assert (rows["kind"] == "test").sum() == 2 * PAIRS
    assert set(rows["pixels"]) == {"verified"}
    assert rows["client"].nunique() == 2
    assert rows["painted_at"].notna().all()
    obvious = rows[rows["better"].notna()]
    assert set(obvious["kind"]) == {"training", "gold"}
    # All but those that a lapse of attention left to a coin.
    assert (obvious["choice"] != obvious["better"]).sum() <= 1
    snapshot = probed_site.staff("experimenter").get("/api/studies/small/snapshot?voters=simulated").json()
    assert [subject["blocks"] for subject in snapshot["subjects"]] == [2, 2]


def test_a_simulated_subject_that_is_asked_to_wait_is_an_error(site: Site) -> None:
    with site.sessions.begin() as db:
        link = "/i/" + studies.invite(db, studies.find(db, "small"), "single").token  # of a person, who gets breaks
        world = simulated_world.read(db, studies.find(db, "small"), None, 1)
        pause = Protocol(device_check=False, training=0, warm_up=0, block=6, break_seconds=600).model_dump(mode="json")
        db.add(models.Protocol(study_id=studies.find(db, "small").id, settings=pause))
    people = observers.draw(UNBIASED, 1, world.methods, np.random.default_rng(1))
    waiting = simulation._Subject(site.url, True, world, people, 0, 1)
    with pytest.raises(DiscernError, match=r"was asked to wait: .*break"):
        waiting.take_part(link, lambda _: None)
