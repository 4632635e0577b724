"""What has been voted: the counters of pairs and subjects, and the votes themselves for statistics and export."""

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import numpy as np
from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session, aliased

from app.models import LowResolutionImage, Output, Pair, Study, Subject, Tally, Trial, Vote
from pipelines.ranking.counts import Votes

Voters = Literal["people", "simulated"]
PACE_MINUTES = 5


def number_by_voters(db: Session, study: Study) -> dict[str, int]:
    """How many votes people and simulated subjects have cast."""
    query = select(Subject.simulated, func.sum(Subject.voted)).where(Subject.study_id == study.id)
    numbers = {simulated: int(votes) for simulated, votes in db.execute(query.group_by(Subject.simulated))}
    return {"people": numbers.get(False, 0), "simulated": numbers.get(True, 0)}


def default_voters(numbers: dict[str, int]) -> Voters:
    """People, once one of them has voted; before that, simulated subjects if there are any."""
    return "simulated" if numbers["simulated"] and not numbers["people"] else "people"


def count_matrix(db: Session, study: Study, voters: Voters) -> list[list[int]]:
    """C of Eq. (2) in study order, row beats column, from the counters."""
    query = (
        select(Pair.first, Pair.second, func.sum(Tally.wins_first), func.sum(Tally.wins_second))
        .join(Tally, Tally.pair_id == Pair.id)
        .where(Pair.study_id == study.id, Tally.simulated == (voters == "simulated"))
        .group_by(Pair.first, Pair.second)
    )
    counts = [[0] * len(study.methods) for _ in study.methods]
    for first, second, wins_first, wins_second in db.execute(query):
        counts[first][second], counts[second][first] = int(wins_first), int(wins_second)
    return counts


def pairs_without_votes(db: Session, study: Study, voters: Voters) -> tuple[int, int]:
    """How many pairs the study has, and how many of them nobody has voted on."""
    silent = func.count().filter(Tally.wins_first + Tally.wins_second == 0)
    query = (
        select(func.count(), silent)
        .select_from(Pair)
        .join(Tally, Tally.pair_id == Pair.id)
        .where(Pair.study_id == study.id, Tally.simulated == (voters == "simulated"))
    )
    pairs, without = db.execute(query).one()
    return pairs, without


def votes_per_minute(db: Session, study: Study, voters: Voters) -> float:
    """The pace of the last minutes."""
    recent = func.now() - func.make_interval(0, 0, 0, 0, 0, PACE_MINUTES)
    query = (
        select(func.count())
        .select_from(Vote)
        .join(Trial, Vote.trial_id == Trial.id)
        .where(Vote.received_at > recent, Trial.study_id == study.id, Trial.simulated == (voters == "simulated"))
    )
    return (db.scalar(query) or 0) / PACE_MINUTES


def subjects(db: Session, study: Study, voters: Voters) -> list[Subject]:
    """Who takes part, in the order in which they came."""
    query = select(Subject).where(Subject.study_id == study.id, Subject.simulated == (voters == "simulated"))
    return list(db.scalars(query.order_by(Subject.number)))


def votes(db: Session, study: Study, voters: Voters, *, up_to: int | None = None) -> Votes | None:
    """The votes as arrays for the statistics, in study order; None where there are none.

    Args:
        db: reads the log, not the counters.
        study: whose votes.
        voters: whose votes.
        up_to: leave out votes with a greater key.
    """
    first_won = (Vote.choice == "left") == Trial.first_on_left
    query = (
        select(
            case((first_won, Pair.first), else_=Pair.second),
            case((first_won, Pair.second), else_=Pair.first),
            Pair.low_resolution_image_id,
            Trial.subject_id,
        )
        .select_from(Vote)
        .join(Trial, Vote.trial_id == Trial.id)
        .join(Pair, Trial.pair_id == Pair.id)
        .where(Trial.study_id == study.id, Trial.simulated == (voters == "simulated"))
        .order_by(Vote.id)
    )
    if up_to is not None:
        query = query.where(Vote.id <= up_to)
    table = np.array(db.execute(query).all(), dtype=np.int64).reshape(-1, 4)
    if not len(table):
        return None
    stem_of = select(LowResolutionImage.id, LowResolutionImage.stem).where(LowResolutionImage.study_id == study.id)
    stems = dict(db.execute(stem_of).all())
    people = {subject.id: subject.name for subject in subjects(db, study, voters)}
    images, image = np.unique(table[:, 2], return_inverse=True)
    subject_keys, subject = np.unique(table[:, 3], return_inverse=True)
    return Votes(
        methods=tuple(method.name for method in study.methods),
        winner=table[:, 0],
        loser=table[:, 1],
        count=np.ones(len(table), dtype=np.int64),
        images=tuple(stems[key] for key in images.tolist()),
        image=image.astype(np.int64),
        subjects=tuple(people[key] for key in subject_keys.tolist()),
        subject=subject.astype(np.int64),
        simulated=voters == "simulated",
    )


COLUMNS = (
    "winner", "loser", "image", "subject", "simulated", "group", "left", "right", "choice", "trial", "number",
    "response_ms", "input", "device_pixel_ratio", "window_width", "window_height", "screen_width", "screen_height",
    "hidden", "issued_at", "received_at",
)  # fmt: skip


def csv_lines(db: Session, study: Study, voters: Voters | None) -> Iterator[str]:
    """The vote log as CSV that `discern rank` reads, oldest vote first; of all voters where none are named."""
    methods = {method.position: method.name for method in study.methods}
    yield _csv_line(COLUMNS)
    for row in db.execute(_log(study, voters).execution_options(yield_per=1000)):
        vote, trial, pair, subject, stem = row
        left, right = (pair.first, pair.second) if trial.first_on_left else (pair.second, pair.first)
        winner, loser = (left, right) if vote.choice == "left" else (right, left)
        facts: dict[str, Any] = {column: getattr(vote, column, None) for column in COLUMNS}
        facts |= {"winner": methods[winner], "loser": methods[loser], "left": methods[left], "right": methods[right]}
        facts |= {"image": stem, "subject": subject.name, "simulated": trial.simulated, "group": pair.group}
        facts |= {"trial": trial.id, "number": trial.number, "issued_at": trial.issued_at}
        yield _csv_line(_as_text(facts[column]) for column in COLUMNS)


def cell(db: Session, study: Study, first: int, second: int, voters: Voters) -> list[dict[str, Any]]:
    """The image pairs behind a cell of the matrix, in the order of their selection, `first` as the row."""
    low, high = sorted((first, second))
    a, b = aliased(Output), aliased(Output)
    query = (
        select(Pair, LowResolutionImage, a, b, Tally)
        .join(LowResolutionImage, Pair.low_resolution_image_id == LowResolutionImage.id)
        .join(a, Pair.first_output_id == a.id)
        .join(b, Pair.second_output_id == b.id)
        .join(Tally, (Tally.pair_id == Pair.id) & (Tally.simulated == (voters == "simulated")))
        .where(Pair.study_id == study.id, Pair.first == low, Pair.second == high)
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


def _log(study: Study, voters: Voters | None) -> Select[Vote, Trial, Pair, Subject, str]:
    query = (
        select(Vote, Trial, Pair, Subject, LowResolutionImage.stem)
        .join(Trial, Vote.trial_id == Trial.id)
        .join(Pair, Trial.pair_id == Pair.id)
        .join(Subject, Trial.subject_id == Subject.id)
        .join(LowResolutionImage, Pair.low_resolution_image_id == LowResolutionImage.id)
        .where(Trial.study_id == study.id)
        .order_by(Vote.id)
    )
    return query if voters is None else query.where(Trial.simulated == (voters == "simulated"))


def _csv_line(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)
