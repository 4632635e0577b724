"""Upstream programs: whatever they do, every image gets one outcome, and no wrong output gets through."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import DiscernError
from pipelines.super_resolution.external import runner, staging
from pipelines.super_resolution.external.runner import LowResolution, Made
from tests.conftest import save, textured
from tests.super_resolution.conftest import Site, assert_right, makes, problems
from tests.super_resolution.upstream import CHATTER

NAMING = {
    "{stem}.png": (),
    "{stem}_out.png": ("--suffix", "_out"),
    "{stem}_LDL.png": ("--suffix", "_LDL"),
    "sample00/{stem}.png": ("--output", "{out}/sample00"),
    "Single/{stem}_x4.png": ("--output", "{out}/Single", "--suffix", "_x4"),
}


@pytest.mark.parametrize(("pattern", "options"), NAMING.items(), ids=list(NAMING))
def test_every_naming_rule(site: Site, pattern: str, options: tuple[str, ...]) -> None:
    low = site.images(3)
    made = makes(site.run(site.program(*options, pattern=pattern), low))
    for position, image in enumerate(low, 1):
        assert_right(made[image.image], image)
        assert (made[image.image].position, made[image.image].of) == (position, 3)
        assert made[image.image].seconds >= 0
    assert site.calls == [[image.stem for image in low]]
    assert not list((site.work / "out").rglob("*.png"))


def test_results_inside_the_repository(site: Site) -> None:
    low = site.images(3)
    results = "{repository}/results/discern/visualization"
    options = ("--output", results, "--suffix", "_discern", "--on", low[2].stem, "skip")
    program = site.program(*options, results=results, pattern="{stem}_discern.png")
    assert not program.has_private_results
    folder = site.repository / "results" / "discern" / "visualization"
    # Somebody else's, and what an earlier run with other settings made for the image that this one leaves out.
    for stem in ("0801", low[2].stem):
        save(folder / f"{stem}_discern.png", textured(1, low[2].height * 4, low[2].width * 4))
    outcomes = site.run(program, low)
    for image in low[:2]:
        assert_right(makes(outcomes)[image.image], image)
    assert set(problems(outcomes)) == {low[2].image}
    assert [file.name for file in folder.iterdir()] == ["0801_discern.png"]


def test_the_program_finds_copies_its_own_environment_and_its_repository(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"):
        monkeypatch.setenv(name, "/of/discern")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("OF_THE_USER", "kept, \udcff too")  # a byte that is no UTF-8
    low = site.images(1)
    config = "name: {name}\nin: {lr}\nlist: {a: 1, b: {unknown}}\n"
    variables = {"PYTHONPATH": "{repository}/src", "GREETING": "{words}; echo $HOME"}
    parameters = {"name": "{lr}", "words": "two words", "half": True}
    program = site.program("--config", "{config}", config=config, variables=variables, parameters=parameters)
    with monkeypatch.context() as kept:
        kept.setattr(staging, "clear", lambda work: None)
        site.run(program, low, gpu="1")
    event = site.events[0]
    assert event["prefix"] == str(site.environment)
    assert event["folder"] == str(site.repository)
    assert not event["can_ask"]  # a question would never be answered
    environment = event["environment"]
    assert not {"VIRTUAL_ENV", "PYTHONHOME"} & set(environment)
    assert environment["PYTHONPATH"] == f"{site.repository}/src"
    assert environment["GREETING"] == "two words; echo $HOME"
    assert (environment["CUDA_VISIBLE_DEVICES"], environment["PYTHONUNBUFFERED"]) == ("1", "1")
    assert environment["OF_THE_USER"] == "kept, \udcff too"
    assert event["config"] == f"name: {{lr}}\nin: {site.work}/lr\nlist: {{a: 1, b: {{unknown}}}}\n"
    staged = site.work / "lr" / f"{low[0].image[:16]}.png"
    assert staged.read_bytes() == low[0].path.read_bytes()
    assert not staged.samefile(low[0].path)
    # Ten thousand copies are of no use once all is done.
    site.run(program, low, gpu="1")
    assert not staged.parent.exists()


@pytest.mark.parametrize(("gpu", "expected"), [(None, "0,1"), ("", "")])
def test_gpus_can_be_left_alone_or_hidden(
    site: Site, monkeypatch: pytest.MonkeyPatch, gpu: str | None, expected: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    site.run(site.program(), site.images(1), gpu=gpu)
    assert site.events[0]["environment"]["CUDA_VISIBLE_DEVICES"] == expected


def test_a_crash_after_the_last_output_costs_nothing(site: Site) -> None:
    low = site.images(3)
    assert len(makes(site.run(site.program("--exit", 1), low))) == 3
    assert len(site.calls) == 1


def test_a_file_that_is_written_twice_is_taken_once_and_whole(site: Site) -> None:
    low = site.images(4)
    made = makes(site.run(site.program("--on", "all", "twice"), low))
    for image in low:
        assert_right(made[image.image], image)


def test_other_files_among_the_outputs_are_ignored(site: Site) -> None:
    assert len(makes(site.run(site.program("--stray"), site.images(2)))) == 2


def test_exit_status_0_is_no_proof_of_outputs(site: Site) -> None:
    low = site.images(4)
    missing = [low[1], low[3]]
    outcomes = site.run(site.program(*(word for one in missing for word in ("--on", one.stem, "skip"))), low)
    assert set(makes(outcomes)) == {low[0].image, low[2].image}
    for image in missing:
        message = problems(outcomes)[image.image]
        assert f"upstream: image {image.stem}: no output: exit status 0; see {site.log}, which ends with" in message
        assert f"out of memory at {image.stem}" in message
    assert [len(call) for call in site.calls] == [4, 2, 1]


def test_an_image_that_crashes_the_program_does_not_stop_the_others(site: Site) -> None:
    low = site.images(4)
    outcomes = site.run(site.program("--on", low[1].stem, "crash"), low)
    assert set(problems(outcomes)) == {low[1].image}
    assert f"exit status 1; see {site.log}" in problems(outcomes)[low[1].image]
    assert problems(outcomes)[low[1].image].endswith(f"cannot do {low[1].stem}")
    # The order says what the noise was: what came after the crash was done in another folder.
    assert [(o.position, o.of) for o in outcomes if isinstance(o, Made)] == [(1, 4), (1, 2), (2, 2)]


def test_an_image_that_hangs_is_given_up_and_the_rest_is_made(site: Site) -> None:
    low = site.images(3)
    program = site.program("--on", low[1].stem, "hang", seconds_per_image=3.0, startup_seconds=3.0)
    outcomes = site.run(program, low)
    assert set(problems(outcomes)) == {low[1].image}
    message = "no output: stopped after 6 s without a new output (if it needs longer, raise startup_seconds"
    assert message in problems(outcomes)[low[1].image]
    assert problems(outcomes)[low[1].image].endswith("(nothing was printed)")
    for image in (low[0], low[2]):
        assert_right(makes(outcomes)[image.image], image)


def test_wrong_sizes_and_truncated_files_are_refused(site: Site) -> None:
    low = site.images(4)
    outcomes = site.run(site.program("--on", low[0].stem, "small", "--on", low[3].stem, "half"), low)
    assert set(makes(outcomes)) == {low[1].image, low[2].image}
    height = low[0].height * 4
    expected = f"{low[0].stem}.png: the output is 32x{height}, expected 64x{height} (4 times the LR image)"
    assert expected in problems(outcomes)[low[0].image]
    assert f"{low[3].stem}.png: damaged image" in problems(outcomes)[low[3].image]
    assert len(site.calls) == 1


def test_a_broken_installation_is_tried_a_few_times_and_not_for_every_image(site: Site) -> None:
    low = site.images(9)
    (site.repository / "inference.py").write_text("import torch_of_2021\n")
    outcomes = site.run(site.program(), low)
    messages = problems(outcomes)
    assert len(messages) == 9
    assert "ModuleNotFoundError: No module named 'torch_of_2021'" in messages[low[0].image]
    given_up = [message for message in messages.values() if "given up after 5 calls in a row that made no" in message]
    assert len(given_up) == 4
    log = site.log.read_text()
    assert log.count("upstream on 9 of 9 images: ") == 1
    assert log.count("exit status 1; 0 of ") == log.count("=== ") / 2 == 5


@pytest.mark.parametrize("fault", [("--suffix", "_x2"), ("--scale", 2)], ids=["name", "size"])
def test_outputs_that_are_all_wrong_are_not_waited_for_image_by_image(site: Site, fault: tuple[object, ...]) -> None:
    outcomes = site.run(site.program(*fault, one_image_per_call=True), site.images(9))
    assert len(problems(outcomes)) == 9
    assert len(site.calls) == 5


def crashing(low: list[LowResolution]) -> list[str]:
    """Options that make the stand-in crash at these images."""
    return [word for image in low for word in ("--on", image.stem, "crash")]


@pytest.mark.parametrize("alone", [False, True], ids=["folder", "one image per call"])
def test_images_that_it_cannot_do_never_keep_the_others_from_being_made(site: Site, alone: bool) -> None:
    low = site.images(12)
    program = site.program(*crashing(low[1:9]), one_image_per_call=alone)
    assert set(problems(site.run(program, low))) == {image.image for image in low[1:9]}


@pytest.mark.parametrize("action", ["crash", "small"])
def test_bad_images_that_come_first_do_not_end_a_run(site: Site, action: str) -> None:
    """As after a run that was killed: what it has made is no longer there, and what it could not do comes first."""
    low = site.images(6)
    bad = [word for image in low[:2] for word in ("--on", image.stem, action)]
    outcomes = site.run(site.program(*bad, one_image_per_call=True), low)
    assert set(problems(outcomes)) == {image.image for image in low[:2]}


def test_an_image_that_was_done_before_tells_whether_the_program_still_works(site: Site) -> None:
    done, *low = site.images(9)
    program = site.program(*crashing(low[:7]), "--noise", one_image_per_call=True)
    outcomes = site.run(program, low, known=done)
    assert set(makes(outcomes)) == {low[7].image}
    assert "given up" not in "".join(problems(outcomes).values())
    # Nothing works any more, and that image tells.
    outcomes = site.run(site.program("--on", "all", "crash"), low, known=done)
    assert site.calls[-6:][5] == [done.stem]
    given_up = [message for message in problems(outcomes).values() if "given up" in message]
    assert len(given_up) == 3
    assert "and could not do again what it did before" in given_up[0]


def test_bad_images_here_and_there_never_end_a_run(site: Site) -> None:
    low = site.images(11)
    bad = low[1::2]
    outcomes = site.run(site.program(*crashing(bad)), low)
    assert set(problems(outcomes)) == {image.image for image in bad}


def test_one_image_per_call_makes_outputs_independent_of_what_else_is_missing(site: Site) -> None:
    low = site.images(3)
    together = makes(site.run(site.program("--noise"), low))
    for position, image in enumerate(low, 1):
        assert together[image.image].position == position
        assert_right(together[image.image], image, noise=position)
    alone = site.program("--noise", one_image_per_call=True)
    for chosen in (low, low[1:]):
        made = makes(site.run(alone, chosen))
        for image in chosen:
            assert (made[image.image].position, made[image.image].of) == (1, 1)
            assert_right(made[image.image], image, noise=1)
    assert site.calls[1:] == [[image.stem] for image in [*low, *low[1:]]]


def test_whatever_it_prints_goes_to_the_log(site: Site) -> None:
    lines = 20_000
    low = site.images(1)
    outcomes = site.run(site.program("--chatter", lines, "--on", "all", "crash"), low)
    assert site.log.read_bytes().count(CHATTER) == lines
    message = problems(outcomes)[low[0].image]
    assert message.endswith(f"cannot do {low[0].stem}")
    assert all(sign.isprintable() for sign in message.replace("\n", ""))
    assert len(message.splitlines()) == 11


def test_memory_is_known_at_the_end(site: Site) -> None:
    (made,) = makes(site.run(site.program(), site.images(1))).values()
    assert made.peak_memory is not None
    assert 2**20 < made.peak_memory < 2**30


def test_what_is_missing_is_said_before_anything_is_done(site: Site) -> None:
    program = site.program(weights=(Path("weights/net.pth"),), launcher=("python-of-2021",))
    with pytest.raises(DiscernError) as caught:
        runner.run(program, site.images(1), site.work, gpu=None, log=site.log)
    assert str(caught.value) == (
        "upstream: cannot run: launcher: 'python-of-2021' is not on the PATH; install it, or give its full path; "
        f"weights: no such file: {site.repository}/weights/net.pth; fetch it; "
        "`discern methods check upstream --study STUDY` shows what is left to do"
    )
    assert not site.work.exists()


@pytest.mark.parametrize("name", ["work", "work/out", "logs", "work/call.json/x"])
def test_a_file_in_the_way_is_named(site: Site, name: str) -> None:
    path = site.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    with pytest.raises(DiscernError, match=name.partition("/x")[0]):
        list(runner.run(site.program(), site.images(1), site.work, gpu=None, log=site.log))


@pytest.mark.parametrize("text", ['{"stems": [', "[]", "{}", ""])
def test_a_damaged_record_is_named(site: Site, text: str) -> None:
    site.work.mkdir()
    (site.work / "call.json").write_text(text)
    with pytest.raises(DiscernError, match=r"work/call\.json: damaged .*; delete it"):
        list(runner.run(site.program(), site.images(1), site.work, gpu=None, log=site.log))


def test_an_image_that_is_not_there_is_reported(site: Site) -> None:
    low = site.images(1)
    lost = LowResolution("f" * 64, site.root / "lost.png", 16, 16)
    outcomes = site.run(site.program(), [lost, *low])
    assert "the LR image is not there" in problems(outcomes)[lost.image]
    assert set(makes(outcomes)) == {low[0].image}


def test_neither_torch_nor_the_study_is_imported() -> None:
    imported = "import sys, pipelines.super_resolution.external.runner"
    look = f"{imported}; print({{'torch', 'pipelines.study'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", look], check=True, capture_output=True).stdout == b"set()\n"


def test_an_image_given_twice_is_a_mistake_of_the_caller(site: Site) -> None:
    low = site.images(1)
    with pytest.raises(ValueError, match="two with the same hash"):
        runner.run(site.program(), low * 2, site.work, gpu=None, log=site.log)
