"""One `map` over work items: in this process, or on a Ray cluster.

A mistake in one item (a `DiscernError`: a damaged file, a missing output) comes back as that item's outcome and the
rest goes on; any other exception is a bug and stops the run.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from threadpoolctl import ThreadpoolController

from pipelines.errors import DiscernError
from pipelines.progress import Progress
from pipelines.study import Execution
from pipelines.workspace import Manifest

FLUSH_SECONDS = 2.0

Item = TypeVar("Item")
Result = TypeVar("Result")
Engine = Literal["local", "ray"]


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
) -> Iterator[Outcome[Item, Result]]:
    """Apply a function to every item, several at a time, and yield the outcomes as they come, in any order.

    Args:
        function: for `ray`, it and the items must be picklable; pass paths and hashes, not pixels.
        items: the work; at most a few items a worker are in flight, so that memory does not grow with their number.
        engine: `local` uses threads, which suits torch, NumPy and Pillow (they release the interpreter lock while they
            compute); `ray` uses the cluster at `RAY_ADDRESS`, or one on this machine.
        workers: how many items at a time; default: the cores of this machine, or of the cluster.

    Raises:
        DiscernError: `ray` was asked for and is not installed.
    """
    attempt = partial(_attempt, function)
    if engine == "ray":
        return _on_ray(attempt, items, workers)
    return _in_threads(attempt, items, workers or os.cpu_count() or 1)


def fill(
    table: Manifest,
    function: Callable[[Item], list[dict[str, Any]]],
    items: Sequence[Item],
    *,
    task: str,
    progress: Progress,
    execution: Execution,
) -> list[str]:
    """Apply a function to every item and append the rows that it returns to a manifest.

    Rows are written every few seconds and at the end, however it ends, so that a killed run repeats seconds of work.

    Args:
        table: where the rows go.
        function: returns rows of the manifest.
        items: the work.
        task: its name, for `progress`.
        progress: called after every item.
        execution: engine and workers.

    Returns:
        The problems of single items, in words, sorted.
    """
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    flushed = time.monotonic()
    try:
        outcomes = map_items(function, items, engine=execution.engine, workers=execution.workers)
        for done, outcome in enumerate(outcomes, 1):
            rows.extend(outcome.value or [])
            if outcome.problem is not None:
                problems.append(str(outcome.problem))
            if time.monotonic() - flushed > FLUSH_SECONDS:
                table.append(rows)
                rows, flushed = [], time.monotonic()
            progress(task, done, len(items))
    finally:
        table.append(rows)
    table.compact()
    return sorted(problems)


def _attempt(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    try:
        return Outcome(item, function(item), None)
    except DiscernError as problem:
        return Outcome(item, None, problem)


def _in_threads(
    attempt: Callable[[Item], Outcome[Item, Result]], items: Sequence[Item], workers: int
) -> Iterator[Outcome[Item, Result]]:
    # One OpenMP thread for each worker: torch would otherwise start as many as there are cores in every one of them.
    # The libraries are looked for once, here: a search in a worker can deadlock with an import in another (it did with
    # threadpoolctl 3.6: one held the linker's lock and waited for the interpreter's, one the other way round).
    openmp = ThreadpoolController().select(user_api="openmp")
    with ThreadPoolExecutor(workers, initializer=partial(openmp.limit, limits=1)) as pool:
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


def _on_ray(
    attempt: Callable[[Item], Outcome[Item, Result]], items: Sequence[Item], workers: int | None
) -> Iterator[Outcome[Item, Result]]:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise DiscernError("execution.engine: 'ray' is not installed: pip install 'discern[ray]'") from error
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(num_cpus=None if "RAY_ADDRESS" in os.environ else workers, log_to_driver=False)
    try:
        yield from _ray_tasks(ray, attempt, items, workers or _cluster_cores(ray))
    finally:
        if started_here:
            ray.shutdown()


def _cluster_cores(ray: Any) -> int:
    return int(ray.cluster_resources()["CPU"])


def _ray_tasks(
    ray: Any, attempt: Callable[[Item], Outcome[Item, Result]], items: Sequence[Item], workers: int
) -> Iterator[Outcome[Item, Result]]:
    task = ray.remote(lambda item: attempt(item))
    waiting = deque(items)
    running: list[Any] = []
    while waiting or running:
        while waiting and len(running) < 2 * workers:
            running.append(task.remote(waiting.popleft()))
        done, running = ray.wait(running, num_returns=1)
        yield from ray.get(done)
