"""`study.toml` -> `Study`: the one description that every stage reads.

Defaults are the paper's settings (Chen et al., Sec. III-A and III-B). Paths in the file are relative to its folder.
"""

import difflib
import hashlib
import tomllib
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from pipelines import study_messages
from pipelines.errors import DiscernError
from pipelines.problems import printable
from pipelines.protocol import Protocol
from pipelines.study_methods import External, Folder, Method, MethodSection, Section
from pipelines.study_sections import Calibration, Engine, Execution, Images, Resize, Selection, Weights
from pipelines.super_resolution import catalogue, naming
from pipelines.workspace import as_json, write_json

__all__ = [
    "RECORD",
    "Calibration",
    "Engine",
    "Execution",
    "Images",
    "Protocol",
    "Resize",
    "Selection",
    "Study",
    "StudyError",
    "Weights",
    "load",
    "read",
    "record",
    "recorded",
]

RECORD = "study.json"


class StudyError(DiscernError):
    """The study file cannot be used; one line for each thing that is wrong with it."""


class Study(Section):
    """The whole study."""

    name: str = Field(min_length=1)
    workspace: Path = Path("workspace")
    scale: int = Field(default=4, ge=2, le=64, strict=True)
    accept_licences: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0, le=2**32 - 1, strict=True)  # what NumPy takes
    images: Images
    methods: tuple[Method, ...]
    selection: Selection = Selection()
    weights: Weights = Weights()
    calibration: Calibration = Calibration()
    protocol: Protocol = Protocol()
    execution: Execution = Execution()

    @model_validator(mode="after")
    def _methods_can_be_compared(self) -> Self:
        ids = [method.id for method in self.methods]
        if len(ids) < 2:
            raise ValueError(f"methods: {len(ids)} given, two at least are needed; add a [[methods]] block")
        repeated = sorted({one for one in ids if ids.count(one) > 1})
        if repeated:
            raise ValueError(f"methods: duplicate id {', '.join(map(repr, repeated))}; give every method its own id")
        return self

    @model_validator(mode="after")
    def _later_methods_have_anchors(self) -> Self:
        anchors, ids = self.selection.anchors, self.method_ids
        for later, others in anchors.items():
            key = f"selection.anchors.{later}"
            unknown = [name for name in (later, *others) if name not in ids]
            if unknown:
                raise ValueError(f"{key}: the study has no method {unknown[0]!r}; it has {', '.join(ids)}")
            if not others or later in others or len(set(others)) < len(others):
                raise ValueError(f"{key}: {list(others)} are no anchors; name other methods, each once")
        early = [name for name in ids if name not in anchors]
        if len(early) < 2:
            raise ValueError(f"selection.anchors: only {len(early)} methods came first; two at least are needed")
        if ids[: len(early)] != tuple(early):
            raise ValueError("methods: those in selection.anchors came later; put their blocks after all others")
        return self

    @model_validator(mode="after")
    def _reference_is_a_method(self) -> Self:
        wanted = self.protocol.reference_method
        if wanted is not None and wanted not in self.method_ids:
            raise ValueError(
                f"protocol.reference: the study has no method {wanted!r}; it has {', '.join(self.method_ids)}"
            )
        return self

    @property
    def method_ids(self) -> tuple[str, ...]:
        """The methods' ids, in the order of the file: the study order."""
        return tuple(method.id for method in self.methods)

    @property
    def method_pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of methods that are compared: all, but of a method that came later only those with its anchors."""
        anchors = self.selection.anchors

        def compared(a: str, b: str) -> bool:
            return (a not in anchors and b not in anchors) or a in anchors.get(b, ()) or b in anchors.get(a, ())

        return tuple(pair for pair in combinations(self.method_ids, 2) if compared(*pair))

    @property
    def fingerprint(self) -> str:
        """The sha256 of everything in the study that can change what is made from it; not how people are asked."""
        return hashlib.sha256(self.model_dump_json(exclude={"execution", "protocol", "workspace"}).encode()).hexdigest()


def load(path: Path) -> Study:
    """Read and check a study file, and the existence of everything it names.

    Raises:
        StudyError: one line for each problem: the file, the key, what came, and the remedy.
    """
    study = read(path)
    problems = (
        _unknown_licences(study)
        + _not_accepted(study)
        + (_missing(study) or _overlaps(study) + _outputs_among_inputs(study))
    )
    if problems:
        raise StudyError("\n".join(f"{path}: {problem}" for problem in problems))
    return study


def read(path: Path) -> Study:
    """Read a study file whose images, weights and repositories need not be there yet, nor its licences be accepted.

    Its paths become absolute.

    Raises:
        StudyError: one line for each problem: the file, the key, what came, and the remedy.
    """
    data = _parse(path)
    methods = data.get("methods")
    if isinstance(methods, list):
        data["methods"] = [_with_preset(path, index, block) for index, block in enumerate(methods)]
    try:
        study = Study.model_validate(data)
    except ValidationError as error:
        problems = [study_messages.describe(problem, _SECTIONS) for problem in error.errors()]
        raise StudyError("\n".join(f"{path}: {problem}" for problem in problems)) from None
    place = str(path.resolve())
    if place != printable(place):
        raise StudyError(f"{printable(place)}: its path is not UTF-8; rename it")
    return _with_absolute_paths(study, Path(place).parent)


def _parse(path: Path) -> dict[str, Any]:
    name = printable(str(path))
    if path.exists() and not path.is_file():  # a pipe would be waited for, for ever
        raise StudyError(f"{name}: not a file; give the path of a study.toml")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise StudyError(f"{name}: no such file; `discern init DIR` writes an example") from error
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{name}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise StudyError(f"{name}: lists or tables lie too deeply inside each other; a study file has none") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{name}: not a text file; give the path of a study.toml") from error
    except (OSError, ValueError) as error:  # a zero byte in its path, a number of thousands of digits
        raise StudyError(f"{name}: cannot be read as a text file ({error})") from error


def _with_preset(path: Path, index: int, block: Any) -> Any:
    try:
        return catalogue.expand(block) if isinstance(block, dict) else block
    except DiscernError as error:
        raise StudyError(f"{path}: methods[{index}]: {error}") from error


def record(study: Study) -> None:
    """Keep the study in its workspace, so that the folder alone says what it holds; an equal record stays as it is.

    Raises:
        WorkspaceError: it cannot be written.
    """
    path, facts = study.workspace / RECORD, study.model_dump(mode="json")
    if not path.is_file() or path.read_text(encoding="utf-8") != as_json(facts):
        write_json(path, facts)


def recorded(workspace: Path) -> Study:
    """The study that a workspace was made from, as `record` kept it; its paths are those of the machine that ran it.

    Raises:
        StudyError: the folder is no workspace, or was made by a version that kept no record.
    """
    path = workspace / RECORD
    try:
        study = Study.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(
            f"{workspace}: not the workspace of a study ({RECORD}: {error.strerror}); `discern run STUDY` makes one"
        ) from error
    except ValueError as error:
        raise StudyError(f"{path}: damaged, or of another version of Discern; run the study again") from error
    return study.model_copy(update={"workspace": workspace.absolute()})


_SECTIONS: dict[str, type[BaseModel]] = {
    "": Study,
    "images": Images,
    "selection": Selection,
    "weights": Weights,
    "calibration": Calibration,
    "protocol": Protocol,
    "execution": Execution,
}


def _with_absolute_paths(study: Study, home: Path) -> Study:
    def section(part: Section, keys: Sequence[str]) -> Any:
        given = {key: getattr(part, key) for key in keys}
        return part.model_copy(update={key: _absolute(home, path) for key, path in given.items() if path is not None})

    return study.model_copy(
        update={
            "workspace": _absolute(home, study.workspace),
            "images": section(study.images, ("folder", "unlabelled")),
            "methods": tuple(
                _with_absolute_launcher(section(method, method.files + method.folders), home)
                for method in study.methods
            ),
            "weights": section(study.weights, tuple(Weights.model_fields)),
            "calibration": section(study.calibration, ("rated",)),
        }
    )


def _with_absolute_launcher(method: MethodSection, home: Path) -> MethodSection:
    """`./venv/bin/python` is relative to the study file; `conda` is looked for on the PATH; weights lie below."""
    if not isinstance(method, External):
        return method
    program, *rest = method.launcher
    if "/" in program:
        program = str(_absolute(home, Path(program)))
    weights = tuple(_absolute(method.repository, path) for path in method.weights)
    return method.model_copy(update={"launcher": (program, *rest), "weights": weights})


def _absolute(home: Path, value: Path) -> Path:
    try:
        return home / value.expanduser()
    except RuntimeError:  # "~somebody" who does not exist: taken by the letter, it will be reported as missing
        return home / value


def _missing(study: Study) -> list[str]:
    """Inputs that the study names and that are not there, in words."""
    inputs: dict[str, tuple[Path | None, bool]] = {
        "images.folder": (study.images.folder, True),
        "images.unlabelled": (study.images.unlabelled, True),
    }
    for index, method in enumerate(study.methods):
        inputs |= {f"methods[{index}].{key}": (getattr(method, key), False) for key in method.files}
        inputs |= {f"methods[{index}].{key}": (getattr(method, key), True) for key in method.folders}
    inputs |= {f"weights.{key}": (path, False) for key, path in study.weights}
    inputs["calibration.rated"] = (study.calibration.rated, False)
    return [
        f"{key}: {_what_is_wrong(path, 'folder' if folder else 'file')}"
        for key, (path, folder) in inputs.items()
        if path is not None and not (path.is_dir() if folder else path.is_file())
    ]


def _what_is_wrong(path: Path, wanted: str) -> str:
    if path.exists():
        return f"{path} is there, but no {wanted}; correct the path"
    return f"no such {wanted}: {path}; create it or correct the path"


def _unknown_licences(study: Study) -> list[str]:
    """Names that accept nothing, because no method and no architecture has them."""
    known = {*study.method_ids, *(entry.id for entry in catalogue.entries())}
    return [
        f"accept_licences: {name!r} is neither a method of this study nor one of `discern methods`; did you mean "
        f"{close[0]!r}?"
        for name in study.accept_licences
        if name not in known and (close := difflib.get_close_matches(name, sorted(known), n=1))
    ]


def _not_accepted(study: Study) -> list[str]:
    """Methods under licences that the study's author has to accept first."""
    refused = [
        method
        for method in study.methods
        if method.non_commercial and (method.preset or method.id) not in study.accept_licences
    ]
    return [
        f"methods: {method.id!r} may not be used commercially ({method.licence or 'see its licence'}); if that suits "
        f"you, add {(method.preset or method.id)!r} to accept_licences at the top of the file"
        for method in refused
    ]


def _overlaps(study: Study) -> list[str]:
    """Folders inside each other: the study would take its own outputs, or voted images, for new input."""
    folders = {"workspace": study.workspace, "images.folder": study.images.folder}
    if study.images.unlabelled is not None:
        folders["images.unlabelled"] = study.images.unlabelled
    pairs = combinations([(key, folder.resolve()) for key, folder in folders.items()], 2)
    return [
        f"{a_key} and {b_key}: {a} and {b} lie inside each other; give them folders of their own"
        for (a_key, a), (b_key, b) in pairs
        if a.is_relative_to(b) or b.is_relative_to(a)
    ]


def _outputs_among_inputs(study: Study) -> list[str]:
    """Places of outputs inside a folder of LR images, whose files are taken for LR images."""
    given = {"images.folder": study.images.folder, "images.unlabelled": study.images.unlabelled}
    folders = {key: folder for key, folder in given.items() if folder is not None}
    return [
        f"{output_key}: outputs in {outputs} would be taken for LR images, since {key} is {folder}; move one of them"
        for output_key, outputs in _output_folders(study).items()
        for key, folder in folders.items()
        if outputs.resolve().is_relative_to(folder.resolve())
    ]


def _output_folders(study: Study) -> dict[str, Path]:
    """Where outputs that are not made here lie or appear, by the key that says so."""
    found = {}
    for index, method in enumerate(study.methods):
        if isinstance(method, Folder):
            found[f"methods[{index}].folder"] = method.folder / _common_folder(method.pattern)
        elif isinstance(method, External):
            # {out} and {work} are folders in the workspace.
            inside = dict.fromkeys(("out", "work"), str(study.workspace))
            parameters = {name: str(value) for name, value in method.parameters.items()}
            results = naming.fill_known(method.results, parameters | inside | {"repository": str(method.repository)})
            place = method.repository / results / _common_folder(method.pattern)
            found[f"methods[{index}].results"] = place
    return found


def _common_folder(pattern: str) -> str:
    """The folder, below a method's, that all of its outputs have in common: `a/b` of `a/b/{stem}/x.png`."""
    return pattern.partition("{stem}")[0].rpartition("/")[0]
