"""However Discern ends, the upstream program ends with it, and what it has written is not lost."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.super_resolution.external import guarded, runner
from pipelines.super_resolution.external.guarded import Guarded
from pipelines.super_resolution.external.program import Program
from pipelines.super_resolution.external.runner import LowResolution, Made
from tests.super_resolution.conftest import Site, assert_right, makes

SECONDS = 60.0

# Takes the first outcome, says so, and does not come back for the next one until it is told to.
DRIVER = """
import pickle, sys
from pathlib import Path
from pipelines.super_resolution.external import runner
program, images, work, log = pickle.loads(Path(sys.argv[1]).read_bytes())
for outcome in runner.run(program, images, work, gpu=None, log=log):
    print(outcome.image, flush=True)
    sys.stdin.readline()
"""


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)
    return value


def recorded(site: Site, key: str) -> Any:
    """What the stand-in recorded under a key, once it has."""
    return wait_for(lambda: next((event[key] for event in site.events if key in event), None), key)


def assert_vanish(*pids: int) -> None:
    wait_for(lambda: not any(map(is_alive, pids)), f"the end of {pids}")


def is_alive(pid: int) -> bool:
    # Where nobody reaps the orphans, as in a container, they stay as zombies: nothing that could write.
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def driver(site: Site, program: Program, low: list[LowResolution]) -> Iterator["subprocess.Popen[bytes]"]:
    """Another Discern that runs the program."""
    job = site.root / "job"
    job.write_bytes(pickle.dumps((program, low, site.work, site.log)))
    command = [sys.executable, "-c", DRIVER, str(job)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """`kill -9` of all that is in its process group."""
    os.killpg(process.pid, signal.SIGKILL)


def first_outcome(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def test_what_a_killed_run_has_left_is_taken_and_the_rest_is_made(site: Site) -> None:
    low = site.images(5)
    program = site.program("--noise", "--stubborn", "--on", low[3].stem, "hang")
    with driver(site, program, low) as process:
        assert first_outcome(process) == low[0].image
        assert recorded(site, "hangs") == low[3].stem
        kill(process)
        assert_vanish(site.events[0]["pid"], recorded(site, "worker"))
    # In the hands of the killed run and not recorded, finished, and perhaps half of what was meant:
    left = sorted(path.stem for path in (site.work / "out").iterdir())
    assert left == [image.stem for image in low[:3]]
    # The same description, since other settings would make other outputs; this time the image does not hang.
    path = site.repository / "inference.py"
    path.write_text(path.read_text().replace('"hang" in actions', "False"))
    outcomes = site.run(program, low)
    assert [outcome.image for outcome in outcomes] == [image.image for image in low]
    assert [(o.position, o.of) for o in outcomes if isinstance(o, Made)] == [(1, 5), (2, 5), (1, 3), (2, 3), (3, 3)]
    assert site.calls[1:] == [[image.stem for image in low[2:]]]
    for image, noise in zip(low, (1, 2, 1, 2, 3), strict=True):
        assert_right(makes(outcomes)[image.image], image, noise=noise)


def test_what_other_settings_have_left_is_not_taken(site: Site) -> None:
    low = site.images(3)
    program = site.program("--noise", "--on", low[2].stem, "hang")
    with driver(site, program, low) as process:
        first_outcome(process)
        recorded(site, "hangs")
        kill(process)
        assert_vanish(site.events[0]["pid"])
    assert len(list((site.work / "out").iterdir())) == 2
    made = makes(site.run(site.program(), low))
    assert site.calls[1:] == [[image.stem for image in low]]
    for image in low:
        assert_right(made[image.image], image)


def test_an_image_that_is_no_longer_wanted_gets_no_outcome(site: Site) -> None:
    low = site.images(4)
    program = site.program("--on", low[3].stem, "hang")
    with driver(site, program, low) as process:
        first_outcome(process)
        recorded(site, "hangs")
        kill(process)
        assert_vanish(site.events[0]["pid"])
    (outcome,) = site.run(program, [low[1]])
    assert isinstance(outcome, Made)
    assert (outcome.position, outcome.of, outcome.peak_memory) == (2, 4, None)
    assert len(site.calls) == 1


def test_ctrl_c_stops_the_program(site: Site) -> None:
    low = site.images(2)
    with driver(site, site.program("--on", "all", "hang"), low) as process:
        recorded(site, "hangs")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(SECONDS) != 0
        assert process.stderr is not None
        assert b"KeyboardInterrupt" in process.stderr.read()
        assert not is_alive(site.events[0]["pid"])


def test_closing_the_generator_stops_even_a_stubborn_program(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "GRACE_SECONDS", 0.1)
    low = site.images(3)
    program = site.program("--stubborn", "--on", low[2].stem, "hang")
    outcomes = runner.run(program, low, site.work, gpu=None, log=site.log)
    assert next(outcomes).image == low[0].image
    recorded(site, "hangs")
    outcomes.close()
    assert not is_alive(site.events[0]["pid"])
    assert_vanish(recorded(site, "worker"))
    # Nobody has come back for more: what was given last is still there.
    assert (site.work / "out" / f"{low[0].stem}.png").is_file()


def test_an_output_is_deleted_when_the_caller_comes_back(site: Site) -> None:
    low = site.images(3)
    outcomes = runner.run(site.program("--on", low[2].stem, "hang"), low, site.work, gpu=None, log=site.log)
    next(outcomes)
    recorded(site, "hangs")
    out = site.work / "out"
    assert {path.stem for path in out.iterdir()} == {low[0].stem, low[1].stem}
    program = psutil.Process(site.events[0]["pid"])
    program.kill()
    assert next(outcomes).image == low[1].image
    assert {path.stem for path in out.iterdir()} == {low[1].stem}
    outcomes.close()


@contextmanager
def guarded_stand_in(site: Site, *options: object) -> Iterator[Guarded]:
    (image,) = site.images(1)
    (site.work / "lr").mkdir(parents=True)
    (site.work / "lr" / f"{image.stem}.png").write_bytes(image.path.read_bytes())
    invocation = site.program(*options).invocation(site.work, None)
    with (site.root / "log").open("ab") as log:
        running = Guarded(invocation.arguments, folder=site.repository, environment=invocation.environment, log=log)
        with running:
            yield running


def test_the_status_is_passed_on(site: Site) -> None:
    with guarded_stand_in(site, "--exit", 3) as running:
        assert running.wait(SECONDS)
    assert running.ending is not None
    assert running.ending.status == 3
    assert str(running.ending) == "exit status 3"


def test_a_signal_is_named(site: Site) -> None:
    with guarded_stand_in(site, "--on", "all", "hang") as running:
        recorded(site, "hangs")
        os.kill(site.events[0]["pid"], signal.SIGKILL)
        assert running.wait(SECONDS)
    assert running.ending is not None
    assert str(running.ending) == "ended by signal 9 (Killed; the system does that when memory runs out)"


def test_what_a_program_leaves_behind_ends_with_it(site: Site) -> None:
    with guarded_stand_in(site, "--stubborn") as running:
        assert running.wait(SECONDS)
    assert running.ending is not None
    assert running.ending.status == 0
    assert_vanish(recorded(site, "worker"))


def test_a_paused_program_is_not_taken_for_an_ended_one(site: Site) -> None:
    with guarded_stand_in(site, "--on", "all", "hang") as running:
        recorded(site, "hangs")
        program = psutil.Process(site.events[0]["pid"])
        program.suspend()
        wait_for(lambda: program.status() == psutil.STATUS_STOPPED, "the pause")
        assert not running.wait(0.3)
        program.resume()
        assert program.is_running()
    assert not is_alive(program.pid)


def test_a_killed_guardian_takes_the_program_with_it(site: Site) -> None:
    with guarded_stand_in(site, "--stubborn", "--on", "all", "hang") as running:
        recorded(site, "hangs")
        pid = site.events[0]["pid"]
        psutil.Process(psutil.Process(pid).ppid()).kill()
        assert running.wait(SECONDS)
    assert str(running.ending) == "its guardian was killed"
    assert_vanish(pid, recorded(site, "worker"))


def test_a_guardian_that_is_asked_to_stop_stops_the_program(site: Site) -> None:
    with guarded_stand_in(site, "--on", "all", "hang") as running:
        recorded(site, "hangs")
        psutil.Process(psutil.Process(site.events[0]["pid"]).ppid()).terminate()
        assert running.wait(SECONDS)
    assert running.ending is not None
    assert running.ending.status == -signal.SIGTERM


def test_a_program_that_cannot_be_started_says_why(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_text("#!/of/2021/python\n")
    script.chmod(0o755)
    with (
        (tmp_path / "log").open("ab") as log,
        Guarded([str(script)], folder=tmp_path, environment={}, log=log) as running,
    ):
        assert running.wait(SECONDS)
    assert str(running.ending) == f"it cannot be started ([Errno 2] No such file or directory: '{script}')"


def test_what_another_study_has_left_in_a_repository_that_both_use_is_not_taken(site: Site) -> None:
    low, results = site.images(4), str(site.repository / "results")
    program = site.program("--output", results, "--on", low[3].stem, "hang", results=results)
    with driver(site, program, low) as process:
        assert first_outcome(process) == low[0].image
        assert recorded(site, "hangs") == low[3].stem
        kill(process)
        assert_vanish(site.events[0]["pid"])
    left = {path.name: path.read_bytes() for path in Path(results).iterdir()}
    assert len(left) >= 2
    # Another study, with a working folder of its own and other noise, is killed there, too.
    other = replace(site, work_name="other work")
    noisy = other.program("--noise", "--output", results, "--on", low[3].stem, "hang", results=results)
    before = len(site.events)
    with driver(other, noisy, low) as process:
        first_outcome(process)
        wait_for(lambda: any("hangs" in event for event in site.events[before:]), "the second hang")
        kill(process)
        assert_vanish(*[event["pid"] for event in site.events[before:] if "pid" in event])
    path = site.repository / "inference.py"
    path.write_text(path.read_text().replace('"hang" in actions', "False"))
    outcomes = site.run(program, low)
    for image in low:
        assert_right(makes(outcomes)[image.image], image)
