"""Votes: stored once however often they are sent, taken back by a later row, together with the counters that follow.

The log only grows. Of the rows of a trial the one with the highest revision stands: what arrives late, or again, finds
that it is not the newest, and changes nothing.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    DateTime,
    Double,
    Engine,
    Integer,
    Row,
    Text,
    Uuid,
    bindparam,
    column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app import database
from app.errors import RefusalError
from app.models import Protocol, Trial, Vote
from pipelines.protocol import Protocol as Rules


@dataclass(frozen=True)
class Stored:
    """What is in the log now, and the subject's progress.

    Attributes:
        revision: of the row that stands.
        choice: of that row; None where it takes a vote back.
        stale: whether something else stands than what was sent: another choice, or the same one cast on another load of
            the page, which shows what this one need not ask for any more. A vote that comes again is not stale.
        voted: trials that count and have a vote.
        total: trials that count.
        finished: whether no trial is left.
    """

    revision: int
    choice: str | None
    stale: bool
    voted: int
    total: int
    finished: bool


def store(db: Connection, subject: int, trial_id: UUID, facts: dict[str, Any]) -> Stored:
    """Store a vote, or take one back, or find that this was done already.

    Args:
        db: the transaction that holds the vote and its counters.
        subject: id of who votes.
        trial_id: on what.
        facts: the columns of `Vote` that the page knows.

    Raises:
        RefusalError: the trial is not one of this subject's, the protocol does not allow it, or it comes too late.
    """
    trial = db.execute(_LOCK, {"subject": subject, "trial": trial_id}).one_or_none()
    if trial is None:
        raise RefusalError("this is not one of your trials", 404)
    rules = _rules(db, trial.protocol_id)
    _check(db, subject, trial, rules, facts)
    row = db.execute(_STORE, facts | _derived(trial, rules, facts) | _counted(subject, trial)).one()
    return Stored(
        revision=row.revision,
        choice=row.choice,
        stale=(row.revision, row.choice, row.client) != (facts["revision"], facts["choice"], facts["client"]),
        voted=row.voted,
        total=trial.total,
        finished=row.voted == trial.total and not _is_anything_left(db, subject),
    )


# Locks the subject, so that their votes come one after another: those of two tabs, or a vote and what takes it back.
# What is read here beside the subject never changes. What was voted on the trial before does: the next statement reads
# it, and sees all that was stored before this one had its lock.
# Columns that are named in order, here and in _STORE, need not be looked up for each result.
_LOCK = text("""
    SELECT trials.id, trials.kind, trials.pair_id, trials.simulated, trials.study_id, trials.number,
           trials.first_on_left, subjects.protocol_id, subjects.total,
           coalesce(first.sha256, probes.first_sha256) AS first_sha256,
           coalesce(second.sha256, probes.second_sha256) AS second_sha256
    FROM subjects
    JOIN trials ON trials.subject_id = subjects.id
    LEFT JOIN pairs ON pairs.id = trials.pair_id
    LEFT JOIN outputs AS first ON first.id = pairs.first_output_id
    LEFT JOIN outputs AS second ON second.id = pairs.second_output_id
    LEFT JOIN probes ON probes.id = trials.probe_id
    WHERE subjects.id = :subject AND trials.id = :trial
    FOR NO KEY UPDATE OF subjects""").columns(
    *map(column, ("id", "kind", "pair_id", "simulated", "study_id", "number", "first_on_left", "protocol_id", "total")),
    *map(column, ("first_sha256", "second_sha256")),
)

_TYPES: dict[str, Any] = {
    "revision": Integer, "choice": Text, "response_ms": Double, "painted_at": DateTime(timezone=True), "input": Text,
    "device_pixel_ratio": Double, "window_width": Integer, "window_height": Integer, "screen_width": Integer,
    "screen_height": Integer, "hidden": Boolean, "left_sha256": Text, "right_sha256": Text, "pixels": Text,
    "events": JSONB, "client": Uuid, "flags": ARRAY(Text),
}  # fmt: skip
_COLUMNS = ", ".join(_TYPES)
_VALUES = ", ".join(f":{name}" for name in _TYPES)

# One round trip for the vote and all that follows from it: votes come by the hundred a second.
_STORE = (
    text(f"""
    WITH before AS (
        SELECT revision, choice, client FROM votes WHERE trial_id = :trial ORDER BY revision DESC LIMIT 1
    ), stored AS (
        INSERT INTO votes (trial_id, {_COLUMNS}) SELECT :trial, {_VALUES}
        WHERE coalesce((SELECT revision FROM before), 0) < :revision
        RETURNING revision, choice, client
    ), change AS (
        SELECT (stored.choice IS NOT NULL)::int - (before.choice IS NOT NULL)::int AS votes,
               coalesce((stored.choice = :side)::int, 0) - coalesce((before.choice = :side)::int, 0) AS first,
               coalesce((stored.choice = :other_side)::int, 0)
                   - coalesce((before.choice = :other_side)::int, 0) AS second,
               coalesce((stored.choice = 'not_sure')::int, 0)
                   - coalesce((before.choice = 'not_sure')::int, 0) AS not_sure
        FROM stored LEFT JOIN before ON true
    ), progress AS (
        UPDATE subjects
        SET voted = voted + CASE WHEN :pair IS NULL THEN 0 ELSE change.votes END,
            last_vote_at = greatest(last_vote_at, now())
        FROM change WHERE subjects.id = :subject RETURNING voted
    ), tallied AS (
        UPDATE tallies
        SET wins_first = wins_first + change.first, wins_second = wins_second + change.second,
            not_sure = tallies.not_sure + change.not_sure,
            voted_first_left = voted_first_left + CASE :side WHEN 'left' THEN change.votes ELSE 0 END,
            voted_first_right = voted_first_right + CASE :side WHEN 'right' THEN change.votes ELSE 0 END
        FROM change WHERE pair_id = :pair AND simulated = :simulated
    )
    SELECT coalesce(stored.revision, before.revision) AS revision,
           CASE WHEN stored.revision IS NULL THEN before.choice ELSE stored.choice END AS choice,
           CASE WHEN stored.revision IS NULL THEN before.client ELSE stored.client END AS client,
           coalesce(progress.voted, subjects.voted) AS voted,
           CASE WHEN progress.voted IS NOT NULL THEN pg_notify(:channel, :study) END AS notified
    FROM subjects LEFT JOIN before ON true LEFT JOIN stored ON true LEFT JOIN progress ON true
    WHERE subjects.id = :subject""")  # noqa: S608 - of names that stand above
    .bindparams(*(bindparam(name, type_=kind) for name, kind in _TYPES.items()), bindparam("pair", type_=BigInteger))
    .columns(*map(column, ("revision", "choice", "client", "voted", "notified")))
)


# A version of a protocol never changes: each process reads it once.
_known_rules: dict[tuple[Engine, int], Rules] = {}


def _rules(db: Connection, protocol_id: int) -> Rules:
    key = db.engine, protocol_id
    if key not in _known_rules:
        settings = db.execute(select(Protocol.settings).where(Protocol.id == protocol_id)).scalar_one()
        _known_rules[key] = Rules.model_validate(settings)
    return _known_rules[key]


def _check(db: Connection, subject: int, trial: Row[Any], rules: Rules, facts: dict[str, Any]) -> None:
    """Refuse what may not be done; what has been done already, or comes too late to be done, is no reason to."""
    revision, choice = facts["revision"], facts["choice"]
    if choice == "not_sure" and not rules.not_sure:
        raise RefusalError("this study asks for one of the two images; choose one")
    if revision == 1 and choice is not None:
        return
    newest = select(Vote.revision, Vote.choice).where(Vote.trial_id == trial.id).order_by(Vote.revision.desc()).limit(1)
    before = db.execute(newest).one_or_none()
    known = before.revision if before else 0
    if revision <= known:
        return
    stands = before is not None and before.choice is not None
    # A revision that leaves out one is newer than a vote that is still on its way; that vote will come too late.
    if choice is None and not stands and revision == known + 1:
        raise RefusalError("there is no vote on this trial to take back")
    if choice is None or stands:
        _check_undo(db, subject, trial, rules)


def _check_undo(db: Connection, subject: int, trial: Row[Any], rules: Rules) -> None:
    if not rules.undo or trial.kind == "training":
        raise RefusalError("votes on this trial are not taken back")
    later = (Trial.subject_id == subject) & (Trial.number > trial.number)
    if db.scalar(select(select(Vote.id).join(Trial).where(later, Vote.stands()).exists())):
        raise RefusalError("you have voted on a later trial; only your last vote can be taken back")


def _derived(trial: Row[Any], rules: Rules, facts: dict[str, Any]) -> dict[str, Any]:
    """What the server adds to a vote: whether the right pixels were shown, and why somebody should look at it."""
    images = (trial.first_sha256, trial.second_sha256)
    pixels = _compared((facts["left_sha256"], facts["right_sha256"]), images if trial.first_on_left else images[::-1])
    reasons = {
        "pixels": pixels == "different",
        "fast": facts["choice"] is not None and facts["response_ms"] < rules.fastest_ms,
        "hidden": bool(facts["hidden"]),
    }
    return {"pixels": pixels, "flags": [name for name, holds in reasons.items() if holds]}


def _compared(sent: tuple[str | None, str | None], ingested: tuple[str, str]) -> str:
    if any(a not in (None, b) for a, b in zip(sent, ingested, strict=True)):
        return "different"
    return "unverifiable" if None in sent else "verified"


def _counted(subject: int, trial: Row[Any]) -> dict[str, Any]:
    """Where the vote is counted: on no pair, but for trials that count."""
    side, other_side = ("left", "right") if trial.first_on_left else ("right", "left")
    return {
        "trial": trial.id,
        "subject": subject,
        "pair": trial.pair_id if trial.kind == "test" else None,
        "simulated": trial.simulated,
        "side": side,
        "other_side": other_side,
        "channel": database.VOTES_CHANNEL,
        "study": str(trial.study_id),
    }


def _is_anything_left(db: Connection, subject: int) -> bool:
    voted = select(Vote.id).where(Vote.trial_id == Trial.id, Vote.stands()).exists()
    return bool(db.scalar(select(select(Trial.id).where(Trial.subject_id == subject, ~voted).exists())))
