"""Tables of votes as CSV files, in three layouts that are told apart by their header.

- plain: `winner,loser` and, where known, `image`, `subject`, `group` and `simulated` (true or false); one row for each
  vote.
- shares: RealSR-1K's `name1_column,name2_column,score1_column,score2_column` and, where known, `group`; one row for
  each image pair: file names `<image>_<method>.png`, split at the last underscore, and the shares of the votes.
- trials: pwcmp's `observer,scene,condition_A,condition_B,is_A_selected`; the scene is the image.

Other columns are ignored, and so is a group that is empty in every row. White space around a value is not part of it.
Names come back sorted, so that the order of rows changes nothing.
"""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines import workspace
from pipelines.errors import DiscernError
from pipelines.ranking.counts import Integers, Votes

LARGEST_PANEL = 200
TOLERANCE = 1e-6

_PLAIN = ("winner", "loser")
_SHARES = ("name1_column", "name2_column", "score1_column", "score2_column")
_TRIALS = ("observer", "scene", "condition_A", "condition_B", "is_A_selected")
_FILE_NAME = r"^(?P<image>.+)_(?P<method>[^_]+)\.(?:png|PNG)$"

Floats = NDArray[np.float64]


def read(path: Path, *, votes_per_pair: int | None = None) -> Votes:
    """Read a table of votes.

    Args:
        path: a CSV file, UTF-8, in one of the three layouts.
        votes_per_pair: for shares, how many people voted on every pair. By default the smallest number up to 200 of
            which all shares are multiples within 1e-6; rounded shares (.65 for 15 of 23) suggest 100, so state it.

    Raises:
        DiscernError: the file cannot be read, is not such a table, or holds no votes; a value is missing or wrong. The
            message names the file, the line or column, the value and the remedy.
    """
    table = _load(path)
    for columns, parse in ((_PLAIN, _plain), (_TRIALS, _trials)):
        if set(columns) <= set(table.columns):
            if votes_per_pair is not None:
                raise DiscernError(f"{path}: votes_per_pair is for tables of shares; this one holds single votes")
            return parse(path, table)
    if set(_SHARES) <= set(table.columns):
        return _shares(path, table, votes_per_pair)
    raise DiscernError(
        f"{path}: line 1: not a known table of votes: its columns are {', '.join(table.columns)}; expected "
        + "; or ".join(", ".join(columns) for columns in (_PLAIN, _SHARES, _TRIALS))
    )


def write(path: Path, votes: Votes) -> None:
    """Write votes in the plain layout, a row for each vote, so that the file is complete or not there.

    What is read back has the same votes in the same order; names without votes are gone.

    Raises:
        DiscernError: there are no votes, or the file cannot be written.
    """
    if not len(votes.winner):
        raise DiscernError(f"{path}: there are no votes to write")
    columns = {"winner": _names(votes.methods, votes.winner), "loser": _names(votes.methods, votes.loser)}
    if votes.image is not None and votes.images is not None:
        columns["image"] = _names(votes.images, votes.image)
    if votes.subject is not None and votes.subjects is not None:
        columns["subject"] = _names(votes.subjects, votes.subject)
    if votes.group is not None and votes.groups is not None:
        columns["group"] = _names(votes.groups, votes.group)
    columns["simulated"] = ["true" if votes.simulated else "false"] * len(votes.winner)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row, count in zip(zip(*columns.values(), strict=True), votes.count.tolist(), strict=True):
        writer.writerows([row] * count)
    workspace.write_atomically(path, text.getvalue().encode())


def _load(path: Path) -> pd.DataFrame:
    """The file as stripped strings, indexed by the line on which a row ends."""
    header, lines, rows = _parse(path)
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise DiscernError(f"{path}: line {line}: {len(row)} values for {len(header)} columns; mend the line")
    if len(set(header)) != len(header):
        raise DiscernError(f"{path}: line 1: a column name stands twice in {', '.join(header)}; rename one")
    return pd.DataFrame(rows, columns=header, index=lines, dtype=object)


def _parse(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Header, line numbers and rows; empty lines are skipped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            numbered = [(reader.line_num, [value.strip() for value in row]) for row in reader if row]
    except OSError as error:
        raise DiscernError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DiscernError(f"{path}: not UTF-8 text ({error.reason}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DiscernError(f"{path}: line {reader.line_num}: not CSV ({error})") from error
    if not numbered:
        raise DiscernError(f"{path}: the file is empty")
    return numbered[0][1], [line for line, _ in numbered[1:]], [row for _, row in numbered[1:]]


def _plain(path: Path, table: pd.DataFrame) -> Votes:
    known = [column for column in ("image", "subject", "simulated") if column in table.columns]
    _require(path, table, (*_PLAIN, *known))
    return _assemble(
        path,
        table,
        winner=table["winner"],
        loser=table["loser"],
        image=table["image"] if "image" in known else None,
        subject=table["subject"] if "subject" in known else None,
        group=_group(path, table),
        simulated=_simulated(path, table["simulated"]) if "simulated" in known else False,
    )


def _group(path: Path, table: pd.DataFrame) -> "pd.Series[str] | None":
    """The column of groups; None where there is none, or nothing stands in it."""
    if "group" not in table.columns or (table["group"] == "").all():
        return None
    _require(path, table, ("group",))
    return table["group"]


def _simulated(path: Path, column: "pd.Series[str]") -> bool:
    values = column.str.lower()
    _refuse(path, column, ~values.isin(["true", "false"]), "write true or false")
    # One ranking must not rest on people and on a simulation at once.
    _refuse(path, column, values != values.iloc[0], "people and simulated subjects are mixed; split the file")
    return bool(values.iloc[0] == "true")


def _trials(path: Path, table: pd.DataFrame) -> Votes:
    _require(path, table, _TRIALS)
    selected = table["is_A_selected"]
    _refuse(path, selected, ~selected.isin(["0", "1"]), "write 1 where A was selected, 0 where B was")
    if "criterion" in table.columns:
        question = table["criterion"]
        _refuse(path, question, question != question.iloc[0], "two questions in one table; keep one criterion per file")
    chosen = selected == "1"
    return _assemble(
        path,
        table,
        winner=table["condition_A"].where(chosen, table["condition_B"]),
        loser=table["condition_B"].where(chosen, table["condition_A"]),
        image=table["scene"],
        subject=table["observer"],
    )


def _shares(path: Path, table: pd.DataFrame, votes_per_pair: int | None) -> Votes:
    _require(path, table, _SHARES)
    first, second = (_file_names(path, table[column]) for column in _SHARES[:2])
    _refuse(path, table["name2_column"], first["image"] != second["image"], "both files must show the same image")
    shares = np.stack([_share(path, table[column]) for column in _SHARES[2:]], axis=1)
    wrong = pd.Series(np.abs(shares.sum(axis=1) - 1) > 2 * TOLERANCE, index=table.index)
    _refuse(path, table["score2_column"], wrong, "the two shares of a line must add up to 1")
    panel = _panel(path, shares, votes_per_pair)
    # Two rows for each line: the votes that the first one won, then those that the second one won.
    row, order = np.repeat(np.arange(len(table)), 2), np.tile([0, 1], len(table))
    names = np.stack([first["method"], second["method"]], axis=1)[row]
    group = _group(path, table)
    long = pd.DataFrame(
        {
            "winner": names[np.arange(len(names)), order],
            "loser": names[np.arange(len(names)), 1 - order],
            "image": first["image"].to_numpy()[row],
            "group": "" if group is None else group.to_numpy()[row],
            "count": np.rint(shares * panel).astype(np.int64).ravel(),
        },
        index=table.index[row],
    )
    long = long[long["count"] > 0]
    named = None if group is None else long["group"]
    count = long["count"].to_numpy()
    return _assemble(path, long, long["winner"], long["loser"], long["image"], group=named, count=count)


def _file_names(path: Path, column: "pd.Series[str]") -> pd.DataFrame:
    parts = column.str.extract(_FILE_NAME)
    _refuse(path, column, parts["method"].isna(), "name the files <image>_<method>.png")
    return parts


def _share(path: Path, column: "pd.Series[str]") -> Floats:
    values = pd.to_numeric(column, errors="coerce")
    _refuse(path, column, ~values.between(0, 1), "write a share of votes, from 0 to 1")
    return values.to_numpy(dtype=np.float64)


def _panel(path: Path, shares: Floats, votes_per_pair: int | None) -> int:
    """How many votes each pair has."""
    if votes_per_pair is not None and votes_per_pair < 1:
        raise DiscernError(f"votes_per_pair must be at least 1, got {votes_per_pair}")
    candidates = range(1, LARGEST_PANEL + 1) if votes_per_pair is None else (votes_per_pair,)
    for panel in candidates:
        if (np.abs(shares - np.rint(shares * panel) / panel) <= TOLERANCE).all():
            return panel
    if votes_per_pair is None:
        raise DiscernError(f"{path}: the shares are multiples of no 1/n up to n = {LARGEST_PANEL}; give votes_per_pair")
    off = np.abs(shares - np.rint(shares * votes_per_pair) / votes_per_pair).max(axis=1)
    raise DiscernError(
        f"{path}: share {shares[off.argmax()].max():.6g} is no multiple of 1/{votes_per_pair}; "
        "give the right votes_per_pair, or shares with six decimals"
    )


def _assemble(
    path: Path,
    table: pd.DataFrame,
    winner: "pd.Series[str]",
    loser: "pd.Series[str]",
    image: "pd.Series[str] | None" = None,
    subject: "pd.Series[str] | None" = None,
    *,
    group: "pd.Series[str] | None" = None,
    count: Integers | None = None,
    simulated: bool = False,
) -> Votes:
    _refuse(path, winner, winner == loser, "a method cannot be compared with itself; mend or remove the line")
    methods, both = _index(pd.concat([winner, loser]))
    images, shown = (None, None) if image is None else _index(image)
    subjects, voter = (None, None) if subject is None else _index(subject)
    groups, selected = (None, None) if group is None else _index(group)
    try:
        return Votes(
            methods=methods,
            winner=both[: len(table)],
            loser=both[len(table) :],
            count=np.ones(len(table), dtype=np.int64) if count is None else count,
            images=images,
            image=shown,
            subjects=subjects,
            subject=voter,
            groups=groups,
            group=selected,
            simulated=simulated,
        )
    except DiscernError as error:
        raise DiscernError(f"{path}: {error}") from error


def _index(column: "pd.Series[str]") -> tuple[tuple[str, ...], Integers]:
    """Sorted names, and the index of each value among them."""
    names, index = np.unique(column.to_numpy(dtype=object), return_inverse=True)
    return tuple(names.tolist()), index.astype(np.int64)


def _names(names: tuple[str, ...], indices: Integers) -> list[str]:
    return [names[index] for index in indices.tolist()]


def _require(path: Path, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    if table.empty:
        raise DiscernError(f"{path}: holds a header but no votes")
    for column in columns:
        _refuse(path, table[column], table[column] == "", "a value is missing; fill it in or remove the line")


def _refuse(path: Path, column: "pd.Series[str]", broken: "pd.Series[bool]", remedy: str) -> None:
    if broken.any():
        row = int(broken.to_numpy().argmax())
        value = column.to_numpy()[row]
        raise DiscernError(f"{path}: line {broken.index[row]}, column {column.name}: {value!r}: {remedy}")
