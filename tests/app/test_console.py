"""What the command shows: rates that can be read, and one table of what was left out."""

from pathlib import Path

import pytest

from app import console
from pipelines.problems import Problem


@pytest.mark.parametrize(
    ("per_second", "expected"),
    [(250.04, "250.0/s"), (1.0, "1.0/s"), (0.5, "30.0/min"), (1 / 60, "1.0/min"), (0.001, "3.6/h"), (1e-5, "0.0/h")],
)
def test_a_rate_has_the_unit_that_gives_one_at_least(per_second: float, expected: str) -> None:
    assert console.rate(per_second) == expected


def test_only_the_first_of_many_problems_are_printed_and_the_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [
        Problem("super-resolution", f"image_{n:02}", "net", f"net: lost it [{n}]\nlast words") for n in range(30)
    ]
    console.print_problems(problems, Path("left_out.csv"))
    text = capsys.readouterr().err
    assert "image_19" in text
    assert "image_20" not in text
    assert "lost it [3]" in text
    assert "last words" not in text
    assert "30 left out; 10 more; all are in left_out.csv" in text


def test_nothing_is_printed_where_nothing_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_problems([], Path("left_out.csv"))
    assert capsys.readouterr().err == ""
