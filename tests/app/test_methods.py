"""What `discern methods` and `discern methods check` print, with nothing, something, and everything in its place."""

import hashlib
import io
import os
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from rich.console import Console
from spandrel.architectures.Compact import Compact
from torch import nn

from app import method_needs, methods
from pipelines import study as studies
from pipelines.errors import DiscernError
from pipelines.study_methods import KINDS
from pipelines.super_resolution import catalogue
from pipelines.super_resolution.catalogue import Entry
from tests.conftest import write_network
from tests.super_resolution.networks import rgt, swin

MakeStudy = Callable[..., Path]
IDS = [entry.id for entry in catalogue.entries()]
NON_COMMERCIAL = {"resshift", "sinsr", "stablesr", "femasr"}

SEESR = """
[[methods]]
preset = "seesr"
repository = "SeeSR"
launcher = ["./python"]
"""
SEESR_FILES = (
    "test_seesr.py",
    "preset/models/seesr/unet/diffusion_pytorch_model.safetensors",
    "preset/models/DAPE.pth",
    "preset/models/ram_swin_large_14m.pth",
)


def shown(study: Path | None = None, width: int = 80) -> list[str]:
    text = io.StringIO()
    methods.show(Console(file=text, width=width), study)
    return text.getvalue().splitlines()


def checked(method_id: str, study: Path | None = None, width: int = 80, kind: str | None = None) -> tuple[bool, str]:
    """Whether it is ready, and what was printed."""
    text = io.StringIO()
    ready = methods.show_check(Console(file=text, width=width), method_id, study, kind)
    return ready, text.getvalue()


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def with_methods(make_study: MakeStudy, blocks: str) -> Path:
    names = 'name = "small"'
    accepted = f"{names}\naccept_licences = {sorted(NON_COMMERCIAL)}"
    return make_study(replace={names: accepted}, extra=f"\n{blocks}")


@pytest.mark.parametrize("width", [80, 100, 140, 240])
def test_the_table_has_a_row_for_each_method_and_fits(width: int) -> None:
    lines = shown(width=width)
    rows = lines[1 : lines.index("")]
    assert [row.split()[0] for row in rows] == IDS
    assert {row.split()[0] for row in rows if " *" in row} == NON_COMMERCIAL
    assert max(map(len, lines)) <= width


def test_wide_terminals_see_families_then_titles_then_whole_titles() -> None:
    headings = {width: shown(width=width)[0].split() for width in (80, 100, 140)}
    assert headings[80] == ["id", "year", "kind", "licence", "needs"]
    assert headings[100] == ["id", "year", "family", "kind", "licence", "needs"]
    assert headings[140] == [*headings[100], "title"]
    whole = "\n".join(shown(width=240))
    assert all(entry.title in whole for entry in catalogue.entries())


def test_the_table_says_what_to_get_by_default() -> None:
    lines = shown()
    needs = {line.split()[0]: line.rstrip() for line in lines[1 : lines.index("")]}
    assert needs["bicubic"].endswith("MIT-CMU              nothing")
    assert needs["realesrgan"].endswith("BSD-3-Clause         weights")
    assert needs["resshift"].endswith("S-Lab License 1.0 *  repository, weights")


def test_the_table_of_a_study_shows_its_methods_and_what_they_lack(make_study: MakeStudy, tmp_path: Path) -> None:
    blocks = """
[[methods]]
preset = "bsrgan"
file = "BSRGAN.pth"
[[methods]]
id = "resshift-v3"
preset = "resshift"
repository = "ResShift"
[[methods]]
id = "mine"
kind = "folder"
folder = "mine"
"""
    study = with_methods(make_study, blocks)
    (tmp_path / "mine").mkdir()
    lines = shown(study)
    rows = {line.split()[0]: line.split() for line in lines[1 : lines.index("")]}
    assert list(rows) == ["nearest", "bicubic", "sharp", "bsrgan", "resshift-v3", "mine"]
    assert rows["bsrgan"] == ["bsrgan", "bsrgan", "checkpoint", "Apache-2.0", "weights"]
    assert rows["resshift-v3"][-2:] == ["repository,", "weights"]
    assert rows["mine"] == ["mine", "folder", "nothing"]


@pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: str(entry.id))
def test_the_block_to_paste_is_a_method_once_its_paths_are_right(entry: Entry) -> None:
    data = tomllib.loads(methods.block(entry))
    (block,) = data.pop("methods")
    assert data == ({"accept_licences": [entry.id]} if entry.non_commercial else {})
    method = KINDS[entry.kinds[0]].model_validate(catalogue.expand(block))
    assert method.id == entry.id


@pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: str(entry.id))
def test_what_the_block_leaves_behind_comment_signs_is_what_happens_anyway(entry: Entry) -> None:
    lines = [line for line in methods.block(entry).splitlines() if '"..."' not in line]
    spoken = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))["methods"][0]
    silent = tomllib.loads("\n".join(lines))["methods"][0]
    assert catalogue.expand(spoken) == catalogue.expand(silent)
    assert "parameters" in spoken or "parameters" not in entry.run()


def test_bicubic_is_ready_at_once() -> None:
    ready, text = checked("bicubic")
    assert ready
    assert "ready to run" in text
    assert 'preset = "bicubic"' in text


def test_without_a_study_a_checkpoint_is_told_where_its_weights_are() -> None:
    ready, text = checked("realesrgan")
    assert not ready
    address = "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.1.0/RealESRGAN_x4plus.pth"
    assert f"to do fetch RealESRGAN_x4plus.pth: {address} (sha256 unknown)" in unwrapped(text)
    assert 'file = "/path/to/RealESRGAN_x4plus.pth"' in text
    assert 'kind = "checkpoint" unless the block says kind = "external" or kind = "folder"' in unwrapped(text)


def test_femasr_needs_a_package_and_a_licence() -> None:
    ready, text = checked("femasr")
    assert not ready
    package = "spandrel_extra_arches"
    installed = find_spec(package) is not None
    line = f"done {package}: installed" if installed else f"to do {package}: pip install 'discern[noncommercial]'"
    assert line in unwrapped(text)
    assert 'accept_licences = ["femasr"] at the top of the study file, if that suits you' in unwrapped(text)
    assert "licence: CC BY-NC-SA 4.0, not for commercial use" in text


def test_packages_that_are_not_installed_are_named(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for extra in method_needs.EXTRAS:
        monkeypatch.setitem(method_needs.EXTRAS, extra, f"no_such_{extra}")
    ready, text = checked("femasr")
    assert not ready
    assert "1. to do no_such_pipelines: pip install 'discern[pipelines]'" in unwrapped(text)
    assert "2. to do no_such_noncommercial: pip install 'discern[noncommercial]'" in unwrapped(text)
    assert "noncommercial" not in checked("rgt")[1]
    assert all(" package" in line for line in shown(width=120)[1 : 1 + len(IDS)])
    # A program cannot be looked into yet, which is no reason to fail.
    (tmp_path / "SeeSR").mkdir()
    ready, text = checked("seesr", with_methods(make_study, SEESR))
    assert not ready
    assert "1 of 1 to do" in text


def test_without_a_study_a_program_is_told_repository_environment_and_every_file() -> None:
    ready, text = checked("diffbir")
    assert not ready
    text = unwrapped(text)
    assert "to do clone https://github.com/XPixelGroup/DiffBIR" in text
    assert "Python 3.10, torch 2.2.2 (CUDA 11.8), xformers 0.0.25.post1, transformers 4.37.2" in text
    assert "fetch BSRNet.pth to weights/BSRNet.pth below the repository: https://github.com/cszn/KAIR" in text
    assert "Stability AI took its own away in November 2025" in text
    assert "# parameters.steps = 50" in text
    assert "which version (v1, v2, v2.1)" in text.lower()


def test_lines_are_wrapped_and_addresses_stay_whole() -> None:
    _, text = checked("seesr")
    long = [line for line in text.splitlines() if len(line) > 80]
    assert long
    assert all(line.split()[0].startswith("https://") for line in long)


def test_a_program_is_judged_on_what_is_there(make_study: MakeStudy, tmp_path: Path) -> None:
    study, home = with_methods(make_study, SEESR), tmp_path / "SeeSR"
    ready, text = checked("seesr", study)
    assert not ready
    assert f"to do repository: {home} is not there; clone https://github.com/cswry/SeeSR there" in unwrapped(text)
    assert "launcher:" not in text  # it is looked for once the repository is there

    for file in SEESR_FILES[:-1]:
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).touch()
    ready, text = checked("seesr", study)
    assert not ready
    text = unwrapped(text)
    assert f"done repository: {home} is there" in text
    assert f"to do launcher: no such program: {tmp_path / 'python'}" in text
    assert f"done weights: {home / SEESR_FILES[2]} is there" in text
    assert f"to do weights: {home / SEESR_FILES[3]} is not there; fetch ram_swin_large_14m.pth: https://" in text
    assert "3 of 7 to do" in text

    (home / SEESR_FILES[-1]).mkdir()  # a folder is no file
    assert "3 of 7 to do" in checked("seesr", study)[1]
    (home / SEESR_FILES[-1]).rmdir()
    (home / SEESR_FILES[-1]).touch()
    (home / "preset/models/stable-diffusion-2-base").mkdir()
    (tmp_path / "python").symlink_to(sys.executable)
    ready, text = checked("seesr", study)
    assert ready, text
    assert "ready to run" in text
    assert "[[methods]]" not in text


def test_a_script_that_is_not_there_is_found(make_study: MakeStudy, tmp_path: Path) -> None:
    study = with_methods(make_study, SEESR)
    (tmp_path / "SeeSR").mkdir()
    points = method_needs.check("seesr", studies.read(study), study)
    assert ("command", False) in {(point.what, point.ok) for point in points}


def test_weights_that_the_user_chose_replace_those_of_the_preset(make_study: MakeStudy, tmp_path: Path) -> None:
    blocks = '[[methods]]\npreset = "resshift"\nrepository = "R"\nweights = ["weights/v3.pth"]\n'
    _, text = checked("resshift", with_methods(make_study, blocks))
    assert f"weights: {tmp_path / 'R' / 'weights' / 'v3.pth'} is not there; fetch it" in unwrapped(text)
    assert "resshift_realsrx4_s15_v1.pth:" not in text


def test_files_are_judged_by_their_sha256(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "g.pth").write_bytes(b"generator")
    (tmp_path / "p.pth").write_bytes(b"predictor")
    right = hashlib.sha256(b"predictor").hexdigest()
    blocks = '[[methods]]\npreset = "dasr"\ngenerator = "g.pth"\npredictor = "p.pth"\npredictor_sha256 = "{}"\n'
    _, text = checked("dasr", with_methods(make_study, blocks.format(right)))
    text = unwrapped(text)
    assert f"{tmp_path / 'g.pth'} (sha256 {hashlib.sha256(b'generator').hexdigest()}, not pinned:" in text
    assert f"{tmp_path / 'p.pth'} (sha256 {right}, as expected)" in text
    ready, text = checked("dasr", with_methods(make_study, blocks.format("0" * 64)))
    assert not ready
    assert f"{tmp_path / 'p.pth'}: sha256 is {right}, expected {'0' * 64}" in unwrapped(text)


NETWORK = '[[methods]]\nid = "net"\nkind = "checkpoint"\nfile = "net.pth"\n'
REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "architecture": (lambda: nn.Conv2d(3, 3, 1), "", "knows no architecture with these weights"),
    "scale": (partial(Compact, num_feat=8, num_conv=2, upscale=2), "", "the study needs an RGB network x4"),
    "precision": (rgt, 'precision = "float16"', "precision 'float16' does not work with this network"),
    "precision in fact": (swin, 'precision = "float16"', "precision 'float16' does not work with this network"),
}


@pytest.mark.parametrize(("network", "line", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_the_run_refuses_is_not_ready(
    make_study: MakeStudy, tmp_path: Path, network: Callable[[], nn.Module], line: str, reason: str
) -> None:
    torch.save(network().state_dict(), tmp_path / "net.pth")
    ready, text = checked("net", with_methods(make_study, NETWORK + line), width=400)
    assert not ready
    assert "1 of 3 to do" in text
    (told,) = (line for line in text.splitlines() if "to do  " in line)
    assert reason in told
    assert not told.startswith(" 3. to do  net: ")


def test_a_device_that_is_not_there_is_a_thing_to_do_unless_other_hosts_do_the_work(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    write_network(tmp_path / "net.pth")
    device = 'workers = 2\ndevice = "cuda:99"'
    ready, text = checked("net", make_study(replace={"workers = 2": device}, extra=f"\n{NETWORK}"), width=400)
    assert not ready
    assert "3. to do  execution.device: 'cuda:99' cannot be used" in text
    others = f'{device}\nengine = "ray"'
    assert checked("net", make_study(replace={"workers = 2": others}, extra=f"\n{NETWORK}"))[0]


def test_a_network_that_loads_is_ready(make_study: MakeStudy, tmp_path: Path) -> None:
    write_network(tmp_path / "net.pth")
    ready, text = checked("net", with_methods(make_study, NETWORK), width=400)
    assert ready
    assert "3. done   network: loaded as the study runs it" in text


def test_all_methods_of_a_preset_are_told_apart(make_study: MakeStudy) -> None:
    one = '[[methods]]\nid = "{0}"\npreset = "rgt"\nfile = "{0}.pth"\n'
    study = with_methods(make_study, one.format("large") + one.format("small"))
    _, text = checked("rgt", study)
    assert "large: file: " in unwrapped(text)
    assert "small: file: " in unwrapped(text)
    _, text = checked("small", study)
    assert "large" not in text


def test_a_studys_own_program_is_checked_without_the_catalogue(make_study: MakeStudy, tmp_path: Path) -> None:
    blocks = '[[methods]]\nid = "mine"\nkind = "external"\nrepository = "."\ncommand = ["run.py", "{lr}", "{oops}"]\n'
    ready, text = checked("mine", with_methods(make_study, blocks))
    assert not ready
    assert text.startswith("mine\n")
    assert "to do command[2]: unknown placeholder {oops}" in unwrapped(text)


def test_a_study_without_the_method_is_given_the_block(make_study: MakeStudy) -> None:
    study = make_study()
    ready, text = checked("bsrgan", study)
    assert not ready
    assert f"{study} has no such method: add the block below" in unwrapped(text)
    assert 'preset = "bsrgan"' in text


def test_an_unknown_method_is_named(make_study: MakeStudy) -> None:
    for study in (None, make_study()):
        with pytest.raises(DiscernError, match="unknown method 'realesgan' \\(did you mean 'realesrgan'\\?\\)"):
            checked("realesgan", study)


def test_markup_in_a_path_is_printed_as_it_is(make_study: MakeStudy, tmp_path: Path) -> None:
    blocks = '[[methods]]\npreset = "bsrgan"\nfile = "[bold]x[/].pth"\n'
    _, text = checked("bsrgan", with_methods(make_study, blocks), width=400)
    assert f"file: {tmp_path}{os.sep}[bold]x[/].pth is not there" in text


WAYS = [(entry.id, kind) for entry in catalogue.entries() for kind in entry.kinds]


@pytest.mark.parametrize(("method_id", "kind"), WAYS)
def test_every_way_to_run_a_method_is_explained_with_a_block_that_can_be_read(method_id: str, kind: str) -> None:
    ready, text = checked(method_id, width=200, kind=kind)
    pasted = tomllib.loads(text.partition("in the study file:\n")[2].partition("\nit runs as")[0])
    (block,) = pasted["methods"]
    assert catalogue.expand(block)["kind"] == kind
    assert ("clone " in text) == (kind == "external")
    assert ("put its finished outputs into a folder" in text) == (kind == "folder")
    assert ready == (method_id == "bicubic" and kind == "interpolation")


def test_a_way_that_a_method_does_not_have_is_refused() -> None:
    with pytest.raises(DiscernError, match="preset 'seesr' has no kind 'dasr'; choose 'external' or 'folder'"):
        checked("seesr", kind="dasr")


def test_an_unknown_method_of_a_study_is_answered_with_those_that_it_has(make_study: MakeStudy) -> None:
    with pytest.raises(DiscernError, match=r"unknown method 'sharper'.*, and this study has nearest, bicubic, sharp"):
        checked("sharper", make_study())
