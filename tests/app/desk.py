"""Subjects without browsers: they come, ask for trials, vote, and let time pass."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from app import studies
from app.models import Block, Consent, ImageFile, Pair, Probe, Protocol, Subject, Trial
from app.subjects import trials, votes
from app.subjects.trials import Outstanding, Shown
from pipelines import protocol
from tests.app import seats

# Nothing but trials; what else there can be, a test asks for.
BARE: dict[str, Any] = {"training": 0, "warm_up": 0, "warm_up_later": 0, "break_seconds": 0}
EVERYTHING = 1000


@dataclass
class Desk:
    """A study in a database of its own."""

    sessions: sessionmaker[Session]
    study: str = "small"

    def come(self, total: int | None = None, *, simulated: bool = False, seed: int = 7, **settings: Any) -> int:
        """A new subject, who goes by a protocol of their own: its key."""
        with self.sessions.begin() as db:
            study = studies.find(db, self.study)
            rules = protocol.Protocol(**(BARE | settings)).model_dump(mode="json")
            made = Protocol(study_id=study.id, settings=rules)
            db.add(made)
            invite = studies.invite(db, study, "single", simulated=simulated)
            db.flush()
            number = db.scalar(select(func.max(Subject.number)).where(Subject.simulated == simulated)) or 0
            pairs = db.scalar(select(func.count()).select_from(Pair).where(Pair.study_id == study.id)) or 0
            subject = Subject(
                study_id=study.id,
                invite_id=invite.id,
                simulated=simulated,
                number=number + 1,
                seed=seed + number,
                consent_id=db.scalars(select(Consent.id).where(Consent.study_id == study.id)).first(),
                protocol_id=made.id,
                completion_code="C0DE",
                total=total or pairs,
            )
            db.add(subject)
            db.flush()
            return subject.id

    def ask(self, subject: int, ahead: int = EVERYTHING, *, go_on: bool = False) -> Outstanding:
        """What the subject is to do next."""
        with self.sessions.begin() as db:
            return trials.outstanding(db, db.get_one(Subject, subject), ahead, go_on)

    def vote(self, subject: int, trial: Shown | UUID, choice: str | None = "left", revision: int | None = None) -> None:
        """One vote, or one taken back."""
        key = trial if isinstance(trial, UUID) else trial.id
        number = revision or (1 if isinstance(trial, UUID) else trial.revision)
        facts = (seats.UNDO if choice is None else seats.FACTS) | {"choice": choice, "revision": number}
        with self.sessions.begin() as db:
            votes.store(db.connection(), subject, key, facts)

    def vote_all(self, subject: int, most: int | None = None) -> int:
        """Votes on what is outstanding, up to so many: how many those were."""
        shown = self.ask(subject).trials[:most]
        for trial in shown:
            self.vote(subject, trial)
        return len(shown)

    def finish(self, subject: int) -> None:
        """Vote to the end, with every pause ended as soon as it may be."""
        while not (found := self.ask(subject, go_on=True)).finished:
            if found.pause is not None:
                self.wait(subject, found.pause.seconds)
            for trial in found.trials:
                self.vote(subject, trial)

    def wait(self, subject: int, seconds: float) -> None:
        """Time passes for a subject alone: what they did lies further back."""
        statements = (
            "UPDATE blocks SET opened_at = opened_at - :s * interval '1 second' WHERE subject_id = :id",
            "UPDATE subjects SET last_vote_at = last_vote_at - :s * interval '1 second' WHERE id = :id",
            "UPDATE votes SET received_at = received_at - :s * interval '1 second' "
            "WHERE trial_id IN (SELECT id FROM trials WHERE subject_id = :id)",
        )
        with self.sessions.begin() as db:
            # The log refuses changes; here, its clock is set.
            db.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                db.execute(text(statement), {"s": seconds, "id": subject})

    def trials(self, subject: int, *kinds: str) -> list[Trial]:
        """All trials of a subject, by number; of some kinds, if any are named."""
        query = select(Trial).where(Trial.subject_id == subject).order_by(Trial.number)
        with self.sessions() as db:
            return [trial for trial in db.scalars(query) if not kinds or trial.kind in kinds]

    def blocks(self, subject: int) -> list[Block]:
        """All blocks of a subject."""
        with self.sessions() as db:
            return list(db.scalars(select(Block).where(Block.subject_id == subject).order_by(Block.number)))

    def probes(self, kind: str, number: int, content: Callable[[int], str] = "probe {}".format) -> None:
        """Some probes of a kind, whose images are in no store."""
        with self.sessions.begin() as db:
            study = studies.find(db, self.study)
            for index in range(number):
                first = image_row(db, f"{kind} {index} first")
                second = first if kind == "identical" else image_row(db, f"{kind} {index} second")
                place = {"study_id": study.id, "kind": kind, "content": content(index), "made": "for a test"}
                db.add(Probe(**place, first_sha256=first, second_sha256=second))


def image_row(db: Session, name: str, *, webp: bool = False) -> str:
    """The row of an image that nobody looks at: its hash."""
    row = {"sha256": sha256(name.encode()).hexdigest(), "width": 64, "height": 56, "png_bytes": 1000}
    row["webp_bytes"] = 900 if webp else None
    db.execute(insert(ImageFile).values(row).on_conflict_do_nothing())
    return str(row["sha256"])
