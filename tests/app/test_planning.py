"""`discern plan` as its user meets it: the table, the sentence, and one message for each mistake."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from app import planning
from pipelines.errors import DiscernError
from pipelines.ranking import tables, thurstone
from pipelines.ranking.counts import among, count_matrix
from pipelines.ranking.planning import plan_addition
from tests.app.test_cli import discern, refused
from tests.ranking.planted import Truth, joined, panel

METHODS = ("nearest", "bicubic", "sharp")
ANCHORS = '\n[selection.anchors]\nlate = ["nearest", "sharp"]\n'
Make = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path) -> Make:
    """Write a study file, without any image, of three methods and perhaps a later one."""

    def make(anchors: str = ANCHORS, methods: tuple[str, ...] = (*METHODS, "late")) -> Path:
        blocks = [f'[[methods]]\nid = "{name}"\nkind = "interpolation"\nalgorithm = "bicubic"\n' for name in methods]
        path = tmp_path / "study.toml"
        text = 'name = "small"\n[images]\nfolder = "lr"\n' + "".join(blocks)
        path.write_text(text + "[selection]\nper_pair = 6\nrandom_per_pair = 2\n" + anchors)
        return path

    return make


def write(path: Path, *, late: bool = False, rename: dict[str, str] | None = None, subjects: int = 9) -> Path:
    """Votes on the three methods, and on the later one where it has some."""
    random = np.random.default_rng(0)
    every_pair = list(combinations(range(3), 2))
    votes = panel(Truth((0.5, 0.0, -0.4), 0.3, 0.2), every_pair, random, images=8, subjects=subjects)
    if late:
        more = panel(Truth((0.5, 0.0, -0.4, 0.1)), [(3, 0), (3, 2)], random, images=8, subjects=2, label="late ")
        votes = joined(votes, more)
    names = dict(zip("abcd", (*METHODS, "late"), strict=True)) | (rename or {})
    tables.write(path, votes)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join([names.get(a, a), names.get(b, b), *rest]) for a, b, *rest in lines) + "\n")
    return path


def test_it_prints_what_the_planner_says_and_the_sentence(study: Make, tmp_path: Path) -> None:
    file, votes = study(), write(tmp_path / "votes.csv")
    result = discern("plan", file, "--votes", votes, "--subjects", 20, "--json", tmp_path / "plan.json")
    assert result.returncode == 0, result.stderr
    old = among(tables.read(votes), METHODS)
    fit = thurstone.fit(count_matrix(old), methods=METHODS)
    plan = plan_addition(old, fit, ("nearest", "sharp"), images=8, subjects=20)
    assert "late against nearest, sharp, on 8 images each" in result.stdout
    for step in plan.steps:
        cells = f"{step.votes_per_pair} {step.votes} {step.standard_error:.3f} {step.smallest_difference:.3f}"
        assert cells in " ".join(result.stdout.split())
    assert planning.sentence("late", plan) in result.stdout
    (written,) = json.loads((tmp_path / "plan.json").read_text())["additions"]
    assert written["method"] == "late"
    assert written["floor"] == written["steps"][-1]
    assert written["steps"][0]["votes"] == 16
    assert written["target"] == pytest.approx(plan.target)


def test_the_sentence_says_how_many_votes_or_what_it_takes(study: Make, tmp_path: Path) -> None:
    plans = planning.make(study(), write(tmp_path / "votes.csv"), 20)
    plan = plans.additions["late"]
    reached = plan_addition(*_fitted(tmp_path), ("nearest", "sharp"), images=8, subjects=20, target=0.2)
    assert reached.needed is not None
    step = reached.needed
    each = -(-step.votes // 20)
    assert planning.sentence("late", reached) == (
        f"late: {step.votes} votes ({step.votes_per_pair} per pair by 20 subjects, {each} each) "
        "until its standard error is at most 0.200, the median of the old methods"
    )
    never = plan_addition(*_fitted(tmp_path), ("nearest", "sharp"), images=8, subjects=20, target=0.001)
    assert "0.001, the median of the old methods, with 8 images for each anchor and 20 subjects:" in (
        planning.sentence("late", never)
    )
    assert planning.sentence("late", never).endswith(f"at best. It takes {never.remedy}")
    assert plan.subjects == 20


def _fitted(folder: Path) -> tuple[tables.Votes, thurstone.ThurstoneFit]:
    old = among(tables.read(folder / "votes.csv"), METHODS)
    return old, thurstone.fit(count_matrix(old), methods=METHODS)


def test_as_many_subjects_as_have_voted_unless_said_otherwise(study: Make, tmp_path: Path) -> None:
    assert planning.make(study(), write(tmp_path / "votes.csv")).additions["late"].subjects == 9


def test_votes_that_the_new_method_has_already_are_left_out(study: Make, tmp_path: Path) -> None:
    without, with_some = write(tmp_path / "votes.csv"), write(tmp_path / "more.csv", late=True)
    assert planning.make(study(), without, 5).additions == planning.make(study(), with_some, 5).additions


def test_a_later_method_may_be_an_anchor_once_it_has_votes(study: Make, tmp_path: Path) -> None:
    file = study(ANCHORS + 'later = ["late", "bicubic"]\n', (*METHODS, "late", "later"))
    plans = planning.make(file, write(tmp_path / "votes.csv", late=True), 5)
    assert plans.additions["later"].anchors == ("late", "bicubic")
    with pytest.raises(DiscernError, match=r"selection\.anchors\.later: .*no votes on 'late'; collect some first"):
        planning.make(file, write(tmp_path / "votes.csv"), 5)


def test_where_the_study_names_no_later_method_it_says_how_to_add_one(study: Make, tmp_path: Path) -> None:
    file, votes = study("", METHODS), write(tmp_path / "votes.csv")
    result = discern("plan", file, "--votes", votes)
    assert result.returncode == 0, result.stderr
    assert "put its [[methods]] block after all others" in result.stdout
    block = result.stdout[result.stdout.index("[selection.anchors]") :].splitlines()[:2]
    # What it prints is what the study file takes.
    extended = "\n" + "\n".join(line.strip() for line in block).replace("new-method", "late") + "\n"
    again = discern("plan", study(extended), "--votes", votes)
    assert again.returncode == 0, again.stderr
    suggested = planning.make(study("", METHODS), votes).suggested
    assert sorted(suggested) == sorted(METHODS)
    assert f"late against {', '.join(suggested)}, on 8 images each" in again.stdout


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"rename": {"a": "other"}}, "votes on 'other', which is no method of"),
        ({"rename": {"a": "late"}}, "no votes on 'nearest', a method of"),
    ],
)
def test_votes_on_other_methods_are_refused(
    study: Make, tmp_path: Path, spoil: dict[str, dict[str, str]], message: str
) -> None:
    votes = write(tmp_path / "votes.csv", **spoil)  # type: ignore[arg-type]
    said = refused(discern("plan", study(), "--votes", votes))
    assert message in said
    assert str(votes) in said


def test_too_few_votes_are_refused_as_by_a_ranking(study: Make, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("winner,loser\nnearest,bicubic\nbicubic,nearest\nsharp,nearest\n")
    said = refused(discern("plan", study(), "--votes", tmp_path / "few.csv", "--subjects", 3))
    assert "[sharp] > [nearest, bicubic]; collect more votes between the groups" in said


def test_votes_without_images_and_subjects_need_a_number_and_are_planned_with_a_word(
    study: Make, tmp_path: Path
) -> None:
    write(tmp_path / "votes.csv")
    rows = [line.split(",")[:2] for line in (tmp_path / "votes.csv").read_text().splitlines()]
    (tmp_path / "bare.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    said = refused(discern("plan", study(), "--votes", tmp_path / "bare.csv"))
    assert "--subjects: " in said
    assert "names no subjects; say how many new people will vote" in said
    result = discern("plan", study(), "--votes", tmp_path / "bare.csv", "--subjects", 4)
    assert result.returncode == 0, result.stderr
    for kind in ("LR images", "subjects"):
        assert f"the votes do not show how much {kind} differ" in result.stdout


def test_it_needs_no_torch(study: Make, tmp_path: Path) -> None:
    write(tmp_path / "votes.csv")
    program = (
        "import sys; from pathlib import Path; from app import console, planning\n"
        f"planning.show(planning.make(Path({str(study())!r}), Path('votes.csv')), Path('s'), console.out)\n"
        "assert not {'torch', 'torchvision', 'piq', 'sklearn', 'spandrel'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
