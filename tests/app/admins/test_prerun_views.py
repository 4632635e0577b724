"""What is said of parts that failed."""

from types import SimpleNamespace
from typing import Any

from app.admins.prerun_views import FailureView, failures


def part(**changes: Any) -> SimpleNamespace:
    """A part whose fifty outputs were tried in vain."""
    facts = {"step": "outputs", "method": "m3", "images": 50, "status": "failed", "worker": "a", "result": {"new": 0}}
    return SimpleNamespace(**facts | {"error": "none of the 50 outputs"} | changes)


def test_a_method_that_fails_everywhere_is_said_once() -> None:
    parts = [part(error=f"none of the 50 outputs; the first: image_{n}", worker="ab"[n % 2]) for n in range(200)]
    (said,) = failures([part(status="succeeded", error=None), *parts, part(status="running", error=None)])
    assert said == FailureView(
        step="outputs",
        method="m3",
        parts=200,
        images=10_000,
        workers=["a", "b"],
        error="none of the 50 outputs; the first: image_0",
    )


def test_methods_steps_and_errors_of_other_kinds_are_said_apart() -> None:
    parts = [
        part(step="prepare", method=None, images=0, result=None, error="no such folder", worker=None),
        part(),
        part(method="m4"),
        # What was not even tried: the host is not in order, and not the method.
        part(result=None, error="a lacks the weights"),
        part(result=None, error="b lacks the program", worker="b"),
        part(result=None, error="a lacks the weights"),
        part(),
    ]
    said = [(one.step, one.method, one.parts, one.images, one.workers, one.error) for one in failures(parts)]
    assert said == [
        ("prepare", None, 1, 0, [], "no such folder"),
        ("outputs", "m3", 2, 100, ["a"], "none of the 50 outputs"),
        ("outputs", "m4", 1, 50, ["a"], "none of the 50 outputs"),
        ("outputs", "m3", 2, 100, ["a"], "a lacks the weights"),
        ("outputs", "m3", 1, 50, ["b"], "b lacks the program"),
    ]


def test_errors_that_differ_in_sizes_and_process_ids_are_said_once() -> None:
    parts = [part(result=None, error=f"process {n} needs {n / 7:.2f} GiB, but there are {n % 5}") for n in range(90)]
    (said,) = failures(parts)
    assert (said.parts, said.error) == (90, parts[0].error)
