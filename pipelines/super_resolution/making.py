"""Make outputs, and record each as soon as it is there: in threads, on a Ray cluster, or by an upstream program."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from pipelines import executor
from pipelines.errors import DiscernError
from pipelines.images import Pixels
from pipelines.problems import Problem
from pipelines.progress import Progress
from pipelines.study import Study
from pipelines.super_resolution import methods, record
from pipelines.super_resolution.external import runner
from pipelines.super_resolution.external.program import Program
from pipelines.super_resolution.external.staging import LowResolution
from pipelines.super_resolution.method import Method, Output, fingerprint
from pipelines.super_resolution.record import Item
from pipelines.workspace import StorageError, Workspace

TURN_SECONDS = 1.0


class Maker:
    """Makes outputs of some methods of a study and records them.

    Args:
        study: how and where.
        workspace: locked by the caller.
        made: the methods by id.
    """

    def __init__(self, study: Study, workspace: Workspace, made: Mapping[str, Method | Program]) -> None:
        self.study, self.workspace, self.methods = study, workspace, made
        self.fingerprints = {name: fingerprint(method) for name, method in made.items()}

    def make(self, todo: Sequence[Item], progress: Progress, *, slot: str) -> list[Problem]:
        """Methods that work image by image first, then upstream programs, one after the other.

        Args:
            todo: which outputs.
            progress: called after each.
            slot: names the working folder of a program.

        Raises:
            DiscernError: a method cannot be set up.
        """
        by_method: dict[str, list[Item]] = {}
        for item in todo:
            by_method.setdefault(item.method, []).append(item)
        for name in by_method:
            record.keep_facts(self.workspace, self.fingerprints[name], self.methods[name])
        programs = {name: method for name in by_method if isinstance(method := self.methods[name], Program)}
        # Before anything else: the other methods may take a week.
        for program in programs.values():
            runner.require(program)
        problems = self._in_process([item for item in todo if item.method not in programs], progress)
        for name, program in programs.items():
            problems += self._by_program(program, by_method[name], progress, slot)
        return sorted(problems)

    def _in_process(self, todo: Sequence[Item], progress: Progress) -> list[Problem]:
        if not todo:
            return []
        execution = self.study.execution
        used = {name: self._image_by_image(name) for name in {item.method for item in todo}}
        for method in used.values():
            method.check() if execution.engine == "ray" else method.prepare()
        failed = executor.fill(
            record.manifest(self.workspace),
            _OneOutput(self.workspace, self.study.scale, used, self.fingerprints),
            todo,
            task=lambda item: f"outputs of {item.method}",
            progress=progress,
            execution=execution,
            gpus=int(execution.device.startswith("cuda")),
        )
        return [_problem(outcome.item, outcome.problem) for outcome in failed if outcome.problem is not None]

    def _image_by_image(self, name: str) -> Method:
        method = self.methods[name]
        assert not isinstance(method, Program), name
        return method

    def _by_program(self, program: Program, todo: Sequence[Item], progress: Progress, slot: str) -> list[Problem]:
        items = {item.image: item for item in todo}
        table = record.manifest(self.workspace)
        problems = []
        for done, result in enumerate(self._run_program(program, todo, progress, slot), 1):
            item = items[result.image]
            try:
                table.append([self._store(program, item, result)])
            except StorageError:  # the output stays where the program has put it, for the next run
                raise
            except DiscernError as problem:
                problems.append(_problem(item, problem))
            progress(f"outputs of {program.id}", done, len(todo))
        return problems

    def _store(self, program: Program, item: Item, result: runner.Made | runner.Failed) -> dict[str, Any]:
        if isinstance(result, runner.Failed):
            reason = str(result.problem).removeprefix(f"{program.id}: ")
            raise DiscernError(f"{program.id}: {item.stem!r}: {reason}")
        output = Output(
            result.pixels, device=None, peak_memory=result.peak_memory, position=result.position, of=result.of
        )
        print_ = self.fingerprints[program.id]
        return record.store(self.workspace, item, output, print_, seconds=result.seconds, seed=program.given_seed)

    def _run_program(
        self, program: Program, todo: Sequence[Item], progress: Progress, slot: str
    ) -> Iterator[runner.Made | runner.Failed]:
        root = self.workspace.root.absolute()
        # Another configuration gets another folder: what this one has left there is not what it is asked for.
        work = root / "external" / f"{program.id}-{self.fingerprints[program.id][:12]}" / slot
        low = [LowResolution(i.image, self.workspace.image_path(i.image), i.width, i.height) for i in todo]
        gpu = methods.gpu_of(self.study.execution.device, os.environ.get("CUDA_VISIBLE_DEVICES"))
        log, known = root / "logs" / f"{program.id}-{slot}.log", self._known(program)
        with _alone(program, work, progress):
            yield from runner.run(program, low, work, gpu=gpu, log=log, known=known)

    def _known(self, program: Program) -> LowResolution | None:
        """An image that this very program has done."""
        done = record.current(self.workspace, {program.id: self.fingerprints[program.id]})
        if done.empty:
            return None
        row = done.iloc[0]
        width, height = int(row["width"]) // program.scale, int(row["height"]) // program.scale
        return LowResolution(row["image"], self.workspace.image_path(row["image"]), width, height)


@contextmanager
def _alone(program: Program, work: Path, progress: Progress) -> Iterator[None]:
    """Keep others out of a working folder, or of the repository where results appear there; wait until they are done.

    A worker that was taken for dead may still be at work; it lets go when it wants to report and finds that it was.
    """
    work.parent.mkdir(parents=True, exist_ok=True)
    private = program.has_private_results
    lock = filelock.FileLock(work.with_name(f"{work.name}.lock") if private else program.repository / ".discern.lock")
    path = lock.lock_file
    try:
        while not _acquired(lock):
            progress(f"waiting for another run of {program.id}", 0, 0)
    except OSError as error:
        raise DiscernError(f"{path}: cannot be used as a lock ({error.strerror}); make its folder writable") from error
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: filelock.BaseFileLock) -> bool:
    try:
        lock.acquire(timeout=TURN_SECONDS)
    except filelock.Timeout:
        return False
    return True


@dataclass(frozen=True)
class _OneOutput:
    """Makes and stores one output of a method that works image by image; the same code on every engine."""

    workspace: Workspace
    scale: int
    methods: Mapping[str, Method]
    fingerprints: Mapping[str, str]

    def __call__(self, item: Item) -> list[dict[str, Any]]:
        method = self.methods[item.method]
        low_resolution = self.workspace.get_image(item.image)
        started = time.perf_counter()
        output = method.upscale(item.stem, low_resolution)
        seconds = time.perf_counter() - started
        _check_size(item, output.pixels, self.scale)
        named = item.stem if method.by_stem else ""
        print_ = self.fingerprints[item.method]
        return [record.store(self.workspace, item, output, print_, seconds=seconds, named=named)]


def _check_size(item: Item, pixels: Pixels, scale: int) -> None:
    height, width = pixels.shape[:2]
    if (width, height) != (item.width * scale, item.height * scale):
        raise DiscernError(
            f"{item.method}: output of {item.stem!r} is {width}x{height}, expected "
            f"{item.width * scale}x{item.height * scale} ({scale} times the LR image); left out"
        )


def _problem(item: Item, problem: DiscernError) -> Problem:
    return Problem("super-resolution", item.stem, item.method, str(problem))
