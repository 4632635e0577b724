"""What an upstream program needs, and what determines its outputs."""

import hashlib
import json
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import WeightsError
from pipelines.super_resolution.external.program import commit_of
from tests.super_resolution.conftest import Site

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_program_that_is_all_there_is_ready(site: Site) -> None:
    (site.repository / "net.pth").write_bytes(b"w")
    assert site.program(weights=(Path("net.pth"),)).check() == []
    assert site.program(variables={"PYTHONPATH": "{repository}:{half}"}, parameters={"half": 0.5}).check() == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"launcher": ("no-such-python",)}, "launcher: 'no-such-python' is not on the PATH; install it"),
        ({"launcher": (".venv/bin/python",)}, "launcher: no such program: {repository}/.venv/bin/python; make the env"),
        ({"launcher": ("./inference.py",)}, "launcher: no such program: {repository}/inference.py"),
        ({"command": ("infer.py",)}, "command: no such file: {repository}/infer.py; correct it"),
        ({"command": ("-u", "infer.py")}, "command: no such file: {repository}/infer.py; correct it"),
        ({"command": ()}, "command: empty; give the program"),
        ({"command": ("{input}",)}, "command[0]: unknown placeholder {{input}} in '{{input}}'; choose among {{gpu}}"),
        ({"command": ("-m", "x", "{config}")}, "command[2]: unknown placeholder {{config}}"),
        ({"launcher": ("{x}",)}, "launcher[0]: unknown placeholder {{x}}"),
        ({"results": "{outt}"}, "results: unknown placeholder {{outt}}"),
        ({"variables": {"A": "{b}"}}, "variables.A: unknown placeholder {{b}}"),
        ({"parameters": {"lr": 1e-4}}, "parameters.lr: {{lr}} has a meaning of its own; choose another name"),
        ({"parameters": {"chop-size": 1}}, "parameters.chop-size: not a placeholder's name; use letters"),
        ({"pattern": "out.png"}, "pattern: 'out.png' must hold {{stem}} once"),
        ({"weights": (Path("w/net.pth"),)}, "weights: no such file: {repository}/w/net.pth; fetch it"),
    ],
)
def test_what_is_missing_is_said_in_one_line(site: Site, changes: dict[str, Any], problem: str) -> None:
    (found,) = site.program(**changes).check()
    assert found.startswith(problem.format(repository=site.repository))
    assert "\n" not in found


def test_without_the_repository_its_files_are_not_missed_one_by_one(site: Site, tmp_path: Path) -> None:
    program = site.program(repository=tmp_path / "nowhere", weights=(Path("a.pth"), Path("b.pth")))
    assert program.check() == [f"repository: no such folder: {tmp_path}/nowhere; clone the program there"]


@pytest.mark.parametrize("command", [("-m", "basicsr.test"), ("/app/inference.py",), ("{repository}/x.py",), ("run",)])
def test_only_a_script_of_the_repository_is_looked_for(site: Site, command: tuple[str, ...]) -> None:
    assert site.program(command=command).check() == []


def test_a_launcher_is_found_where_the_program_will_find_it(site: Site, tmp_path: Path) -> None:
    for path in (tmp_path / "bin" / "upstream-python", site.repository / "venv" / "python"):
        path.parent.mkdir()
        path.symlink_to(site.environment / "bin" / "python")
    assert site.program(launcher=("upstream-python",), variables={"PATH": str(tmp_path / "bin")}).check() == []
    assert site.program(launcher=("venv/python",)).check() == []


def test_a_home_folder_is_known(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = site.program(launcher=("~/venv/bin/python", "~")).invocation(tmp_path, None).arguments
    assert arguments[:2] == (f"{tmp_path}/venv/bin/python", "~")


def test_parameters_look_as_in_toml(site: Site, tmp_path: Path) -> None:
    parameters = {"a": True, "b": False, "c": 0.5, "d": 3, "e": "two words; $(ls)"}
    program = site.program(
        command=("{a}", "{b}", "{c}", "{d}", "{e}", "{scale}", "{seed}", "{gpu}"), parameters=parameters
    )
    assert program.invocation(tmp_path, "2").arguments[1:] == (
        "true",
        "false",
        "0.5",
        "3",
        "two words; $(ls)",
        "4",
        "7",
        "2",
    )


def test_provenance_holds_what_determines_outputs(site: Site) -> None:
    (site.repository / "w").mkdir()
    (site.repository / "w" / "net.pth").write_bytes(b"weights")
    outside = site.root / "outside.pth"
    outside.write_bytes(b"more")
    program = site.program(weights=(Path("w/net.pth"), outside), parameters={"steps": 15}, config="a: {lr}")
    facts = program.provenance
    assert json.loads(json.dumps(facts)) == facts
    assert facts["weights"] == {
        "w/net.pth": hashlib.sha256(b"weights").hexdigest(),
        "../outside.pth": hashlib.sha256(b"more").hexdigest(),
    }
    assert (facts["kind"], facts["commit"], facts["parameters"], facts["config"]) == (
        "external",
        None,
        {"steps": 15},
        "a: {lr}",
    )
    assert (facts["scale"], facts["seed"], facts["one_image_per_call"]) == (4, None, False)
    assert str(site.repository) not in json.dumps(facts)
    # Read once: hashing gigabytes takes its time.
    outside.write_bytes(b"changed")
    assert program.provenance is facts
    assert pickle.loads(pickle.dumps(program)).provenance == facts


def test_limits_of_time_do_not_determine_outputs(site: Site) -> None:
    assert site.program(seconds_per_image=1.0, startup_seconds=2.0).provenance == site.program().provenance


def test_missing_weights_have_no_provenance(site: Site) -> None:
    with pytest.raises(
        WeightsError, match=r"upstream: weights: no such file: .*net\.pth; fetch it; `discern methods check"
    ):
        _ = site.program(weights=(Path("net.pth"),)).provenance


def git(folder: Path, *arguments: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_DEFAULT_REF_FORMAT": "files"}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=os.environ | who | nobody, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with two commits, made by git itself."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for message in ("one", "two"):
        git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return folder


def test_the_commit_is_the_one_that_git_names(checkout: Path, tmp_path: Path) -> None:
    commits = git(checkout, "log", "--format=%H").split()
    assert commit_of(checkout) == commits[0]
    git(checkout, "pack-refs", "--all")
    assert commit_of(checkout) == commits[0]
    git(checkout, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "tree"), commits[1])
    assert commit_of(tmp_path / "tree") == commits[1]
    git(checkout, "pack-refs", "--all")
    assert commit_of(tmp_path / "tree") == commits[1]
    git(checkout, "checkout", "--quiet", "--detach", commits[1])
    assert commit_of(checkout) == commits[1]


def test_a_folder_in_somebody_elses_checkout_has_no_commit(checkout: Path, tmp_path: Path) -> None:
    (checkout / "unpacked").mkdir()
    assert commit_of(checkout / "unpacked") is None
    git(tmp_path, "init", "--quiet", "fresh")
    assert commit_of(tmp_path / "fresh") is None


def test_a_submodule_has_its_own_commit(tmp_path: Path) -> None:
    (tmp_path / "modules" / "sr").mkdir(parents=True)
    (tmp_path / "modules" / "sr" / "HEAD").write_text(f"{COMMIT}\n")
    (tmp_path / "sr").mkdir()
    (tmp_path / "sr" / ".git").write_text("gitdir: ../modules/sr\n")
    assert commit_of(tmp_path / "sr") == COMMIT


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ("run.py", "--seed={seed}")},
        {"config": "manual_seed: {seed}"},
        {"variables": {"SEED": "{seed}"}},
        {"results": "{out}/{seed}"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_seed_determines_outputs_of_programs_that_it_is_given_to_and_of_no_others(
    site: Site, changes: dict[str, Any]
) -> None:
    assert site.program(seed=7).provenance == site.program(seed=8).provenance
    assert site.program(seed=7).given_seed is None
    given = [site.program(seed=seed, **changes) for seed in (7, 8)]
    assert [program.provenance["seed"] for program in given] == [program.given_seed for program in given] == [7, 8]
