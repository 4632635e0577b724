"""`discern demo`: the loop in the browser.

A study is built and served, simulated subjects vote, an admin's work is done once, and everything stays up for people.
"""

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
from app.models import Calibration, Invite
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
            name = _open(server, settings, summary.workspace.root)
            _announce(server, name, time.monotonic() - started, say)
            _fill(server, name, say)
            say(f"\nall of it after {time.monotonic() - started:.0f} s, in {directory}; Ctrl-C stops the demo")
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


def _open(server: Server, settings: Settings, workspace: Path) -> str:
    """Import the study, open it, and invite to it; returns its name."""
    with console.progress_display() as progress, database.transaction(server.database_url) as db:
        study = studies.import_workspace(db, Store(settings.store_url), workspace, progress=progress)
        if study.state == "draft":
            studies.set_state(db, study, "open")
            studies.invite(db, study, "shared", note="from the demo")
        return study.name


def _fill(server: Server, name: str, say: Say) -> None:
    """What is not there yet of: simulated votes, a ranking, a calibration."""
    sessions = database.sessions(server.database_url)
    with console.progress_display() as progress:
        with sessions() as db:
            voted = tallies.number_by_voters(db, studies.find(db, name))["simulated"]
        if not voted:
            simulation.run(
                sessions, server.url, name, subjects=SUBJECTS, seed=SEED, population=POPULATION, progress=progress
            )
        key = _calibrate(sessions, name, progress)
    say(f"\ncalibrated with the ranking of the simulated votes: {server.url}/studies/{name}/calibrations/{key}")


def _calibrate(sessions: sessionmaker[Session], name: str, progress: Progress) -> int:
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
    return key


def _announce(server: Server, name: str, seconds: float, say: Say) -> None:
    with database.transaction(server.database_url) as db:
        study = studies.find(db, name)
        query = select(Invite.token).where(Invite.study_id == study.id, Invite.kind == "shared").order_by(Invite.id)
        token = db.scalars(query).first()
    first = invitations.first_admin(server.database_url, server.url)
    experimenter = invitations.set_up_link(server.database_url, server.url, "experimenter")
    say(f"""
ready to vote after {seconds:.0f} s

subject        votes on pairs: the link is the invitation, there is no sign-in
               {server.url}/i/{token}
experimenter   watches the matrix: chooses a name and a password at the first address, once
               {experimenter}
               {server.url}/studies/{name}
admin          fits rankings, launches calibrations: chooses a name and a password at the first address, once
               {first or "(done already: sign in with the name and the password of then)"}
               {server.url}/studies/{name}/manage

simulated subjects vote now; what they do is marked as simulated everywhere
""")
