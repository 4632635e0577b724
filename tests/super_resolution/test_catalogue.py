"""The catalogue: complete, consistent with itself and with the study's schema; and presets filled into blocks."""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines import study as studies
from pipelines.errors import DiscernError
from pipelines.study_methods import KINDS, External
from pipelines.super_resolution import catalogue
from pipelines.super_resolution.catalogue import Entry
from pipelines.super_resolution.external.program import BUILT_IN, Invocation
from pipelines.super_resolution.methods import program
from pipelines.super_resolution.naming import placeholders

MakeStudy = Callable[..., Path]
DOCUMENT = Path(__file__).parents[2] / "docs" / "methods.md"

# What upstream's licence files say; who may use a method depends on it.
LICENCES = {
    "bicubic": ("MIT-CMU", False),
    "usrgan": ("MIT", False),
    "realesrgan": ("BSD-3-Clause", False),
    "bsrgan": ("Apache-2.0", False),
    "ldl": ("Apache-2.0", False),
    "diffbir": ("Apache-2.0", False),
    "resshift": ("S-Lab License 1.0", True),
    "sinsr": ("CC BY-NC-SA 4.0", True),
    "stablesr": ("S-Lab License 1.0", True),
    "seesr": ("Apache-2.0", False),
    "dasr": ("Apache-2.0", False),
    "femasr": ("CC BY-NC-SA 4.0", True),
    "rgt": ("Apache-2.0", False),
}
KINDS_OF = {
    ("interpolation",): {"bicubic"},
    ("usrnet",): {"usrgan"},
    ("checkpoint",): {"bsrgan"},
    ("checkpoint", "external"): {"realesrgan", "ldl", "femasr", "rgt"},
    ("dasr", "external"): {"dasr"},
    ("external",): {"diffbir", "resshift", "sinsr", "stablesr", "seesr"},
}
RUNS = [(entry, kind) for entry in catalogue.entries() for kind in entry.kinds]
PROGRAMS = [entry for entry in catalogue.entries() if "external" in entry.kinds]


def named(value: object) -> str:
    return value.id if isinstance(value, Entry) else str(value)


def minimal(entry: Entry, kind: str) -> dict[str, Any]:
    """A block of a study file with nothing but what only the user can know."""
    model = KINDS[kind]
    return {"preset": entry.id, "kind": kind} | dict.fromkeys(model.files + model.folders, "somewhere")


def external(entry: Entry, repository: Path, **keys: Any) -> External:
    block = {"preset": entry.id, "kind": "external", "repository": repository} | keys
    return External.model_validate(catalogue.expand(block))


def test_it_holds_the_twelve_methods_and_the_baseline_in_the_papers_order() -> None:
    assert [entry.id for entry in catalogue.entries()] == list(LICENCES)


def test_licences_are_those_of_the_upstream_repositories() -> None:
    assert {entry.id: (entry.licence, entry.non_commercial) for entry in catalogue.entries()} == LICENCES


def test_every_method_runs_in_the_ways_that_are_known_and_as_a_folder() -> None:
    expected = {name: (*kinds, "folder") for kinds, names in KINDS_OF.items() for name in names}
    assert {entry.id: entry.kinds for entry in catalogue.entries()} == expected


@pytest.mark.parametrize("entry", catalogue.entries(), ids=named)
def test_every_entry_says_who_when_where_and_what_is_unknown(entry: Entry) -> None:
    assert entry.unstated
    assert entry.traps
    assert (entry.year == 1981) if entry.id == "bicubic" else (2020 <= entry.year <= 2024)
    assert str(entry.year) in entry.paper
    addresses = [one.url for one in entry.weights] + ([entry.repository] if entry.repository else [])
    assert all(urlsplit(address).scheme == "https" and urlsplit(address).path.strip("/") for address in addresses)
    assert bool(entry.repository) == bool(entry.requirements) == bool(entry.weights) == (entry.id != "bicubic")
    assert len(entry.kinds) == len(set(entry.kinds))


@pytest.mark.parametrize(("entry", "kind"), RUNS, ids=named)
def test_every_run_is_a_valid_block_once_the_users_paths_are_given(entry: Entry, kind: str) -> None:
    method = KINDS[kind].model_validate(catalogue.expand(minimal(entry, kind)))
    assert (method.id, method.preset) == (entry.id, entry.id)
    assert (method.licence, method.non_commercial) == LICENCES[entry.id]


@pytest.mark.parametrize(("entry", "kind"), RUNS, ids=named)
def test_weights_say_what_they_are_called_in_a_block_or_where_they_lie(entry: Entry, kind: str) -> None:
    keys = {one.key for one in entry.weights if one.key}
    if kind not in ("external", "folder"):
        assert keys == set(KINDS[kind].files)
    paths = [Path(one.path) for one in entry.weights if one.path]
    if kind == "external":
        assert len(paths) == len(entry.weights)
    assert all(not path.is_absolute() and ".." not in path.parts for path in paths)
    for file in entry.run(kind).get("weights", ()):
        assert any(Path(file).is_relative_to(path) for path in paths)


@pytest.mark.parametrize("entry", PROGRAMS, ids=named)
def test_programs_name_known_placeholders_and_use_all_their_parameters(entry: Entry) -> None:
    run = entry.run("external")
    texts = [*run["command"], *run.get("variables", {}).values(), run.get("results", "{out}"), run.get("config", "")]
    named_in_texts = {name for text in texts for name in placeholders(text)}
    parameters = set(run.get("parameters", {}))
    assert named_in_texts - BUILT_IN == parameters
    assert not parameters & BUILT_IN
    assert {"lr", "scale"} <= named_in_texts or entry.id == "ldl"
    assert "out" in named_in_texts or run["results"].startswith("{repository}/results/")
    assert ("config" in named_in_texts) == ("config" in run)


@pytest.mark.parametrize("entry", PROGRAMS, ids=named)
def test_a_repository_with_script_and_weights_is_all_that_a_program_needs(
    entry: Entry, tmp_path: Path, make_study: MakeStudy
) -> None:
    study = studies.read(make_study())
    method = external(entry, tmp_path / "upstream", launcher=[sys.executable])
    for file in (Path(method.command[0]), *method.weights):
        assert program(study, method).check()
        place = method.repository / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    assert program(study, method).check() == []


def invocation(entry_id: str, tmp_path: Path, make_study: MakeStudy, **keys: Any) -> Invocation:
    study = studies.read(make_study(replace={'name = "small"': 'name = "small"\nseed = 7'}))
    method = external(catalogue.find(entry_id), tmp_path / "upstream", **keys)
    return program(study, method).invocation(tmp_path / "work", gpu=None)


def test_real_esrgan_is_called_for_lossless_files_in_full_precision(tmp_path: Path, make_study: MakeStudy) -> None:
    made = invocation("realesrgan", tmp_path, make_study, parameters={"tile": 512})
    work = tmp_path / "work"
    assert " ".join(made.arguments) == (
        f"python inference_realesrgan.py -n RealESRGAN_x4plus -i {work}/lr -o {work}/out -s 4 "
        "--suffix  --ext png --fp32 -t 512 --tile_pad 10"
    )
    assert "" in made.arguments


def test_seesr_gets_an_empty_prompt_and_a_seed(tmp_path: Path, make_study: MakeStudy) -> None:
    arguments = invocation("seesr", tmp_path, make_study).arguments
    assert arguments[arguments.index("--prompt") + 1] == ""
    assert arguments[arguments.index("--seed") + 1] == "7"


@pytest.mark.parametrize(("entry_id", "networks"), [("dasr", {"network_g", "network_p"}), ("rgt", {"network_g"})])
def test_the_settings_of_basicsr_programs_name_the_folder_and_where_outputs_go(
    entry_id: str, networks: set[str], tmp_path: Path, make_study: MakeStudy
) -> None:
    made = invocation(entry_id, tmp_path, make_study)
    settings = yaml.safe_load(made.config or "")
    (dataset,) = settings["datasets"].values()
    assert dataset["dataroot_lq"] == str(tmp_path / "work" / "lr")
    assert {key for key in settings if key.startswith("network_")} == networks
    assert settings["scale"] == settings["network_g"]["upscale"] == 4
    # BasicSR writes <repository>/results/<name>/visualization/<data set>/<stem>_<suffix>.png.
    home = tmp_path / "upstream"
    assert made.results == home / "results" / settings["name"] / "visualization" / dataset["name"]
    pattern = catalogue.find(entry_id).run("external")["pattern"]
    assert pattern == f"{{stem}}_{settings['val']['suffix']}.png"
    weights = [value for key, value in settings["path"].items() if key.startswith("pretrain_network")]
    assert weights == catalogue.find(entry_id).run("external")["weights"]


def test_rgt_is_not_its_small_version(tmp_path: Path, make_study: MakeStudy) -> None:
    network = yaml.safe_load(invocation("rgt", tmp_path, make_study).config or "")["network_g"]
    assert network["depth"] == network["num_heads"] == [6] * 8


KEYS = st.sampled_from(["id", "licence", "command", "config", "pattern", "results", "weights", "x"])


@given(st.dictionaries(KEYS, st.none() | st.integers() | st.text()), st.sampled_from(PROGRAMS))
def test_the_users_keys_win_and_all_others_come_from_the_preset(given_keys: dict[str, Any], entry: Entry) -> None:
    block = catalogue.expand(given_keys | {"preset": entry.id, "kind": "external"})
    facts = {"id": entry.id, "licence": entry.licence, "non_commercial": entry.non_commercial, "preset": entry.id}
    assert block == facts | entry.run("external") | given_keys


@pytest.mark.parametrize("value", [False, 0, "no", None])
def test_a_block_cannot_lift_a_presets_licence(value: object) -> None:
    message = f"non_commercial: {value!r}, but the licence of preset 'femasr' (CC BY-NC-SA 4.0) forbids commercial use"
    for kind in catalogue.find("femasr").kinds:
        with pytest.raises(DiscernError) as caught:
            catalogue.expand({"preset": "femasr", "kind": kind, "non_commercial": value})
        assert str(caught.value).startswith(message)


def test_a_block_can_say_that_its_weights_are_not_for_commercial_use() -> None:
    for preset in ("femasr", "realesrgan"):
        assert catalogue.expand({"preset": preset, "non_commercial": True})["non_commercial"] is True


@given(st.dictionaries(st.text().filter(lambda key: key != "preset"), st.integers()))
def test_a_block_without_a_preset_stays_as_it_is(block: dict[str, Any]) -> None:
    assert catalogue.expand(block) == block


def test_parameters_and_variables_are_merged_key_by_key() -> None:
    block = catalogue.expand(
        {"preset": "stablesr", "parameters": {"ddpm_steps": 50}, "variables": {"HF_HOME": "/models"}}
    )
    assert block["parameters"] == catalogue.find("stablesr").run()["parameters"] | {"ddpm_steps": 50}
    assert block["variables"] == {"PYTHONPATH": "{repository}", "HF_HOME": "/models"}


def test_a_result_can_be_changed_without_changing_the_catalogue() -> None:
    catalogue.expand({"preset": "diffbir"})["parameters"]["steps"] = 1
    assert catalogue.expand({"preset": "diffbir"})["parameters"]["steps"] == 50


def test_a_command_of_ones_own_may_have_parameters_of_its_own() -> None:
    block = catalogue.expand({"preset": "diffbir", "command": ["x.py", "{mine}"], "parameters": {"mine": 1}})
    assert block["command"] == ["x.py", "{mine}"]
    assert block["parameters"]["mine"] == 1


def test_finished_outputs_are_looked_for_under_upstreams_names() -> None:
    assert catalogue.expand({"preset": "seesr", "kind": "folder"})["pattern"] == "sample00/{stem}.png"
    assert catalogue.expand({"preset": "bsrgan", "kind": "folder"})["pattern"] == "{stem}_BSRGAN.png"
    assert catalogue.expand({"preset": "usrgan", "kind": "folder"})["pattern"] == "{stem}_x4_usrgan.png"
    # Not that of the run here, which asks for no suffix.
    assert catalogue.expand({"preset": "realesrgan", "kind": "folder"})["pattern"] == "{stem}_out.png"
    assert "pattern" not in catalogue.expand({"preset": "diffbir", "kind": "folder"})


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"preset": "resshit"}, "unknown method 'resshit' (did you mean 'resshift'?); `discern methods` lists them"),
        ({"preset": "Real-ESRGAN"}, "unknown method 'Real-ESRGAN' (did you mean 'realesrgan'?); `discern methods` li"),
        ({"preset": "!"}, "unknown method '!'; `discern methods` lists them"),
        ({"preset": 3}, "preset: 3 is not the id of a method; `discern methods` lists them"),
        ({"preset": ["rgt"]}, "preset: ['rgt'] is not the id of a method"),
        ({"preset": "rgt", "kind": "dasr"}, "preset 'rgt' has no kind 'dasr'; choose 'checkpoint', 'external' or 'fol"),
        ({"preset": "rgt", "kind": {}}, "kind: {} is not text; choose 'checkpoint', 'external' or 'folder'"),
        (
            {"preset": "seesr", "parameters": {"steps": 4}},
            "parameters.steps: preset 'seesr' has no such parameter; it has start_point, num_inference_steps, guidanc",
        ),
        (
            {"preset": "dasr", "kind": "external", "parameters": {"x": 1}},
            "parameters.x: preset 'dasr' has no such parameter; it has none",
        ),
    ],
)
def test_mistakes_are_named_with_the_choices(block: dict[str, Any], message: str) -> None:
    with pytest.raises(DiscernError) as caught:
        catalogue.expand(block)
    assert str(caught.value).startswith(message)


def test_a_table_that_is_none_is_left_for_the_schema_to_report(make_study: MakeStudy) -> None:
    extra = '\n[[methods]]\npreset = "seesr"\nrepository = "x"\nparameters = 3\n'
    with pytest.raises(studies.StudyError, match=r"methods\[3\]\.parameters: input should be a valid dictionary"):
        studies.read(make_study(extra=extra))


def test_a_study_file_takes_presets(make_study: MakeStudy, tmp_path: Path) -> None:
    extra = (
        '\n[[methods]]\npreset = "usrgan"\nfile = "u.pth"\nnoise_level = 5.0\n'
        '[[methods]]\nid = "diffbir-20"\npreset = "diffbir"\nrepository = "DiffBIR"\nparameters.steps = 20\n'
    )
    study = studies.read(make_study(extra=extra))
    usrgan, diffbir = study.methods[3:]
    assert usrgan.model_dump(include={"kind", "id", "kernel_width", "noise_level"}) == {
        "kind": "usrnet", "id": "usrgan", "kernel_width": 2.0, "noise_level": 5.0
    }  # fmt: skip
    assert isinstance(diffbir, External)
    assert (diffbir.id, diffbir.parameters["steps"], diffbir.repository) == ("diffbir-20", 20, tmp_path / "DiffBIR")


def test_a_study_that_does_not_accept_a_licence_is_told_how(make_study: MakeStudy) -> None:
    extra = '\n[[methods]]\npreset = "femasr"\nfile = "f.pth"\n'
    with pytest.raises(studies.StudyError, match=r"CC BY-NC-SA 4\.0.*add 'femasr' to accept_licences"):
        studies.load(make_study(extra=extra))


def test_the_documents_table_is_the_catalogues() -> None:
    rows = [line.split("|")[1:5] for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    told = {name.strip(): (kinds.strip(), licence.strip()) for name, kinds, licence, _ in rows[2:]}
    for entry in catalogue.entries():
        kinds, licence = told.pop(entry.id)
        assert kinds == ", ".join(entry.kinds[:-1])
        assert licence.startswith(entry.licence)
        assert ("non-commercial" in licence) == entry.non_commercial
    assert not told


def test_the_documents_example_is_a_study(make_study: MakeStudy) -> None:
    example = DOCUMENT.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    licences, _, blocks = example.partition("[[methods]]")
    accepted = f'name = "small"\n{licences}'
    study = studies.read(make_study(replace={'name = "small"': accepted}, extra=f"\n[[methods]]{blocks}"))
    assert tomllib.loads(licences) == {"accept_licences": list(study.accept_licences)}
    assert [(one.id, one.kind) for one in study.methods[3:]] == [
        ("realesrgan", "checkpoint"), ("resshift-v3", "external"), ("seesr", "folder")
    ]  # fmt: skip
