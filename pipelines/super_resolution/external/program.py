"""An upstream program: what it is, what it is given, and what determines its outputs."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines import weights
from pipelines.errors import DiscernError, WeightsError
from pipelines.super_resolution.naming import NamingRule, fill, fill_known, placeholders, problem_of

Scalar = str | int | float | bool

BUILT_IN = frozenset({"lr", "out", "work", "config", "repository", "scale", "seed", "gpu"})

# What an activated environment of ours says about Python would lead the program's own Python to our packages.
_OURS = frozenset({"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"})


@dataclass(frozen=True)
class Invocation:
    """A program's templates filled in for one working folder.

    Attributes:
        arguments: launcher and command; never a shell's text.
        environment: all environment variables.
        config: text of the file `config_path`; None for a program that reads none.
        results: the folder in which outputs appear.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    config: str | None
    results: Path


@dataclass(frozen=True)
class Program:
    """An upstream super-resolution program in its own environment.

    `launcher`, `command`, `config`, `results` and `variables` are templates with the placeholders `BUILT_IN` and the
    names of the parameters.

    Attributes:
        id: the method's name in the study.
        repository: the folder in which the program is started, and the place that relative paths start from.
        launcher: what runs it: an interpreter, an environment, a container. The client of a container has to pass
            signals on to it, so that it ends with its client (`docker run --rm --init`).
        command: its arguments.
        parameters: values of placeholders.
        config: text of a settings file, whose path is `{config}`; there, unknown placeholders are left alone.
        results: the folder in which the outputs appear.
        pattern: `NamingRule` of an output below `results`.
        variables: environment variables, beside those of this process.
        weights: files that have to be there.
        seconds_per_image: the longest time between two outputs.
        startup_seconds: added to it before the first output of a call.
        one_image_per_call: start the program for every image anew, so that an output depends on its image alone.
        scale: outputs are so many times as wide and as high as LR images.
        seed: of the study, for programs that take one.
    """

    id: str
    repository: Path
    launcher: tuple[str, ...]
    command: tuple[str, ...]
    parameters: Mapping[str, Scalar]
    config: str | None
    results: str
    pattern: str
    variables: Mapping[str, str]
    weights: tuple[Path, ...]
    seconds_per_image: float
    startup_seconds: float
    one_image_per_call: bool
    scale: int
    seed: int

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What determines its outputs: everything it is given, sha256 of its weights, its commit; JSON values only.

        A change in the repository that was not committed is not seen.

        Raises:
            WeightsError: a weights file cannot be read.
        """
        return {
            "kind": "external",
            "launcher": list(self.launcher),
            "command": list(self.command),
            "parameters": dict(self.parameters),
            "config": self.config,
            "results": self.results,
            "pattern": self.pattern,
            "variables": dict(self.variables),
            "weights": {self._name_of(file): self._sha256_of(file) for file in self.weights},
            "commit": commit_of(self.repository),
            "one_image_per_call": self.one_image_per_call,
            "scale": self.scale,
            "seed": self.given_seed,
        }

    @property
    def given_seed(self) -> int | None:
        """The seed, if it is given to the program: one that takes none need not run again for another."""
        texts = [text for _, text in self._arguments()] + [self.results, *self.variables.values(), self.config or ""]
        return self.seed if any("seed" in placeholders(text) for text in texts) else None

    @property
    def rule(self) -> NamingRule:
        """How its outputs are named."""
        return NamingRule(self.pattern)

    @property
    def has_private_results(self) -> bool:
        """Whether outputs appear in the working folder of a run; if not, two runs at a time would mix theirs up."""
        return self.results.startswith(("{out}", "{work}"))

    def check(self) -> list[str]:
        """What is missing to run it, one line each; empty when it is ready."""
        problems = list(self._template_problems())
        if not self.repository.is_dir():
            return [f"repository: no such folder: {self.repository}; clone the program there", *problems]
        return [*(problems or self._launcher_problems()), *self._file_problems()]

    def invocation(self, work: Path, gpu: str | None) -> Invocation:
        """Fill the templates for an absolute working folder.

        Args:
            work: absolute path of the folder that holds `lr`, `out` and the settings file.
            gpu: value of CUDA_VISIBLE_DEVICES ("" hides all); None leaves it as it is here.

        Raises:
            DiscernError: a placeholder is unknown.
        """
        values = self._values(work, gpu)
        first, *others = (fill(text, values, key=key) for key, text in self._arguments())
        variables = {name: fill(text, values, key=f"variables.{name}") for name, text in self.variables.items()}
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
        environment = inherited | {"PYTHONUNBUFFERED": "1"} | variables
        return Invocation(
            arguments=(os.path.expanduser(first), *others),  # noqa: PTH111 - a bare name must not become a path
            environment=environment if gpu is None else environment | {"CUDA_VISIBLE_DEVICES": gpu},
            config=None if self.config is None else fill_known(self.config, values),
            results=self.repository.absolute() / fill(self.results, values, key="results"),
        )

    def _values(self, work: Path, gpu: str | None) -> dict[str, str]:
        repository = self.repository.absolute()
        paths = {"lr": work / "lr", "out": work / "out", "work": work, "repository": repository}
        if self.config is not None:
            paths["config"] = config_path(work)
        values = {name: str(path) for name, path in paths.items()}
        numbers = {"scale": str(self.scale), "seed": str(self.seed), "gpu": gpu or ""}
        return {name: as_text(value) for name, value in self.parameters.items()} | values | numbers

    def _arguments(self) -> list[tuple[str, str]]:
        """Launcher and command, each part with its key in the study file."""
        launcher = [(f"launcher[{index}]", text) for index, text in enumerate(self.launcher)]
        return launcher + [(f"command[{index}]", text) for index, text in enumerate(self.command)]

    def _template_problems(self) -> Iterator[str]:
        if not self.command:
            yield "command: empty; give the program and its arguments"
        if problem := problem_of(self.pattern):
            yield f"pattern: {self.pattern!r} {problem}"
        for name in self.parameters:
            if name in BUILT_IN:
                yield f"parameters.{name}: {{{name}}} has a meaning of its own; choose another name"
            elif placeholders(f"{{{name}}}") != [name]:
                yield f"parameters.{name}: not a placeholder's name; use letters, digits and underscores"
        variables = [(f"variables.{name}", text) for name, text in self.variables.items()]
        for key, text in [*self._arguments(), ("results", self.results), *variables]:
            try:
                fill(text, self._values(Path("/"), None), key=key)
            except DiscernError as problem:
                yield str(problem)

    def _launcher_problems(self) -> Iterator[str]:
        """Whether the executable is there; the templates have to be in order."""
        invocation = self.invocation(Path("/"), None)
        name = invocation.arguments[0]
        path = self.repository / name
        if os.sep not in name:
            if shutil.which(name, path=invocation.environment.get("PATH")) is None:
                yield f"launcher: {name!r} is not on the PATH; install it, or give its full path"
        elif not (path.is_file() and os.access(path, os.X_OK)):
            yield f"launcher: no such program: {path}; make the environment, or give the path of its interpreter"

    def _file_problems(self) -> Iterator[str]:
        script = self._script()
        if script is not None and not (self.repository / script).is_file():
            yield f"command: no such file: {self.repository / script}; correct it, or the repository's folder"
        for file in self.weights:
            if not (self.repository / file).is_file():
                yield _missing(self.repository / file)

    def _script(self) -> str | None:
        """The Python file below the repository that the command runs: the first argument, options aside."""
        words = [word for word in self.command if word == "-m" or not word.startswith("-")]
        is_script = bool(words) and words[0].endswith(".py") and not placeholders(words[0])
        return words[0] if is_script and not Path(words[0]).is_absolute() else None

    def _sha256_of(self, file: Path) -> str:
        path = self.repository / file
        if not path.is_file():
            raise WeightsError(
                f"{self.id}: {_missing(path)}; `discern methods check {self.id} --study STUDY` shows what is left to do"
            )
        return weights.sha256_of(path)

    def _name_of(self, file: Path) -> str:
        # Relative, so that moving the repository with its weights leaves the outputs valid.
        return os.path.relpath(self.repository / file, self.repository)


def _missing(path: Path) -> str:
    return f"weights: no such file: {path}; fetch it"


def config_path(work: Path) -> Path:
    """Where the settings file lies in a working folder."""
    return work / "config.yml"


def as_text(value: Scalar) -> str:
    """A parameter as an argument: `true` and `false` as in TOML and YAML, numbers as Python prints them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def commit_of(repository: Path) -> str | None:
    """The commit that a git checkout stands at; None where there is none.

    Read from its files, so that it does not depend on whether git is installed; a checkout that keeps its references in
    another format ("reftable") has none.
    """
    git = repository / ".git"
    if git.is_file():  # a worktree or a submodule: the file says where the folder is
        git = repository / (_text(git) or "").removeprefix("gitdir:").strip()
    head = _text(git / "HEAD")
    if head is None or not head.startswith("ref: "):
        return head
    reference = head.removeprefix("ref: ")
    common = git / (_text(git / "commondir") or ".")
    return _text(git / reference) or _text(common / reference) or _packed(common / "packed-refs", reference)


def _packed(file: Path, reference: str) -> str | None:
    lines = (line.split(" ") for line in (_text(file) or "").splitlines())
    return next((line[0] for line in lines if line[1:] == [reference]), None)


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else None
