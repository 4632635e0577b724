"""The study file: what it accepts, and the one clear line for each mistake."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import study as studies
from pipelines.study import StudyError

MakeStudy = Callable[..., Path]


def test_a_study_file_becomes_a_study_with_absolute_paths_and_the_papers_defaults(make_study: MakeStudy) -> None:
    path = make_study(replace={'distance = "gmsd"\nsemantics = "colour_gradient"\nper_pair = 2\n': ""})
    study = studies.load(path)
    assert study.method_ids == ("nearest", "bicubic", "sharp")
    assert study.images.folder == path.parent / "lr"
    assert study.workspace == path.parent / "workspace"
    chosen = study.selection
    assert (chosen.distance, chosen.semantics, chosen.per_pair, chosen.trade_off) == ("dists", "vgg16", 16, 0.1)
    learned = study.calibration
    assert (learned.batch, learned.epochs, learned.learning_rate, learned.rated_weight) == (64, 8, 1e-3, 1.0)


@pytest.mark.parametrize(
    ("replace", "expected"),
    [
        ({"per_pair = 2": "per_pairs = 2"}, "selection.per_pairs: unknown key (did you mean 'per_pair'?)"),
        ({'name = "small"': ""}, "name: missing; add it"),
        ({'id = "bicubic"': 'id = "nearest"'}, "duplicate id 'nearest'; give every method its own id"),
        (
            {"per_pair = 2": "trade_off = -1.0"},
            "selection.trade_off: input should be greater than or equal to 0, got -1.0",
        ),
        ({"per_pair = 2": "per_pair = 0"}, "selection.per_pair: input should be greater than or equal to 1, got 0"),
        ({"per_pair = 2": "trade_off = nan"}, "selection.trade_off"),
        ({"per_pair = 2": 'aggregate = "max"'}, "selection.aggregate: input should be 'mean' or 'min', got 'max'"),
        ({'algorithm = "bicubic"\n': 'algorithm = "cubic"\n'}, "methods[1].algorithm"),
        ({'id = "sharp"\nkind = "interpolation"': 'id = "sharp"'}, "methods[2].kind: missing"),
        ({'id = "sharp"': 'id = "a/b"'}, "methods[2].id"),
        ({'folder = "lr"': 'folder = "nowhere"'}, "images.folder: no such folder"),
        ({'name = "small"': 'name = "small'}, "not valid TOML"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_key(
    make_study: MakeStudy, replace: dict[str, str], expected: str
) -> None:
    path = make_study(replace=replace)
    with pytest.raises(StudyError) as caught:
        studies.load(path)
    message = str(caught.value)
    assert expected in message
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path))


def test_every_mistake_gets_its_own_line(make_study: MakeStudy) -> None:
    path = make_study(replace={"per_pair = 2": "per_pair = 0\ntrade_off = -1.0", "workers = 2": "workerz = 2"})
    with pytest.raises(StudyError) as caught:
        studies.load(path)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "selection.per_pair",
        "selection.trade_off",
        "execution.workerz",
    ]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ('kind = "checkpoint"\nfile = "net.pth"', "methods[3].file: no such file"),
        ('kind = "folder"\nfolder = "done"', "methods[3].folder: no such folder"),
        ('kind = "folder"\nfolder = "lr"\npattern = "x.png"', "pattern must hold {stem} once"),
        ('kind = "folder"\nfolder = "lr"\npattern = "../{stem}.png"', "pattern must hold {stem} once"),
    ],
)
def test_files_and_folders_of_methods_are_checked(make_study: MakeStudy, method: str, expected: str) -> None:
    path = make_study(extra=f'\n[[methods]]\nid = "more"\n{method}\n')
    with pytest.raises(StudyError, match=expected.replace("[", r"\[").replace("{", r"\{")):
        studies.load(path)


SHARP = '[[methods]]\nid = "sharp"\nkind = "interpolation"\nalgorithm = "bicubic_unsharp"\n'
NEAREST = SHARP.replace("sharp", "nearest", 1).replace("bicubic_unsharp", "nearest")


@pytest.mark.parametrize(
    ("replace", "expected"),
    [
        ({SHARP: "", 'id = "bicubic"': 'id = "a/b"'}, "methods[1].id"),
        ({SHARP: "", NEAREST: ""}, "methods: 1 given, two at least are needed"),
        ({'id = "sharp"\nkind = "interpolation"': 'id = "sharp"\nkind = "magic"'}, "unknown kind 'magic'; choose"),
        ({"per_pair = 2": "per_pair = true"}, "selection.per_pair: input should be a valid integer, got True"),
        ({"per_pair = 2": 'per_pair = "2"'}, "selection.per_pair: input should be a valid integer, got '2'"),
        ({'folder = "lr"': 'folder = "~nobody_at_all/lr"'}, "images.folder: no such folder"),
        ({'folder = "lr"': 'folder = "."'}, "workspace and images.folder"),
        ({'folder = "lr"': 'folder = "lr"\nunlabelled = "lr"'}, "images.folder and images.unlabelled"),
    ],
)
def test_a_mistake_brings_no_false_line_with_it(make_study: MakeStudy, replace: dict[str, str], expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        studies.load(make_study(replace=replace))
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_byte_order_mark_is_no_mistake(make_study: MakeStudy) -> None:
    path = make_study()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert studies.load(path).name == "small"


def test_a_missing_study_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="discern init"):
        studies.load(tmp_path / "study.toml")


def test_the_fingerprint_ignores_where_the_work_is_done_and_nothing_else(make_study: MakeStudy) -> None:
    original = studies.load(make_study()).fingerprint
    assert studies.load(make_study(replace={"workers = 2": "workers = 7"})).fingerprint == original
    assert studies.load(make_study(replace={"per_pair = 2": "per_pair = 3"})).fingerprint != original


def test_a_recorded_study_is_read_back_from_its_workspace_wherever_that_lies_now(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = studies.load(make_study())
    studies.record(study)
    assert studies.recorded(study.workspace) == study
    moved = study.workspace.rename(tmp_path / "moved")
    assert studies.recorded(moved) == study.model_copy(update={"workspace": moved})
    assert studies.recorded(moved).fingerprint == study.fingerprint


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, "not the workspace of a study"), ("{", "damaged"), ('{"name": "x"}', "damaged, or of another version")],
)
def test_a_folder_without_a_usable_record_is_refused_by_name(tmp_path: Path, text: str | None, expected: str) -> None:
    if text is not None:
        (tmp_path / studies.RECORD).write_text(text)
    with pytest.raises(StudyError, match=expected) as caught:
        studies.recorded(tmp_path)
    assert str(tmp_path) in str(caught.value)
