"""`study.toml` -> `Study`: the one description that every stage reads.

Defaults are the paper's settings (Chen et al., Sec. III-A and III-B). Paths in the file are relative to its folder.
"""

import difflib
import hashlib
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pipelines.errors import DiscernError
from pipelines.workspace import as_json, write_json

RECORD = "study.json"

MethodId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]


class StudyError(DiscernError):
    """The study file cannot be used; one line for each thing that is wrong with it."""


class Section(BaseModel):
    """A part of the study file: no unknown keys, no changes after reading, and numbers are numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Images(Section):
    """Where the low-resolution (LR) images are.

    Images in one subfolder share their source content (crops of one photograph, say) and are kept on one side of every
    split; an image that lies in no subfolder is a source of its own.
    """

    folder: Path
    unlabelled: Path | None = None


class Interpolation(Section):
    """A classical method that needs no weights."""

    kind: Literal["interpolation"]
    id: MethodId
    algorithm: Literal[
        "nearest", "bilinear", "bicubic", "lanczos", "bicubic_unsharp", "bicubic_nonlocal_means", "back_projection"
    ]


class Checkpoint(Section):
    """A network that spandrel recognises, run in this process."""

    kind: Literal["checkpoint"]
    id: MethodId
    file: Path
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class Folder(Section):
    """Finished outputs made elsewhere; `{stem}` in the pattern is the LR file's name without its extension."""

    kind: Literal["folder"]
    id: MethodId
    folder: Path
    pattern: str = "{stem}.png"

    @model_validator(mode="after")
    def _pattern_names_the_image(self) -> Self:
        if self.pattern.count("{stem}") != 1 or any(c in self.pattern.replace("{stem}", "") for c in "{}/\\"):
            raise ValueError("pattern must hold {stem} once and no other braces or slashes, as in '{stem}_x4.png'")
        return self


Method = Annotated[Interpolation | Checkpoint | Folder, Field(discriminator="kind")]


class Selection(Section):
    """Eq. (1): which image pairs people are asked about."""

    distance: str = "dists"
    semantics: str = "vgg16"
    per_pair: int = Field(default=16, ge=1, strict=True)
    trade_off: float = Field(default=0.1, ge=0, strict=True)
    aggregate: Literal["mean", "min"] = "mean"
    reuse_limit: int | None = Field(default=None, ge=1, strict=True)


class Calibration(Section):
    """Eqs. (3)-(6): how the ranking recalibrates the quality model."""

    rated: Path | None = None
    held_out: tuple[str, ...] = ()
    batch: int = Field(default=64, ge=1, strict=True)
    epochs: int = Field(default=8, ge=1, strict=True)
    learning_rate: float = Field(default=1e-3, gt=0, strict=True)
    rated_weight: float = Field(default=1.0, ge=0, strict=True)
    rated_pairs: Literal["random", "same_content"] = "random"


class Execution(Section):
    """Where the work is done; another device changes a network's outputs by rounding, nothing else here does."""

    engine: Literal["local", "ray"] = "local"
    workers: int | None = Field(default=None, ge=1, strict=True)
    device: str = "cpu"


class Study(Section):
    """The whole study."""

    name: str = Field(min_length=1)
    workspace: Path = Path("workspace")
    scale: int = Field(default=4, ge=2, strict=True)
    seed: int = Field(default=0, ge=0, strict=True)
    images: Images
    methods: tuple[Method, ...]
    selection: Selection = Selection()
    calibration: Calibration = Calibration()
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

    @property
    def method_ids(self) -> tuple[str, ...]:
        """The methods' ids, in the order of the file: the study order."""
        return tuple(method.id for method in self.methods)

    @property
    def fingerprint(self) -> str:
        """The sha256 of everything in the study that can change a result."""
        return hashlib.sha256(self.model_dump_json(exclude={"execution", "workspace"}).encode()).hexdigest()


def load(path: Path) -> Study:
    """Read and check a study file, and the existence of everything it names.

    Raises:
        StudyError: one line for each problem: the file, the key, what came, and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise StudyError(f"{path}: no such file; `discern init DIR` writes an example") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read as a text file ({error})") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from error
    try:
        study = Study.model_validate(data)
    except ValidationError as error:
        raise StudyError("\n".join(f"{path}: {_describe(problem)}" for problem in error.errors())) from None
    return _with_absolute_paths(study, path)


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


def _describe(problem: ErrorDetails) -> str:
    """One line: the key as it stands in the file, what is wrong, and what came."""
    key = ".".join(_key_parts(problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ")
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key{_did_you_mean(problem['loc'])}; correct or remove it"
        case "missing":
            return f"{key}: missing; add it"
        case "union_tag_invalid":
            kind = problem["input"].get("kind")
            return f"{key}.kind: unknown kind {kind!r}; choose 'interpolation', 'checkpoint' or 'folder'"
        case "union_tag_not_found":
            return f"{key}.kind: missing; add kind = 'interpolation', 'checkpoint' or 'folder'"
        case "value_error":
            return f"{key}: {message}" if key else message
        case _:
            return f"{key}: {message[0].lower()}{message[1:]}, got {problem['input']!r}; correct the value"


def _key_parts(location: tuple[int | str, ...]) -> list[str]:
    """`("methods", 2, "folder", "pattern")` -> `["methods[2]", "pattern"]`: list indices joined, union tags dropped."""
    parts: list[str] = []
    for position, step in enumerate(location):
        if isinstance(step, int):
            parts[-1] += f"[{step}]"
        elif not (position == 2 and location[0] == "methods"):
            parts.append(step)
    return parts


def _did_you_mean(location: tuple[int | str, ...]) -> str:
    sections: dict[str, type[BaseModel]] = {"images": Images, "selection": Selection}
    sections |= {"calibration": Calibration, "execution": Execution}
    kinds: dict[int | str, type[BaseModel]] = {"interpolation": Interpolation, "checkpoint": Checkpoint}
    kinds["folder"] = Folder
    if len(location) == 1:
        model: type[BaseModel] = Study
    elif location[0] == "methods":
        model = kinds[location[2]]
    else:
        model = sections[str(location[0])]
    close = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _with_absolute_paths(study: Study, path: Path) -> Study:
    """Resolve every path against the study file's folder, and make sure that the inputs exist."""
    home = path.resolve().parent
    missing: list[str] = []

    def existing(key: str, value: Path, *, folder: bool) -> Path:
        resolved = _absolute(home, value)
        if not (resolved.is_dir() if folder else resolved.is_file()):
            kind = "folder" if folder else "file"
            missing.append(f"{path}: {key}: no such {kind}: {resolved}; create it or correct the path")
        return resolved

    def section(part: Section, prefix: str, **folders: bool) -> Any:
        paths = {key: (getattr(part, key), folder) for key, folder in folders.items()}
        update = {key: existing(f"{prefix}.{key}", v, folder=f) for key, (v, f) in paths.items() if v is not None}
        return part.model_copy(update=update)

    methods = tuple(
        section(method, f"methods[{i}]", file=False)
        if isinstance(method, Checkpoint)
        else section(method, f"methods[{i}]", folder=True)
        if isinstance(method, Folder)
        else method
        for i, method in enumerate(study.methods)
    )
    resolved = study.model_copy(
        update={
            "workspace": _absolute(home, study.workspace),
            "images": section(study.images, "images", folder=True, unlabelled=True),
            "methods": methods,
            "calibration": section(study.calibration, "calibration", rated=False),
        }
    )
    problems = missing or [f"{path}: {problem}" for problem in _overlaps(resolved)]
    if problems:
        raise StudyError("\n".join(problems))
    return resolved


def _absolute(home: Path, value: Path) -> Path:
    try:
        return home / value.expanduser()
    except RuntimeError:  # "~somebody" who does not exist: taken by the letter, it will be reported as missing
        return home / value


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
