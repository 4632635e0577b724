"""The study file: what it accepts, and the one clear line for each mistake."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import study as studies
from pipelines.study import StudyError
from pipelines.study_methods import External
from tests.conftest import save, textured

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
        ({'id = "sharp"': 'id = "a/b"'}, "methods[2].id: 'a/b' is not an id: letters, digits and _ . + - alone"),
        ({'folder = "lr"': 'folder = "study.toml"'}, "study.toml is there, but no folder; correct the path"),
        ({'name = "small"': 'name = "small"\naccept_licences = ["femassr"]'}, "'femassr' is neither a method of this"),
        (
            {
                'algorithm = "bicubic"\n': 'file = "x"\nsha256 = "abc"\n',
                'id = "bicubic"\nkind = "interpolation"': 'id = "bicubic"\nkind = "checkpoint"',
            },
            "methods[1].sha256: 'abc' is not a sha256: 64 hexadecimal digits",
        ),
        (
            {
                'algorithm = "bicubic"\n': 'repository = "."\ncommand = "run.py {lr}"\n',
                'id = "bicubic"\nkind = "interpolation"': 'id = "bicubic"\nkind = "external"',
            },
            "methods[1].command: 'run.py {lr}' is not a list; write it as [...]",
        ),
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
        ('kind = "folder"\nfolder = "lr"\npattern = "x.png"', "must hold {stem} once"),
        ('kind = "folder"\nfolder = "lr"\npattern = "../{stem}.png"', "must be a path below the folder"),
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


EXTERNAL = '\n[[methods]]\nid = "more"\nkind = "external"\nrepository = "repository"\ncommand = ["run.py"]\n'


@pytest.mark.parametrize(
    ("old", "new", "key", "most"),
    [
        ("\n[images]", "seed = {}\n[images]", "seed", 2**32 - 1),
        ("\n[images]", "scale = {}\n[images]", "scale", 64),
        ("per_pair = 2", "per_pair = {}", "selection.per_pair", 2**31 - 1),
        ("per_pair = 2", "reuse_limit = {}", "selection.reuse_limit", 2**31 - 1),
        ("[execution]", "[calibration]\nbatch = {}\n[execution]", "calibration.batch", 2**31 - 1),
        ("[execution]", "[calibration]\nepochs = {}\n[execution]", "calibration.epochs", 2**31 - 1),
        ("workers = 2", "workers = {}", "execution.workers", 2**31 - 1),
    ],
)
def test_numbers_that_no_table_or_program_takes_are_refused(
    make_study: MakeStudy, old: str, new: str, key: str, most: int
) -> None:
    studies.load(make_study(replace={old: new.format(most)}))
    path = make_study(replace={old: new.format(most + 1)})
    with pytest.raises(StudyError) as caught:
        studies.load(path)
    assert str(caught.value) == (
        f"{path}: {key}: input should be less than or equal to {most}, got {most + 1}; correct the value"
    )


@pytest.mark.parametrize("value", ["[1]", "nan", "2026-01-01", "{ y = 1 }"])
def test_a_parameter_of_another_kind_is_one_line(make_study: MakeStudy, tmp_path: Path, value: str) -> None:
    (tmp_path / "repository").mkdir()
    path = make_study(extra=f"{EXTERNAL}parameters.x = {value}\n")
    with pytest.raises(StudyError) as caught:
        studies.load(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: methods[3].parameters.x: input should be text, a finite number, true or false, ")
    assert line.endswith("; correct the value")


def test_parameters_keep_their_kinds(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    study = studies.load(make_study(extra=f'{EXTERNAL}parameters = {{ a = "1", b = 1, c = 1.0, d = true }}\n'))
    studies.record(study)
    for one in (study, studies.recorded(study.workspace)):
        method = one.methods[3]
        assert isinstance(method, External)
        assert repr(method.parameters) == "{'a': '1', 'b': 1, 'c': 1.0, 'd': True}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "small"', f'name = "small"\nmore = {"[" * 3000}{"]" * 3000}'),
        ('name = "small"', f"name{'.a' * 3000} = 1"),
        ('name = "small"', f"name = {'9' * 5000}"),
        ('name = "small"', f"name = {'9' * 4000}"),
    ],
    ids=["list", "table", "too many digits", "many digits"],
)
def test_absurd_values_give_one_short_line(make_study: MakeStudy, old: str, new: str) -> None:
    path = make_study()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(StudyError) as caught:
        studies.load(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(str(path))
    assert len(line) < len(str(path)) + 250


@pytest.mark.parametrize(
    ("replace", "key"),
    [
        ({'name = "small"': r'name = "sm\u0000all"'}, "name"),
        ({'name = "small"': r'name = "small"' + "\n" + r'workspace = "work\u0000space"'}, "workspace"),
        ({'folder = "lr"': r'folder = "l\u0000r"'}, "images.folder"),
        ({"workers = 2\n": f"workers = 2\n{EXTERNAL}" + r'launcher = ["python\u0000"]'}, "methods[3].launcher"),
        ({"workers = 2\n": f"workers = 2\n{EXTERNAL}" + r'variables.A = "\u0000"'}, "methods[3].variables"),
    ],
)
def test_zero_bytes_are_refused(make_study: MakeStudy, tmp_path: Path, replace: dict[str, str], key: str) -> None:
    (tmp_path / "repository").mkdir()
    test_a_mistake_brings_no_false_line_with_it(make_study, replace, f": {key}: holds a zero byte; remove it")


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(StudyError, match=r"study\\0\.toml: cannot be read as a text file"):
        studies.load(Path("study\0.toml"))


@pytest.mark.parametrize("place", [b"caf\xe9.toml", b"caf\xe9/study.toml"])
def test_a_study_in_a_place_that_is_not_utf8_is_refused(make_study: MakeStudy, tmp_path: Path, place: bytes) -> None:
    path = tmp_path / os.fsdecode(place)
    path.parent.mkdir(exist_ok=True)
    make_study().rename(path)
    with pytest.raises(StudyError, match=r"caf\\udce9.*: its path is not UTF-8; rename it"):
        studies.load(path)


@pytest.mark.parametrize(
    ("replace", "method", "expected"),
    [
        ({}, 'kind = "folder"\nfolder = "lr"', ("methods[3].folder", "lr", "images.folder", "lr")),
        ({}, 'kind = "folder"\nfolder = "lr/done"', ("methods[3].folder", "lr/done", "images.folder", "lr")),
        (
            {'folder = "lr"': 'folder = "lr"\nunlabelled = "more"'},
            'kind = "folder"\nfolder = "more/done"',
            ("methods[3].folder", "more/done", "images.unlabelled", "more"),
        ),
        (
            {'folder = "lr"': 'folder = "more/done/x4"'},
            'kind = "folder"\nfolder = "more/done"\npattern = "x4/{stem}.png"',
            ("methods[3].folder", "more/done/x4", "images.folder", "more/done/x4"),
        ),
        (
            {},
            'kind = "external"\nrepository = "."\ncommand = ["run.py"]\nresults = "lr/{name}"\nparameters.name = "x"',
            ("methods[3].results", "lr/x", "images.folder", "lr"),
        ),
    ],
)
def test_outputs_that_would_be_taken_for_lr_images_are_refused(
    make_study: MakeStudy, tmp_path: Path, replace: dict[str, str], method: str, expected: tuple[str, str, str, str]
) -> None:
    for folder in ("lr/done", "more/done/x4"):
        (tmp_path / folder).mkdir(parents=True)
    key, outputs, lr_key, lr = expected
    path = make_study(replace=replace, extra=f'\n[[methods]]\nid = "more"\n{method}\n')
    with pytest.raises(StudyError) as caught:
        studies.load(path)
    assert str(caught.value) == (
        f"{path}: {key}: outputs in {tmp_path / outputs} would be taken for LR images, since {lr_key} is "
        f"{tmp_path / lr}; move one of them"
    )


@pytest.mark.parametrize(
    "method",
    [
        'kind = "folder"\nfolder = "."',
        'kind = "folder"\nfolder = "."\npattern = "done/{stem}.png"',
        'kind = "external"\nrepository = "."\ncommand = ["run.py"]',
        'kind = "external"\nrepository = "."\ncommand = ["run.py"]\nresults = "{out}/lr"',
    ],
)
def test_lr_images_may_lie_beside_and_below_outputs(make_study: MakeStudy, method: str) -> None:
    path = make_study(extra=f'\n[[methods]]\nid = "more"\n{method}\n')
    assert studies.load(path).method_ids[-1] == "more"


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


def test_a_pipe_is_no_study_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "study.toml")
    with pytest.raises(studies.StudyError, match=r"study\.toml: not a file; give the path of a study\.toml"):
        studies.read(tmp_path / "study.toml")


def test_an_image_is_no_study_file(tmp_path: Path) -> None:
    save(tmp_path / "a.png", textured(0))
    with pytest.raises(StudyError, match=r"a\.png: not a text file; give the path of a study\.toml"):
        studies.read(tmp_path / "a.png")


def test_an_accepted_licence_may_be_that_of_an_architecture(make_study: MakeStudy) -> None:
    path = make_study(replace={'name = "small"': 'name = "small"\naccept_licences = ["srformer", "rgt", "sharp"]'})
    assert studies.load(path).accept_licences == ("srformer", "rgt", "sharp")


LATER = """
[[methods]]
id = "later"
kind = "interpolation"
algorithm = "lanczos"
"""


def anchors(text: str) -> dict[str, str]:
    return {"per_pair = 2": f"per_pair = 2\nanchors = {text}"}


def test_a_method_that_came_later_is_compared_with_its_anchors_alone(make_study: MakeStudy) -> None:
    study = studies.load(make_study(replace=anchors('{later = ["sharp", "nearest"]}'), extra=LATER))
    assert study.method_pairs == (
        ("nearest", "bicubic"),
        ("nearest", "sharp"),
        ("nearest", "later"),
        ("bicubic", "sharp"),
        ("sharp", "later"),
    )
    assert len(studies.load(make_study(extra=LATER)).method_pairs) == 6


def test_a_second_later_method_may_have_the_first_one_for_an_anchor(make_study: MakeStudy) -> None:
    two = LATER + LATER.replace("later", "latest")
    study = studies.load(make_study(replace=anchors('{later = ["sharp"], latest = ["later", "nearest"]}'), extra=two))
    assert {pair for pair in study.method_pairs if "lat" in pair[1]} == {
        ("sharp", "later"),
        ("later", "latest"),
        ("nearest", "latest"),
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{later = ["blur"]}', "selection.anchors.later: the study has no method 'blur'; it has nearest, bicubic,"),
        ('{newer = ["sharp"]}', "selection.anchors.newer: the study has no method 'newer'"),
        ("{later = []}", "selection.anchors.later: [] are no anchors; name other methods, each once"),
        ('{later = ["later"]}', "selection.anchors.later: ['later'] are no anchors"),
        ('{later = ["sharp", "sharp"]}', "are no anchors; name other methods, each once"),
        ('{later = "sharp"}', "selection.anchors.later: 'sharp' is not a list; write it as [...]"),
        ('{nearest = ["sharp"]}', "methods: those in selection.anchors came later; put their blocks after all others"),
        (
            '{later = ["sharp"], sharp = ["nearest"], bicubic = ["nearest"]}',
            "selection.anchors: only 1 methods came first; two at least are needed",
        ),
    ],
)
def test_anchors_that_cannot_be_are_refused(make_study: MakeStudy, given: str, message: str) -> None:
    with pytest.raises(StudyError) as refused:
        studies.load(make_study(replace=anchors(given), extra=LATER))
    assert message in str(refused.value)


def test_weights_are_files_beside_the_study(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(extra='\n[weights]\nvgg16 = "vgg.pth"\n')
    with pytest.raises(StudyError, match=r"weights\.vgg16: no such file: .*vgg\.pth; create it or correct the path"):
        studies.load(path)
    (tmp_path / "vgg.pth").touch()
    assert studies.load(path).weights.vgg16 == tmp_path / "vgg.pth"
    with pytest.raises(StudyError, match=r"weights\.vgg: unknown key \(did you mean 'vgg16'\?\)"):
        studies.load(make_study(extra='\n[weights]\nvgg = "vgg.pth"\n'))
