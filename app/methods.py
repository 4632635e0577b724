"""The catalogue of methods as text: what `discern methods` and `discern methods check` print."""

import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app import method_needs
from app.method_needs import Point
from pipelines import study as studies
from pipelines.study import Study
from pipelines.super_resolution import catalogue
from pipelines.super_resolution.catalogue import Entry

GAP = 2
NARROWEST_TITLE = 24


def show(console: Console, study_path: Path | None) -> None:
    """Print the catalogue, or the methods of a study, and what they need.

    Raises:
        StudyError: the study file cannot be used.
    """
    study = None if study_path is None else studies.read(study_path)
    console.print(table(study, console.width))
    console.print()
    _say(console, "* not for commercial use: a study that runs it names it in accept_licences")
    if study is None:
        _say(console, 'the first kind is the default; outputs made elsewhere are taken with kind = "folder"', hang=2)
    _say(console, "`discern methods check ID` says what is to be done, and what to write into the study", hang=2)


def table(study: Study | None, width: int) -> Table:
    """One row for each method of the catalogue, or of a study: how it runs, its licence, and what it needs.

    Args:
        study: None for the catalogue.
        width: of the terminal, in characters; families and titles stand where there is room for them.
    """
    columns = _catalogue_columns(width) if study is None else _study_columns(study)
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for heading in columns:
        grid.add_column(heading, no_wrap=heading != "needs")
    for row in zip(*columns.values(), strict=True):
        grid.add_row(*map(Text, row))
    return grid


def show_check(console: Console, method_id: str, study_path: Path | None, kind: str | None = None) -> bool:
    """Print what a method needs, and a block for the study file; True if it is ready to run.

    Args:
        console: to print to.
        method_id: of the catalogue, or of a method of the study.
        study_path: the study on whose values each point is judged.
        kind: how it is to be run, where no study says so.

    Raises:
        DiscernError: there is no such method, no such way to run it, or the study file cannot be used.
    """
    study = None if study_path is None else studies.read(study_path)
    points = method_needs.check(method_id, study, study_path, kind)
    entry = _entry(method_id, study)
    for line in (*(_head(entry) if entry else [method_id]), ""):
        _say(console, line)
    for number, point in enumerate(points, start=1):
        _say(console, f"{number:2}. {'done ' if point.ok else 'to do'}  {point.line}", hang=11)
    left = sum(not point.ok for point in points)
    console.print(f"\n{left} of {len(points)} to do" if left else "\nready to run")
    if entry and not method_needs.of_study(method_id, study):
        console.print("\nin the study file:\n", markup=False)
        console.print(textwrap.indent(block(entry, kind), "    "), markup=False, soft_wrap=True)
    for line in _notes(entry) if entry else ():
        _say(console, line, hang=2)
    return not left


def block(entry: Entry, kind: str | None = None) -> str:
    """A `[[methods]]` block to paste into a study file, with the paths that only the user knows left to fill in."""
    run = entry.run(kind)
    lines = [f'accept_licences = ["{entry.id}"]  # at the top of the file', ""] if entry.non_commercial else []
    lines += ["[[methods]]", f'preset = "{entry.id}"']
    if run["kind"] != entry.kinds[0]:
        lines.append(f'kind = "{run["kind"]}"')
    if run["kind"] == "folder":
        lines += ['folder = "/path/to/outputs"', f'# pattern = "{run.get("pattern", "{stem}.png")}"']
    elif run["kind"] == "external":
        home = f"/path/to/{str(entry.repository).rpartition('/')[2]}"
        lines += [f'repository = "{home}"', f'launcher = ["{home}/.venv/bin/python"]']
    else:
        for key, name in ((one.key, one.name) for one in entry.weights if one.key):
            lines += [f'{key} = "/path/to/{name}"', f'# {method_needs.pin(key)} = "..."  # refuses any other file']
    values = run.get("parameters") or {key: value for key, value in run.items() if isinstance(value, float)}
    prefix = "parameters." if "parameters" in run else ""
    return "\n".join(lines + [f"# {prefix}{name} = {json.dumps(value)}" for name, value in values.items()])


def _catalogue_columns(width: int) -> dict[str, list[str]]:
    methods = catalogue.entries()
    columns = {
        "id": [entry.id for entry in methods],
        "year": [str(entry.year) for entry in methods],
        "family": [entry.family for entry in methods],
        "kind": [", ".join(str(run["kind"]) for run in entry.runs) for entry in methods],
        "licence": [_starred(entry.licence, entry.non_commercial) for entry in methods],
        "needs": [_needs(_things(entry)) for entry in methods],
    }
    if _room(columns, width) < 0:
        del columns["family"]
    if (room := _room(columns, width) - GAP) >= NARROWEST_TITLE:
        columns["title"] = [_shortened(entry.title, room) for entry in methods]
    return columns


def _things(entry: Entry) -> Iterator[Point]:
    """What a method needs by default; its licence has a column of its own."""
    return (point for point in method_needs.guide(entry, entry.kinds[0]) if point.what != "licence")


def _room(columns: dict[str, list[str]], width: int) -> int:
    """What columns with gaps between them leave of the width."""
    return width + GAP - sum(max(map(len, [heading, *cells])) + GAP for heading, cells in columns.items())


def _shortened(text: str, width: int) -> str:
    return textwrap.shorten(text, width, placeholder=" ...", break_on_hyphens=False)


def _study_columns(study: Study) -> dict[str, list[str]]:
    methods = study.methods
    return {
        "id": [method.id for method in methods],
        "preset": [method.preset or "" for method in methods],
        "kind": [method.kind for method in methods],
        "licence": [_starred(method.licence or "", method.non_commercial) for method in methods],
        "needs": [_needs(method_needs.judge(study, method)) for method in methods],
    }


def _starred(licence: str, non_commercial: bool) -> str:
    return f"{licence} *" if non_commercial else licence


def _needs(points: Iterable[Point]) -> str:
    missing = dict.fromkeys(point.what for point in points if not point.ok)
    return ", ".join(missing) or "nothing"


def _entry(method_id: str, study: Study | None) -> Entry | None:
    """What the catalogue knows of a method; None for a study's own."""
    presets = [method.preset for method in method_needs.of_study(method_id, study)] or [method_id]
    return catalogue.find(presets[0]) if presets[0] else None


def _head(entry: Entry) -> Iterator[str]:
    yield entry.title if entry.title.startswith(entry.name) else f"{entry.name}: {entry.title}"
    yield entry.paper
    if entry.repository:
        yield entry.repository
    terms = f"{entry.licence}, not for commercial use" if entry.non_commercial else entry.licence
    yield f"licence: {terms}{'. ' + entry.licence_note if entry.licence_note else ''}"


def _notes(entry: Entry) -> Iterator[str]:
    others = " or ".join(f'kind = "{kind}"' for kind in entry.kinds[1:])
    yield ""
    yield f'it runs as kind = "{entry.kinds[0]}" unless the block says {others}'
    for heading, lines in (("the paper leaves open:", entry.unstated), ("know that:", entry.traps)):
        yield from ("", heading) if lines else ()
        yield from (f"- {line}" for line in lines)


def _say(console: Console, line: str, hang: int = 0) -> None:
    """Print a line, wrapped between words; addresses and paths stay whole, so that they can be copied."""
    wrapped = textwrap.wrap(
        line, console.width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False
    )
    for part in wrapped or [""]:
        console.print(part, markup=False, soft_wrap=True)
