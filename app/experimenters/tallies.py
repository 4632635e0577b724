"""What has been voted: the counters of pairs and subjects, and the votes themselves for statistics.

Votes are those that stand, on trials of kind `test`. The answers that name neither image are counted apart, and stand
in no matrix and no ranking.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import numpy as np
from sqlalchemy import ColumnElement, Select, case, func, select, true
from sqlalchemy.orm import Session, aliased

from app.errors import UnknownError
from app.models import LowResolutionImage, Output, Pair, Study, Subject, Tally, Trial, Vote
from pipelines.ranking.counts import Integers, Votes

Voters = Literal["people", "simulated"]
PACE_MINUTES = 5


def groups(db: Session, study: Study) -> list[str]:
    """The groups that the study's pairs were selected in, by name."""
    return sorted(db.scalars(select(Pair.group).where(Pair.study_id == study.id).distinct()))


def check_group(db: Session, study: Study, group: str | None) -> None:
    """Refuse what is no group of the study; None, which means all of them, is fine.

    Raises:
        UnknownError: it has no such group.
    """
    if group is not None and group not in (known := groups(db, study)):
        raise UnknownError(f"study {study.name!r} has no group {group!r} of pairs; its groups: {', '.join(known)}")


def number_by_voters(db: Session, study: Study, group: str | None = None) -> dict[str, int]:
    """How many times people and simulated subjects have preferred an image, on all pairs or on those of a group."""
    query = (
        select(Tally.simulated, func.sum(Tally.wins_first + Tally.wins_second))
        .join(Pair, Tally.pair_id == Pair.id)
        .where(Pair.study_id == study.id, _in(group))
        .group_by(Tally.simulated)
    )
    numbers = {simulated: int(votes) for simulated, votes in db.execute(query)}
    return {"people": numbers.get(False, 0), "simulated": numbers.get(True, 0)}


def number_by_group(db: Session, study: Study, voters: Voters) -> dict[str, int]:
    """How many times an image was preferred on the pairs of each group of the study."""
    query = (
        select(Pair.group, func.sum(Tally.wins_first + Tally.wins_second))
        .join(Tally, Tally.pair_id == Pair.id)
        .where(Pair.study_id == study.id, Tally.simulated == (voters == "simulated"))
        .group_by(Pair.group)
    )
    return {group: int(votes) for group, votes in sorted(db.execute(query).all())}


def number_not_sure(
    db: Session, study: Study, voters: Voters, group: str | None = None, *, up_to: int | None = None
) -> int:
    """How many answers name neither image; with `up_to`, of those that stood after the row of this key."""
    query = _cast(select(func.count()), study, voters, group, up_to).where(Vote.choice == "not_sure")
    if up_to is None:  # the counters know it
        query = (
            select(func.sum(Tally.not_sure))
            .join(Pair, Tally.pair_id == Pair.id)
            .where(Pair.study_id == study.id, Tally.simulated == (voters == "simulated"), _in(group))
        )
    return int(db.scalar(query) or 0)


def default_voters(numbers: dict[str, int]) -> Voters:
    """People, once one of them has voted; before that, simulated subjects if there are any."""
    return "simulated" if numbers["simulated"] and not numbers["people"] else "people"


def count_matrix(db: Session, study: Study, voters: Voters, group: str | None = None) -> list[list[int]]:
    """C of Eq. (2) in study order, row beats column, from the counters; of all pairs or of those of a group."""
    query = (
        select(Pair.first, Pair.second, func.sum(Tally.wins_first), func.sum(Tally.wins_second))
        .join(Tally, Tally.pair_id == Pair.id)
        .where(Pair.study_id == study.id, Tally.simulated == (voters == "simulated"), _in(group))
        .group_by(Pair.first, Pair.second)
    )
    counts = [[0] * len(study.methods) for _ in study.methods]
    for first, second, wins_first, wins_second in db.execute(query):
        counts[first][second], counts[second][first] = int(wins_first), int(wins_second)
    return counts


def pairs_without_votes(db: Session, study: Study, voters: Voters, group: str | None = None) -> tuple[int, int]:
    """How many pairs the study, or a group of it, has, and how many of them nobody has voted on."""
    silent = func.count().filter(Tally.voted_first_left + Tally.voted_first_right == 0)
    query = (
        select(func.count(), silent)
        .select_from(Pair)
        .join(Tally, Tally.pair_id == Pair.id)
        .where(Pair.study_id == study.id, Tally.simulated == (voters == "simulated"), _in(group))
    )
    pairs, without = db.execute(query).one()
    return pairs, without


def votes_per_minute(db: Session, study: Study, voters: Voters, group: str | None = None) -> float:
    """The pace of the last minutes; who answers that neither image is better has voted, too."""
    recent = func.now() - func.make_interval(0, 0, 0, 0, 0, PACE_MINUTES)
    query = _cast(select(func.count()), study, voters, group).where(Vote.received_at > recent)
    return (db.scalar(query) or 0) / PACE_MINUTES


def last_vote_at(db: Session, study: Study, voters: Voters, group: str | None = None) -> datetime | None:
    """When the newest vote was received; None before the first one."""
    # Of many votes the newest is found at the end of the log; the greatest time only by reading all of it.
    newest = _cast(select(Vote.received_at), study, voters, group).order_by(Vote.id.desc()).limit(1)
    return db.scalar(newest)


def subjects(db: Session, study: Study, voters: Voters) -> list[Subject]:
    """Who takes part, in the order in which they came."""
    query = select(Subject).where(Subject.study_id == study.id, Subject.simulated == (voters == "simulated"))
    return list(db.scalars(query.order_by(Subject.number)))


def votes(
    db: Session, study: Study, voters: Voters, *, group: str | None = None, up_to: int | None = None
) -> Votes | None:
    """The votes as arrays for the statistics, in study order; None where there are none.

    Args:
        db: reads the log, not the counters.
        study: whose votes.
        voters: whose votes.
        group: of pairs; all of them by default.
        up_to: count those that stood after the row of this key.
    """
    names = groups(db, study)
    table = np.array(db.execute(_outcomes(study, voters, group, names, up_to)).all(), dtype=np.int64).reshape(-1, 5)
    if not len(table):
        return None
    stem_of = select(LowResolutionImage.id, LowResolutionImage.stem).where(LowResolutionImage.study_id == study.id)
    images, image = _named(table[:, 2], dict(db.execute(stem_of).all()))
    people, subject = _named(table[:, 3], {person.id: person.name for person in subjects(db, study, voters)})
    return Votes(
        methods=tuple(method.name for method in study.methods),
        winner=table[:, 0],
        loser=table[:, 1],
        count=np.ones(len(table), dtype=np.int64),
        images=images,
        image=image,
        subjects=people,
        subject=subject,
        groups=tuple(names),
        group=table[:, 4],
        simulated=voters == "simulated",
    )


def cell(
    db: Session, study: Study, first: int, second: int, voters: Voters, group: str | None = None
) -> list[dict[str, Any]]:
    """The image pairs behind a cell of the matrix, by group and in the order of their selection, `first` as the row."""
    low, high = sorted((first, second))
    a, b = aliased(Output), aliased(Output)
    query = (
        select(Pair, LowResolutionImage, a, b, Tally)
        .join(LowResolutionImage, Pair.low_resolution_image_id == LowResolutionImage.id)
        .join(a, Pair.first_output_id == a.id)
        .join(b, Pair.second_output_id == b.id)
        .join(Tally, (Tally.pair_id == Pair.id) & (Tally.simulated == (voters == "simulated")))
        .where(Pair.study_id == study.id, Pair.first == low, Pair.second == high, _in(group))
        .order_by(Pair.group, Pair.rank)
    )
    rows = []
    for pair, low_resolution, output_a, output_b, tally in db.execute(query):
        sides = [(output_a, tally.wins_first), (output_b, tally.wins_second)]
        (one, wins_one), (other, wins_other) = sides if first == low else sides[::-1]
        rows.append(
            {
                "stem": low_resolution.stem,
                "group": pair.group,
                "rank": pair.rank,
                "low_resolution": image_address(study, low_resolution.sha256),
                "first_image": image_address(study, one.sha256),
                "second_image": image_address(study, other.sha256),
                "width": one.width,
                "height": one.height,
                "distance": pair.distance,
                "semantics": pair.semantics,
                "score": pair.score,
                "first_votes": wins_one,
                "second_votes": wins_other,
            }
        )
    return rows


def holds_image(db: Session, study: Study, sha256: str) -> bool:
    """Whether an image is one of the study's LR images or outputs."""
    found = [
        db.scalar(select(table.id).where(table.study_id == study.id, table.sha256 == sha256).limit(1))
        for table in (Output, LowResolutionImage)
    ]
    return any(key is not None for key in found)


def image_address(study: Study, sha256: str) -> str:
    """Where experimenters see an image of the study."""
    return f"/studies/{study.name}/images/{sha256}.png"


def _in(group: str | None) -> ColumnElement[bool]:
    """Whether a pair is in the group; in any, where none is named."""
    return true() if group is None else Pair.group == group


def _cast(query: Select[Any], study: Study, voters: Voters, group: str | None, up_to: int | None = None) -> Select[Any]:
    """A query about votes, restricted to those that are asked for: such as stand, on trials that count."""
    return (
        query.select_from(Vote)
        .join(Trial, Vote.trial_id == Trial.id)
        .join(Pair, Trial.pair_id == Pair.id)
        .where(Trial.study_id == study.id, Trial.simulated == (voters == "simulated"), _in(group))
        .where(Trial.kind == "test", Vote.stands(up_to))
    )


def _outcomes(study: Study, voters: Voters, group: str | None, groups: list[str], up_to: int | None) -> Select[Any]:
    """Winner, loser, LR image, subject and index of the group of each vote, in the order of the log."""
    first_won = (Vote.choice == "left") == Trial.first_on_left
    columns = (
        case((first_won, Pair.first), else_=Pair.second),
        case((first_won, Pair.second), else_=Pair.first),
        Pair.low_resolution_image_id,
        Trial.subject_id,
        case({name: index for index, name in enumerate(groups)}, value=Pair.group),
    )
    chosen = _cast(select(*columns), study, voters, group, up_to).where(Vote.choice != "not_sure")
    return chosen.order_by(Vote.id)


def _named(keys: Integers, names: Mapping[int, str]) -> tuple[tuple[str, ...], Integers]:
    """The names of those keys that occur, and the index of each key's name among them."""
    found, index = np.unique(keys, return_inverse=True)
    return tuple(names[key] for key in found.tolist()), index.astype(np.int64)
