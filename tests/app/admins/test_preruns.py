"""Pre-runs on real workers: from a study file to an imported study; cancelled, killed, resumed, split over hosts."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import select, text

from app import resources, runs
from app.admins import prerun_steps, preruns
from app.models import Job, PrerunPart
from pipelines import images
from pipelines.errors import DiscernError
from pipelines.progress import silent
from pipelines.workspace import Workspace
from tests.app import processes
from tests.app.admins import stand_in
from tests.app.admins.conftest import (
    IMAGES,
    METHODS,
    PATIENCE,
    PrerunStudy,
    reach,
    start,
    wait_for_outputs,
    wait_until_kept,
    work_off,
    worker,
)
from tests.app.conftest import Site, next_trials, wait_for
from tests.app.processes import is_gone
from tests.conftest import textured

OUTPUTS = IMAGES * len(METHODS)


def test_a_study_file_becomes_a_study_that_subjects_vote_on(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    address = start(admin, prerun_study)
    waiting = admin.get(address).json()
    assert (waiting["status"], waiting["title"], waiting["total"]) == ("queued", "Pre-run", None)
    assert waiting["waiting"] == {"cpu": 1}
    assert {method["method"]: method["queue"] for method in waiting["methods"]} == {
        "nearest": "cpu",
        "upstream": "gpu",
        "bicubic": "cpu",
    }
    with worker(site):
        done = reach(admin, address, "succeeded")
    assert (done["done"], done["total"], done["left_out"], done["failed"]) == (OUTPUTS, OUTPUTS, 0, [])
    assert [method["parts"] for method in done["methods"]] == [{"succeeded": 1}] * len(METHODS)
    assert (done["waiting"], done["running"], done["seconds_left"]) == ({}, [], None)
    assert done["finished_at"] > done["started_at"]
    assert prerun_study.is_complete()
    # Three pairs of methods, two images each.
    assert done["pairs"] == 6
    imported = admin.post("/api/studies", json={"workspace": done["workspace"]})
    assert (imported.status_code, imported.json()["pairs"]) == (201, 6)
    name = imported.json()["name"]
    admin.patch(f"/api/studies/{name}", json={"state": "open"})
    assert len(next_trials(site.subject(site.invite(study=name)), 10)) == 6
    assert admin.get(address).json()["studies"] == [name]
    assert [seen["id"] for seen in admin.get("/api/preruns").json()] == [done["id"]]


@pytest.mark.slow
def test_two_workers_share_a_pre_run_each_with_the_parts_of_its_queue(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    prerun_study.allow(1)
    address = start(admin, prerun_study)
    with worker(site, "--queue", "cpu") as cpu, worker(site, "--queue", "gpu", "--gpu", "3") as gpu:
        # The program waits after its first output; meanwhile the other worker does all else.
        wait_for_outputs(prerun_study, 1)
        wait_until_kept(prerun_study, "bicubic", IMAGES)
        # The job of the other worker may be about to end.
        (running,) = (part for part in admin.get(address).json()["running"] if part["method"] == "upstream")
        assert (running["slot"], running["images"]) == ("part-0001", IMAGES)
        assert running["worker"].endswith(f"-{gpu.pid}")
        prerun_study.allow(1000)
        reach(admin, address, "succeeded")
    assert prerun_study.is_complete()
    by_worker = workers_of(site)
    assert {name.rpartition("-")[2] for name in by_worker["upstream"]} == {str(gpu.pid)}
    assert {name.rpartition("-")[2] for name in by_worker["nearest"] | by_worker["bicubic"]} == {str(cpu.pid)}
    # The program saw the one GPU of its worker, and the worker had one job at a time.
    calls = [event for event in stand_in.events(prerun_study.control) if "gpu" in event]
    assert [call["gpu"] for call in calls] == ["3"]
    assert not overlapping(site)


def workers_of(site: Site) -> dict[str | None, set[str]]:
    """Who has made the outputs of each method."""
    with site.sessions() as db:
        found: dict[str | None, set[str]] = {}
        for method, name in db.execute(select(PrerunPart.method, Job.worker).join(Job)):
            found.setdefault(method, set()).add(str(name))
        return found


def overlapping(site: Site) -> list[tuple[int, int]]:
    """Jobs that one worker had at the same time."""
    query = """
        SELECT a.id, b.id FROM jobs a JOIN jobs b ON a.worker = b.worker AND a.id < b.id
        WHERE tstzrange(a.started_at, a.finished_at) && tstzrange(b.started_at, b.finished_at)"""
    with site.sessions() as db:
        return [(row[0], row[1]) for row in db.execute(text(query))]


@pytest.mark.slow
def test_when_a_worker_is_killed_another_one_takes_its_part_up_and_nothing_is_made_twice(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    prerun_study.allow(3)
    address = start(admin, prerun_study)
    work_off(site, "cpu")
    with worker(site) as first:
        wait_for_outputs(prerun_study, 3)
        wait_until_kept(prerun_study, "upstream", 2)
        job, program = first.child("job"), running_program(prerun_study)
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: is_gone(job) and is_gone(program), what="the end of the killed worker's job and program")
    kept = set(upstream_rows(prerun_study))
    assert admin.get(address).json()["running"][0]["attempt"] == 1
    prerun_study.allow(1000)
    with worker(site) as second:
        done = reach(admin, address, "succeeded")
    assert (done["done"], done["total"]) == (OUTPUTS, OUTPUTS)
    assert prerun_study.is_complete()
    assert kept <= set(upstream_rows(prerun_study))
    # What was recorded was not made again; what was in the program's hands may have been.
    made = stand_in.made(prerun_study.control)
    assert len(kept) >= 2
    assert all(made.count(image[:16]) == 1 for image, _ in kept)
    assert {attempt_of_upstream(site)} == {(2, str(second.pid))}


def upstream_rows(study: PrerunStudy) -> list[tuple[str, float]]:
    """The program's recorded outputs: LR image, and the seconds that tell one making from another."""
    rows = study.outputs()
    rows = rows[rows["method"] == "upstream"]
    return list(zip(rows["image"], rows["seconds"], strict=True))


def running_program(study: PrerunStudy) -> psutil.Process:
    """The process of the program that was started last."""
    pids = [event["pid"] for event in stand_in.events(study.control) if "pid" in event]
    return psutil.Process(int(str(pids[-1])))


def attempt_of_upstream(site: Site) -> tuple[int, str]:
    with site.sessions() as db:
        query = select(Job.attempt, Job.worker).join(PrerunPart).where(PrerunPart.method == "upstream")
        attempt, name = db.execute(query).one()
        return attempt, str(name).rpartition("-")[2]


def test_a_cancelled_pre_run_stops_keeps_what_it_has_and_is_resumed(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    prerun_study.allow(3)
    address = start(admin, prerun_study, images_per_part=4)
    work_off(site, "cpu")
    with worker(site) as process:
        wait_for_outputs(prerun_study, 3)
        wait_until_kept(prerun_study, "upstream", 2)
        job, program = process.child("job"), running_program(prerun_study)
        assert admin.post(f"{address}/cancel").json()["cancel_requested"] is True
        cancelled = reach(admin, address, "cancelled")
        assert is_gone(job)
        assert is_gone(program)
        # Nothing of it begins any more, though the worker goes on.
        assert (cancelled["waiting"], cancelled["running"], cancelled["pairs"]) == ({}, [], None)
        assert 0 < cancelled["done"] < OUTPUTS
        assert admin.post(f"{address}/cancel").json() == cancelled
    kept = set(upstream_rows(prerun_study))
    prerun_study.allow(1000)
    again = admin.post(f"{address}/resume").json()
    assert (again["status"], again["round"], again["cancel_requested"]) == ("queued", 2, False)
    work_off(site, "cpu", "gpu")
    done = reach(admin, address, "succeeded")
    assert done["done"] == OUTPUTS
    assert prerun_study.is_complete()
    assert kept <= set(upstream_rows(prerun_study))
    made = stand_in.made(prerun_study.control)
    assert all(made.count(image[:16]) == 1 for image, _ in kept)


def test_a_pre_run_cancelled_while_it_waits_never_begins(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    address = start(admin, prerun_study)
    cancelled = admin.post(f"{address}/cancel").json()
    assert (cancelled["status"], cancelled["started_at"]) == ("cancelled", None)
    with worker(site):
        wait_for(lambda: entries(site) == 0, what="the worker's look at the queue")
    assert admin.get(address).json() == cancelled
    assert not prerun_study.workspace.exists()


@pytest.mark.slow
def test_a_pre_run_waits_while_somebody_works_in_its_workspace_and_can_be_cancelled_meanwhile(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    workspace = Workspace(prerun_study.workspace)
    with worker(site) as process:
        with workspace.lock():
            address = start(admin, prerun_study)
            wait_for_task(admin, address, "waiting for the workspace")
            job = process.child("job")
            admin.post(f"{address}/cancel")
            reach(admin, address, "cancelled")
            assert is_gone(job)
            admin.post(f"{address}/resume")
            wait_for_task(admin, address, "waiting for the workspace")
        wait_for(lambda: admin.get(address).json()["total"] == OUTPUTS, seconds=PATIENCE, what="the preparation")
        admin.post(f"{address}/cancel")
        reach(admin, address, "cancelled")


def wait_for_task(admin: httpx.Client, address: str, task: str) -> None:
    def look() -> bool:
        return task in [part["task"] for part in admin.get(address).json()["running"]]

    wait_for(look, seconds=PATIENCE, what=task)


def entries(site: Site) -> int:
    """How many jobs the queue holds that are not finished."""
    with site.sessions() as db:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        return int(db.execute(text(query)).scalar_one())


def test_a_pre_run_goes_on_where_the_console_stopped_and_the_other_way_round(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    prerun_study.allow(2)
    with processes.running("run", prerun_study.file) as console:
        wait_until_kept(prerun_study, "upstream", 1)
        assert console.stop(signal.SIGINT) == 130, console.printed
    kept = set(upstream_rows(prerun_study))
    prerun_study.allow(1000)
    address = start(admin, prerun_study)
    work_off(site, "cpu", "gpu")
    done = reach(admin, address, "succeeded")
    # The interpolations were done on the console.
    assert [method["parts"] for method in done["methods"]] == [{}, {"succeeded": 1}, {}]
    assert prerun_study.is_complete()
    assert kept <= set(upstream_rows(prerun_study))
    again = runs.run(prerun_study.file, silent)
    assert (again.outputs.new, again.end.pairs.new, again.end.pairs.pairs) == (0, False, done["pairs"])


def test_a_part_that_fails_is_shown_does_not_stop_the_others_and_is_done_again_on_request(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    first, second, *rest = hashes_in_order(prerun_study)
    prerun_study.refuse(first[:16], second[:16], rest[0][:16])
    address = start(admin, prerun_study, images_per_part=2)
    work_off(site, "cpu", "gpu")
    done = reach(admin, address, "succeeded")
    (failed,) = done["failed"]
    assert (failed["method"], failed["parts"], failed["images"]) == ("upstream", 1, 2)
    assert failed["error"].startswith("none of the 2 outputs could be made; the first: upstream: ")
    assert "I would rather not" in failed["error"]
    upstream = done["methods"][1]
    assert upstream["parts"] == {"succeeded": 2, "failed": 1}
    assert (upstream["done"], upstream["total"], upstream["left_out"]) == (IMAGES - 3, IMAGES, 3)
    assert done["left_out"] == len(done["problems"]) == 3
    assert (prerun_study.workspace / runs.LEFT_OUT).read_text().count("upstream") >= 3
    # The pairs were selected from what there is; nobody tried again.
    assert done["pairs"] == 6
    assert len(stand_in.made(prerun_study.control)) == IMAGES - 3
    prerun_study.refuse()
    admin.post(f"{address}/resume")
    work_off(site, "cpu", "gpu")
    mended = reach(admin, address, "succeeded")
    assert (mended["done"], mended["left_out"], mended["failed"]) == (OUTPUTS, 0, [])
    assert prerun_study.is_complete()
    assert sorted(stand_in.made(prerun_study.control)) == prerun_study.stems
    # The program's folder is the same as before: what it had left there would have been found.
    folders = [str(event["folder"]) for event in stand_in.events(prerun_study.control) if "folder" in event]
    assert len({folder for folder in folders if "part-0001" in folder}) == 1


def hashes_in_order(study: PrerunStudy) -> list[str]:
    """The LR images in the order in which they are split."""
    return [images.pixel_hash(textured(index, 24, 32)) for index in range(IMAGES)]


def test_a_pre_run_that_cannot_be_prepared_says_why_and_goes_on_once_that_is_mended(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    (prerun_study.root / "repository").rename(prerun_study.root / "elsewhere")
    address = start(admin, prerun_study)
    with worker(site):
        failed = reach(admin, address, "failed")
        (part,) = failed["failed"]
        assert part["step"] == "prepare"
        assert "methods[1].repository: no such folder" in part["error"]
    assert "no such folder" in admin.get(f"/preruns/{failed['id']}").text
    (prerun_study.root / "elsewhere").rename(prerun_study.root / "repository")
    admin.post(f"{address}/resume")
    work_off(site, "cpu")
    mended = admin.get(address).json()
    assert (mended["total"], mended["failed"], mended["waiting"]) == (OUTPUTS, [], {"gpu": 1})


@pytest.mark.slow
def test_a_worker_that_does_not_see_the_workspace_works_through_the_store(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy, tmp_path: Path
) -> None:
    """Another host: its path of the workspace leads nowhere, or to another folder; the store is the same."""
    address = start(admin, prerun_study, images_per_part=3)
    hidden = prerun_study.workspace.with_name("elsewhere")
    store = site.settings.store_url
    work_off(site, "cpu")
    prerun_study.workspace.rename(hidden)
    home = tmp_path / "other_host"
    prerun_study.allow(4)
    with worker(site, "--queue", "gpu", DISCERN_HOME=str(home), DISCERN_STORE=store) as process:
        wait_for_outputs(prerun_study, 4)
        assert not prerun_study.workspace.exists()
        folders = {str(event["folder"]) for event in stand_in.events(prerun_study.control) if "folder" in event}
        assert all(folder.startswith(str(home)) for folder in folders)
        # Stopped in the middle, it goes on there; and now the path leads to a folder that is another one.
        assert process.stop() == 0
    (prerun_study.workspace / "probes").mkdir(parents=True)
    (prerun_study.workspace / "probes" / "0123").write_text("0123")
    prerun_study.allow(1000)
    with worker(site, "--queue", "gpu", DISCERN_HOME=str(home), DISCERN_STORE=store):
        wait_for(lambda: admin.get(address).json()["waiting"] == {"cpu": 1}, seconds=PATIENCE, what="all outputs")
    assert not list((home / "scratch").rglob("*.png"))
    (prerun_study.workspace / "probes" / "0123").unlink()
    (prerun_study.workspace / "probes").rmdir()
    prerun_study.workspace.rmdir()
    hidden.rename(prerun_study.workspace)
    work_off(site, "cpu")
    done = reach(admin, address, "succeeded")
    assert done["pairs"] == 6
    assert prerun_study.is_complete()
    assert through(site, "upstream") == ["store", "store"]
    assert through(site, "nearest") == ["workspace", "workspace"]
    # Nothing of it stays in the store.
    assert not [path for path in (site.settings.home / "store").rglob("preruns/**/*") if path.is_file()]


def through(site: Site, method: str) -> list[str]:
    with site.sessions() as db:
        return [part.result["through"] for part in db.scalars(select(PrerunPart).where(PrerunPart.method == method))]


def test_a_worker_that_sees_neither_workspace_nor_images_says_what_to_do(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy, tmp_path: Path
) -> None:
    start(admin, prerun_study)
    work_off(site, "cpu")
    prerun_study.workspace.rename(prerun_study.workspace.with_name("elsewhere"))
    home = tmp_path / "other_host"
    with pytest.raises(DiscernError) as refusal:
        work_off(site, "gpu", settings=site.settings.model_copy(update={"home": home}))
    assert str(refusal.value).startswith(f"{prerun_study.workspace}: the worker on ")
    assert f"in the store '{(home / 'store').as_uri()}'" in str(refusal.value)
    assert str(refusal.value).endswith(
        "mount the workspace at the same path, or give all hosts one object store as DISCERN_STORE"
    )
    assert not prerun_study.workspace.exists()


def test_a_worker_without_the_program_names_what_is_missing(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    start(admin, prerun_study)
    work_off(site, "cpu")
    repository = prerun_study.root / "repository"
    repository.rename(prerun_study.root / "elsewhere")
    with pytest.raises(DiscernError) as refusal:
        work_off(site, "gpu")
    assert str(refusal.value).startswith(f"{repository}: the worker on ")
    assert "which upstream needs; put it at the same path on every host that makes its outputs" in str(refusal.value)


def test_of_many_who_see_the_last_part_end_one_queues_the_selection(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    start(admin, prerun_study)
    with site.sessions.begin() as db:
        db.execute(text("UPDATE jobs SET status = 'succeeded', started_at = now(), finished_at = now()"))
    barrier = threading.Barrier(8)

    def see() -> None:
        barrier.wait()
        preruns.follow_up(site.sessions)

    watchers = [threading.Thread(target=see) for _ in range(8)]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()
    with site.sessions() as db:
        steps = db.scalars(select(PrerunPart.step).order_by(PrerunPart.id)).all()
    assert steps == ["prepare", "select"]
    assert entries(site) == 2


def test_an_old_pre_run_that_this_version_does_not_understand_is_shown_and_its_jobs_say_so(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    address = start(admin, prerun_study)
    before = admin.get(address).json()
    with site.sessions.begin() as db:
        db.execute(text("UPDATE preruns SET description = jsonb_set(description, '{selection,retired}', '1')"))
        job = db.scalars(select(Job.id)).one()
    assert admin.get(address).json() == before
    assert admin.get("/api/preruns").json() == [before]
    for page in ("/admin", address.removeprefix("/api")):
        assert admin.get(page).status_code == 200
    with pytest.raises(DiscernError, match=r"another version of Discern .*selection\.retired: .*resume the pre-run"):
        prerun_steps.run(site.sessions, site.settings, job, 1)
    admin.post(f"{address}/cancel")
    assert admin.post(f"{address}/resume").status_code == 200


def test_two_pre_runs_do_not_work_in_one_workspace(site: Site, admin: httpx.Client, prerun_study: PrerunStudy) -> None:
    address = start(admin, prerun_study)
    number = int(address.rpartition("/")[2])
    body = {"study_file": str(prerun_study.file)}

    def works_here(number: int) -> dict[str, str]:
        workspace = prerun_study.workspace
        return {"detail": f"{workspace}: pre-run {number} works in this workspace; wait for it, or cancel it"}

    refused = admin.post("/api/preruns", json=body)
    assert (refused.status_code, refused.json()) == (409, works_here(number))
    resumed = admin.post(f"{address}/resume")
    assert resumed.status_code == 409
    assert resumed.json()["detail"].startswith(f"pre-run {number} has not ended yet; cancel it first")
    admin.post(f"{address}/cancel")
    assert admin.post("/api/preruns", json=body).status_code == 201
    assert admin.post(f"{address}/resume").json() == works_here(number + 1)


def test_of_two_pre_runs_asked_for_at_once_one_begins(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    answers = at_once(4, lambda: admin.post("/api/preruns", json={"study_file": str(prerun_study.file)}))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


def at_once(count: int, ask: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Several requests that begin together."""
    barrier, answers = threading.Barrier(count), []

    def send() -> None:
        barrier.wait()
        answers.append(ask())

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"study_file": "study.toml"}, 422, "study_file: give an absolute path"),
        ({"study_file": 7}, 422, "study_file: "),
        ({"images_per_part": 0}, 422, "images_per_part: "),
        ({"study_file": "/nowhere/study.toml"}, 409, "/nowhere/study.toml: no such file"),
        ({"study_file": "/"}, 409, "/: not a file; give the path"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_one_sentence(
    admin: httpx.Client, prerun_study: PrerunStudy, change: dict[str, Any], status: int, message: str
) -> None:
    answer = admin.post("/api/preruns", json={"study_file": str(prerun_study.file)} | change)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"].startswith(message)
    assert "\n" not in answer.json()["detail"]
    assert admin.get("/api/preruns").json() == []


def test_mistakes_in_the_study_file_are_named_in_one_line(admin: httpx.Client, prerun_study: PrerunStudy) -> None:
    prerun_study.file.write_text(prerun_study.file.read_text().replace("per_pair = 2", "per_pair = 0\ncolour = 1"))
    answer = admin.post("/api/preruns", json={"study_file": str(prerun_study.file)})
    assert answer.status_code == 409
    first, second = answer.json()["detail"].split("; " + str(prerun_study.file))
    assert first.startswith(f"{prerun_study.file}: selection.per_pair: ")
    assert "selection.colour: unknown key" in second
    assert admin.get("/api/preruns").json() == []


def test_what_is_not_there_is_named(admin: httpx.Client) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/resume")):
        answer = admin.request(method, f"/api/preruns/7{path}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "there is no pre-run 7"})
    assert admin.get("/preruns/7").status_code == 404


def test_pre_runs_are_for_admins(site: Site, admin: httpx.Client, prerun_study: PrerunStudy) -> None:
    address = start(admin, prerun_study)
    requests = [
        ("POST", "/api/preruns"),
        ("GET", "/api/preruns"),
        ("GET", address),
        ("POST", f"{address}/cancel"),
        ("POST", f"{address}/resume"),
        ("GET", address.removeprefix("/api")),
    ]
    body = {"study_file": str(prerun_study.file)}
    for client, status in ((site.staff("experimenter"), 403), (site.subject(), 403), (site.client(), 401)):
        for method, path in requests:
            answer = client.request(method, path, json=body, headers={"Accept": "application/json"})
            assert answer.status_code == status, (method, path)
            assert str(prerun_study.file) not in answer.text
    assert admin.get(address).json()["status"] == "queued"


def test_without_pre_runs_their_jobs_are_forgotten_and_calibrations_stay(
    site: Site, admin: httpx.Client, prerun_study: PrerunStudy
) -> None:
    """The way down of the migration, with rows in the tables."""
    start(admin, prerun_study)
    site.panel_votes()
    ranking = admin.post("/api/studies/small/rankings", json={}).json()["id"]
    admin.post("/api/studies/small/calibrations", json={"ranking": ranking})
    before = admin.get("/api/studies/small/calibrations").json()
    config = Config()
    config.set_main_option("script_location", str(resources.folder("migrations")))
    with site.sessions.begin() as db:
        config.attributes["connection"] = db.connection()
        command.downgrade(config, "0002")
        assert db.execute(text("SELECT count(*), count(calibration_id) FROM jobs")).one() == (1, 1)
        assert db.execute(text("SELECT count(*) FROM procrastinate_jobs")).scalar_one() == 1
        command.upgrade(config, "head")
    assert admin.get("/api/studies/small/calibrations").json() == before
    assert admin.get("/api/preruns").json() == []


def test_a_worker_has_one_gpu(site: Site) -> None:
    for given in ("0,1", " "):
        refused = processes.discern("worker", "--gpu", given, DATABASE_URL=site.database_url)
        assert processes.refused(refused).startswith(f"--gpu: {given!r} is not one GPU; start a worker for each")
