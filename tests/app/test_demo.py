"""The loop, for real, once: from photographs to a ranking and a calibrated metric."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from app.demo import inputs, site
from pipelines import photographs
from pipelines.calibration import model as models
from pipelines.calibration.model import CalibratedModel
from pipelines.ranking import stage as ranking
from pipelines.ranking import tables
from tests.app.processes import Process, children_of, discern, processes_of, running

# A minute or two; a busy machine may take longer.
DEMO_SECONDS = 600.0

DISCERN = [sys.executable, "-c", "from app.cli import main; main()"]


def run_demo(directory: Path, json_file: Path) -> str:
    command = [*DISCERN, "demo", "--once", "--directory", str(directory), "--json", str(json_file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demo")
    (directory / "stdout.txt").write_text(run_demo(directory / "demo", directory / "demo.json"))
    return directory


@pytest.fixture(scope="module")
def summary(demo: Path) -> dict[str, Any]:
    return json.loads((demo / "demo.json").read_text())


@pytest.mark.slow
def test_the_summary_counts_what_is_there(demo: Path, summary: dict[str, Any]) -> None:
    assert summary["images"] == 106
    assert summary["outputs"] == 106 * 7
    assert summary["pairs"] == 21 * 8
    assert summary["votes"] == 21 * 8 * 23
    assert len(list((demo / "demo" / "lr").rglob("*.png"))) == 37
    assert len(pd.read_parquet(demo / "demo" / "workspace" / "manifests" / "pairs")) == summary["pairs"]


@pytest.mark.slow
def test_photographs_are_on_one_side_of_the_split(demo: Path) -> None:
    images = pd.read_parquet(demo / "demo" / "workspace" / "manifests" / "images")
    voted = set(images[images["role"] == "candidate"]["source"])
    unlabelled = set(images[images["role"] == "unlabelled"]["source"])
    rated = set(pd.read_csv(demo / "demo" / "rated" / "rated.csv")["source"])
    assert voted == set(inputs.VOTED)
    assert unlabelled == rated == set(inputs.UNLABELLED)
    assert (
        set(pd.read_parquet(demo / "demo" / "workspace" / "manifests" / "pairs")["stem"].str.rpartition("_")[0])
        <= voted
    )


@pytest.mark.slow
def test_the_votes_on_disk_give_the_ranking_and_are_marked_as_simulated(demo: Path, summary: dict[str, Any]) -> None:
    votes = tables.read(demo / "demo" / "votes.csv")
    selected = pd.read_parquet(demo / "demo" / "workspace" / "manifests" / "pairs")["group"]
    assert votes.groups == tuple(sorted(set(selected)))
    assert votes.simulated
    again = ranking.rank(votes).as_dict()["methods"]
    assert [row["method"] for row in again] == [row["method"] for row in summary["ranking"]["methods"]]
    assert [row["score"] for row in again] == pytest.approx([row["score"] for row in summary["ranking"]["methods"]])
    assert summary["ranking"]["simulated"]
    assert summary["two_afc"]["simulated"]
    assert "simulated subjects, not from people" in (demo / "stdout.txt").read_text()


@pytest.mark.slow
def test_the_figures_stand_in_the_order_that_their_definitions_imply(summary: dict[str, Any]) -> None:
    figures = summary["two_afc"]
    assert figures["two_random_humans"] < figures["leave_one_out_human"] < figures["oracle"] < 1
    assert figures["ranking_only"] <= figures["ranking_only_in_sample"] < figures["oracle"]
    assert all(0 < score < figures["oracle"] for score in figures["models"].values())
    change = figures["differences"]["after"]
    assert change["difference"] == pytest.approx(figures["models"]["after"] - figures["models"]["before"])
    assert change["lower"] <= change["difference"] <= change["upper"]


@pytest.mark.slow
def test_the_quality_model_learned_something_that_holds_on_other_photographs(summary: dict[str, Any]) -> None:
    assert summary["quality_model"]["cross_validated_srcc"] > 0.6
    assert summary["two_afc"]["models"]["before"] > 0.5


@pytest.mark.slow
def test_the_batch_is_the_largest_that_the_data_allow(summary: dict[str, Any]) -> None:
    held_out = len(list(photographs.patches("rocket")))
    assert summary["calibration"]["unlabelled_images"] == 69
    assert summary["calibration"]["batch"] == 69 - held_out < 64


@pytest.mark.slow
def test_the_model_folder_scores_images_in_three_lines_and_by_the_command(demo: Path) -> None:
    folder = demo / "demo" / "workspace" / "models" / "calibrated"
    files = sorted((demo / "demo" / "originals").glob("coffee_0*.png"))[:2]
    model = models.load(folder)
    scores = models.score_files(model, files)
    result = subprocess.run(
        [*DISCERN, "score", str(folder), *map(str, files)], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == [f"{score:.6f}\t{file}" for score, file in zip(scores, files, strict=True)]
    assert isinstance(model, CalibratedModel)
    base = models.load(demo / "demo" / "workspace" / "models" / "quality")
    assert model.base.fingerprint == base.fingerprint
    facts = json.loads((folder / "model.json").read_text())["provenance"]
    assert facts["held_out_sources"] == ["rocket"]
    assert facts["ranking"]["simulated"]
    assert not set(facts["held_out_sources"]) & set(inputs.VOTED)


@pytest.mark.slow
def test_a_second_run_finds_everything_and_ends_with_the_same_numbers(demo: Path, summary: dict[str, Any]) -> None:
    workspace = demo / "demo" / "workspace"
    before = {path: path.stat().st_mtime_ns for path in workspace.joinpath("images").rglob("*.png")}
    run_demo(demo / "demo", demo / "again.json")
    assert {path: path.stat().st_mtime_ns for path in workspace.joinpath("images").rglob("*.png")} == before
    again = json.loads((demo / "again.json").read_text())
    assert again["ranking"] == summary["ranking"]
    assert again["two_afc"] == summary["two_afc"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the served demo puts everything."""
    return tmp_path_factory.mktemp("served") / "demo"


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Process]:
    """The demo, served, when all that it does by itself is done."""
    with running("demo", "--directory", place, "--port", "0") as process:
        process.wait_until_printed(r"(all of it) after", seconds=DEMO_SECONDS)
        yield process
        if process.is_running:
            assert process.stop() == 0, process.printed  # a killed one would leave its PostgreSQL behind
    assert processes_of(place / "server") == []


def client_of(served: Process) -> httpx.Client:
    return httpx.Client(base_url=str(re.findall(r"(http://[^/]+)/i/", served.printed)[0]), trust_env=False, timeout=30)


def sign_up(staff: httpx.Client, place: Path, name: str) -> None:
    """Become an admin, by a link that whoever has the server's files can make."""
    link = discern("set-up-link", DISCERN_HOME=str(place / "server")).stdout.strip()
    answer = staff.post(link, data={"name": name, "password": "a long enough password"})
    assert answer.status_code == 303, answer.text


def test_the_served_demo_prints_how_each_audience_comes_in(served: Process) -> None:
    assert re.search(r"ready to vote after \d+ s", served.printed)
    (invitation,) = re.findall(r"http\S+/i/\S+", served.printed)
    experimenter, admin = re.findall(r"http\S+/set-up/\S+", served.printed)
    with client_of(served) as subject:
        assert "agree" in subject.get(invitation).text
        assert subject.post(invitation, data={"consent": "yes"}).headers["location"] == "/session"
        assert subject.get("/session").headers["location"] == "/questions"
        assert "How old are you?" in subject.get("/questions").text
        assert subject.post("/api/subject/trials", json={"ahead": 4}).status_code == 409
    for link, page in ((experimenter, "/studies"), (admin, "/admin")):
        with client_of(served) as staff:
            answer = staff.post(link, data={"name": f"for {page}", "password": "a long enough password"})
            assert answer.headers["location"] == page
            assert staff.get("/studies/demo").status_code == 200
            assert staff.get("/studies/demo/manage").status_code == (200 if page == "/admin" else 403)


def test_the_served_demo_holds_simulated_votes_a_ranking_and_a_calibrated_model(served: Process, place: Path) -> None:
    link = served.printed.partition("calibrated with the ranking")[2].split()[4]
    assert link.endswith("/studies/demo/calibrations/1")
    with client_of(served) as staff:
        sign_up(staff, place, "somebody else")
        matrix = staff.get("/api/studies/demo/matrix").json()
        assert matrix["voters"] == "simulated"
        assert matrix["votes_by"] == {"people": 0, "simulated": site.SUBJECTS * 21 * 8}
        assert sum(map(sum, matrix["counts"])) == matrix["votes"]
        (ranking,) = staff.get("/api/studies/demo/rankings").json()
        assert ranking["result"]["simulated"]
        assert ranking["votes"] == matrix["votes"]
        (calibration,) = staff.get("/api/studies/demo/calibrations").json()
        assert calibration["status"] == "succeeded"
        assert calibration["simulated"]
        figures = calibration["result"]["two_afc"]
        assert 0.5 < figures["models"]["after"] < figures["oracle"]
        assert staff.get(calibration["model"]).content.startswith(b"PK")


@pytest.mark.slow
def test_the_served_demo_stops_with_everything_and_goes_on_with_all_votes(served: Process, place: Path) -> None:
    with client_of(served) as staff:
        sign_up(staff, place, "the first of all, or another one")
    started = children_of(served.pid)
    assert started
    assert served.stop() == 0
    assert not [process for process in started if process.is_running()]
    with running("demo", "--directory", place, "--port", "0") as again:
        again.wait_until_printed(r"(all of it) after", seconds=DEMO_SECONDS)
        assert "done already: sign in" in again.printed
        votes = discern("verify", DISCERN_HOME=str(place / "server"))
        # Those that count, and some of training, warm-up, and trials that check the subjects.
        (stored,) = re.fullmatch(r"(\d+) votes; 0 counters differ from the log\n", votes.stdout).groups()  # type: ignore[union-attr]
        assert int(stored) > site.SUBJECTS * 21 * 8
        assert again.stop() == 0


def test_rated_versions_span_the_scale_and_hold_sr_outputs() -> None:
    patch = next(iter(photographs.patches("china")))
    names = [name for name, _ in inputs.versions(patch)]
    assert {"original", "blur2", "noise16", "jpeg40", "bicubic", "back_projection"} <= set(names)
    rated = inputs.ratings(np.array([0.3, 0.9, 0.1, 0.5]))
    np.testing.assert_allclose(rated, [1 + 4 / 3, 5, 1, 1 + 8 / 3])
