"""The wheel: installed into an empty environment outside the checkout, without the science, it ranks votes."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
VOTES = "winner,loser,image,subject\n" + "a,b,x,p\nb,a,x,q\na,b,y,p\na,b,y,q\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)], check=True, capture_output=True
    )
    (built,) = folder.glob("discern-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `discern` command of an environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "env"), "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--no-compile", "-c", str(ROOT / "constraints.txt"), str(wheel)], check=True, cwd=folder
    )
    return folder / "env" / "bin" / "discern"


def discern(command: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(command), *arguments], capture_output=True, text=True, cwd=cwd, env=environment, timeout=120, check=False
    )


def test_the_wheel_carries_templates_styles_migrations_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "app/templates/study.toml",
        "app/templates/contact_sheet.html",
        "app/static/contact_sheet.css",
        "app/templates/comparison.svg",
        "app/static/comparison.js",
        "app/templates/experimenters/study.html",
        "pipelines/super_resolution/catalogue.toml",
        "app/static/subjects/trial.js",
        "app/migrations/env.py",
        "app/migrations/versions/0001_the_tables_of_the_loop.py",
    } <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith("tests")]


def test_a_bare_installation_has_no_torch_and_ranks_votes(installed: Path, tmp_path: Path) -> None:
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"
    assert subprocess.run([str(installed.with_name("python")), "-c", probe], check=False, cwd=tmp_path).returncode == 0
    (tmp_path / "votes.csv").write_text(VOTES)
    result = discern(installed, "rank", "votes.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "4 votes; intervals clustered by 2 subjects x 2 images" in result.stdout


def test_a_bare_installation_writes_the_example(installed: Path, tmp_path: Path) -> None:
    assert discern(installed, "init", "new", cwd=tmp_path).returncode == 0
    assert (tmp_path / "new" / "study.toml").read_text() == (ROOT / "templates" / "study.toml").read_text()


def test_a_bare_installation_lists_the_methods_and_what_they_need(installed: Path, tmp_path: Path) -> None:
    result = discern(installed, "methods", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "realesrgan" in result.stdout
    result = discern(installed, "methods", "check", "realesrgan", cwd=tmp_path)
    assert result.returncode == 1
    assert "discern[pipelines]" in result.stdout


def test_a_bare_installation_imports_a_workspace_and_serves_it(
    installed: Path, workspace: Path, tmp_path: Path
) -> None:
    """A web host has no torch: what it needs of a study lies in the workspace."""
    home = tmp_path / "home"
    os.environ["DISCERN_HOME"] = str(home)
    try:
        result = discern(installed, "study", "import", str(workspace), cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert "imported as 'small', draft" in result.stdout
        command = [str(installed), "serve", "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    finally:
        del os.environ["DISCERN_HOME"]
    assert server.stdout is not None
    try:
        link = next(line.split()[-1] for line in server.stdout if "/set-up/" in line)
        with httpx.Client(base_url=link.partition("/set-up/")[0], trust_env=False, timeout=30) as admin:
            form = {"name": "ada", "password": "a long enough password"}
            assert admin.post(link, data=form).headers["location"] == "/admin"
            assert admin.patch("/api/studies/small", json={"state": "open"}).json()["state"] == "open"
            invites = admin.post("/api/studies/small/invites", json={"kind": "single"}).json()["invites"]
            admin.post(invites[0]["link"], data={"consent": "yes"})
            trial = admin.post("/api/subject/trials", json={"ahead": 1}).json()["trials"][0]
            assert admin.get(trial["left"]).content[:4] in (b"\x89PNG", b"RIFF")
            assert "vegaEmbed" in admin.get("/assets/vega.js").text
            assert admin.get("/static/subjects/trial.js").status_code == 200
    finally:
        server.terminate()
        assert server.wait(60) == 0
        server.stdout.close()


def test_a_command_that_needs_the_science_says_how_to_get_it(installed: Path, tmp_path: Path) -> None:
    discern(installed, "init", "new", cwd=tmp_path)
    for arguments in (("run", "new/study.toml"), ("demo", "--once"), ("score", "new", "x.png")):
        result = discern(installed, *arguments, cwd=tmp_path)
        assert result.returncode == 2
        assert "pip install 'discern[pipelines]'" in result.stderr
        assert "Traceback" not in result.stderr
