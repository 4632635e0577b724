"""Subjects whose trials are set down one by one, of whatever kinds a test needs, with no order to be found for them."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import httpx
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import studies
from app.models import Block, Consent, ImageFile, Output, Pair, Probe, Protocol, Subject, Tally, Trial
from app.security import sessions
from app.subjects import votes
from pipelines import protocol

# What the page must tell of a choice,
MADE: dict[str, Any] = {
    "response_ms": 812.5,
    "input": "key",
    "device_pixel_ratio": 1.0,
    "window_width": 1440,
    "window_height": 900,
    "screen_width": 1440,
    "screen_height": 900,
    "hidden": False,
}
# and all that a vote holds.
FACTS: dict[str, Any] = MADE | {
    "revision": 1,
    "choice": "left",
    "painted_at": None,
    "left_sha256": None,
    "right_sha256": None,
    "events": [],
    "client": None,
}
UNDO = dict.fromkeys(FACTS) | {"events": []}


def take(
    db: Session,
    kinds: Sequence[str] = ("test",) * 3,
    *,
    study_name: str = "small",
    simulated: bool = False,
    **settings: Any,
) -> Subject:
    """A new subject of a study with trials of these kinds, in this order.

    A repeat shows the pair of the first test that has none; what training and gold ask has the better image first.

    Args:
        db: its transaction holds all of it.
        kinds: of the trials.
        study_name: of the study.
        simulated: whether it is a program.
        settings: of a protocol of the subject's own.
    """
    study = studies.find(db, study_name)
    rules = Protocol(study_id=study.id, settings=protocol.Protocol(**settings).model_dump(mode="json"))
    db.add(rules)
    invite = studies.invite(db, study, "single", simulated=simulated)
    alike = (Subject.study_id == study.id) & (Subject.simulated == simulated)
    consent = db.scalars(select(Consent.id).where(Consent.study_id == study.id)).first()
    db.flush()
    subject = Subject(
        study_id=study.id,
        invite_id=invite.id,
        simulated=simulated,
        number=(db.scalar(select(func.max(Subject.number)).where(alike)) or 0) + 1,
        seed=7,
        consent_id=consent,
        protocol_id=rules.id,
        completion_code="C0DE",
        total=list(kinds).count("test"),
    )
    db.add(subject)
    db.flush()
    blocks = {"training": Block(subject_id=subject.id, number=1, sitting=1, purpose="training")}
    blocks["trials"] = Block(subject_id=subject.id, number=2, sitting=1, purpose="trials")
    db.add_all(blocks.values())
    db.flush()
    for number, kind in enumerate(kinds, 1):
        block = blocks["training" if kind == "training" else "trials"]
        db.add(_trial(db, subject, block, kind, number))
        db.flush()
    return subject


def trials(db: Session, subject: Subject) -> list[Trial]:
    """Those of a subject, by number."""
    return list(db.scalars(select(Trial).where(Trial.subject_id == subject.id).order_by(Trial.number)))


def cast(db: Session, trial: Trial, choice: str | None = "left", revision: int = 1, **facts: Any) -> votes.Stored:
    """Store a vote of the trial's own subject, or, without a choice, take one back."""
    sent = (UNDO if choice is None else FACTS) | {"choice": choice, "revision": revision} | facts
    return votes.store(db.connection(), trial.subject_id, trial.id, sent)


def tally(db: Session, trial: Trial) -> Tally:
    """The counters of a trial's pair."""
    db.expire_all()
    return db.scalars(select(Tally).where(Tally.pair_id == trial.pair_id, Tally.simulated == trial.simulated)).one()


def images(db: Session, trial: Trial) -> tuple[str, str]:
    """The pixel hashes of what stands left and right."""
    if trial.probe_id is not None:
        probe = db.get_one(Probe, trial.probe_id)
        both = probe.first_sha256, probe.second_sha256
    else:
        pair = db.get_one(Pair, trial.pair_id)
        both = tuple(db.get_one(Output, key).sha256 for key in (pair.first_output_id, pair.second_output_id))
    return both if trial.first_on_left else both[::-1]


def side(trial: Trial, *, first: bool = True) -> str:
    """On which side the first image of a trial is, or the second."""
    return "left" if trial.first_on_left == first else "right"


def sit(client: httpx.Client, db: Session, subject: Subject) -> None:
    """Let a browser vote as a subject."""
    client.cookies.set(sessions.SUBJECT, sessions.open_for_subject(db, subject))


def _trial(db: Session, subject: Subject, block: Block, kind: str, number: int) -> Trial:
    facts = {"study_id": subject.study_id, "subject_id": subject.id, "simulated": subject.simulated}
    facts |= {"block_id": block.id, "kind": kind, "number": number}
    if kind == "test":
        return Trial(**facts, **_issued(db, subject))
    if kind == "repeat":
        return Trial(**facts, **_again(db, subject))
    return Trial(**facts, probe_id=_probe(db, subject, kind, number), first_on_left=number % 2 == 0)


def _issued(db: Session, subject: Subject) -> dict[str, Any]:
    """The next pair that the subject has not seen, on the side that is due."""
    seen = select(Trial.pair_id).where(Trial.subject_id == subject.id, Trial.pair_id.is_not(None))
    query = (
        select(Tally)
        .join(Pair, Tally.pair_id == Pair.id)
        .where(Pair.study_id == subject.study_id, Tally.simulated == subject.simulated, Pair.id.not_in(seen))
    )
    due = db.scalars(query.order_by(Pair.id).limit(1)).one()
    first_on_left = due.issued_first_left <= due.issued_first_right
    column = Tally.issued_first_left if first_on_left else Tally.issued_first_right
    mine = (Tally.pair_id == due.pair_id) & (Tally.simulated == subject.simulated)
    db.execute(update(Tally).where(mine).values({column: column + 1}))
    return {"pair_id": due.pair_id, "first_on_left": first_on_left}


def _again(db: Session, subject: Subject) -> dict[str, Any]:
    shown = {trial.pair_id: trial for trial in trials(db, subject) if trial.kind == "test"}
    repeated = {trial.pair_id for trial in trials(db, subject) if trial.kind == "repeat"}
    pair = next(pair for pair in shown if pair not in repeated)
    return {"pair_id": pair, "first_on_left": not shown[pair].first_on_left}


def _probe(db: Session, subject: Subject, kind: str, number: int) -> int:
    first = _image(db, f"{kind} {number}")
    second = first if kind == "identical" else _image(db, f"{kind} {number}, second")
    what = {"study_id": subject.study_id, "kind": kind, "first_sha256": first, "second_sha256": second}
    known = db.scalar(select(Probe.id).filter_by(**what))
    if known is not None:
        return known
    probe = Probe(**what, content=f"content of {number}", made="for a test")
    db.add(probe)
    db.flush()
    return probe.id


def _image(db: Session, name: str) -> str:
    pixels = sha256(name.encode()).hexdigest()
    row = {"sha256": pixels, "width": 48, "height": 40, "png_bytes": 1000}
    db.execute(insert(ImageFile).values(row).on_conflict_do_nothing())
    return pixels
