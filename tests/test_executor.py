"""The executor: every item has an outcome, mistakes stay with their item, bugs stop the run, on both engines."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, wait
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines import executor, probe
from pipelines.errors import DiscernError
from pipelines.progress import silent
from pipelines.study import Engine, Execution
from pipelines.workspace import StorageError, Workspace

SCHEMA = pa.schema({"item": pa.int64(), "square": pa.int64()})


@pytest.fixture(params=["local", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine, one after the other."""
    name: Engine = request.param
    if name == "ray":
        request.getfixturevalue("kept_ray")
    return name


ray_with_the_slow_ones = pytest.mark.parametrize(
    "engine", ["local", pytest.param("ray", marks=pytest.mark.slow)], indirect=True
)


def square(item: int) -> int:
    if item == 3:
        raise DiscernError("three is not wanted")
    return item * item


def bug(item: int) -> int:
    return 1 // item


def test_every_item_has_one_outcome(engine: Engine) -> None:
    outcomes = list(executor.map_items(square, range(20), engine=engine, workers=2))
    assert {o.item: o.value for o in outcomes if o.problem is None} == {i: i * i for i in range(20) if i != 3}
    assert [(o.item, str(o.problem)) for o in outcomes if o.problem is not None] == [(3, "three is not wanted")]


@ray_with_the_slow_ones
def test_a_bug_is_raised_and_not_reported_as_a_problem(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(executor.map_items(bug, [1, 0, 2], engine=engine, workers=2))
    if engine == "ray":
        assert "return 1 // item" in caught.value.__notes__[0]


@dataclass(frozen=True)
class KillsItsWorker:
    """Kills the process that has the item 3 in its hands, `times` times; counts on files who does what."""

    folder: Path
    times: int

    def __call__(self, item: int) -> tuple[int, int]:
        if item == 3 and len(list(self.folder.glob("died-*"))) < self.times:
            (self.folder / f"died-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item, os.getpid()


@pytest.mark.usefixtures("kept_ray")
def test_the_items_of_a_dead_ray_actor_are_done_by_another(tmp_path: Path) -> None:
    outcomes = list(executor.map_items(KillsItsWorker(tmp_path, 1), range(12), engine="ray", workers=2))
    values = {outcome.item: outcome.value for outcome in outcomes}
    assert {item: value and value[0] for item, value in values.items()} == {item: item * item for item in range(12)}
    (died,) = tmp_path.glob("died-*")
    assert str(values[3] and values[3][1]) != died.name.removeprefix("died-")


@pytest.mark.slow
@pytest.mark.usefixtures("kept_ray")
def test_an_item_that_kills_every_ray_actor_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    outcomes = list(executor.map_items(KillsItsWorker(tmp_path, 1000), range(6), engine="ray", workers=2))
    assert {outcome.item for outcome in outcomes if outcome.problem is None} == {0, 1, 2, 4, 5}
    (lost,) = (outcome for outcome in outcomes if outcome.problem is not None)
    assert (lost.item, str(lost.problem)) == (3, "3: every Ray worker that tried it died; Ray's logs say why")


class CountsItsCopies:
    """Tells which copy of it did an item."""

    def __call__(self, item: int) -> tuple[int, int]:
        return os.getpid(), id(self)


@pytest.mark.slow
@pytest.mark.usefixtures("kept_ray")
def test_each_ray_worker_keeps_its_function() -> None:
    outcomes = executor.map_items(CountsItsCopies(), range(20), engine="ray", workers=2)
    copies = {outcome.value for outcome in outcomes}
    assert len(copies) == len({copy[0] for copy in copies if copy}) <= 2
    assert os.getpid() not in {copy[0] for copy in copies if copy}


@ray_with_the_slow_ones
def test_what_cannot_be_stored_stops_the_run(engine: Engine) -> None:
    with pytest.raises(StorageError, match="disk is full"):
        list(executor.map_items(cannot_store, range(100), engine=engine, workers=2))


def cannot_store(item: int) -> int:
    raise StorageError("the disk is full")


def test_only_a_few_items_are_in_flight() -> None:
    started: list[int] = []
    gate = threading.Event()

    def wait_at_gate(item: int) -> int:
        started.append(item)
        assert gate.wait(60)
        return item

    outcomes = executor.map_items(wait_at_gate, range(100), workers=2)
    first = threading.Thread(target=lambda: next(outcomes))
    first.start()
    gate.set()
    first.join(60)
    assert len(started) <= 6
    outcomes.close()  # type: ignore[attr-defined]
    assert len(started) < 100


# torch is not imported above, because every Ray worker would import it, too.
def test_workers_compute_with_one_thread_each_and_the_caller_keeps_its_own() -> None:
    import torch

    before = torch.get_num_threads()
    outcomes = executor.map_items(lambda _: torch.get_num_threads(), range(8), workers=2)
    assert {outcome.value for outcome in outcomes} == {1}
    assert torch.get_num_threads() == before


def test_workers_compute_with_one_thread_each_though_torch_was_told_a_number() -> None:
    import torch

    # torch tells every new thread the number that it was given, at that thread's first use of it.
    torch.set_num_threads(torch.get_num_threads())
    outcomes = executor.map_items(lambda _: torch.get_num_threads(), range(8), workers=2)
    assert {outcome.value for outcome in outcomes} == {1}


LOADS_LIBRARIES = """
import importlib.util, shutil, tempfile
from pathlib import Path
from pipelines import executor, probe

def load(path):
    spec = importlib.util.spec_from_file_location("_elementtree", path)
    return importlib.util.module_from_spec(spec).__name__

folder = Path(tempfile.mkdtemp())
original = importlib.util.find_spec("_elementtree").origin
for start in range(0, 400, 8):
    copies = [shutil.copy(original, folder / f"{number}.so") for number in range(start, start + 8)]
    assert len(list(executor.map_items(load, copies, workers=8))) == 8
shutil.rmtree(folder)
"""


def test_workers_that_load_libraries_while_others_start_do_not_deadlock() -> None:
    assert subprocess.run([sys.executable, "-c", LOADS_LIBRARIES], timeout=120, check=False).returncode == 0


def rows_of(item: int) -> list[dict[str, Any]]:
    return [{"item": item, "square": square(item)}]


def test_rows_are_kept_when_a_run_breaks(tmp_path: Path) -> None:
    table = Workspace(tmp_path).manifest("squares", SCHEMA, ["item"])

    def breaks(item: int) -> list[dict[str, Any]]:
        if item == 5:
            raise KeyboardInterrupt
        return rows_of(item)

    with pytest.raises(KeyboardInterrupt):
        executor.fill(table, breaks, [0, 1, 2, 5], task="squares", progress=silent, execution=Execution(workers=1))
    assert list(table.read()["square"]) == [0, 1, 4]


def test_results_that_are_ready_come_before_an_exception_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_at_once(futures: set[Future[Any]], **_: Any) -> tuple[list[Future[Any]], set[Future[Any]]]:
        done, _ = wait(futures)
        return sorted(done, key=lambda future: future.exception() is None), set()

    monkeypatch.setattr(executor, "wait", all_at_once)
    found: list[int | None] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(outcome.value for outcome in executor.map_items(bug, [0, 1], workers=2))
    assert found == [1]


def test_filling_reports_progress_and_problems(tmp_path: Path) -> None:
    table = Workspace(tmp_path).manifest("squares", SCHEMA, ["item"])
    calls: list[tuple[str, int, int]] = []
    failed = executor.fill(
        table,
        rows_of,
        [2, 3, 4],
        task="squares",
        progress=lambda task, done, total: calls.append((task, done, total)),
        execution=Execution(workers=2),
    )
    assert [(outcome.item, str(outcome.problem)) for outcome in failed] == [(3, "three is not wanted")]
    assert list(table.read()["square"]) == [4, 16]
    assert calls == [("squares", 1, 3), ("squares", 2, 3), ("squares", 3, 3)]


@pytest.mark.usefixtures("kept_ray")
def test_a_ray_host_with_another_folder_under_the_workspaces_path_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Workspace(tmp_path).manifest("squares", SCHEMA, ["item"])
    on_ray = Execution(engine="ray", workers=2)
    # The driver believes that it has left its probe; the workers look for it and find none.
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("pipelines.probe.temporary", lambda folder: nullcontext("0123"))
        failed = executor.fill(table, rows_of, [2, 4], task="squares", progress=silent, execution=on_ray)
    assert sorted(outcome.item for outcome in failed) == [2, 4]
    assert f"does not see {table.folder}; mount it at the same path on every host" in str(failed[0].problem)
    assert table.read().empty
    assert executor.fill(table, rows_of, [2, 4], task="squares", progress=silent, execution=on_ray) == []
    assert list(table.read()["square"]) == [4, 16]
    assert not list((table.folder / probe.FOLDER).iterdir())


def test_memory_that_does_not_suffice_for_an_item_is_a_problem_of_that_item(engine: Engine) -> None:
    outcomes = list(executor.map_items(hungry, range(4), engine=engine, workers=2))
    assert {outcome.item for outcome in outcomes if outcome.problem is None} == {0, 2, 3}
    (hungry_one,) = (outcome for outcome in outcomes if outcome.problem is not None)
    assert str(hungry_one.problem).startswith("1: out of memory; free some")


def hungry(item: int) -> int:
    if item == 1:
        raise MemoryError
    return item
