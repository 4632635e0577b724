"""Work items on a Ray cluster: Ray Data with a pool of actors, each of which keeps its function, and so its networks.

What travels is an item (paths and hashes, not pixels) and its result. When an actor dies, its items are given to
another one, a few times; an item that kills every actor is left out, and the rest goes on.
"""

import logging
import os
import pickle
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import ceil
from typing import Any, Generic, TypeVar

import ray
import ray.data

from pipelines.errors import DiscernError

ATTEMPTS = 4
# Each block of rows is a task of Ray's: small ones make progress smooth, too many burden the driver.
BLOCKS = 20_000

Item = TypeVar("Item")
Result = TypeVar("Result")

_kept: ContextVar[bool] = ContextVar("kept", default=False)


class _Attempts:
    """Counts how often each item was begun: Ray gives the items of a dead actor to another one for ever."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def begin(self, index: int) -> int:
        self.begun[index] += 1
        return self.begun[index]


class _Actor(Generic[Item, Result]):
    """Holds the function; made once in each process of the pool."""

    def __init__(self, function: Callable[[Item], Result], attempts: Any) -> None:
        self.function, self.attempts = function, attempts

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if ray.get(self.attempts.begin.remote(row["index"])) > ATTEMPTS:
            return {"index": row["index"], "bug": False, "result": pickle.dumps(None)}
        # A bug travels as a value, so that it arrives as the exception that it is.
        try:
            result: Result | Exception = self.function(pickle.loads(row["item"]))  # noqa: S301 - our own driver's
        except Exception as error:
            error.add_note("on a Ray worker:\n" + traceback.format_exc())
            return {"index": row["index"], "bug": True, "result": pickle.dumps(error)}
        return {"index": row["index"], "bug": False, "result": pickle.dumps(result)}


def map_items(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int | None, gpus: int
) -> Iterator[tuple[Item, Result | None]]:
    """Apply a picklable function to picklable items; yields each item with its result, in any order.

    Args:
        function: raises nothing that is not a bug; a bug is raised here.
        items: the work.
        workers: actors; default: one for each core of the cluster, or each GPU where `gpus` is 1.
        gpus: that each actor has to itself.

    Yields:
        An item and its result; None where every worker that tried it has died.

    Raises:
        DiscernError: the cluster has not what one actor needs.
    """
    if not items:
        return
    started_here = not ray.is_initialized()
    if started_here:
        _connect(workers)
    try:
        yield from _stream(function, items, workers or _capacity(gpus), gpus)
    finally:
        if started_here and not _kept.get():
            ray.shutdown()


@contextmanager
def kept() -> Iterator[None]:
    """Whichever `map_items` in this block comes first to need a cluster connects, and the others find it connected."""
    given = ray.is_initialized()
    token = _kept.set(True)
    try:
        yield
    finally:
        _kept.reset(token)
        if not given and not _kept.get():
            ray.shutdown()


def _connect(workers: int | None) -> None:
    """The cluster at RAY_ADDRESS, or one on this machine."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # we report what becomes of each item
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        ray.init("local", num_cpus=workers, include_dashboard=False, **quiet)
        return
    try:
        _knock(address)
        ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise DiscernError(
            f"RAY_ADDRESS: no Ray cluster can be used at {address!r} ({error}); correct it, or unset it to use this "
            "machine alone"
        ) from error


def _knock(address: str) -> None:
    """Ray itself takes minutes to find out that nobody is at home.

    Raises:
        OSError: nobody listens at host:port; other kinds of address are left to Ray.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.removeprefix("ray://").strip("[]"), int(port)), timeout=10).close()


def _capacity(gpus: int) -> int:
    resource = "GPU" if gpus else "CPU"
    count = int(ray.cluster_resources().get(resource, 0))
    if count == 0:
        raise DiscernError(f"execution.engine: the Ray cluster has no {resource}; give it one or change the device")
    return count


def _stream(
    function: Callable[[Item], Result], items: Sequence[Item], actors: int, gpus: int
) -> Iterator[tuple[Item, Result | None]]:
    for row in _dataset(function, items, actors, gpus).iter_rows():
        result = pickle.loads(row["result"])  # noqa: S301 - our own workers'
        if row["bug"]:
            raise result
        yield items[row["index"]], result


def _dataset(function: Callable[[Item], Result], items: Sequence[Item], actors: int, gpus: int) -> Any:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    attempts = ray.remote(num_cpus=0)(_Attempts).remote()
    rows = [{"index": index, "item": pickle.dumps(item)} for index, item in enumerate(items)]
    blocks = ceil(len(rows) / ceil(len(rows) / BLOCKS))
    actor: Any = _Actor  # Ray's annotations know functions alone
    return ray.data.from_items(rows, override_num_blocks=blocks).map(
        actor,
        fn_constructor_args=(function, attempts),
        compute=ray.data.ActorPoolStrategy(size=min(actors, blocks)),
        num_cpus=1,
        num_gpus=gpus,
    )
