"""`discern figures`: which images it takes, what it writes, and one message for each mistake."""

import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from app import crops, figures, runs
from app.crops import Crop
from pipelines import study as studies
from pipelines.errors import DiscernError
from pipelines.images import Pixels
from pipelines.progress import silent
from pipelines.selection import selected
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace
from tests.app.figure_files import enlarge, find, images_of_pdf
from tests.app.processes import discern
from tests.conftest import save, textured

MakeStudy = Callable[..., Path]
METHODS = ["nearest", "bicubic", "sharp"]
SCALE = 4


class Page(HTMLParser):
    """What a page links to, and what of it a strict policy would forbid."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.links, self.inline, self.data = path, [], [], {}  # type: ignore[var-annotated]
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.data |= {key: value for key, value in given.items() if key.startswith("data-")}
        self.links += [value for key, value in attrs if key in ("href", "src", "data-image")]
        if (
            tag == "style"
            or (tag == "script" and "src" not in given)
            or any(k[:2] == "on" or k == "style" for k in given)
        ):
            self.inline.append(tag)

    @property
    def files(self) -> list[Path]:
        assert not [link for link in self.links if ":" in link or link.startswith("/")]
        return [self.path.parent / unquote(link) for link in self.links]


@pytest.fixture
def study(make_study: MakeStudy) -> Path:
    """The file of a study that has run."""
    path = make_study(images=4, size=(40, 48))
    runs.run(path, silent)
    return path


def workspace_of(study: Path) -> Workspace:
    return Workspace(study.parent / "workspace")


def outputs_of(study: Path, stem: str) -> dict[str, Pixels]:
    """The outputs of an LR image by method."""
    table = stage.outputs(studies.read(study), workspace_of(study))
    rows = table[table["stem"] == stem].set_index("method")
    return {method: workspace_of(study).get_image(rows.loc[method, "sha256"]) for method in METHODS}


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_figures_are_pages_and_print_files_of_the_images_that_are_in_most_pairs(study: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    written = figures.write(study, progress=lambda *report: reports.append(report))
    uses = selected.manifest(workspace_of(study)).read()["stem"].value_counts()
    assert written.stems == tuple(sorted(uses.index, key=lambda stem: (-uses[stem], stem)))
    assert reports == [("figures", i, len(written.stems)) for i in range(1, len(written.stems) + 1)]
    folder = study.parent / "workspace" / "figures"
    assert written.index == folder / "index.html"
    assert {path.name for path in (folder / "images").iterdir()} == {
        f"{stem}.{kind}" for stem in written.stems for kind in ("html", "png", "pdf")
    }
    for path in folder.rglob("*.html"):
        page = Page(path)
        assert page.inline == []
        assert [file for file in page.files if not file.is_file()] == []


def test_of_many_images_the_most_used_are_taken(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = figures.write(study).stems
    assert len(everything) > 2
    monkeypatch.setattr(figures, "MOST", 2)
    assert figures.write(study).stems == everything[:2]


def test_a_page_shows_the_lr_image_and_every_output_in_study_order(study: Path) -> None:
    figures.write(study, ["image_2"])
    path = study.parent / "workspace" / "figures" / "images" / "image_2.html"
    text = path.read_text()
    shown = [path.parent / unquote(link) for link in re.findall(r'data-image="([^"]+)"', text)]
    assert re.findall(r"<b>(.*?)</b>", text) == ["low resolution", *METHODS]
    expected = [textured(2, 40, 48), *outputs_of(study, "image_2").values()]
    for file, pixels in zip(shown, expected, strict=True):
        with Image.open(file) as image:
            assert (np.asarray(image) == pixels).all()
    data = Page(path).data
    assert (data["data-width"], data["data-height"], data["data-scale"]) == ("48", "40", "4")
    assert data["data-crop"] == str(crops.most_disputed(expected[1:], SCALE))
    facts = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text)
    assert ("kind", "interpolation") in facts
    assert ("algorithm", "bicubic_unsharp") in facts
    assert "seconds" in dict(facts)


def test_a_print_file_holds_the_crop_that_was_asked_for(study: Path) -> None:
    figures.write(study, ["image_1"], crop=Crop(9, 5, 16, 16))
    folder = study.parent / "workspace" / "figures" / "images"
    expected = [Crop(9, 5, 16, 16).of(pixels, SCALE) for pixels in outputs_of(study, "image_1").values()]
    with Image.open(folder / "image_1.png") as image:
        drawn = np.asarray(image.convert("RGB"))
    kept = {pixels.tobytes() for pixels in images_of_pdf((folder / "image_1.pdf").read_bytes())}
    for part in expected:
        # `nearest` looks like the crop of the LR image itself.
        assert len(find(drawn, enlarge(part, 4))) in (1, 2)
        assert enlarge(part, 4).tobytes() in kept
    assert Page(folder / "image_1.html").data["data-crop"] == "9,5,16,16"


def test_figures_again_change_no_file_and_the_index_keeps_earlier_pages(study: Path) -> None:
    folder = study.parent / "workspace" / "figures"
    figures.write(study, ["image_0", "image_3", "image_0"])
    before = snapshot(folder)
    assert figures.write(study, ["image_3"]).stems == ("image_3",)
    assert snapshot(folder) == before
    assert {"images/image_0.html", "images/image_3.html"} <= set(Page(folder / "index.html").links)
    figures.write(study, ["image_3"], crop=Crop(0, 0, 4, 4))
    changed = {path.name for path, time in snapshot(folder).items() if time != before[path]}
    assert changed == {"image_3.html", "image_3.png", "image_3.pdf"}


def test_another_folder_with_an_odd_name_gets_pages_that_find_their_images(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    path = make_study(images=2)
    save(tmp_path / "lr" / 'é #1 & "50%" <b>.png', textured(9))
    runs.run(path, silent)
    out = tmp_path / "a #b" / "ü%"
    figures.write(path, ['é #1 & "50%" <b>'], out=out)
    for page in (Page(out / "index.html"), Page(out / "images" / 'é #1 & "50%" <b>.html')):
        assert len(page.files) > 5
        assert [file for file in page.files if not file.is_file()] == []
    assert not (tmp_path / "workspace" / "figures").exists()


def test_a_name_that_no_page_can_have_is_one_clear_error(make_study: MakeStudy, tmp_path: Path) -> None:
    path, stem = make_study(images=2), "x" * 251
    save(tmp_path / "lr" / f"{stem}.png", textured(9))
    runs.run(path, silent)
    reason = r"x\.html: cannot be written \(File name too long\); choose another place, or a shorter name"
    with pytest.raises(DiscernError, match=reason):
        figures.write(path, [stem])


def test_a_method_without_an_output_of_the_image_is_named(make_study: MakeStudy, tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "made" / f"image_{index}.png", textured(index, 96, 128))
    block = '\n[[methods]]\nid = "finished"\nkind = "folder"\nfolder = "made"\n'
    path = make_study(images=4, extra=block)
    runs.run(path, silent)
    figures.write(path, ["image_3", "image_0"])
    folder = tmp_path / "workspace" / "figures" / "images"
    assert "No output of this image by finished." in (folder / "image_3.html").read_text()
    assert "No output" not in (folder / "image_0.html").read_text()
    assert 'aria-label="crop of the output of finished"' in (folder / "image_0.html").read_text()


@pytest.mark.parametrize(
    ("stems", "crop", "message"),
    [
        (["image_9"], None, "--image: the study has no LR image 'image_9'; did you mean 'image_"),
        (["zzz"], None, "--image: the study has no LR image 'zzz'; it has 4 others"),
        (
            ["image_0"],
            Crop(40, 0, 9, 4),
            "--crop: 40,0,9,4 is not inside 'image_0', which is 48x40; crops are in LR pixels",
        ),
        (["image_0"], Crop(0, 40, 1, 1), "--crop: 0,40,1,1 is not inside 'image_0'"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    study: Path, stems: Sequence[str], crop: Crop | None, message: str
) -> None:
    with pytest.raises(DiscernError, match=re.escape(message)):
        figures.write(study, stems, crop=crop)
    assert not (study.parent / "workspace" / "figures").exists()


def test_a_study_that_has_not_run_is_refused_and_gets_no_workspace(make_study: MakeStudy, tmp_path: Path) -> None:
    with pytest.raises(DiscernError, match=r"holds no outputs yet; `discern run .*study.toml` makes them"):
        figures.write(make_study())
    assert not (tmp_path / "workspace").exists()


def test_outputs_of_an_older_description_are_refused(study: Path) -> None:
    study.write_text(study.read_text().replace("bicubic_unsharp", "lanczos"))
    with pytest.raises(DiscernError, match="holds no outputs of sharp as the study describes them; run the study"):
        figures.write(study)


def test_an_image_without_outputs_is_refused(study: Path) -> None:
    table = stage.outputs(studies.read(study), workspace_of(study))
    for sha256 in table[table["stem"] == "image_0"]["sha256"]:
        workspace_of(study).image_path(sha256).unlink()
    with pytest.raises(DiscernError, match="--image: 'image_0' has no outputs; run the study again"):
        figures.write(study, ["image_0"])


def test_without_selected_pairs_images_must_be_named(study: Path) -> None:
    selected.manifest(workspace_of(study)).replace([])
    with pytest.raises(DiscernError, match=r"no pairs were selected; .* or name LR images with --image"):
        figures.write(study)
    assert figures.write(study, ["image_0"]).stems == ("image_0",)


def test_a_damaged_output_is_named(study: Path) -> None:
    table = stage.outputs(studies.read(study), workspace_of(study))
    path = workspace_of(study).image_path(table[table["stem"] == "image_0"]["sha256"].iloc[0])
    save(path, textured(77, 160, 192))
    with pytest.raises(DiscernError, match=re.escape(str(path))):
        figures.write(study, ["image_0"])


def test_a_folder_that_cannot_be_written_is_named(study: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DiscernError, match=r"taken.*cannot be written"):
        figures.write(study, ["image_0"], out=tmp_path / "taken")
    assert not (tmp_path / "workspace" / "figures").exists()


# The command


def test_the_command_writes_figures_and_says_where(study: Path, tmp_path: Path) -> None:
    result = discern(
        "figures", study, "--image", "image_1", "--image", "image_2", "--crop", "3,4,16,8", "--out", tmp_path / "out"
    )
    assert result.returncode == 0, result.stderr
    assert "2 images, each as HTML, PNG and PDF" in result.stdout
    assert str(tmp_path / "out" / "index.html") in result.stdout
    assert len(list((tmp_path / "out" / "images").iterdir())) == 6
    assert Page(tmp_path / "out" / "images" / "image_2.html").data["data-crop"] == "3,4,16,8"
    assert discern("figures", study).returncode == 0
    assert (tmp_path / "workspace" / "figures" / "index.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "imag_1"], "error: --image: the study has no LR image 'imag_1'; did you mean 'image_1'"),
        (["--crop", "1;2;3;4"], "error: --crop: '1;2;3;4' is no crop; give X,Y,WIDTH,HEIGHT in LR pixels"),
        (["--crop", "0,0,99,99"], "error: --crop: 0,0,99,99 is not inside"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(study: Path, arguments: list[str], message: str) -> None:
    result = discern("figures", study, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in result.stderr


def test_a_study_that_has_not_run_is_one_line_on_the_command_line(make_study: MakeStudy) -> None:
    result = discern("figures", make_study())
    assert result.returncode == 2
    assert "holds no outputs yet; `discern run" in result.stderr
