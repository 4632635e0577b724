"""The table of what was left out: it can always be written."""

import csv
from dataclasses import astuple
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipelines.problems import Problem, write_table

ANYTHING = st.text(st.characters(codec=None, exclude_categories=()))


@given(text=ANYTHING)
def test_whatever_a_problem_says_fits_a_file_and_a_database(text: str) -> None:
    problem = Problem(text, text, text, text)
    for field in astuple(problem):
        assert field.encode().decode() == field
        assert "\0" not in field


def test_the_table_can_be_read_as_it_was_written(tmp_path: Path) -> None:
    problem = Problem("ingest", 'a, "b"\x1b[31mc\udce9.png', "", "d\0e")
    write_table(tmp_path / "left_out.csv", [problem])
    with (tmp_path / "left_out.csv").open(encoding="utf-8", newline="") as file:
        header, row = csv.reader(file)
    assert header == ["stage", "image", "method", "reason"]
    assert row == ["ingest", 'a, "b"\\x1b[31mc\\udce9.png', "", "d\\0e"]


def test_a_summary_is_the_first_line_and_what_a_program_said_last() -> None:
    assert Problem("ingest", "a", "", "one line").summary == "one line"
    said = Problem("super-resolution", "a", "x", "x: no output; see x.log, which ends with\nTraceback:\nno torch")
    assert said.summary == "x: no output; see x.log, which ends with no torch"
