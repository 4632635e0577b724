"""A study's life on the server: imported from a workspace, opened, closed; its invitations."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import database, study_extension, study_import, study_protocol, terms
from app.errors import UnknownError
from app.models import Invite, Pair, Study, Subject
from app.security.sessions import new_token
from app.store import Store
from app.study_import import Contents, Sizes
from app.study_protocol import Asked
from pipelines import study as study_files
from pipelines.errors import DiscernError
from pipelines.progress import Progress, silent
from pipelines.workspace import Workspace

State = Literal["open", "closed"]


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


@dataclass(frozen=True)
class Imported:
    """What an import has brought.

    Attributes:
        study: with all that it has now.
        is_new: whether there was none of this name.
        methods: that a study of this name did not have before.
        images: how many LR images it did not have.
        pairs: how many pairs it did not have.
        all_pairs: how many it has now.
        protocol: whether its subjects are asked in another way from now on.
        notes: what else there is to know.
    """

    study: Study
    is_new: bool
    methods: tuple[str, ...] = ()
    images: int = 0
    pairs: int = 0
    all_pairs: int = 0
    protocol: bool = False
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What to tell whoever has asked for it."""
        changed = ["its protocol is another now: new subjects go by it, those who have begun keep theirs"]
        return [*self._added(), *(changed if self.protocol else []), *self.notes]

    def _added(self) -> list[str]:
        if self.is_new or not self.pairs:
            return [f"imported as {self.study.name!r}, {self.study.state}; an admin opens it and makes invitations"]
        share = self.study.trials_per_subject
        asked = f"{min(share, self.all_pairs)} trials" if share else f"all {self.all_pairs} pairs"
        added = (_many(len(self.methods), "method"), _many(self.images, "LR image"), _many(self.pairs, "pair"))
        return [
            f"{self.study.name!r}, {self.study.state}: added {', '.join(added)}; all votes and trials stay",
            f"ask each new subject for {self.pairs} trials (Admin > Manage; now: {asked}) "
            "and the new pairs go out first",
        ]


def import_workspace(
    db: Session, store: Store, folder: Path, *, name: str | None = None, progress: Progress = silent
) -> Study:
    """`take_in`, for those who want to know the study alone."""
    return take_in(db, store, folder, name=name, progress=progress).study


def take_in(
    db: Session, store: Store, folder: Path, *, name: str | None = None, progress: Progress = silent
) -> Imported:
    """Fill the database and the store with what subjects will vote on.

    The same workspace again changes nothing, except where it lies now, adds outputs that were made since, and puts back
    images that the store has lost. One that has got further methods or pairs since adds those, and everything else
    stays: votes, trials, subjects, invitations, rankings, and whether the study is open. Another protocol holds for
    those who come from now on.

    Args:
        db: its transaction holds all of it, or none.
        store: gets the LR images of the selected pairs and all their outputs.
        folder: the workspace that `discern run` made.
        name: of the study in addresses; by default, made from the study file's.
        progress: called after each image.

    Raises:
        DiscernError: the folder is no workspace, somebody works in it alone, nothing is selected in it, an image is
            damaged, or another study has the name, or this one with other methods, pairs or outputs.
    """
    description = study_files.recorded(folder)
    workspace = Workspace(description.workspace)
    name = _checked_name(name or slug(description.name))
    existing = db.scalar(select(Study).where(Study.name == name))
    # Whoever works there alone, as a selection does, replaces files that are read here.
    with workspace.lock(shared=True):
        contents = study_import.read(workspace, description.method_ids)
        if existing is not None:
            _beyond(db, existing, description, contents, folder)
        sizes = study_import.store_images(db, workspace, store, contents, progress)
        asked = study_protocol.prepare(db, workspace, store, description, contents, sizes, existing, progress)
    if existing is not None:
        return _extend(db, name, description, contents, sizes, asked, folder)
    study = Study(
        name=name,
        title=description.name,
        description=description.model_dump(mode="json"),
        workspace=str(description.workspace),
    )
    db.add(study)
    db.flush()
    terms.set_protocol(db, study, description.protocol)
    study_import.insert_all(db, study, description.method_ids, contents, sizes)
    study_protocol.add(db, study, asked)
    return Imported(study, is_new=True, notes=asked.notes)


def set_state(db: Session, study: Study, state: State) -> None:
    """Open or close a study; trials that were handed out before it closed may still be voted on.

    Raises:
        DiscernError: the state is not one of these.
    """
    if state not in ("open", "closed"):
        raise DiscernError(f"state: {state!r} is not known; choose 'open' or 'closed'")
    study.state = state
    db.flush()


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


def _extend(
    db: Session,
    name: str,
    description: study_files.Study,
    contents: Contents,
    sizes: Sizes,
    asked: Asked,
    folder: Path,
) -> Imported:
    """Add to a study what its workspace has beyond it; images are in the store by now, so that this takes no time."""
    # Nobody is handed a trial meanwhile; and somebody else may have imported the workspace while images were stored.
    study = find(db, name, lock=True)
    beyond = _beyond(db, study, description, contents, folder)
    study_extension.add(db, study, beyond, contents, sizes)
    study_protocol.add(db, study, asked)
    # The folder may have been moved: from now on it is looked for here.
    study.workspace, study.description = str(description.workspace), description.model_dump(mode="json")
    db.flush()
    is_other = terms.set_protocol(db, study, description.protocol)
    database.notify_vote(db, study.id)
    pairs = db.scalar(select(func.count()).select_from(Pair).where(Pair.study_id == study.id)) or 0
    return Imported(study, False, beyond.methods, len(beyond.images), len(beyond.pairs), pairs, is_other, asked.notes)


def _beyond(
    db: Session, study: Study, description: study_files.Study, contents: Contents, folder: Path
) -> study_extension.Extension:
    try:
        return study_extension.find(db, study, description.method_ids, contents)
    except DiscernError as error:
        raise DiscernError(
            f"{folder}: a study is called {study.name!r} already, and its votes belong to what it has, "
            f"but {error}; give a name of its own to this one"
        ) from error


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
