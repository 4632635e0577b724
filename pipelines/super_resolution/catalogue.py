"""The catalogue: the paper's methods as data (`catalogue.toml`), and the study file's blocks that name one of them.

Nothing is fetched or run here, and no file but the catalogue itself is looked at.
"""

import copy
import difflib
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import DiscernError

FOLDER = "folder"


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Weights(_Data):
    """A file, or a folder of files, that a method needs.

    Attributes:
        name: the file's.
        url: where it is to be had; a direct link, or a page where a browser is needed.
        sha256: None where nobody has verified one.
        key: the key of a study's block that names the file, where the network runs in this process.
        path: where it belongs below the upstream repository, where that is what runs.
        note: what else one has to know to get it.
    """

    name: str
    url: str
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    key: str | None = None
    path: str | None = None
    note: str | None = None


class Entry(_Data):
    """One method.

    Attributes:
        id: its name in study files and on the command line.
        name: its name in print.
        title: of the publication.
        paper: authors, venue, year.
        family: what kind of method it is, in a word or two.
        licence: of code and weights; `licence_note` says what is not so simple.
        non_commercial: whether the licence forbids commercial use.
        extra: the optional extra of this package that the method needs in this process, besides `pipelines`.
        repository: its upstream address; None where there is none.
        requirements: the environment that upstream asks for, in words.
        finished: naming rule of what upstream's program writes unless told otherwise; None where it is that of a run.
        runs: ways to run it, as keys of a `[[methods]]` block without the user's paths; the first is the default.
        weights: all that its runs need.
        unstated: what the paper (Chen et al.), which ranks it, leaves open.
        traps: what upstream's programs do that is easily missed.
    """

    id: str = Field(pattern=r"^[a-z0-9]+$")
    name: str
    title: str
    paper: str
    year: int
    family: str
    licence: str
    licence_note: str | None = None
    non_commercial: bool = False
    extra: Literal["noncommercial"] | None = None
    repository: str | None = None
    requirements: str | None = None
    finished: str | None = None
    runs: tuple[dict[str, Any], ...] = Field(min_length=1)
    weights: tuple[Weights, ...] = ()
    unstated: tuple[str, ...] = ()
    traps: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of blocks that can run it, the default first; `folder` takes its finished outputs."""
        return (*(str(run["kind"]) for run in self.runs), FOLDER)

    def run(self, kind: str | None = None) -> dict[str, Any]:
        """The keys of a `[[methods]]` block of one kind; the default kind's if none is given.

        Raises:
            DiscernError: the method cannot be run in that way.
        """
        wanted = self.kinds[0] if kind is None else kind
        if wanted not in self.kinds:
            raise DiscernError(f"preset {self.id!r} has no kind {wanted!r}; choose {_alternatives(self.kinds)}")
        if wanted == FOLDER:
            patterns = [self.finished, *(run.get("pattern") for run in self.runs)]
            return next(({"kind": FOLDER, "pattern": one} for one in patterns if one), {"kind": FOLDER})
        return copy.deepcopy(next(run for run in self.runs if run["kind"] == wanted))


@cache
def entries() -> tuple[Entry, ...]:
    """All methods, in the paper's order after its bicubic baseline."""
    text = resources.files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
    return tuple(Entry.model_validate(method) for method in tomllib.loads(text)["methods"])


def find(method_id: str) -> Entry:
    """The method of an id.

    Raises:
        DiscernError: there is none; the message names ids that look like it.
    """
    known = {entry.id: entry for entry in entries()}
    if method_id not in known:
        close = difflib.get_close_matches(method_id.lower().replace("-", ""), known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise DiscernError(f"unknown method {method_id!r}{hint}; `discern methods` lists them")
    return known[method_id]


def expand(block: Mapping[str, Any]) -> dict[str, Any]:
    """A `[[methods]]` block as it stands in a study file, with the defaults of its `preset` filled in.

    The block's own keys win; tables (`parameters`, `variables`) are merged key by key. A block without a preset stays
    as it is.

    Raises:
        DiscernError: the catalogue has no such method, or no such way to run it, or no such parameter; or the block
            denies that the method's licence forbids commercial use.
    """
    if "preset" not in block:
        return dict(block)
    entry = _preset(block["preset"])
    defaults = entry.run(_kind(block, entry))
    _check_licence(entry, block)
    facts = {"id": entry.id, "licence": entry.licence, "non_commercial": entry.non_commercial}
    if not {"command", "config"} & set(block):  # those of the user's own may use parameters of their own
        _check_parameters(entry, block.get("parameters"), defaults.get("parameters", {}))
    return facts | defaults | dict(block) | _merged_tables(defaults, block)


def _preset(value: object) -> Entry:
    if not isinstance(value, str):
        raise DiscernError(f"preset: {value!r} is not the id of a method; `discern methods` lists them")
    return find(value)


def _kind(block: Mapping[str, Any], entry: Entry) -> str | None:
    kind = block.get("kind")
    if kind is not None and not isinstance(kind, str):
        raise DiscernError(f"kind: {kind!r} is not text; choose {_alternatives(entry.kinds)}")
    return kind


def _merged_tables(defaults: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    return {
        table: defaults[table] | block[table]
        for table in ("parameters", "variables")
        if table in defaults and isinstance(block.get(table), dict)
    }


def _check_licence(entry: Entry, block: Mapping[str, Any]) -> None:
    if entry.non_commercial and (value := block.get("non_commercial", True)) is not True:
        raise DiscernError(
            f"non_commercial: {value!r}, but the licence of preset {entry.id!r} ({entry.licence}) forbids commercial "
            "use; remove the key"
        )


def _check_parameters(entry: Entry, given: object, known: Mapping[str, Any]) -> None:
    unknown = sorted(set(given) - set(known)) if isinstance(given, dict) else []
    if unknown:
        choices = f"it has {', '.join(known)}" if known else "it has none"
        raise DiscernError(
            f"parameters.{unknown[0]}: preset {entry.id!r} has no such parameter; {choices} "
            "(others need a command or config of your own)"
        )


def _alternatives(names: tuple[str, ...]) -> str:
    *most, last = map(repr, names)
    return f"{', '.join(most)} or {last}" if most else last
