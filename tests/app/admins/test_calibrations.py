"""Calibrations: jobs of a real worker, which is cancelled, killed and replaced; and what they leave behind."""

import io
import signal
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import func, text

from app.admins import calibrations, jobs
from app.experimenters import tallies, views
from app.models import Calibration, Job
from app.store import Store
from app.studies import find
from pipelines import study as study_files
from pipelines.calibration import model as models
from pipelines.calibration import pretraining
from pipelines.calibration import stage as calibration
from pipelines.evaluation import stage as evaluation
from pipelines.workspace import Workspace
from tests.app import processes
from tests.app.conftest import Site, wait_for
from tests.app.processes import Process, is_gone

CALIBRATIONS = "/api/studies/small/calibrations"
PATIENCE = 120


@contextmanager
def worker(site: Site, *arguments: str) -> Iterator[Process]:
    environment = {"DATABASE_URL": site.database_url, "DISCERN_HOME": str(site.settings.home)}
    with processes.running("worker", *arguments, **environment) as process:
        yield process


@pytest.fixture
def admin(site: Site) -> httpx.Client:
    return site.staff("admin")


@pytest.fixture
def ranking(site: Site, admin: httpx.Client) -> int:
    """A ranking to calibrate with."""
    site.panel_votes()
    return int(admin.post("/api/studies/small/rankings", json={}).json()["id"])


def launch(admin: httpx.Client, ranking: int) -> str:
    """Launch a calibration; its address."""
    answer = admin.post(CALIBRATIONS, json={"ranking": ranking})
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "queued"
    return f"{CALIBRATIONS}/{answer.json()['id']}"


def make_endless(site: Site) -> None:
    """Let calibrations train for far longer than a test lasts."""
    change(site, "UPDATE studies SET description = jsonb_set(description, '{calibration,epochs}', '1000000')")


def change(site: Site, statement: str, **values: Any) -> None:
    with site.sessions.begin() as db:
        db.execute(text(statement), values)


def reach(admin: httpx.Client, address: str, *statuses: str) -> dict[str, Any]:
    """The calibration, once it has one of these statuses."""

    def look() -> dict[str, Any] | None:
        seen: dict[str, Any] = admin.get(address).json()
        assert seen["status"] in statuses or not seen["finished_at"], seen
        return seen if seen["status"] in statuses else None

    found: dict[str, Any] = wait_for(look, seconds=PATIENCE, what=f"status {statuses}")
    return found


def train(admin: httpx.Client, address: str) -> None:
    """Wait until the rectifier is being trained."""
    wait_for(
        lambda: (seen := admin.get(address).json())["task"] == "training the rectifier" and seen["done"] > 0,
        seconds=PATIENCE,
        what="the training",
    )


def attempt_of(site: Site, address: str) -> int:
    with site.sessions() as db:
        return db.get_one(Calibration, int(address.rpartition("/")[2])).job.attempt


def test_a_calibration_that_ends_while_it_is_read_is_never_a_success_without_figures(
    site: Site, admin: httpx.Client, ranking: int
) -> None:
    key = int(launch(admin, ranking).rpartition("/")[2])
    with site.sessions() as db:
        found = find(db, "small")
        read = views.find_calibration(db, found, key)
        with site.sessions.begin() as of_the_worker:
            done = of_the_worker.get_one(Calibration, key)
            done.result, done.model = {"two_afc": {}}, "0" * 64
            done.job.status, done.job.finished_at = "succeeded", func.now()
        seen = views.calibration(read, found.name)
        assert (seen.status, seen.result) == ("queued", None)
    with site.sessions() as db:
        seen = views.calibration(views.find_calibration(db, found, key), found.name)
        assert (seen.status, seen.result) == ("succeeded", {"two_afc": {}})


def test_a_launched_calibration_is_queued_runs_and_succeeds_with_figures_and_a_model(
    site: Site, admin: httpx.Client, ranking: int, workspace: Path, tmp_path: Path
) -> None:
    address = launch(admin, ranking)
    experimenter = site.staff("experimenter")
    assert experimenter.get(f"{address}/model.zip").status_code == 404
    seen = []
    with worker(site):

        def look() -> bool:
            seen.append(experimenter.get(address).json())
            return bool(seen[-1]["finished_at"])

        wait_for(look, seconds=PATIENCE, what="the end of the job")
    statuses = list(dict.fromkeys(view["status"] for view in seen))
    assert statuses == ["queued", "running", "succeeded"]
    assert all(0 <= view["done"] <= max(view["total"], 1) for view in seen)
    done = seen[-1]
    assert any("training the rectifier" in line for line in done["log"])
    assert (done["ranking"], done["simulated"], done["error"]) == (ranking, False, None)
    assert_figures_are_those_of_the_stages(site, done, workspace)
    assert_model_scores(experimenter.get(done["model"]), workspace, tmp_path)
    assert experimenter.get(CALIBRATIONS).json() == [done]
    page = experimenter.get(address.removeprefix("/api"))
    assert f"{done['result']['two_afc']['models']['after']:.4f}" in page.text
    assert f'href="{done["model"]}"' in page.text


def assert_figures_are_those_of_the_stages(site: Site, done: dict[str, Any], folder: Path) -> None:
    """The figures of a calibration are what the stages find when they are called by hand."""
    study, workspace = study_files.recorded(folder), Workspace(folder)
    with site.sessions() as db:
        votes = tallies.votes(db, find(db, "small"), "people")
        fitted = db.get_one(Calibration, done["id"]).ranking.result
    assert votes is not None
    scores = {row["method"]: row["score"] for row in fitted["methods"]}
    with workspace.lock():
        fit = pretraining.run(study, workspace)
        made = calibration.run(study, workspace, fit.model, scores, ranking=fitted, name="by-hand")
        figures = evaluation.run(study, workspace, votes, {"before": fit.model, "after": made.model}).as_dict()
    assert done["result"]["two_afc"]["models"] == pytest.approx(figures["models"])
    for name in ("ranking_only", "ranking_only_in_sample", "oracle", "leave_one_out_human", "two_random_humans"):
        assert done["result"]["two_afc"][name] == pytest.approx(figures[name]), name
    assert (done["result"]["two_afc"]["votes"], done["result"]["two_afc"]["pairs"]) == (36, 12)
    assert done["result"]["quality_model"]["cross_validated_srcc"] == pytest.approx(fit.srcc)
    assert done["result"]["training"]["epochs"] == study.calibration.epochs
    assert done["options"]["epochs"] == study.calibration.epochs


def assert_model_scores(download: httpx.Response, workspace: Path, folder: Path) -> None:
    """The downloaded model is the one that the job made, and predicts the quality of an image."""
    assert download.status_code == 200
    assert download.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(download.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    (unpacked,) = [path for path in folder.iterdir() if path.is_dir() and path.name.startswith("calibration-")]
    model = models.load(unpacked)
    assert isinstance(model, models.CalibratedModel)
    by_hand = models.load(workspace / "models" / "by-hand")
    images = sorted((workspace.parent / "rated").glob("*.png"))[:3]
    scores = models.score_files(model, images)
    assert scores == pytest.approx(models.score_files(by_hand, images), abs=1e-4)
    assert len(set(scores.tolist())) == 3


def test_a_calibration_cancelled_while_it_waits_is_never_run(site: Site, admin: httpx.Client, ranking: int) -> None:
    address = launch(admin, ranking)
    cancelled = admin.post(f"{address}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["finished_at"] is not None
    with worker(site):
        wait_for(lambda: waiting(site) == 0, what="the worker's look at the queue")
    assert admin.get(address).json() == cancelled
    assert attempt_of(site, address) == 0
    assert admin.post(f"{address}/cancel").json() == cancelled


def waiting(site: Site) -> int:
    """How many jobs the queue holds that are not finished."""
    with site.sessions() as db:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        return int(db.execute(text(query)).scalar_one())


def test_a_calibration_cancelled_while_it_runs_stops_and_keeps_nothing_and_the_worker_goes_on(
    site: Site, admin: httpx.Client, ranking: int
) -> None:
    make_endless(site)
    address = launch(admin, ranking)
    with worker(site) as process:
        train(admin, address)
        job = process.child("job")
        assert admin.post(f"{address}/cancel").json()["cancel_requested"] is True
        cancelled = reach(admin, address, "cancelled")
        assert is_gone(job)
        assert (cancelled["result"], cancelled["model"], cancelled["error"]) == (None, None, None)
        assert admin.get(f"{address}/model.zip").status_code == 404
        another = launch(admin, ranking)
        reach(admin, another, "running")
        # A job whose process is killed, as for lack of memory, has failed; a reader is told how.
        process.child("job").kill()
        assert reach(admin, another, "failed")["error"] == "the process ended with status -9 and said nothing"


def test_a_calibration_whose_workspace_is_not_there_fails_and_says_so(
    site: Site, admin: httpx.Client, ranking: int, tmp_path: Path
) -> None:
    change(site, "UPDATE studies SET workspace = :folder", folder=str(tmp_path / "moved"))
    address = launch(admin, ranking)
    with worker(site):
        failed = reach(admin, address, "failed")
    expected = "this worker does not see the workspace; mount it at the same path on every host"
    assert failed["error"] == f"{tmp_path / 'moved'}: {expected}"
    assert (failed["result"], failed["model"]) == (None, None)
    page = admin.get(address.removeprefix("/api"))
    assert "Failed." in page.text
    assert expected in page.text


@pytest.mark.slow
def test_when_a_worker_is_killed_its_job_ends_and_another_worker_takes_the_calibration_up(
    site: Site, admin: httpx.Client, ranking: int
) -> None:
    make_endless(site)
    address = launch(admin, ranking)
    with worker(site) as first:
        train(admin, address)
        job = first.child("job")
        first.popen.kill()
        wait_for(lambda: is_gone(job), what="the end of the killed worker's job")
    change(site, "UPDATE studies SET description = jsonb_set(description, '{calibration,epochs}', '2')")
    assert (attempt_of(site, address), admin.get(address).json()["status"]) == (1, "running")
    started = time.monotonic()
    with worker(site):
        reach_attempt(site, address, 2)
        # Soon after the first worker was to be taken for dead.
        assert time.monotonic() - started < jobs.STALLED_SECONDS + jobs.HEARTBEAT_SECONDS + 15
        done = reach(admin, address, "succeeded")
    assert "started again, attempt 2" in done["log"]
    assert done["result"]["training"]["epochs"] == 2
    assert admin.get(done["model"]).status_code == 200


@pytest.mark.slow
def test_a_worker_that_only_slept_changes_nothing_when_it_wakes(site: Site, admin: httpx.Client, ranking: int) -> None:
    """A closed laptop looks dead to the others; its job has gone to somebody else when it is opened again."""
    make_endless(site)
    address = launch(admin, ranking)
    with worker(site) as first:
        train(admin, address)
        sleeping = [psutil.Process(first.pid), first.child("job")]
        for process in sleeping:
            process.suspend()
        with worker(site):
            reach_attempt(site, address, 2)
            for process in sleeping:
                process.resume()
            wait_for(lambda: is_gone(sleeping[1]), what="the end of the job that was superseded")
            train(admin, address)
            # The queue's own account of the first attempt is settled by now, and the second goes on.
            wait_for(lambda: not open_entries(site) - 1, what="a single entry in the queue")
            seen = admin.get(address).json()["done"]
            wait_for(lambda: admin.get(address).json()["done"] > seen, what="progress of the second attempt")
            admin.post(f"{address}/cancel")
            assert reach(admin, address, "cancelled")["error"] is None
    assert attempt_of(site, address) == 2


def open_entries(site: Site) -> int:
    with site.sessions() as db:
        return int(db.scalar(text("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")) or 0)


@pytest.mark.slow
def test_a_calibration_goes_on_when_every_connection_to_the_database_is_lost(
    site: Site, admin: httpx.Client, ranking: int
) -> None:
    make_endless(site)
    address = launch(admin, ranking)
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
    with worker(site) as process:
        train(admin, address)
        job = process.child("job")
        for _ in range(3):
            seen = admin.get(address).json()["done"]
            change(site, cut)
            wait_for(lambda: admin.get(address).json().get("done", 0) > seen, what="progress")  # noqa: B023 - used at once
        assert process.is_running
        assert process.child("job") == job
        admin.post(f"{address}/cancel")
        assert reach(admin, address, "cancelled")["error"] is None
    assert attempt_of(site, address) == 1


def reach_attempt(site: Site, address: str, attempt: int) -> None:
    wait_for(lambda: attempt_of(site, address) == attempt, seconds=PATIENCE, what=f"attempt {attempt}")


def test_a_worker_that_is_stopped_puts_its_calibration_back(site: Site, admin: httpx.Client, ranking: int) -> None:
    make_endless(site)
    address = launch(admin, ranking)
    with worker(site) as process:
        reach(admin, address, "running")
        job = process.child("job")
        assert process.stop(signal.SIGINT) == 0, process.printed
        assert is_gone(job)
    assert admin.get(address).json()["status"] == "queued"
    assert waiting(site) == 1
    admin.post(f"{address}/cancel")


def test_a_superseded_attempt_writes_nothing(
    site: Site, admin: httpx.Client, ranking: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = launch(admin, ranking)
    key = int(address.rpartition("/")[2])
    change(
        site, "UPDATE jobs SET status = 'running', attempt = 2, task = 'by the second', total = 9, started_at = now()"
    )
    before = admin.get(address).json()
    with site.sessions() as db:
        job_id = db.get_one(Calibration, key).job.id
    store = Store(site.settings.store_url)
    # At its first report,
    with pytest.raises(jobs.SupersededError):
        calibrations.run(site.sessions, store, job_id, 1)
    # and though it had come to its end.
    (tmp_path / "made").mkdir()
    monkeypatch.setattr(calibrations, "_calibrate", lambda order, progress: ({"two_afc": {}}, tmp_path / "made"))
    with pytest.raises(jobs.SupersededError):
        calibrations.run(site.sessions, store, job_id, 1)
    assert admin.get(address).json() == before
    # The current attempt may.
    calibrations.run(site.sessions, store, job_id, 2)
    with site.sessions() as db:
        assert db.get_one(Job, job_id).status == "succeeded"
        assert db.get_one(Calibration, key).result is not None


def test_a_ranking_of_another_study_is_refused(site: Site, admin: httpx.Client, ranking: int, workspace: Path) -> None:
    admin.post("/api/studies", json={"workspace": str(workspace), "name": "other"})
    for study, key in (("other", ranking), ("small", ranking + 1000)):
        answer = admin.post(f"/api/studies/{study}/calibrations", json={"ranking": key})
        assert answer.status_code in (404, 409)
        assert answer.json()["detail"].startswith(f"ranking: study {study!r} has no ranking {key}")
        assert admin.get(f"/api/studies/{study}/calibrations").json() == []
    address = launch(admin, ranking)
    assert admin.get(address.replace("small", "other")).status_code == 404
    assert admin.post(address.replace("small", "other") + "/cancel").status_code == 404
    assert admin.get(address).json()["status"] == "queued"


@pytest.mark.parametrize("part", ["{calibration,rated}", "{images,unlabelled}"])
def test_a_study_with_nothing_to_learn_from_is_refused(
    site: Site, admin: httpx.Client, ranking: int, part: str
) -> None:
    change(site, "UPDATE studies SET description = jsonb_set(description, CAST(:part AS text[]), 'null')", part=part)
    answer = admin.post(CALIBRATIONS, json={"ranking": ranking})
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith("study 'small' cannot be calibrated: its study file names no")
    assert admin.get(CALIBRATIONS).json() == []
    assert waiting(site) == 0


def test_a_worker_for_another_queue_leaves_the_calibration_alone(site: Site, admin: httpx.Client, ranking: int) -> None:
    change(site, "UPDATE studies SET description = jsonb_set(description, '{execution,device}', '\"cuda\"')")
    address = launch(admin, ranking)
    with site.sessions() as db:
        assert db.execute(text("SELECT queue_name FROM procrastinate_jobs")).scalars().all() == ["gpu"]
    refused = processes.discern("worker", "--queue", "tpu", DATABASE_URL=site.database_url)
    assert processes.refused(refused) == "--queue: 'tpu' is not known; choose cpu or gpu"
    assert admin.get(address).json()["status"] == "queued"
