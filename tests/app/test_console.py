"""What the command shows: rates that can be read, and one table of what was left out."""

import signal
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
        Problem("super-resolution", f"image_{n:02}", "net", f"net: lost it [{n}], saying\nmuch\nlast words")
        for n in range(30)
    ]
    console.print_problems(problems, Path("left_out.csv"))
    text = capsys.readouterr().err
    assert "image_19" in text
    assert "image_20" not in text
    assert "lost it [3]" in text
    assert "lost it [3], saying last words" in " ".join(text.split())
    assert "30 left out; 10 more; all are in left_out.csv" in text


def test_nothing_is_printed_where_nothing_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_problems([], Path("left_out.csv"))
    assert capsys.readouterr().err == ""


def test_paths_are_folded_and_not_cut_and_files_of_one_name_are_told_apart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.err, "width", 60)
    path = "/a/very/long/path/" + "that/goes/on/" * 8 + "to_its_end.png"
    problems = [Problem("ingest", f"/lr/{folder}/good.png", "", f"{path} is not there") for folder in "ab"]
    console.print_problems(problems, Path("left_out.csv"))
    text = "".join(capsys.readouterr().err.split())
    assert text.count(path) == 2
    assert "a/good.png" in text
    assert "b/good.png" in text


def test_an_interruption_is_acknowledged_at_once_and_then_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), console.progress_display():
        signal.raise_signal(signal.SIGINT)
    assert capsys.readouterr().err == "stopping once the images in hand are done\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_said_is_said_to_the_letter(capfd: pytest.CaptureFixture[str]) -> None:
    console.say("5D:CD:A2 [bold] :cd:")
    assert capfd.readouterr().out == "5D:CD:A2 [bold] :cd:\n"
