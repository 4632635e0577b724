"""What the command shows while it works and when it is done."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column, Table
from rich.text import Text

from pipelines.problems import Problem
from pipelines.progress import Progress

# Names of files and fingerprints may hold what would become an emoji.
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)


def say(message: str) -> None:
    """A line for whoever watches the terminal; at once, even into a pipe."""
    out.print(message, markup=False, soft_wrap=True)
    out.file.flush()


class RateColumn(ProgressColumn):
    """How fast it goes: items a second or, where they are slower, a minute or an hour."""

    def render(self, task: Task) -> Text:
        """The rate over the last items, or over all of a task that is done."""
        per_second = task.completed / task.finished_time if task.finished_time else task.speed
        return Text(rate(per_second) if per_second else "", style="progress.data.speed")


class TimeLeftColumn(TimeRemainingColumn):
    """Time left, called so beside the time that has passed."""

    def render(self, task: Task) -> Text:
        """Nothing for a task that is done."""
        return Text() if task.finished else Text.assemble(super().render(task), " left")


def rate(per_second: float) -> str:
    """A rate in the unit that gives at least one item: 12.3/s, 30.0/min, 3.6/h."""
    for factor, unit in ((1, "s"), (60, "min")):
        if per_second * factor >= 1:
            return f"{per_second * factor:.1f}/{unit}"
    return f"{per_second * 3600:.1f}/h"


@contextmanager
def progress_display() -> Iterator[Progress]:
    """Show a bar for every task that reports; on standard error, so that output can be piped."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeLeftColumn(),
    )
    tasks: dict[str, TaskID] = {}
    bars = RichProgress(*columns, console=err)

    def report(task: str, done: int, total: int) -> None:
        bars.start()
        if task not in tasks:
            tasks[task] = bars.add_task(task, total=total)
        bars.update(tasks[task], completed=done, total=total)

    try:
        with _interruption_acknowledged():
            yield report
    finally:
        if tasks:
            bars.stop()


@contextmanager
def _interruption_acknowledged() -> Iterator[None]:
    """Say at once that Ctrl-C was understood: what is in a worker's hands is finished first, which takes its time."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        err.print("stopping once the images in hand are done", style="yellow")
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def print_problems(problems: Sequence[Problem], table: Path, *, most: int = 20) -> None:
    """What was left out, as a table on standard error; of many, the first ones.

    Args:
        problems: to print; nothing is printed for none.
        table: the file that lists all.
        most: rows to print.
    """
    if not problems:
        return
    headings = (Column(name, overflow="fold") for name in ("stage", "image", "method", "left out because"))
    shown = Table(*headings, box=box.SIMPLE, header_style="bold", expand=True)
    for problem in problems[:most]:
        reason = problem.summary.removeprefix(f"{problem.image}: ").removeprefix(f"{problem.method}: ")
        # A file of the LR folders, with the folder that it lies in: there may be others of its name.
        image = "/".join(Path(problem.image).parts[-2:]) if problem.stage == "ingest" else problem.image
        shown.add_row(problem.stage, escape(image), escape(problem.method), escape(reason))
    err.print(shown, style="yellow")
    more = f"{len(problems) - most} more; " if len(problems) > most else ""
    err.print(f"{len(problems)} left out; {more}all are in {table}", style="yellow", markup=False, soft_wrap=True)
