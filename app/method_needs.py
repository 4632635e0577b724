"""What a method still needs to run: packages, weights, an upstream repository, a licence that is accepted."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from pipelines import weights
from pipelines.errors import DiscernError, WeightsError
from pipelines.study import Study
from pipelines.study_methods import External, Method
from pipelines.super_resolution import catalogue
from pipelines.super_resolution.catalogue import Entry, Weights

# A package that each optional extra of this one brings along.
EXTRAS = {"pipelines": "spandrel", "noncommercial": "spandrel_extra_arches"}


@dataclass(frozen=True)
class Point:
    """One thing that a method needs.

    Attributes:
        ok: whether it is there.
        what: it is, in a word.
        line: what is there, or what to do about it.
    """

    ok: bool
    what: str
    line: str


def check(
    method_id: str, study: Study | None = None, study_path: Path | None = None, kind: str | None = None
) -> list[Point]:
    """Everything that a method needs, in the order in which it is to be done.

    Args:
        method_id: of the catalogue, or of a method of the study.
        study: on whose values each point is judged; without one, what no study could say is taken as not done.
        study_path: for the messages.
        kind: how it is to be run, where no study says so; the catalogue's first way by default.

    Raises:
        DiscernError: there is no such method, or no such way to run it.
    """
    methods = of_study(method_id, study)
    if study is not None and methods:
        several = len(methods) > 1
        judged = [(method.id, point) for method in methods for point in _try_out(study, method)]
        return [replace(point, line=f"{one}: {point.line}") if several else point for one, point in judged]
    entry = _in_catalogue(method_id, study)
    points = list(guide(entry, entry.run(kind)["kind"]))
    if study is not None:
        points.append(Point(False, "block", f"{study_path} has no such method: add the block below"))
    return points


def _in_catalogue(method_id: str, study: Study | None) -> Entry:
    try:
        return catalogue.find(method_id)
    except DiscernError as error:
        if study is None:
            raise
        raise DiscernError(f"{error}, and this study has {', '.join(study.method_ids)}") from error


def of_study(method_id: str, study: Study | None) -> list[Method]:
    """The methods of a study that are meant: the one of this id, else all of this preset."""
    methods = study.methods if study is not None else ()
    return [one for one in methods if one.id == method_id] or [one for one in methods if one.preset == method_id]


def guide(entry: Entry, kind: str) -> Iterator[Point]:
    """What is to be done, where no study says what is there already."""
    yield from _packages(entry, kind)
    if kind == "folder":
        yield Point(False, "folder", "put its finished outputs into a folder")
    if kind == "external":
        yield Point(False, "repository", f"clone {entry.repository}")
        yield Point(False, "repository", f"make an environment of its own for it: {entry.requirements}")
    for one in entry.weights:
        if kind == "external" or (one.key and kind != "folder"):
            yield Point(False, "weights", _fetch(one, place=one.path if kind == "external" else None))
    if entry.non_commercial:
        yield _licence(False, entry.id, entry.licence)


def _try_out(study: Study, method: Method) -> Iterator[Point]:
    """What a method of a study needs; where all of it is there, its network is loaded as a run would load it."""
    points = list(judge(study, method))
    yield from points
    if method.files and all(point.ok for point in points):
        yield _network(study, method)


def _network(study: Study, method: Method) -> Point:
    from pipelines.super_resolution import methods  # it needs packages that have just been found
    from pipelines.super_resolution.external.program import Program

    try:
        network = methods.make(study, method)
        assert not isinstance(network, Program), method.id
        # On a Ray cluster others have the GPUs.
        network.check() if study.execution.engine == "ray" else network.prepare()
    except DiscernError as error:
        return Point(False, "network", str(error).removeprefix(f"{method.id}: "))
    return Point(True, "network", "network: loaded as the study runs it")


def judge(study: Study, method: Method) -> Iterator[Point]:
    """What a method of a study needs, judged on what is there; no network is loaded."""
    entry = catalogue.find(method.preset) if method.preset else None
    yield from _packages(entry, method.kind)
    for key in method.files:
        yield _file(entry, method, key)
    if isinstance(method, External):
        yield from _program(study, entry, method)
    elif method.kind == "folder":
        yield _present("folder", method.folder, method.folder.is_dir(), "create it or correct the path")
    if method.non_commercial:
        name = method.preset or method.id
        yield _licence(name in study.accept_licences, name, method.licence)


def _packages(entry: Entry | None, kind: str) -> Iterator[Point]:
    extras = ["pipelines"]
    if entry is not None and entry.extra and kind == "checkpoint":
        extras.append(entry.extra)
    for extra in extras:
        there = find_spec(EXTRAS[extra]) is not None
        line = f"{EXTRAS[extra]}: installed" if there else f"{EXTRAS[extra]}: pip install 'discern[{extra}]'"
        yield Point(there, "package", line)


def _fetch(one: Weights, place: str | None = None) -> str:
    where = f" to {place} below the repository" if place else ""
    known = f"sha256 {one.sha256}" if one.sha256 else "sha256 unknown"
    return f"fetch {one.name}{where}: {one.url} ({known}){'. ' + one.note if one.note else ''}"


def _licence(accepted: bool, name: str, licence: str | None) -> Point:
    terms = f"licence, not for commercial use: {licence or name}"
    remedy = f'accept_licences = ["{name}"] at the top of the study file, if that suits you'
    return Point(accepted, "licence", f"{terms}: accepted" if accepted else f"{terms}; {remedy}")


def pin(key: str) -> str:
    """The key of a study's block that holds the sha256 of the file under another key."""
    return "sha256" if key == "file" else f"{key}_sha256"


def _file(entry: Entry | None, method: Method, key: str) -> Point:
    """Weights for a network in this process."""
    path: Path = getattr(method, key)
    source = next((one for one in entry.weights if one.key == key), None) if entry else None
    if not path.is_file():
        remedy = _fetch(source) if source else "create it or correct the path"
        return _present(key, path, False, remedy, what="weights")
    expected = getattr(method, pin(key)) or (source.sha256 if source else None)
    return _verified(key, path, expected, f"not pinned: {pin(key)} in the block would refuse any other file")


def _verified(key: str, path: Path, expected: str | None, unknown: str) -> Point:
    try:
        digest = weights.local_file(path, expected)
    except WeightsError as error:
        return Point(False, "weights", str(error))
    return Point(True, "weights", f"{key}: {path} (sha256 {digest}, {'as expected' if expected else unknown})")


def _program(study: Study, entry: Entry | None, method: External) -> Iterator[Point]:
    """An upstream program: what it finds missing itself, and where its weights are to be had."""
    if find_spec(EXTRAS["pipelines"]) is None:
        return  # it cannot be looked at before that is installed
    from pipelines.super_resolution.methods import program

    home = method.repository
    yield _present("repository", home, home.is_dir(), f"clone {entry.repository} there" if entry else "clone it there")
    problems = [(_subject(line), line) for line in program(study, method).check()]
    if home.is_dir() and "launcher" not in dict(problems):
        yield Point(True, "launcher", f"launcher: {method.launcher[0]} is there")
    # The other two are told with where to get them.
    yield from (Point(False, what, line) for what, line in problems if what not in ("repository", "weights"))
    yield from _upstream_weights(entry, method)


def _upstream_weights(entry: Entry | None, method: External) -> Iterator[Point]:
    """The files that the block names, then what the preset's command needs besides: whole folders, say."""
    sources = {method.repository / one.path: one for one in entry.weights if one.path} if entry else {}
    for path in method.weights:
        place = next((place for place in (path, *path.parents) if place in sources), None)
        yield _upstream(path, path.is_file(), sources[place] if place else None)
    if entry and list(method.command) == entry.run(method.kind)["command"]:
        known = [method.repository / path for path in entry.run(method.kind)["weights"]]
        others = [place for place in sources if not any(path.is_relative_to(place) for path in known)]
        yield from (_upstream(place, place.exists(), sources[place]) for place in others)


def _upstream(path: Path, there: bool, source: Weights | None) -> Point:
    if source and source.sha256 and path.is_file():
        return _verified("weights", path, source.sha256, "")
    return _present("weights", path, there, _fetch(source) if source else "fetch it")


def _subject(line: str) -> str:
    """`command[2]: unknown placeholder` is about the command, `variables.X: ...` about the variables."""
    return re.split(r"[:.\[]", line, maxsplit=1)[0]


def _present(key: str, path: Path, there: bool, remedy: str, what: str = "") -> Point:
    return Point(there, what or key, f"{key}: {path} is there" if there else f"{key}: {path} is not there; {remedy}")
