"""The executor: every item has an outcome, mistakes stay with their item, bugs stop the run, on both engines."""

import subprocess
import sys
import threading
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
import torch

from pipelines import executor
from pipelines.errors import DiscernError
from pipelines.progress import silent
from pipelines.study import Execution
from pipelines.workspace import Workspace

ENGINES = ["local", "ray"]
SCHEMA = pa.schema({"item": pa.int64(), "square": pa.int64()})


def square(item: int) -> int:
    if item == 3:
        raise DiscernError("three is not wanted")
    return item * item


def bug(item: int) -> int:
    return 1 // item


@pytest.mark.parametrize("engine", ENGINES)
def test_every_item_has_one_outcome(engine: Literal["local", "ray"]) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="the Ray engine is an optional extra")
    outcomes = list(executor.map_items(square, range(20), engine=engine, workers=2))
    assert {o.item: o.value for o in outcomes if o.problem is None} == {i: i * i for i in range(20) if i != 3}
    assert [(o.item, str(o.problem)) for o in outcomes if o.problem is not None] == [(3, "three is not wanted")]


def test_a_bug_is_raised_and_not_reported_as_a_problem() -> None:
    with pytest.raises(ZeroDivisionError):
        list(executor.map_items(bug, [1, 0, 2], workers=2))


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


def test_workers_compute_with_one_thread_each_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    outcomes = executor.map_items(lambda _: torch.get_num_threads(), range(8), workers=2)
    assert {outcome.value for outcome in outcomes} == {1}
    assert torch.get_num_threads() == before


LOADS_LIBRARIES = """
import importlib.util, shutil, tempfile
from pathlib import Path
from pipelines import executor

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
    problems = executor.fill(
        table,
        rows_of,
        [2, 3, 4],
        task="squares",
        progress=lambda task, done, total: calls.append((task, done, total)),
        execution=Execution(workers=2),
    )
    assert problems == ["three is not wanted"]
    assert list(table.read()["square"]) == [4, 16]
    assert calls == [("squares", 1, 3), ("squares", 2, 3), ("squares", 3, 3)]
