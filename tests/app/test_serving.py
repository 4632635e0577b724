"""`discern serve` and the processes that it owns: how they start, stop, are killed, and come back."""

import csv
import io
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.app import processes
from tests.app.conftest import PASSWORD, next_trials, vote_on, wait_for
from tests.app.processes import Process, command_line, discern, is_gone, processes_of, refused, until_accepted

ADDRESS = r"Discern serves at (\S+);"
LINK = r"here, once: (\S+)"


@contextmanager
def new_home() -> Iterator[Path]:
    """A folder for a server whose path is short; what still runs there at the end is killed."""
    with tempfile.TemporaryDirectory(prefix="discern-") as folder:
        home = Path(folder).resolve() / "h"
        try:
            yield home
        finally:
            processes.kill(processes_of(home))


@pytest.fixture
def home() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


@dataclass
class House:
    """A home with an open study in it, and the server that runs there; started again after a test that stopped it."""

    home: Path
    workspace: Path
    process: Process | None = None
    url: str = ""
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def server(self) -> Process:
        assert self.process is not None
        return self.process

    def start(self) -> None:
        if self.process is not None:
            self.process.end()
        self.process = Process("serve", "--port", 0, DISCERN_HOME=str(self.home))
        self.url = self.process.wait_until_printed(ADDRESS)

    def set_up(self) -> None:
        """As an admin does: import, sign up, open."""
        link = self.server.wait_until_printed(LINK)
        imported = discern("study", "import", self.workspace, DISCERN_HOME=str(self.home))
        assert imported.returncode == 0, imported.stderr
        admin = self.client()
        assert admin.post(link, data={"name": "ada", "password": PASSWORD}).status_code == 303
        assert admin.patch("/api/studies/small", json={"state": "open"}).json()["state"] == "open"

    def end(self) -> None:
        for client in self.clients:
            client.close()
        self.clients.clear()
        if self.process is not None:
            self.process.end()
            self.process = None
        processes.kill(processes_of(self.home))

    def is_well(self) -> bool:
        try:
            return self.server.is_running and httpx.get(f"{self.url}/health", timeout=30, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def client(self) -> httpx.Client:
        client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        self.clients.append(client)
        return client

    def admin(self) -> httpx.Client:
        client = self.client()
        answer = until_accepted_or_redirected(client, "/sign-in", {"name": "ada", "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return client

    def subject(self) -> httpx.Client:
        invites = self.admin().post("/api/studies/small/invites", json={}).json()["invites"]
        client = self.client()
        assert client.post(invites[0]["link"], data={"consent": "yes"}).status_code == 303
        return client

    def votes(self) -> list[dict[str, str]]:
        """The vote log."""
        answer = until_accepted(lambda: self.admin().get("/api/studies/small/votes.csv"))
        return list(csv.DictReader(io.StringIO(answer.text)))

    def launch(self) -> str:
        """Launch a calibration with a ranking of what has been voted; its address."""
        admin = self.admin()
        fitted = admin.post("/api/studies/small/rankings", json={"ridge": 0.1})
        assert fitted.status_code == 201, fitted.text
        launched = admin.post("/api/studies/small/calibrations", json={"ranking": fitted.json()["id"]})
        assert launched.status_code == 201, launched.text
        return f"/api/studies/small/calibrations/{launched.json()['id']}"

    def assert_jobs_are_done(self) -> None:
        """A worker takes up what is launched."""
        address, admin = self.launch(), self.admin()
        wait_for(
            lambda: admin.get(address).json()["status"] in ("running", "succeeded"), seconds=60, what="a job's start"
        )
        admin.post(f"{address}/cancel")
        wait_for(lambda: admin.get(address).json()["finished_at"], seconds=60, what="a job's end")

    def assert_counters_agree(self) -> None:
        checked = discern("verify", DISCERN_HOME=str(self.home))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert checked.stdout.endswith(f"{len(self.votes())} votes; 0 counters differ from the log\n")


def until_accepted_or_redirected(client: httpx.Client, path: str, data: dict[str, str]) -> httpx.Response:
    """Sign in; a server that is being started again answers later."""

    def attempt() -> httpx.Response | None:
        try:
            answer = client.post(path, data=data)
        except httpx.TransportError:
            return None
        return None if answer.status_code >= 500 else answer

    answer: httpx.Response = wait_for(attempt, seconds=60, what="signing in")
    return answer


@pytest.fixture(scope="module")
def house(workspace: Path) -> Iterator[House]:
    with new_home() as home:
        made = House(home, workspace)
        try:
            made.start()
            made.set_up()
            yield made
        finally:
            made.end()


@pytest.fixture
def served(house: House) -> House:
    """The house with its server running, whatever the test before has done to it."""
    if not house.is_well():
        house.end()
        house.start()
    return house


def postmaster(home: Path) -> psutil.Process | None:
    """PostgreSQL's main process, if it runs."""
    found = [process for process in processes_of(home) if f"-D {home}/postgres" in command_line(process)]
    return found[0] if found else None


def votes_of(subject: httpx.Client, number: int) -> dict[str, str]:
    """Vote on some trials; choice by trial."""
    cast = {}
    for trial in next_trials(subject, number):
        cast[trial["id"]] = vote_on(subject, trial, "left" if len(cast) % 3 else "right").json()["choice"]
    assert len(cast) == number
    return cast


def logged(house: House) -> dict[str, str]:
    """Choice by trial, from a log that holds no trial twice."""
    rows = house.votes()
    assert len({row["trial"] for row in rows}) == len(rows)
    return {row["trial"]: row["choice"] for row in rows}


def test_the_first_start_prints_a_one_time_link_and_a_later_one_does_not(home: Path) -> None:
    with processes.running("serve", "--port", 0, DISCERN_HOME=str(home)) as server:
        url, link = server.wait_until_printed(ADDRESS), server.wait_until_printed(LINK)
        assert link.startswith(f"{url}/set-up/")
        account = {"name": "ada", "password": PASSWORD}
        assert httpx.post(link, data=account, trust_env=False, timeout=30).status_code == 303
        assert httpx.post(link, data=account | {"name": "eve"}, trust_env=False, timeout=30).status_code == 410
        assert server.stop(signal.SIGINT) == 0, server.printed
        assert processes_of(home) == []
        assert server.printed.count(link) == 1
    with processes.running("serve", "--port", 0, DISCERN_HOME=str(home)) as server:
        url = server.wait_until_printed(ADDRESS)
        assert httpx.post(f"{url}/sign-in", data=account, trust_env=False, timeout=30).status_code == 303
        assert server.stop(signal.SIGTERM) == 0, server.printed
        assert "/set-up/" not in server.printed
        assert "Traceback" not in server.printed


def test_a_killed_web_server_comes_back_with_the_votes(served: House) -> None:
    cast, web = votes_of(subject := served.subject(), 3), served.server.child("web")
    web.kill()
    until_accepted(lambda: subject.post("/api/subject/trials", json={"ahead": 1}))
    assert served.server.child("web").pid != web.pid
    assert cast.items() <= logged(served).items()
    cast |= votes_of(subject, 1)
    assert cast.items() <= logged(served).items()
    served.assert_counters_agree()


def test_a_killed_worker_comes_back_and_does_jobs(served: House) -> None:
    votes_of(served.subject(), 12)
    worker = served.server.child("worker")
    worker.kill()
    wait_for(lambda: is_gone(worker), what="the worker's end")
    served.assert_jobs_are_done()
    assert served.server.child("worker").pid != worker.pid


def test_a_killed_postgresql_comes_back_with_the_votes_and_jobs_are_done(served: House) -> None:
    served.server.stop()
    served.start()  # anew, with none of the restarts that other tests have caused
    cast, killed = votes_of(subject := served.subject(), 12), postmaster(served.home)
    assert killed is not None
    killed.kill()
    wait_for(lambda: postmaster(served.home) not in (None, killed), seconds=60, what="another PostgreSQL")
    until_accepted(lambda: subject.post("/api/subject/trials", json={"ahead": 1}))
    assert cast.items() <= logged(served).items()
    served.assert_counters_agree()
    served.assert_jobs_are_done()


def test_votes_sent_while_the_web_server_is_killed_are_stored_once_and_none_is_lost(served: House) -> None:
    subject, web = served.subject(), served.server.child("web")
    trials, acknowledged = next_trials(subject, 12), threading.Semaphore(0)
    choices = {trial["id"]: ("left", "right")[n % 2] for n, trial in enumerate(trials)}

    def send(trial: dict[str, Any]) -> None:
        with httpx.Client(base_url=served.url, cookies=subject.cookies, timeout=30, trust_env=False) as browser:
            answer = until_accepted(lambda: vote_on(browser, trial, choices[trial["id"]]))
            acknowledged.release()
            assert answer.json()["choice"] == choices[trial["id"]]
            # The acknowledgement may have been lost on its way, so that the page sends it again.
            assert until_accepted(lambda: vote_on(browser, trial, choices[trial["id"]])).status_code == 200

    with ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send, trial) for trial in trials]
        for _ in range(3):
            assert acknowledged.acquire(timeout=60)
        web.kill()
        for task in sending:
            task.result()
    assert is_gone(web)
    assert {trial: choice for trial, choice in logged(served).items() if trial in choices} == choices
    assert subject.post("/api/subject/trials", json={"ahead": 1}).json()["voted"] == 12
    served.assert_counters_agree()


def test_a_second_server_in_the_same_home_is_refused_and_the_first_one_stays(served: House) -> None:
    message = refused(discern("serve", "--port", 0, DISCERN_HOME=str(served.home)))
    assert message == f"{served.home}: another server runs here; stop it, or set DISCERN_HOME"
    assert served.is_well()
    assert discern("verify", DISCERN_HOME=str(served.home)).returncode == 0


@pytest.mark.parametrize("port", ["taken", "99999"])
def test_a_port_that_cannot_be_had_is_one_error_and_nothing_is_left_running(
    served: House, home: Path, port: str
) -> None:
    number = served.url.rpartition(":")[2] if port == "taken" else port
    message = refused(discern("serve", "--port", number, DISCERN_HOME=str(home)))
    assert message.startswith(f"cannot listen on 127.0.0.1:{number} (")
    assert message.endswith("; choose another --port or --host")
    assert processes_of(home) == []
    assert served.is_well()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_in_time_though_a_live_page_and_a_job_are_open(
    served: House, number: signal.Signals
) -> None:
    votes_of(served.subject(), 12)
    admin, address = served.admin(), served.launch()
    wait_for(lambda: admin.get(address).json()["status"] == "running", seconds=60, what="a job's start")
    served.server.child("job")
    everything = processes_of(served.home)
    with admin.stream("GET", "/studies/small/events") as events:
        assert next(events.iter_lines()) == "event: snapshot"
        started = time.monotonic()
        status = served.server.stop(number)
        seconds = time.monotonic() - started
    assert status == 0, served.server.printed
    assert seconds < 30  # the patience with web server, job and PostgreSQL, one after the other
    assert [process for process in everything if not is_gone(process)] == []
    assert processes_of(served.home) == []
    assert served.server.printed.endswith("stopped\n")


def test_when_the_parent_is_killed_its_children_end_and_a_new_server_has_the_votes(served: House) -> None:
    cast, server = votes_of(served.subject(), 4), served.server
    children, old_database = [server.child("web"), server.child("worker")], postmaster(served.home)
    assert old_database is not None
    server.popen.kill()
    wait_for(lambda: all(map(is_gone, children)), what="the children's end")
    served.start()
    assert cast.items() <= logged(served).items()
    votes_of(served.subject(), 2)
    served.assert_counters_agree()
    assert postmaster(served.home) == old_database
    assert served.server.stop() == 0
    assert is_gone(old_database)
    assert processes_of(served.home) == []


def test_web_worker_and_migration_run_apart_on_a_database_of_their_own(
    empty_database: str, home: Path, workspace: Path
) -> None:
    environment = {"DATABASE_URL": empty_database, "DISCERN_HOME": str(home)}
    for _ in range(2):  # as at every start of the containers
        migrated = discern("migrate", **environment)
        assert (migrated.returncode, migrated.stdout) == (0, "the database is up to date\n"), migrated.stderr
    assert discern("study", "import", workspace, **environment).returncode == 0
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with (
        processes.running("web", "--port", port, **environment) as web,
        processes.running("worker", "--queue", "cpu", **environment) as worker,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as admin,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as subject,
    ):
        link = web.wait_until_printed(LINK)
        until_accepted(lambda: admin.get("/health"))
        assert admin.post(link, data={"name": "ada", "password": PASSWORD}).status_code == 303
        admin.patch("/api/studies/small", json={"state": "open"})
        invites = admin.post("/api/studies/small/invites", json={"kind": "shared"}).json()["invites"]
        subject.post(invites[0]["link"], data={"consent": "yes"})
        votes_of(subject, 12)
        ranking = admin.post("/api/studies/small/rankings", json={"ridge": 0.1}).json()["id"]
        launched = admin.post("/api/studies/small/calibrations", json={"ranking": ranking}).json()["id"]
        address = f"/api/studies/small/calibrations/{launched}"
        wait_for(lambda: admin.get(address).json()["status"] == "running", seconds=60, what="the job's start")
        worker.child("job")
        assert worker.stop() == 0, worker.printed
        # Put back: another worker would go on at once.
        assert admin.get(address).json()["status"] == "queued"
        assert web.stop() in (0, -signal.SIGTERM), web.printed
        assert "Traceback" not in web.printed + worker.printed
    assert processes_of(home) == []
    checked = discern("verify", **environment)
    assert checked.stdout == "12 votes; 0 counters differ from the log\n"
    assert not (home / "postgres").exists()


@pytest.mark.parametrize("verb", ["web", "worker", "migrate"])
def test_without_a_database_a_verb_that_needs_one_says_so(verb: str, home: Path) -> None:
    message = refused(discern(verb, DISCERN_HOME=str(home)))
    assert message == f"DATABASE_URL: not set; `discern {verb}` needs a database, `discern serve` brings its own"
    assert processes_of(home) == []


def test_a_database_that_does_not_answer_is_one_error(home: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    url = f"postgresql://nobody:secret@127.0.0.1:{port}/none"
    message = refused(discern("serve", "--port", 0, DISCERN_HOME=str(home), DATABASE_URL=url))
    assert message.startswith("DATABASE_URL: the database cannot be reached: ")
    assert "secret" not in message
    assert processes_of(home) == []
