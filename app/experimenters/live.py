"""The live view: a snapshot of a study, sent to every watching browser after votes have been stored."""

import asyncio
import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy.orm import Session

from app import database
from app.experimenters import charts, latecomers, tallies, views
from app.experimenters.tallies import Voters
from app.models import Study
from pipelines.errors import DiscernError
from pipelines.ranking import stage as ranking
from pipelines.ranking.counts import among, number_of_votes

# At most one snapshot in this time for each browser, however fast the votes come.
SHORTEST_INTERVAL = 0.4
# Without votes, progress and pace still age.
LONGEST_INTERVAL = 15.0
# Until the ranking has caught up with the counts.
UNSETTLED_INTERVAL = 1.0
# After a fit, this many times as long passes before the next one.
RESTS = 4
RECONNECT_SECONDS = 0.5
NOBODY = "Nobody has voted yet. Send out invitations; the ranking appears here as votes arrive."

# A study, whose votes, on which group of pairs, and how many methods it has: another one changes the ranking before
# anybody votes on it.
Key = tuple[int, Voters, str | None, int]

_log = logging.getLogger(__name__)


class Changes:
    """Which studies have changed: one LISTEN connection serves every watching browser of this process."""

    def __init__(self) -> None:
        self._versions: dict[int, int] = defaultdict(int)
        self._changed = asyncio.Condition()

    def version(self, study_id: int) -> int:
        """A number that grows when the study changes."""
        return self._versions[study_id]

    async def wait(self, study_id: int, seen: int, seconds: float) -> None:
        """Return when the version is no longer the one that was seen, or after some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self._versions[study_id] != seen)

    async def listen(self, url: str) -> None:
        """Follow the database's notifications for ever; a lost connection is made again."""
        while True:
            try:
                async for study_id in database.studies_voted_on(url):
                    # After a connection was made, everybody reads again.
                    await self._bump(*(self._versions if study_id is None else [study_id]))
            except (psycopg.Error, OSError) as error:
                _log.warning("the connection for live updates was lost (%s); connecting again", error)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _bump(self, *study_ids: int) -> None:
        async with self._changed:
            for study_id in study_ids:
                self._versions[study_id] += 1
            self._changed.notify_all()


@dataclass(frozen=True)
class Fitted:
    """The ranking of the first so many votes, and who is left out of it, or why there is none."""

    votes: int
    ranking: dict[str, Any] | None
    problem: str | None
    note: str | None = None


class CurrentRankings:
    """The ranking of the votes so far: fitted once for all who watch, and in a small part of the time.

    With many votes a fit takes a while; the counts must not wait for it, so the ranking may be some votes behind.
    """

    def __init__(self) -> None:
        self._fitted: dict[Key, Fitted] = {}
        self._rest_until: dict[Key, float] = defaultdict(float)
        self._fitting: dict[Key, threading.Lock] = defaultdict(threading.Lock)

    def get(self, db: Session, study: Study, voters: Voters, group: str | None, votes: int) -> Fitted:
        """The newest ranking, fitted now if that is due.

        Args:
            db: for the votes.
            study: of which study.
            voters: of whose votes.
            group: on which pairs; None for all.
            votes: how many there are now.
        """
        key = study.id, voters, group, len(study.methods)
        known = self._fitted.get(key)
        if known is not None and (known.votes == votes or time.monotonic() < self._rest_until[key]):
            return known
        if not self._fitting[key].acquire(blocking=known is None):
            assert known is not None
            return known
        try:
            known = self._fitted.get(key)
            if known is not None and known.votes == votes:  # somebody else has fitted it meanwhile
                return known
            started = time.monotonic()
            self._fitted[key] = _fit(db, study, voters, group)
            self._rest_until[key] = time.monotonic() + RESTS * (time.monotonic() - started)
            return self._fitted[key]
        finally:
            self._fitting[key].release()


async def snapshots(
    read: Callable[[], tuple[str, bool] | None], changes: Changes, study_id: int
) -> AsyncIterator[dict[str, str]]:
    """Server-sent events: a snapshot at once, and one after every change.

    Args:
        read: the snapshot as JSON, and whether its ranking is up to date; None ends the stream (the viewer signed out).
        changes: see there.
        study_id: of which study.
    """
    while True:
        version = changes.version(study_id)
        current = await asyncio.to_thread(read)
        if current is None:
            return
        text, settled = current
        yield {"event": "snapshot", "data": text}
        await asyncio.sleep(SHORTEST_INTERVAL)
        await changes.wait(study_id, version, LONGEST_INTERVAL if settled else UNSETTLED_INTERVAL)


def snapshot(
    db: Session, study: Study, voters: Voters, rankings: CurrentRankings, group: str | None = None
) -> dict[str, Any]:
    """Everything that the live page shows, as JSON values; `ranking_votes` says how many votes the ranking knows.

    Subjects are those of the whole study, whichever group of pairs the rest is about.
    """
    pairs, without_votes = tallies.pairs_without_votes(db, study, voters, group)
    matrix = views.matrix(db, study, voters, group)
    fitted = rankings.get(db, study, voters, group, matrix.votes)
    last = tallies.last_vote_at(db, study, voters, group) if matrix.votes + matrix.not_sure else None
    return {
        **matrix.model_dump(mode="json"),
        "title": study.title,
        "state": study.state,
        "votes_per_minute": tallies.votes_per_minute(db, study, voters, group),
        "last_vote_at": last.isoformat() if last else None,
        "pairs": pairs,
        "pairs_without_votes": without_votes,
        "subjects": [subject.model_dump(mode="json") for subject in views.subjects(db, study, voters)],
        "ranking": fitted.ranking,
        "ranking_votes": fitted.votes,
        "ranking_problem": fitted.problem,
        "ranking_note": fitted.note,
        "ranking_chart": charts.ranking(fitted.ranking) if fitted.ranking else None,
    }


def _fit(db: Session, study: Study, voters: Voters, group: str | None) -> Fitted:
    votes = tallies.votes(db, study, voters, group=group)
    if votes is None:
        return Fitted(0, None, NOBODY if group is None else f"Nobody has voted on the pairs of group {group} yet.")
    left_out = latecomers.unplaced(study, votes)
    placed = among(votes, [name for name in votes.methods if name not in left_out])
    note = f"Left out until votes place it: {latecomers.sentence(left_out)}." if left_out else None
    try:
        return Fitted(number_of_votes(votes), ranking.rank(placed, group=group).as_dict(), None, note)
    except DiscernError as error:
        return Fitted(number_of_votes(votes), None, f"There is no ranking yet: {error}")
