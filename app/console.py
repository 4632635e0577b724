"""What the command shows while it works and when it is done."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from pipelines.progress import Progress

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """A line for whoever watches the terminal; at once, even into a pipe."""
    out.print(message, markup=False, soft_wrap=True)
    out.file.flush()


@contextmanager
def progress_display() -> Iterator[Progress]:
    """Show a bar for every task that reports; on standard error, so that output can be piped."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    bars = RichProgress(*columns, console=err)

    def report(task: str, done: int, total: int) -> None:
        bars.start()
        if task not in tasks:
            tasks[task] = bars.add_task(task, total=total)
        bars.update(tasks[task], completed=done, total=total)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()


def print_problems(problems: Iterable[str], *, most: int = 20) -> None:
    """List what was left out, on standard error; the rest is counted."""
    problems = list(problems)
    for problem in problems[:most]:
        err.print(f"left out: {problem}", style="yellow", markup=False, soft_wrap=True)
    if len(problems) > most:
        err.print(f"... and {len(problems) - most} more; the workspace's provenance lists all", style="yellow")
