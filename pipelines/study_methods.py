"""The `[[methods]]` blocks of a study file: one class for each kind of super-resolution method.

`preset = "ID"` takes the defaults of a block from the catalogue of methods; they are filled in before a block is read.
"""

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipelines.super_resolution import naming

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"

MethodId = Annotated[str, Field(pattern=ID_PATTERN)]
Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]
Precision = Literal["float32", "float16", "bfloat16", "auto"]
Whole = Annotated[int, Field(strict=True, le=2**31 - 1)]  # what tables and other people's programs take


def _scalar(value: object) -> object:
    # One message; a union would give one for each of its members.
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise PydanticCustomError("scalar", "Input should be text, a finite number, true or false")
    return value


Scalar = Annotated[str | int | float | bool, PlainValidator(_scalar)]


class Section(BaseModel):
    """A part of the study file: no unknown keys, no changes after reading, numbers are numbers, and no zero bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _holds_no_zero_byte(cls, value: object) -> object:
        # TOML can write one; no path, no argument of a program and no database can hold it.
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
        if any("\0" in str(part) for part in parts if isinstance(part, str | Path)):
            raise ValueError("holds a zero byte; remove it")
        return value


class MethodSection(Section):
    """What all kinds share.

    Attributes:
        preset: the catalogue's id of the method whose defaults were taken.
        licence: the method's, in words.
        non_commercial: whether the licence forbids commercial use; `accept_licences` must then name the method.
    """

    id: MethodId
    preset: str | None = None
    licence: str | None = None
    non_commercial: bool = False

    files: ClassVar[tuple[str, ...]] = ()
    folders: ClassVar[tuple[str, ...]] = ()


class Interpolation(MethodSection):
    """A classical method that needs no weights."""

    kind: Literal["interpolation"]
    algorithm: Literal[
        "nearest", "bilinear", "bicubic", "lanczos", "bicubic_unsharp", "bicubic_nonlocal_means", "back_projection"
    ]


class Network(MethodSection):
    """What the networks that run in this process share.

    Attributes:
        precision: of the computation; `auto` is float16 on a GPU where the network allows it, else bfloat16 where the
            GPU has it, else float32.
        tile: longest side, in LR pixels, that is given to the network at once; larger images are done in tiles.
        overlap: how many LR pixels neighbouring tiles share.
    """

    precision: Precision = "float32"
    tile: Whole = Field(default=512, ge=32)
    overlap: Whole = Field(default=64, ge=8)

    @model_validator(mode="after")
    def _tiles_overlap_their_neighbours_alone(self) -> Self:
        if 2 * self.overlap > self.tile:
            raise ValueError(f"overlap {self.overlap} is more than half the tile {self.tile}; enlarge the tile")
        return self


class Checkpoint(Network):
    """A network that spandrel recognises."""

    kind: Literal["checkpoint"]
    file: Path
    sha256: Sha256 | None = None

    files = ("file",)


class Usrnet(Network):
    """USRNet, or USRGAN: non-blind, so that the blur and the noise are given.

    Attributes:
        kernel_width: standard deviation of the Gaussian blur, in pixels of the enlarged image.
        noise_level: standard deviation of the noise in the LR image, in 8-bit steps.
    """

    kind: Literal["usrnet"]
    file: Path
    sha256: Sha256 | None = None
    kernel_width: float = Field(default=2.0, gt=0, le=8, strict=True)
    noise_level: float = Field(default=2.0, ge=0, le=255, strict=True)

    files = ("file",)


class Dasr(Network):
    """DASR (ECCV 2022): a generator, and the predictor that chooses its experts."""

    kind: Literal["dasr"]
    generator: Path
    predictor: Path
    generator_sha256: Sha256 | None = None
    predictor_sha256: Sha256 | None = None

    files = ("generator", "predictor")


class Folder(MethodSection):
    """Finished outputs made elsewhere; `{stem}` in the pattern is the LR file's name without its extension."""

    kind: Literal["folder"]
    folder: Path
    pattern: str = "{stem}.png"

    folders = ("folder",)

    @model_validator(mode="after")
    def _pattern_names_the_image(self) -> Self:
        _check_pattern(self.pattern)
        return self


class External(MethodSection):
    """An upstream repository in its own environment.

    Attributes:
        repository: its checkout, the working directory of the command.
        launcher: what runs its Python: an interpreter, or `conda run ... python`, or `docker run ... python`.
        command: the arguments that follow; templates in which `{lr}` and `{out}` are folders.
        parameters: what the command's other placeholders stand for.
        config: text of a configuration file, written to `{config}`.
        results: the folder in which outputs appear.
        pattern: the file of one output, below `results`.
        variables: environment variables of the command.
        weights: files below the repository that determine its outputs.
        seconds_per_image: how long it may go without a new output.
        startup_seconds: how long it may take to load its models, besides.
        one_image_per_call: a process for each image: slow, and independent of what else is in the folder.
    """

    kind: Literal["external"]
    repository: Path
    launcher: tuple[str, ...] = Field(default=("python",), min_length=1)
    command: tuple[str, ...] = Field(min_length=1)
    parameters: dict[str, Scalar] = {}
    config: str | None = None
    results: str = "{out}"
    pattern: str = "{stem}.png"
    variables: dict[str, str] = {}
    weights: tuple[Path, ...] = ()
    seconds_per_image: float = Field(default=600.0, gt=0, strict=True)
    startup_seconds: float = Field(default=900.0, gt=0, strict=True)
    one_image_per_call: bool = False

    folders = ("repository",)

    @model_validator(mode="after")
    def _pattern_names_the_image(self) -> Self:
        _check_pattern(self.pattern)
        return self


def _check_pattern(pattern: str) -> None:
    if problem := naming.problem_of(pattern):
        raise ValueError(f"pattern {pattern!r} {problem}")


KINDS: dict[str, type[MethodSection]] = {
    "interpolation": Interpolation,
    "checkpoint": Checkpoint,
    "usrnet": Usrnet,
    "dasr": Dasr,
    "folder": Folder,
    "external": External,
}
Method = Annotated[
    Interpolation | Checkpoint | Usrnet | Dasr | Folder | External,
    Field(discriminator="kind"),
]
