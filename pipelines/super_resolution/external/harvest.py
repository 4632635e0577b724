"""The outputs of one call of an upstream program, taken as they ripen.

An output is ripe when a later one has appeared, or when the program has ended: some programs write a file twice, and
no other sign says that a file is finished. It is taken if it then decodes and has the right size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from pipelines import images
from pipelines.errors import DiscernError
from pipelines.images import ImageError, Pixels
from pipelines.super_resolution.external.program import Program
from pipelines.super_resolution.external.staging import Call, LowResolution


@dataclass(frozen=True)
class Made:
    """An output.

    Attributes:
        image: sha256 of the LR image.
        pixels: (scale x height, scale x width, 3) uint8.
        seconds: since the output before it, or since the call for the first one, which so includes the start.
        position: place of the image among those of its call in the order of their names, from 1: where a program sets
            its seed once, the output depends on it.
        of: how many images the call had.
        peak_memory: bytes, of the largest of the program's processes; None while it was still running.
    """

    image: str
    pixels: Pixels
    seconds: float
    position: int
    of: int
    peak_memory: int | None


@dataclass(frozen=True)
class Failed:
    """An image that got no output, and why."""

    image: str
    problem: DiscernError


class Harvest:
    """What the program has written so far for the images of one call.

    Args:
        program: whose outputs they are.
        results: the folder in which they appear.
        call: which images it was given.
    """

    def __init__(self, program: Program, results: Path, call: Call) -> None:
        self._program = program
        self._results = results
        self._positions = {stem: position for position, stem in enumerate(call.stems, 1)}
        self._waiting = dict(call.waiting)
        self._latest = call.began
        self._taken = 0
        self._present: dict[str, tuple[int, int]] = {}  # time of change in nanoseconds, and size, of what is there
        self._seen: dict[str, tuple[int, int]] = {}  # the same of all that ever was
        self._refused: dict[str, tuple[tuple[int, int], str]] = {}  # what was looked at in vain, and why

    @property
    def has_begun(self) -> bool:
        """Whether any output has appeared."""
        return bool(self._seen)

    @property
    def taken(self) -> int:
        """How many outputs were taken."""
        return self._taken

    def look(self) -> bool:
        """Look what is there; whether anything has appeared or changed since the last time."""
        before = dict(self._seen)
        found = ((stem, path) for stem, path in self._program.rule.find(self._results) if stem in self._positions)
        self._present = {stem: mark for stem, path in found if (mark := _mark(path)) is not None}
        self._seen |= self._present
        return self._seen != before

    def take(self, *, ended: bool, peak_memory: int | None = None) -> Iterator[Made]:
        """What is ripe, in the order in which it was written; each file is deleted when the caller comes back for more.

        A caller that dies with an output in its hands finds it again.

        Raises:
            DiscernError: a file cannot be deleted.
        """
        newest = max(self._present.values(), default=(0, 0))[0]
        for stem, mark in sorted(self._present.items(), key=lambda item: (item[1], item[0])):
            is_ripe = ended or mark[0] < newest
            if is_ripe and stem in self._waiting and self._refused.get(stem, (None,))[0] != mark:
                yield from self._take_one(stem, mark, peak_memory)

    def failures(self) -> list[Failed]:
        """After the end: the images whose output is there and cannot be used."""
        return [
            self._fail(stem, problem)
            for stem, (_, problem) in self._refused.items()
            if stem in self._waiting and stem in self._present
        ]

    def _take_one(self, stem: str, mark: tuple[int, int], peak_memory: int | None) -> Iterator[Made]:
        path, image = self._program.rule.path(self._results, stem), self._waiting[stem]
        try:
            pixels = self._read(path, image)
        except ImageError as problem:
            self._refused[stem] = (mark, str(problem))
            return
        written = mark[0] / 1e9
        seconds, self._latest = max(0.0, written - self._latest), written
        del self._waiting[stem]
        self._taken += 1
        yield Made(image.image, pixels, seconds, self._positions[stem], len(self._positions), peak_memory)
        _remove(path)

    def _read(self, path: Path, image: LowResolution) -> Pixels:
        height, width = image.height * self._program.scale, image.width * self._program.scale
        pixels = images.decode(path, limit=max(images.MAX_PIXELS, width * height)).pixels
        if pixels.shape[:2] != (height, width):
            found = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise ImageError(
                f"{path}: the output is {found}, expected {width}x{height} ({self._program.scale} times the LR image)"
            )
        return pixels

    def _fail(self, stem: str, problem: str) -> Failed:
        image = self._waiting.pop(stem).image
        return Failed(image, DiscernError(f"{self._program.id}: {problem}"))


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DiscernError(
            f"{path}: cannot be deleted ({error.strerror}); let the program write as the user who runs Discern"
        ) from error


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (facts.st_mtime_ns, facts.st_size) if S_ISREG(facts.st_mode) else None
