"""A study's life on the server: imported from a workspace, opened, closed; its consent text and its invitations."""

import re
from pathlib import Path
from typing import Literal

import pandas as pd
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import study_import
from app.errors import UnknownError
from app.models import Consent, Invite, Output, Pair, Study, Subject
from app.security.sessions import new_token
from app.store import Store
from pipelines import study as study_files
from pipelines.errors import DiscernError
from pipelines.progress import Progress, silent
from pipelines.workspace import Workspace

State = Literal["open", "closed"]

CONSENT = """\
You will see pairs of images, and choose in each pair the one that looks better to you. There are no right answers.

Your choices, the time they take, and the size of your window and screen are stored. Your name and your address are not.

Taking part is voluntary. You may stop at any time by closing the page; the choices made until then are kept."""


def find(db: Session, name: str, *, lock: bool = False) -> Study:
    """The study of a name; locked, nothing else changes it, or hands out its trials, until the transaction ends.

    Raises:
        UnknownError: there is none.
    """
    query = select(Study).where(Study.name == name)
    study = db.scalar(query.with_for_update(key_share=True) if lock else query)
    if study is None:
        raise UnknownError(f"there is no study {name!r}")
    return study


def import_workspace(
    db: Session, store: Store, folder: Path, *, name: str | None = None, progress: Progress = silent
) -> Study:
    """Fill the database and the store with what subjects will vote on.

    The same workspace again changes nothing, except where it lies now, adds outputs that were made since, and puts back
    images that the store has lost.

    Args:
        db: its transaction holds all of it, or none.
        store: gets the LR images of the selected pairs and all their outputs.
        folder: the workspace that `discern run` made.
        name: of the study in addresses; by default, made from the study file's.
        progress: called after each image.

    Raises:
        DiscernError: the folder is no workspace, somebody works in it alone, nothing is selected in it, an image is
            damaged, or another study has the name.
    """
    description = study_files.recorded(folder)
    workspace = Workspace(description.workspace)
    name = _checked_name(name or slug(description.name))
    existing = db.scalar(select(Study).where(Study.name == name))
    # Whoever works there alone, as a selection does, replaces files that are read here.
    with workspace.lock(shared=True):
        contents = study_import.read(workspace, description.method_ids)
        if existing is not None:
            _check_same(db, existing, contents.pairs, folder)
        sizes = study_import.store_images(workspace, store, contents, progress)
    if existing is not None:
        study_import.insert_outputs(db, existing, contents, sizes)
        # The folder may have been moved: from now on it is looked for here.
        existing.workspace, existing.description = str(description.workspace), description.model_dump(mode="json")
        return existing
    study = Study(
        name=name,
        title=description.name,
        description=description.model_dump(mode="json"),
        workspace=str(description.workspace),
    )
    db.add(study)
    db.flush()
    db.add(Consent(study_id=study.id, text=CONSENT))
    study_import.insert_all(db, study, description.method_ids, contents, sizes)
    return study


def set_state(db: Session, study: Study, state: State) -> None:
    """Open or close a study; trials that were handed out before it closed may still be voted on.

    Raises:
        DiscernError: the state is not one of these.
    """
    if state not in ("open", "closed"):
        raise DiscernError(f"state: {state!r} is not known; choose 'open' or 'closed'")
    study.state = state
    db.flush()


def consent(db: Session, study: Study) -> Consent:
    """What subjects agree to at present."""
    query = select(Consent).where(Consent.study_id == study.id).order_by(Consent.id.desc()).limit(1)
    return db.scalars(query).one()


def set_consent(db: Session, study: Study, text: str) -> None:
    """Ask for another consent from now on; the earlier text stays for those who agreed to it.

    Raises:
        DiscernError: the text is empty.
    """
    if not text.strip():
        raise DiscernError("consent: the text is empty; subjects must know what they agree to")
    if text.strip() != consent(db, study).text:
        db.add(Consent(study_id=study.id, text=text.strip()))


def invite(
    db: Session, study: Study, kind: Literal["single", "shared"], *, note: str = "", simulated: bool = False
) -> Invite:
    """A link for one subject, or one to share."""
    made = Invite(study_id=study.id, token=new_token(), kind=kind, note=note, simulated=simulated)
    db.add(made)
    db.flush()
    return made


def invitations(db: Session, study: Study) -> list[tuple[Invite, int]]:
    """The study's invitations, newest first, and how many subjects each has brought."""
    used = select(func.count()).select_from(Subject).where(Subject.invite_id == Invite.id).scalar_subquery()
    query = select(Invite, used).where(Invite.study_id == study.id).order_by(Invite.id.desc())
    return [(invite, subjects) for invite, subjects in db.execute(query)]


def revoke(db: Session, study: Study, key: int) -> None:
    """Withdraw an invitation; who has used it may finish.

    Raises:
        UnknownError: the study has no such invitation.
    """
    row = db.get(Invite, key)
    if row is None or row.study_id != study.id:
        raise UnknownError(f"study {study.name!r} has no invitation {key}")
    row.revoked = True


def slug(title: str) -> str:
    """A title as it can stand in an address: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:63]


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise DiscernError(f"name: {name!r} cannot stand in an address; give small letters, digits and hyphens")
    return name


def _check_same(db: Session, study: Study, pairs: pd.DataFrame, folder: Path) -> None:
    first, second = Output.__table__.alias(), Output.__table__.alias()
    query = (
        select(first.c.sha256, second.c.sha256)
        .select_from(Pair)
        .join(first, Pair.first_output_id == first.c.id)
        .join(second, Pair.second_output_id == second.c.id)
        .where(Pair.study_id == study.id)
    )
    if {tuple(row) for row in db.execute(query)} != set(zip(pairs["output_a"], pairs["output_b"], strict=True)):
        raise DiscernError(
            f"{folder}: another study is called {study.name!r}, with other pairs, and its votes belong to those; "
            "give a name of its own to this one"
        )
