"""One `map` over work items: in this process, or on a Ray cluster.

A mistake in one item (a `DiscernError`: a damaged file, a missing output), or one that memory does not suffice for,
comes back as that item's outcome and the rest goes on. What cannot be stored stops the run, and so does any other
exception: that is a bug.
"""

import os
import platform
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from pipelines import probe
from pipelines.errors import DiscernError
from pipelines.progress import Progress
from pipelines.study import Engine, Execution
from pipelines.workspace import Manifest, StorageError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: a value, or the problem that kept it from having one."""

    item: Item
    value: Result | None
    problem: DiscernError | None


def map_items(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    engine: Engine = "local",
    workers: int | None = None,
    gpus: int = 0,
) -> Iterator[Outcome[Item, Result]]:
    """Apply a function to every item, several at a time, and yield the outcomes as they come, in any order.

    Args:
        function: for `ray`, it and the items must be picklable; pass paths and hashes, not pixels. Each worker there
            has a copy of it, which it keeps: what is expensive to make can be made at the first call.
        items: the work; at most a few items a worker are in flight, so that memory does not grow with their number.
        engine: `local` uses threads, which suits torch, NumPy and Pillow (they release the interpreter lock while they
            compute); `ray` uses the cluster at `RAY_ADDRESS`, or one on this machine.
        workers: how many items at a time; default: the cores of this machine, or the cores or GPUs of the cluster.
        gpus: how many GPUs each worker of the cluster has to itself.

    Raises:
        DiscernError: `ray` was asked for and is not installed.
    """
    attempt = partial(_attempt, function)
    if engine == "ray":
        return _on_ray(attempt, items, workers, gpus)
    return _in_threads(attempt, items, workers or os.cpu_count() or 1)


def kept(execution: Execution) -> AbstractContextManager[None]:
    """Keep what work in this block has started, for work that follows: to start Ray takes seconds, each time.

    Raises:
        DiscernError: `ray` was asked for and is not installed.
    """
    return _ray_engine().kept() if execution.engine == "ray" else nullcontext()


def fill(
    table: Manifest,
    function: Callable[[Item], list[dict[str, Any]]],
    items: Sequence[Item],
    *,
    task: str | Callable[[Item], str],
    progress: Progress,
    execution: Execution,
    gpus: int = 0,
) -> list[Outcome[Item, None]]:
    """Apply a function to every item and append the rows that it returns to a manifest.

    The worker that made a row writes it at once, so that a killed run repeats at most the item in each worker's hands.
    A worker on a host with another folder where the table should be does nothing, and its items have that problem.

    Args:
        table: where the rows go.
        function: returns rows of the manifest.
        items: the work; their text names them in messages.
        task: its name, for `progress`; or what names the task that an item belongs to.
        progress: called after every item.
        execution: engine and workers.
        gpus: as in `map_items`.

    Returns:
        The outcomes of the items that have a problem.
    """
    name_of = task if callable(task) else lambda _: task
    totals = Counter(name_of(item) for item in items)
    done: Counter[str] = Counter()
    failed = []
    with probe.temporary(table.folder) if execution.engine == "ray" else nullcontext() as token:
        work = partial(_record, table, function, token)
        for outcome in map_items(work, items, engine=execution.engine, workers=execution.workers, gpus=gpus):
            if outcome.problem is not None:
                failed.append(outcome)
            name = name_of(outcome.item)
            done[name] += 1
            progress(name, done[name], totals[name])
    return failed


def _record(table: Manifest, function: Callable[[Item], list[dict[str, Any]]], token: str | None, item: Item) -> None:
    if token is not None and not _sees(table.folder, token):
        raise DiscernError(
            f"{item}: the host {platform.node()} does not see {table.folder}; mount it at the same path on every host "
            "of the cluster"
        )
    table.append(function(item))


@cache
def _sees(folder: Path, token: str) -> bool:
    return probe.found(folder, token)


def _attempt(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    try:
        return Outcome(item, function(item), None)
    except StorageError:
        raise
    except DiscernError as problem:
        return Outcome(item, None, problem)
    except MemoryError:
        return Outcome(
            item, None, DiscernError(f"{item}: out of memory; free some, lower execution.workers, or leave it out")
        )


def _in_threads(
    attempt: Callable[[Item], Outcome[Item, Result]], items: Sequence[Item], workers: int
) -> Iterator[Outcome[Item, Result]]:
    # One OpenMP thread for each worker: torch would otherwise start as many as there are cores in every one of them.
    # The libraries are looked for once, here: a search in a worker can deadlock with an import in another (it did with
    # threadpoolctl 3.6: one held the linker's lock and waited for the interpreter's, one the other way round).
    from threadpoolctl import ThreadpoolController

    openmp = ThreadpoolController().select(user_api="openmp")
    with ThreadPoolExecutor(workers, initializer=partial(_compute_alone, openmp)) as pool:
        waiting = deque(items)
        running: set[Future[Outcome[Item, Result]]] = set()
        try:
            while waiting or running:
                while waiting and len(running) < 2 * workers:
                    running.add(pool.submit(attempt, waiting.popleft()))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                # Results first: an exception ends the run, and what is finished should be kept.
                for future in sorted(done, key=lambda one: one.exception() is not None):
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _compute_alone(openmp: Any) -> None:
    """One OpenMP thread for the calling one."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.get_num_threads()  # its first use in a thread sets a number; ours has to come after that
    openmp.limit(limits=1)


def _on_ray(
    attempt: Callable[[Item], Outcome[Item, Result]], items: Sequence[Item], workers: int | None, gpus: int
) -> Iterator[Outcome[Item, Result]]:
    for item, outcome in _ray_engine().map_items(attempt, items, workers=workers, gpus=gpus):
        yield outcome or Outcome(
            item, None, DiscernError(f"{item}: every Ray worker that tried it died; Ray's logs say why")
        )


def _ray_engine() -> ModuleType:
    try:
        from pipelines import ray_engine
    except ModuleNotFoundError as error:
        raise DiscernError("execution.engine: 'ray' is not installed: pip install 'discern[ray]'") from error
    return ray_engine
