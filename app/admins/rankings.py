"""Fitting a ranking to the votes so far, and keeping it."""

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.experimenters import latecomers, tallies
from app.experimenters.tallies import Voters
from app.models import Ranking, Study, Vote
from pipelines.errors import DiscernError
from pipelines.ranking import stage


def fit(
    db: Session,
    study: Study,
    *,
    voters: Voters,
    group: str | None = None,
    ridge: float = 0.0,
    level: float = 0.95,
    created_by: str,
) -> Ranking:
    """Fit Eq. (2) to the votes that are stored now, on all pairs or on those of a group.

    Raises:
        UnknownError: the study has no such group.
        NotIdentifiableError: some methods cannot be compared.
        DiscernError: there are no votes, or none that place a method that was added; or a setting is out of range.
    """
    tallies.check_group(db, study, group)
    last = _last_vote(db)
    votes = tallies.votes(db, study, voters, group=group, up_to=last)
    if votes is None:
        pairs = "" if group is None else f" on pairs of group {group!r}"
        raise DiscernError(f"{study.name}: {voters} have not voted{pairs} yet; collect votes first")
    unplaced = latecomers.sentence(latecomers.unplaced(study, votes))
    if ridge == 0 and unplaced:
        raise DiscernError(f"{study.name}: {unplaced}: let people vote on its pairs first, or fit with a ridge")
    result = stage.rank(votes, group=group, ridge=ridge, level=level)
    ranking = Ranking(
        study_id=study.id,
        voters=voters,
        group=group,
        votes=result.votes,
        last_vote_id=last,
        ridge=ridge,
        level=level,
        result=result.as_dict(),
        created_by=created_by,
    )
    db.add(ranking)
    db.flush()
    return ranking


def _last_vote(db: Session) -> int:
    """A key such that no vote below it can appear any more: keys are given out before their votes are stored.

    Votes on their way are waited for, and new ones wait, for as long as one key takes to read.
    """
    with db.begin_nested() as moment:
        db.execute(text("LOCK TABLE votes IN SHARE MODE"))
        last = db.scalar(select(func.max(Vote.id))) or 0
        moment.rollback()  # gives the lock back before the transaction ends
    return last
