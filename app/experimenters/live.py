"""The live view: a snapshot of a study, sent to every watching browser after votes have been stored."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
from sqlalchemy.orm import Session

from app import database
from app.experimenters import charts, tallies, views
from app.experimenters.tallies import Voters
from app.models import Study
from pipelines.errors import DiscernError
from pipelines.ranking import stage as ranking

# At most one snapshot in this time for each browser, however fast the votes come.
SHORTEST_INTERVAL = 0.4
# Without votes, progress and pace still age.
LONGEST_INTERVAL = 15.0
RECONNECT_SECONDS = 0.5

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
                    await self._bump(study_id)
            except psycopg.OperationalError as error:
                _log.warning("the connection for live updates was lost (%s); connecting again", error)
            # What happened in between is not known: everybody reads again.
            await self._bump(*self._versions)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _bump(self, *study_ids: int) -> None:
        async with self._changed:
            for study_id in study_ids:
                self._versions[study_id] += 1
            self._changed.notify_all()


async def snapshots(read: Callable[[], str | None], changes: Changes, study_id: int) -> AsyncIterator[dict[str, str]]:
    """Server-sent events: a snapshot at once, and one after every change.

    Args:
        read: the snapshot as JSON; None ends the stream (the viewer signed out).
        changes: see there.
        study_id: of which study.
    """
    while True:
        version = changes.version(study_id)
        text = await asyncio.to_thread(read)
        if text is None:
            return
        yield {"event": "snapshot", "data": text}
        await asyncio.sleep(SHORTEST_INTERVAL)
        await changes.wait(study_id, version, LONGEST_INTERVAL)


def snapshot(db: Session, study: Study, voters: Voters) -> dict[str, Any]:
    """Everything that the live page shows, as JSON values."""
    pairs, without_votes = tallies.pairs_without_votes(db, study, voters)
    people = [views.subject(subject) for subject in tallies.subjects(db, study, voters)]
    times = [subject.last_vote_at for subject in people if subject.last_vote_at is not None]
    fitted, problem = _current_ranking(db, study, voters)
    return {
        **views.matrix(db, study, voters).model_dump(mode="json"),
        "title": study.title,
        "state": study.state,
        "votes_per_minute": tallies.votes_per_minute(db, study, voters),
        "last_vote_at": max(times).isoformat() if times else None,
        "pairs": pairs,
        "pairs_without_votes": without_votes,
        "subjects": [subject.model_dump(mode="json") for subject in people],
        "ranking": fitted,
        "ranking_problem": problem,
        "ranking_chart": charts.ranking(fitted) if fitted else None,
    }


def _current_ranking(db: Session, study: Study, voters: Voters) -> tuple[dict[str, Any] | None, str | None]:
    votes = tallies.votes(db, study, voters)
    if votes is None:
        return None, "Nobody has voted yet. Send out invitations; the ranking appears here as votes arrive."
    try:
        return ranking.rank(votes).as_dict(), None
    except DiscernError as error:
        return None, f"There is no ranking yet: {error}"
