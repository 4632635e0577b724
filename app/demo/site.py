"""`discern demo`: the loop in the browser. A study is built and served, simulated subjects vote, an admin's work is done
once, and everything stays up for people."""

import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app import config, console, database, runs, serving, simulation, studies
from app.admins import calibrations, rankings
from app.config import Settings
from app.demo import inputs, loop
from app.demo.loop import POPULATION
from app.experimenters import tallies
from app.models import Calibration, Invite, Study
from app.security import invitations
from app.serving import Say, Server
from app.store import Store
from pipelines.errors import DiscernError
from pipelines.progress import Progress

SUBJECTS = 12
SEED = 1
BY = "demo"


def run(directory: Path, host: str, port: int, say: Say) -> None:
    """Build, serve, vote, fit, calibrate, and stay up until Ctrl-C; what an earlier demo did there is kept.

    Raises:
        DiscernError: the directory cannot be used, or something does not start.
    """
    started = time.monotonic()
    serving.stop_on_sigterm()
    try:
        with console.progress_display() as progress:
            summary = runs.run(inputs.prepare(directory, progress), progress)
            loop.write_quality(summary.study, summary.workspace, directory, progress)
        settings = _settings(directory)
        with serving.running(settings, host=host, port=_free(host, port), say=say) as server:
            _fill(server, settings, summary.workspace.root)
            _announce(server, directory, time.monotonic() - started, say)
            server.supervisor.wait()
            raise DiscernError(server.supervisor.failure or "stopped")
    except KeyboardInterrupt:
        say("stopped; `make demo` starts it again, with all votes")


def _settings(directory: Path) -> Settings:
    """The demo's own home, beside its study, unless the environment names another one."""
    settings = config.load()
    if "home" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"home": directory / "server"})


def _free(host: str, port: int) -> int:
    """The port, or 0 for any other one where it is taken."""
    try:
        with closing(serving.listen(host, port)):
            return port
    except DiscernError:
        return 0


def _fill(server: Server, settings: Settings, workspace: Path) -> None:
    """What is not there yet of: the study, an invitation, simulated votes, a ranking, a calibration."""
    sessions = database.sessions(server.database_url)
    with console.progress_display() as progress:
        with sessions.begin() as db:
            study = studies.import_workspace(db, Store(settings.store_url), workspace, progress=progress)
            if study.state == "draft":
                studies.set_state(db, study, "open")
                studies.invite(db, study, "shared", note="from the demo")
            voted = tallies.number_by_voters(db, study)["simulated"]
        if not voted:
            simulation.run(
                sessions, server.url, study.name, subjects=SUBJECTS, seed=SEED, population=POPULATION, progress=progress
            )
        _calibrate(sessions, study.name, progress)


def _calibrate(sessions: sessionmaker[Session], name: str, progress: Progress) -> None:
    """Fit and launch as an admin does by two clicks, and wait for the worker."""
    with sessions.begin() as db:
        study = studies.find(db, name)
        calibration = db.scalar(select(Calibration).where(Calibration.study_id == study.id).limit(1))
        if calibration is None:
            ranking = rankings.fit(db, study, voters="simulated", created_by=BY)
            calibration = calibrations.launch(db, study, ranking.id, created_by=BY)
        key = calibration.id
    while True:
        with sessions() as db:
            job = db.get_one(Calibration, key).job
            if job.finished_at is not None:
                break
            if job.total:
                progress(f"calibration: {job.task}", job.done, job.total)
        time.sleep(0.5)
    if job.status == "failed":
        raise DiscernError(f"the calibration failed: {job.error}")


def _announce(server: Server, directory: Path, seconds: float, say: Say) -> None:
    with database.sessions(server.database_url)() as db:
        study = db.scalars(select(Study).order_by(Study.id)).first()
        invite = db.scalars(select(Invite).where(Invite.kind == "shared").order_by(Invite.id)).first()
        assert study is not None
        assert invite is not None
        name, token = study.name, invite.token
    first = invitations.first_admin(server.database_url, server.url)
    experimenter = invitations.set_up_link(server.database_url, server.url, "experimenter")
    say(f"\nready after {seconds:.0f} s; everything is in {directory}\n")
    say("subject        vote on pairs; no sign-in, the link is the invitation")
    say(f"               {server.url}/i/{token}")
    say("experimenter   watch the matrix; choose a name and a password at the first link, once, then use the second")
    say(f"               {experimenter}")
    say(f"               {server.url}/studies/{name}")
    say("admin          fit rankings, launch calibrations; sign in the same way")
    say(f"               {first or 'signed up already: sign in with the name and password chosen then'}")
    say(f"               {server.url}/studies/{name}/manage")
    say("\nvotes so far are by simulated subjects, and are marked so; Ctrl-C stops the demo")
