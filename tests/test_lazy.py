"""What is expensive to make: once, at the first use, whoever asks; and not sent to other processes."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from pipelines.lazy import Lazy


def test_it_is_made_once_at_the_first_use() -> None:
    made: list[object] = []
    lazy = Lazy(lambda: made.append(object()) or made[0])
    assert made == []
    assert lazy.get() is lazy.get()
    assert len(made) == 1


def test_none_is_a_thing_like_others() -> None:
    calls: list[int] = []
    lazy = Lazy(lambda: calls.append(1))
    assert (lazy.get(), lazy.get(), calls) == (None, None, [1])


def test_threads_that_ask_at_once_get_one() -> None:
    barrier, calls = threading.Barrier(4), []

    def make() -> object:
        calls.append(1)
        return object()

    lazy = Lazy(make)

    def ask(_: int) -> object:
        barrier.wait()
        return lazy.get()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(map(id, pool.map(ask, range(4))))) == 1
    assert calls == [1]


def test_what_failed_is_tried_again() -> None:
    answers = iter([OSError("not yet"), "made"])

    def make() -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    lazy = Lazy(make)
    with pytest.raises(OSError, match="not yet"):
        lazy.get()
    assert lazy.get() == "made"


def test_the_function_travels_without_what_it_made() -> None:
    lazy = Lazy(partial(bytes, 1_000_000))
    lazy.get()
    sent = pickle.dumps(lazy)
    assert len(sent) < 1000
    assert pickle.loads(sent).get() == bytes(1_000_000)
