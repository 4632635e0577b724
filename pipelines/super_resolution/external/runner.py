"""Upstream programs in their own environments: start one, collect its outputs, try again what is missing.

The boundary is files; see `staging`. What counts are the outputs, not the exit status: upstream programs crash after
their last output, and end well with outputs missing.

As long as calls make outputs, the program is called again with the images that are missing. After a call that made
none, the first of its images is given up and the rest is tried again; after two in a row, half of the rest, from a
random place, then a quarter, and so on, so that images that it cannot do are passed over wherever they stand.

After every `HOPELESS` such calls in a row, the program is given an image that it has done before, in this run or an
earlier one; what comes is thrown away. If that makes nothing either, or if there is no such image, the program is
broken, and the rest is given up. If it does, the images are to blame, and the rest is tried.
"""

import secrets
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.errors import DiscernError
from pipelines.super_resolution.external import call_log, staging
from pipelines.super_resolution.external.guarded import Guarded
from pipelines.super_resolution.external.harvest import Failed, Harvest, Made
from pipelines.super_resolution.external.program import Invocation, Program
from pipelines.super_resolution.external.staging import LowResolution

__all__ = ["Failed", "LowResolution", "Made", "Program", "require", "run"]

HOPELESS = 5
POLL_SECONDS = 0.2


def run(
    program: Program,
    images: Sequence[LowResolution],
    work: Path,
    *,
    gpu: str | None,
    log: Path,
    known: LowResolution | None = None,
) -> Generator[Made | Failed, None, None]:
    """Run an upstream program on images; every image gets exactly one outcome, as soon as it is known.

    Outputs that a killed run left in `work` are taken first. Closing the generator stops the program. An output's file
    is deleted when the caller comes back for the next outcome, so that a caller that dies finds it again.

    Args:
        program: what to run. One whose results are not private (`Program.has_private_results`) must not run twice at
            a time.
        images: which images, each once.
        work: a folder for this program's runs alone; created if it does not exist, and to be kept for the next run.
        gpu: value of CUDA_VISIBLE_DEVICES ("" hides all); None leaves it as it is here.
        log: file to which all that the program prints is appended.
        known: an image that this very program has done before; None where there is none.

    Raises:
        DiscernError: at once, if something is missing to run the program; later, if a folder cannot be written.
        ValueError: two images have one hash.
    """
    require(program)
    if len({image.stem for image in images}) != len(images):
        raise ValueError("images: two with the same hash")
    work = work.absolute()
    waiting = {image.image: image for image in sorted(images, key=lambda one: one.image)}
    return _Run(program, program.invocation(work, gpu), work, log, waiting, known).outcomes()


def require(program: Program) -> None:
    """Make sure that a program can be run at all.

    Raises:
        DiscernError: something is missing; the message says what, all of it.
    """
    problems = program.check()
    if problems:
        raise DiscernError(
            f"{program.id}: cannot run: {'; '.join(problems)}; "
            f"`discern methods check {program.id} --study STUDY` shows what is left to do"
        )


@dataclass
class _Run:
    """One `run`: the images without an outcome, one that has been done, how many calls in a row made no output."""

    program: Program
    invocation: Invocation
    work: Path
    log: Path
    waiting: dict[str, LowResolution]
    known: LowResolution | None
    barren: int = field(default=0, init=False)

    def outcomes(self) -> Generator[Made | Failed, None, None]:
        """See `run`."""
        lost = [image for image in self.waiting.values() if not image.path.is_file()]
        yield from self._fail(lost, "the LR image is not there: run the study again")
        yield from self._leftovers()
        while self.waiting:
            yield from self._round(self._choice())
        staging.clear(self.work)

    def _leftovers(self) -> Iterator[Made | Failed]:
        """What a killed run wrote; not its last file, which may be half of what was meant."""
        call = staging.recall(self.program, self.work, self.waiting.values())
        if call is not None:
            harvest = Harvest(self.program, self.invocation.results, call)
            harvest.look()
            yield from self._settle(harvest.take(ended=False))

    def _choice(self) -> list[LowResolution]:
        """The images of the next call."""
        waiting = list(self.waiting.values())
        if self.barren < 2:
            return waiting[:1] if self.program.one_image_per_call else waiting
        # Fewer and fewer: a program that passes over what it cannot do takes its time for each of them in each call.
        size = 1 if self.program.one_image_per_call else max(1, len(waiting) >> self.barren - 1)
        start = secrets.randbelow(len(waiting) - size + 1)
        return waiting[start : start + size]

    def _round(self, images: list[LowResolution]) -> Iterator[Made | Failed]:
        """One call, and what it means for the images that it did not make."""
        waiting = len(self.waiting)
        self.barren += 1  # until it makes an output
        how, printed = yield from self._call(images)
        if self.barren == 0:
            return
        if len(self.waiting) == waiting:
            yield from self._fail(images[:1], f"no output: {how}; see {self.log}, which ends with\n{printed}")
        if self.waiting and self.barren % HOPELESS == 0 and not self._still_works():
            again = " and could not do again what it did before" if self.known else ""
            given_up = f"given up after {self.barren} calls in a row that made nothing usable{again}; the last: {how}"
            yield from self._fail(list(self.waiting.values()), f"{given_up}; see {self.log}")

    def _still_works(self) -> bool:
        """Whether the program makes an output that it has made before."""
        if self.known is None or not self.known.path.is_file():
            return False
        barren, self.waiting[self.known.image] = self.barren, self.known
        made = [outcome for outcome in self._call([self.known]) if isinstance(outcome, Made)]
        self.waiting.pop(self.known.image, None)
        self.barren = barren
        return bool(made)

    def _call(self, images: list[LowResolution]) -> Generator[Made | Failed, None, tuple[str, str]]:
        """Start the program once; returns how it ended, in words, and the last lines that it printed."""
        call = staging.prepare(self.program, self.invocation, self.work, images)
        harvest = Harvest(self.program, self.invocation.results, call)
        title = f"{self.program.id} on {len(images)} of {len(self.waiting)} images"
        with call_log.opened(self.log, title, self.invocation.arguments) as log:
            begin = log.tell()
            with Guarded(
                self.invocation.arguments,
                folder=self.program.repository,
                environment=self.invocation.environment,
                log=log,
            ) as running:
                stopped = yield from self._watch(running, harvest)
            how, printed = stopped or str(running.ending), call_log.tail(self.log, begin)
            call_log.end(log, f"{how}; {harvest.taken} of {len(images)} outputs taken")
        yield from self._settle(harvest.failures())
        return how, printed

    def _watch(self, running: Guarded, harvest: Harvest) -> Generator[Made | Failed, None, str | None]:
        """Take outputs until the program has ended; why it had to be stopped, or None."""
        since, stopped = time.monotonic(), None
        while True:
            ended = running.wait(POLL_SECONDS)
            if harvest.look():
                since = time.monotonic()
            limit, key = self._limit(harvest)
            if not ended and time.monotonic() - since > limit:
                running.stop()
                stopped = f"stopped after {limit:g} s without a new output (if it needs longer, raise {key})"
                continue
            peak = running.ending.peak_memory if running.ending else None
            yield from self._settle(harvest.take(ended=ended, peak_memory=peak))
            if ended:
                return stopped

    def _limit(self, harvest: Harvest) -> tuple[float, str]:
        """Seconds that it may work without a new output, and the key in the study file to change that."""
        if harvest.has_begun:
            return self.program.seconds_per_image, "seconds_per_image"
        return self.program.startup_seconds + self.program.seconds_per_image, "startup_seconds or seconds_per_image"

    def _settle(self, outcomes: Iterable[Made | Failed]) -> Iterator[Made | Failed]:
        for outcome in outcomes:
            image = self.waiting.pop(outcome.image)
            if isinstance(outcome, Made):
                self.known, self.barren = image, 0
            yield outcome

    def _fail(self, images: Iterable[LowResolution], reason: str) -> Iterator[Failed]:
        for image in images:
            del self.waiting[image.image]
            yield Failed(image.image, DiscernError(f"{self.program.id}: image {image.stem}: {reason}"))
