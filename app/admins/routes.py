"""Pages and requests of admins. Whatever can be clicked is one of the requests under /api."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from app import database, studies, terms
from app.admins import calibrations, invites, jobs, prerun_views, preruns, rankings
from app.admins.prerun_views import PrerunView
from app.experimenters import tallies, views
from app.experimenters.routes import Found
from app.experimenters.tallies import Voters
from app.experimenters.views import CalibrationView, RankingView, StudyView
from app.requests import Images, Transaction, base_url, page
from app.security import roles, users
from app.security.roles import Admin
from app.security.users import Role
from app.subjects import languages

router = APIRouter(tags=["admins"], dependencies=[Depends(roles.admin)])


class Import(BaseModel):
    """A workspace on the server to import."""

    workspace: Path = Field(description="The workspace folder that `discern run` made, as the server sees it.")
    name: str | None = Field(default=None, description="Of the study in addresses; made from its title by default.")


class Start(BaseModel):
    """A study file on the server whose outputs workers make."""

    study_file: Path = Field(description="An absolute path, as the server and the workers see it.")
    images_per_part: int = Field(default=50, ge=1, le=100_000, description="How many a worker is given at a time.")

    @field_validator("study_file")
    @classmethod
    def _is_absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise PydanticCustomError("absolute", "give an absolute path, which means the same on every host")
        return path


class StudyChange(BaseModel):
    """What to change; what is left out stays."""

    state: Literal["open", "closed"] | None = None
    title: str | None = Field(default=None, min_length=1, max_length=200)
    consent: str | None = Field(default=None, max_length=100_000)
    language: str | None = Field(default=None, description="Of the consent text; the protocol's first one by default.")
    trials_per_subject: int | None = Field(default=None, ge=0, description="For new subjects; 0 asks for all pairs.")


class Fit(BaseModel):
    """Which votes to fit, and how."""

    voters: Voters = "people"
    group: str | None = Field(default=None, description="Votes on pairs of this group; on all pairs by default.")
    ridge: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="0 is maximum likelihood.")
    level: float = Field(default=0.95, gt=0, lt=1, description="Confidence of the intervals.")


class Launch(BaseModel):
    """The ranking to calibrate with."""

    ranking: int


class LinkFor(BaseModel):
    """Whom a set-up link is for."""

    role: Role


class SetUpLinkView(BaseModel):
    """A one-time link; it is shown once, and not stored."""

    link: str
    role: Role
    expires_at: datetime


class UserView(BaseModel):
    """Somebody who can sign in."""

    name: str
    role: Role
    created_at: datetime


@router.get("/admin", include_in_schema=False)
def admin_page(request: Request, db: Transaction) -> Response:
    """Studies to import, pre-runs to start, users to invite."""
    return page(
        request,
        db,
        "admins/admin.html",
        studies=views.all_studies(db),
        preruns=prerun_views.all_preruns(db),
        users=_users(db),
    )


@router.get("/preruns/{prerun}", include_in_schema=False)
def prerun_page(request: Request, db: Transaction, prerun: int) -> Response:
    """How far a pre-run is, what it left out, and what can be done about it."""
    return page(request, db, "admins/prerun.html", prerun=prerun_views.prerun(db, preruns.find(db, prerun)))


@router.get("/studies/{study}/manage", include_in_schema=False)
def manage_page(request: Request, db: Transaction, found: Found) -> Response:
    """Everything that can be decided about a study."""
    return page(
        request,
        db,
        "admins/study.html",
        study=views.study(db, found),
        without_votes=tallies.pairs_without_votes(db, found, "people")[1],
        consents=[
            {"tag": tag, "name": languages.name(tag), "text": text, "has_catalogue": languages.has_catalogue(tag)}
            for tag, text in terms.consents(db, found).items()
        ],
        # Those of simulated subjects were used by the program that made them.
        invites=[invite for invite in invites.views(db, found, base_url(request)) if not invite.simulated],
        rankings=views.rankings(db, found),
        calibrations=views.calibrations(db, found),
    )


@router.post("/api/studies", status_code=201)
def import_study(wanted: Import, db: Transaction, store: Images) -> StudyView:
    """Import a workspace; again, it adds the methods and pairs that the workspace has got since."""
    return views.study(db, studies.import_workspace(db, store, wanted.workspace, name=wanted.name))


@router.get("/api/preruns")
def list_preruns(db: Transaction) -> list[PrerunView]:
    """All pre-runs, newest first."""
    return prerun_views.all_preruns(db)


@router.post("/api/preruns", status_code=201)
def start_prerun(wanted: Start, db: Transaction, user: Admin) -> PrerunView:
    """Let workers make the outputs that a study file asks for and its workspace misses, and then select pairs."""
    made = preruns.start(db, wanted.study_file, images_per_part=wanted.images_per_part, created_by=user.name)
    return prerun_views.prerun(db, made)


@router.get("/api/preruns/{prerun}")
def read_prerun(db: Transaction, prerun: int) -> PrerunView:
    """How far a pre-run is, how fast it goes, and what it left out."""
    return prerun_views.prerun(db, preruns.find(db, prerun))


@router.post("/api/preruns/{prerun}/cancel")
def cancel_prerun(db: Transaction, prerun: int) -> PrerunView:
    """Stop all that a pre-run does; what is finished is kept. One that has ended stays as it is."""
    return prerun_views.prerun(db, preruns.cancel(db, prerun))


@router.post("/api/preruns/{prerun}/resume")
def resume_prerun(db: Transaction, prerun: int) -> PrerunView:
    """Do what is still missing of a pre-run that has ended, by its study file as it is now."""
    return prerun_views.prerun(db, preruns.resume(db, prerun))


@router.patch("/api/studies/{study}")
def change_study(change: StudyChange, db: Transaction, found: Found) -> StudyView:
    """Open or close a study, or change its title, its consent text, or the share of a subject."""
    locked = studies.find(db, found.name, lock=True)
    if change.state is not None:
        studies.set_state(db, locked, change.state)
    if change.title is not None:
        locked.title = change.title
    if change.consent is not None:
        terms.set_consent(db, locked, change.consent, change.language)
    if change.trials_per_subject is not None:
        locked.trials_per_subject = change.trials_per_subject or None
    db.flush()
    database.notify_vote(db, locked.id)
    return views.study(db, locked)


@router.post("/api/studies/{study}/rankings", status_code=201)
def fit_ranking(wanted: Fit, db: Transaction, found: Found, user: Admin) -> RankingView:
    """Fit a ranking to the votes so far, and keep it."""
    ranking = rankings.fit(db, found, **wanted.model_dump(), created_by=user.name)
    return views.ranking(ranking, found.name)


@router.post("/api/studies/{study}/calibrations", status_code=201)
def launch_calibration(wanted: Launch, db: Transaction, found: Found, user: Admin) -> CalibrationView:
    """Launch a calibration with a ranking: a job for a worker."""
    return views.calibration(calibrations.launch(db, found, wanted.ranking, created_by=user.name), found.name)


@router.post("/api/studies/{study}/calibrations/{calibration}/cancel")
def cancel_calibration(db: Transaction, found: Found, calibration: int) -> CalibrationView:
    """Cancel a calibration; one that has ended stays as it is."""
    row = views.find_calibration(db, found, calibration)
    jobs.cancel(db, row.job.id)
    return views.calibration(row, found.name)


@router.get("/api/users")
def list_users(db: Transaction) -> list[UserView]:
    """Who can sign in."""
    return _users(db)


@router.delete("/api/users/{name:path}", status_code=204)
def remove_user(name: str, db: Transaction, user: Admin) -> None:
    """End somebody's access at once, wherever they are signed in; what they did stays."""
    users.remove(db, name, by=user)


@router.post("/api/users/links", status_code=201)
def make_link(wanted: LinkFor, request: Request, db: Transaction) -> SetUpLinkView:
    """A one-time link with which somebody chooses a name and a password."""
    token, expires_at = users.new_link(db, wanted.role)
    return SetUpLinkView(link=f"{base_url(request)}/set-up/{token}", role=wanted.role, expires_at=expires_at)


def _users(db: Transaction) -> list[UserView]:
    return [UserView.model_validate(user, from_attributes=True) for user in users.everybody(db)]
