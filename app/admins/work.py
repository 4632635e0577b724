"""What a job does: it follows from what the job belongs to."""

from functools import partial

from sqlalchemy.orm import Session, sessionmaker

from app import database
from app.admins import calibrations, prerun_steps
from app.config import Settings
from app.models import Job
from app.store import Store


def run(sessions: sessionmaker[Session], settings: Settings, job_id: int, attempt: int) -> None:
    """Do one attempt of a job.

    Raises:
        SupersededError: the job was cancelled, or another attempt has begun.
        DiscernError: it cannot be done.
    """
    if database.persist(partial(_is_calibration, sessions, job_id)):
        calibrations.run(sessions, Store(settings.store_url), job_id, attempt)
    else:
        prerun_steps.run(sessions, settings, job_id, attempt)


def _is_calibration(sessions: sessionmaker[Session], job_id: int) -> bool:
    with sessions() as db:
        return db.get_one(Job, job_id).calibration_id is not None
