"""The vote log as CSV: the votes that count, which `discern rank` reads, or every row that there ever was."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.experimenters.tallies import Voters
from app.models import Block, LowResolutionImage, Pair, Probe, Study, Subject, Trial, Vote

# The votes that count and name an image, or all rows of the log.
Rows = Literal["counted", "all"]

COLUMNS = (
    "winner", "loser", "image", "subject", "simulated", "group", "left", "right", "choice", "trial", "number",
    "response_ms", "input", "device_pixel_ratio", "window_width", "window_height", "screen_width", "screen_height",
    "hidden", "issued_at", "received_at", "revision", "painted_at", "pixels", "flags", "events", "block", "sitting",
    "client",
)  # fmt: skip
# Of trials that do not count, too: `better` is the side of the better image, where that is known.
ALL_COLUMNS = (*COLUMNS, "kind", "stands", "better")


def csv_lines(db: Session, study: Study, voters: Voters | None, rows: Rows = "counted") -> Iterator[str]:
    """The log, oldest row first; of all voters where none are named.

    Of a row without methods to compare, or without a choice of one, `winner` and `loser` are empty.
    """
    columns = COLUMNS if rows == "counted" else ALL_COLUMNS
    methods = {method.position: method.name for method in study.methods}
    yield _line(columns)
    for row in db.execute(_query(study, voters, rows).execution_options(yield_per=1000)):
        facts = _facts(row, methods)
        yield _line(_as_text(facts[column]) for column in columns)


def _query(study: Study, voters: Voters | None, rows: Rows) -> Select[*tuple[Any, ...]]:
    query = (
        select(Vote, Trial, Subject, Block, Pair, Probe, LowResolutionImage.stem, Vote.stands().label("stands"))
        .join(Trial, Vote.trial_id == Trial.id)
        .join(Subject, Trial.subject_id == Subject.id)
        .join(Block, Trial.block_id == Block.id)
        .outerjoin(Pair, Trial.pair_id == Pair.id)
        .outerjoin(Probe, Trial.probe_id == Probe.id)
        .outerjoin(LowResolutionImage, Pair.low_resolution_image_id == LowResolutionImage.id)
        .where(Trial.study_id == study.id)
        .order_by(Vote.id)
    )
    if rows == "counted":
        query = query.where(Trial.kind == "test", Vote.stands(), Vote.choice != "not_sure")
    return query if voters is None else query.where(Trial.simulated == (voters == "simulated"))


def _facts(row: Sequence[Any], methods: Mapping[int, str]) -> dict[str, Any]:
    vote, trial, subject, block, pair, probe, stem, stands = row
    facts: dict[str, Any] = {column: getattr(vote, column, None) for column in ALL_COLUMNS}
    facts |= {"subject": subject.name, "simulated": trial.simulated, "block": block.number, "sitting": block.sitting}
    facts |= {"trial": trial.id, "number": trial.number, "issued_at": trial.issued_at}
    facts |= {"kind": trial.kind, "stands": stands, "flags": " ".join(vote.flags), "events": json.dumps(vote.events)}
    if probe is not None:
        return facts | {"image": probe.content, "better": _better(trial)}
    left, right = (methods[place] for place in _sides(trial, pair))
    facts |= {"image": stem, "group": pair.group, "left": left, "right": right}
    if vote.choice in ("left", "right"):
        winner, loser = (left, right) if vote.choice == "left" else (right, left)
        facts |= {"winner": winner, "loser": loser}
    return facts


def _sides(trial: Trial, pair: Pair) -> tuple[int, int]:
    return (pair.first, pair.second) if trial.first_on_left else (pair.second, pair.first)


def _better(trial: Trial) -> str | None:
    if trial.kind not in ("training", "gold"):
        return None
    return "left" if trial.first_on_left else "right"


def _line(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)
