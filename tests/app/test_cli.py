"""The command as its user meets it: what it prints, what it leaves behind, and one message for each mistake."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.conftest import SLOW, SLOW_IMAGES, SLOW_SIZE, save, textured, wait_until_half_way

MakeStudy = Callable[..., Path]
DISCERN = [sys.executable, "-c", "from app.cli import main; main()"]


def discern(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DISCERN, *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=cwd, check=False
    )


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The message of a run that was refused: status 2, nothing on standard output, no traceback."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


VOTES = "winner,loser,image,subject\n" + "".join(
    f"{winner},{loser},i{image},s{subject}\n"
    for subject in range(6)
    for image in range(8)
    for winner, loser in (
        ("b", "a") if (subject + image) % 4 else ("a", "b"),
        ("c", "b") if subject % 3 else ("b", "c"),
    )
)


def test_help_lists_the_verbs() -> None:
    result = discern("--help")
    assert result.returncode == 0
    for verb in ("init", "run", "rank", "score", "demo"):
        assert verb in result.stdout


def test_init_writes_an_example_that_asks_for_the_papers_settings_and_refuses_to_overwrite(tmp_path: Path) -> None:
    result = discern("init", tmp_path / "new")
    assert result.returncode == 0
    assert f"discern run {tmp_path / 'new' / 'study.toml'}" in result.stdout
    message = refused(discern("run", tmp_path / "new" / "study.toml"))
    assert "weights.vgg16: vgg16-397923af.pth is not in the cache, and cannot be fetched from" in message
    assert 'Selection without weights: distance = "gmsd" and semantics = "colour_gradient"' in message
    assert not (tmp_path / "new" / "workspace").exists()
    assert "exists already" in refused(discern("init", tmp_path / "new"))


def test_a_mistake_in_a_study_file_is_said_before_the_science_is_imported(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('name = "x"\nmethod = []\n')
    script = "import sys; from app.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    command = [sys.executable, "-c", script, "run", str(tmp_path / "study.toml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "False\n"), result.stderr
    assert "method" in result.stderr


def test_the_example_runs_once_weights_are_not_asked_for(tmp_path: Path) -> None:
    discern("init", tmp_path)
    file = tmp_path / "study.toml"
    text = file.read_text().replace('"dists"', '"gmsd"').replace('"vgg16"', '"colour_gradient"')
    file.write_text(text.replace("# per_pair = 16 ", "per_pair = 2 "))
    assert "put LR images there" in refused(discern("run", file))
    for index in range(3):
        save(tmp_path / "lr" / f"{index}.png", textured(index))
    assert discern("run", file).returncode == 0


def test_run_prints_a_summary_and_leaves_a_contact_sheet(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=4)
    (tmp_path / "lr" / "broken.png").write_text("x")
    result = discern("run", path)
    assert result.returncode == 0, result.stderr
    assert "outputs      12 (12 new) of 3 methods" in result.stdout
    assert "pairs         6 (new)" in result.stdout
    assert "broken.png" in result.stderr
    assert f"1 left out; all are in {tmp_path / 'workspace' / 'left_out.csv'}" in result.stderr
    page = (tmp_path / "workspace" / "contact_sheet.html").read_text()
    links = {part.split('"')[0] for part in page.split('src="')[1:]}
    assert len(links) > 6
    assert all((tmp_path / "workspace" / link).is_file() for link in links)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "workspace").rglob("*") if file.name != ".lock"}
    again = discern("run", path)
    assert "outputs      12 (0 new)" in again.stdout
    assert "pairs         6 (unchanged)" in again.stdout
    assert {file: file.stat().st_mtime_ns for file in files} == files


def spoil(folder: Path) -> dict[str, str]:
    """Put a file of every unusable kind into a folder; returns what should be said about each."""
    save(folder / "whole.png", textured(50, 64, 64))
    Image.fromarray(np.dstack([textured(51), np.full((24, 32), 9, np.uint8)])).save(folder / "alpha.png")
    Image.fromarray(textured(52)).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(folder / "deep.png")
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    (folder / "text.png").write_text("no image")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:-300])
    (folder / "moving.gif").write_bytes(b"GIF89a")
    save(folder / "copy.png", textured(0))
    save(folder / "a" / "twin.png", textured(53))
    save(folder / "b" / "twin.png", textured(54))
    return {
        "alpha.png": "transparency is not supported",
        "cmyk.jpg": "mode CMYK is not supported",
        "deep.png": "16 bits per channel are not supported",
        "bomb.png": "pixels",
        "text.png": "not a PNG, JPEG, WebP, TIFF or BMP image",
        "empty.png": "an empty file",
        "cut.png": "damaged image",
        "moving.gif": "not a PNG, JPEG, WebP, TIFF or BMP image",
        "image_0.png": "has the same pixels as",
        "a/twin.png": "another file is called 'twin' too",
        "b/twin.png": "another file is called 'twin' too",
    }


def test_whatever_cannot_be_used_is_in_one_table_and_the_rest_goes_on(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=4)
    expected = spoil(tmp_path / "lr")
    result = discern("run", path)
    assert result.returncode == 0, result.stderr
    assert "images        5 (5 new)" in result.stdout  # four, one of them under the name of its copy, and the whole one
    assert "outputs      15 (15 new)" in result.stdout
    table = pd.read_csv(tmp_path / "workspace" / "left_out.csv")
    assert list(table.columns) == ["stage", "image", "method", "reason"]
    said = {Path(row["image"]).relative_to(tmp_path / "lr").as_posix(): row["reason"] for _, row in table.iterrows()}
    assert said.keys() == expected.keys()
    assert {name for name, words in expected.items() if words not in said[name]} == set()
    assert all(str(tmp_path / "lr" / name) in said[name] for name in expected)
    assert set(table["stage"]) == {"ingest"}
    assert all(Path(name).name in result.stderr for name in expected)


def test_when_too_little_is_left_to_select_from_the_first_reason_is_said_and_the_table_has_all(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    save(tmp_path / "done" / "image_0.png", textured(0, 96, 128))
    finished = '\n[[methods]]\nid = "done"\nkind = "folder"\nfolder = "done"\npattern = "{stem}_x4.png"\n'
    message = refused(discern("run", make_study(extra=finished)))
    table = tmp_path / "workspace" / "left_out.csv"
    (line,) = (line for line in message.splitlines() if line.startswith("error: "))
    assert "selection.per_pair: 2 images are asked for, but only 0 have usable outputs of both" in line
    assert f"; 4 left out, all are in {table}; the first: done: no output for 'image_0'" in line
    assert list(pd.read_csv(table)["image"]) == [f"image_{number}" for number in range(4)]


@pytest.mark.slow
def test_an_engine_can_be_chosen_for_one_run(make_study: MakeStudy) -> None:
    path = make_study(images=2, replace={"workers = 2": 'engine = "ray"'})
    assert "engine: 'warp' is not known; choose local or ray" in refused(discern("run", path, "--engine", "warp"))
    assert discern("run", path, "--engine", "local").returncode == 0


def test_a_mistake_in_the_study_file_is_one_line(make_study: MakeStudy) -> None:
    path = make_study(replace={"per_pair = 2": "trade_off = -1.0"})
    message = refused(discern("run", path))
    assert message.splitlines() == [
        f"error: {path}: selection.trade_off: input should be greater than or equal to 0, got -1.0; correct the value"
    ]


def test_a_name_with_markup_is_printed_as_it_is(make_study: MakeStudy) -> None:
    path = make_study(replace={'folder = "lr"': 'folder = "[bold]lr[/]"'})
    assert "/[bold]lr[/]; create it" in refused(discern("run", path))


@pytest.mark.slow
def test_an_interrupted_run_says_that_it_continues(make_study: MakeStudy, tmp_path: Path) -> None:
    path = make_study(images=SLOW_IMAGES, replace=SLOW, size=SLOW_SIZE)
    process = subprocess.Popen([*DISCERN, "run", str(path)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_until_half_way(process, tmp_path / "workspace")
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to continue" in message
    assert "Traceback" not in message
    finished = discern("run", path)
    assert f"outputs      {3 * SLOW_IMAGES}" in finished.stdout
    assert f"({3 * SLOW_IMAGES} new)" not in finished.stdout


def test_rank_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text(VOTES)
    result = discern("rank", tmp_path / "votes.csv", "--json", tmp_path / "ranking.json")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "95 % interval" in lines[0]
    assert [line.split()[1] for line in lines[1:4]] == ["c", "b", "a"]
    assert "96 votes; intervals clustered by 6 subjects x 8 images" in result.stdout
    listing = json.loads((tmp_path / "ranking.json").read_text())
    assert [row["method"] for row in listing["methods"]] == ["c", "b", "a"]
    assert sum(row["score"] for row in listing["methods"]) == pytest.approx(0, abs=1e-9)
    assert all(row["lower"] < row["score"] < row["upper"] for row in listing["methods"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("winner,loser\na,b\na,b\n", "no finite scores exist"),
        ("winner,loser\na,a\n", "line 2"),
        ("left,right\na,b\n", "not a known table of votes"),
        ("", "empty"),
    ],
)
def test_rank_refuses_votes_that_imply_no_ranking(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "votes.csv").write_text(content)
    assert expected in refused(discern("rank", tmp_path / "votes.csv"))


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path: Path) -> None:
    text = VOTES.replace("a,", "SR[v2],").replace(",a,", ",SR[v2],").replace("c,", "[/x],").replace(",c,", ",[/x],")
    (tmp_path / "votes.csv").write_text(text.replace("winner,loser,imSR[v2],", "winner,loser,im"))
    result = discern("rank", tmp_path / "votes.csv")
    assert result.returncode == 0, result.stderr
    assert "SR[v2]" in result.stdout
    assert "[/x]" in result.stdout


def test_a_terminal_without_unicode_gets_a_plot_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "votes.csv").write_text(VOTES)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = discern("rank", tmp_path / "votes.csv")
    assert result.returncode == 0, result.stderr
    assert "-o-" in result.stdout


def test_rank_of_simulated_votes_says_so(tmp_path: Path) -> None:
    rows = VOTES.splitlines()
    (tmp_path / "votes.csv").write_text("\n".join([rows[0] + ",simulated", *(row + ",true" for row in rows[1:])]))
    assert "simulated subjects, not from people" in discern("rank", tmp_path / "votes.csv").stdout


def test_rank_of_the_released_votes_gives_the_published_scores(sample_data: Path, tmp_path: Path) -> None:
    result = discern("rank", sample_data / "realsr1k" / "votes.csv", "--json", tmp_path / "ranking.json")
    assert result.returncode == 0
    assert "log-likelihood -14219.8689, G2 265.5 on 55 degrees of freedom" in result.stdout
    best = json.loads((tmp_path / "ranking.json").read_text())["methods"][0]
    assert (best["method"], round(best["score"], 4)) == ("SeeSR", 0.7439)


def test_rank_of_a_group_ranks_its_votes_and_a_table_of_several_says_so(tmp_path: Path) -> None:
    header, *rows = VOTES.splitlines()
    exchanged = [",".join([row.split(",")[1], row.split(",")[0], *row.split(",")[2:]]) for row in rows]
    lines = [f"{header},group", *(f"{row},mad" for row in rows), *(f"{row},random" for row in exchanged[:64])]
    (tmp_path / "votes.csv").write_text("\n".join(lines) + "\n")
    everything = discern("rank", tmp_path / "votes.csv", "--ridge", 0.1)
    assert "160 votes; intervals clustered by" in everything.stdout
    assert "votes by group: mad 96, random 64" in everything.stdout
    orders = {}
    for group, number in (("mad", 96), ("random", 64)):
        result = discern("rank", tmp_path / "votes.csv", "--group", group, "--json", tmp_path / f"{group}.json")
        assert result.returncode == 0, result.stderr
        assert f"{number} votes of group {group}; intervals clustered by" in result.stdout
        assert "votes by group" not in result.stdout
        listing = json.loads((tmp_path / f"{group}.json").read_text())
        assert (listing["group"], listing["votes_by_group"], listing["votes"]) == (group, {group: number}, number)
        orders[group] = [row["method"] for row in listing["methods"]]
    assert orders["mad"] == orders["random"][::-1] == ["c", "b", "a"]
    refusal = refused(discern("rank", tmp_path / "votes.csv", "--group", "mid"))
    assert "group 'mid': there is none of this name; the groups are mad, random" in refusal
    (tmp_path / "votes.csv").write_text(VOTES)
    assert "these votes name no groups" in refused(discern("rank", tmp_path / "votes.csv", "--group", "mad"))


def test_score_refuses_what_is_not_a_model(tmp_path: Path) -> None:
    image = save(tmp_path / "image.png", textured(0))
    assert "not a model's folder" in refused(discern("score", tmp_path, image))


def test_the_worked_example_of_the_documentation_runs_on_real_photographs(sample_data: Path, tmp_path: Path) -> None:
    """The study of docs/real-photographs.md, on photographs that are small enough for the networks to be quick."""
    example = (Path(__file__).parents[2] / "docs" / "realsrset.toml").read_text()
    few = ("Lincoln", "chip", "comic1", "dog", "tiger")
    for stem in few:
        with Image.open(sample_data / "realsrset" / "lr" / f"{stem}.png") as image:
            pixels = np.asarray(image)[:40, :40]
        save(tmp_path / "data" / "realsrset" / "lr" / f"{stem}.png", pixels)
        for method in ("BSRGAN", "ESRGAN", "RealSR_JPEG"):
            source = sample_data / "realsrset" / "outputs" / method / f"{stem}_{method}.png"
            if source.exists():
                with Image.open(source) as output:
                    cut = np.asarray(output)[:160, :160]
                save(tmp_path / "data" / "realsrset" / "outputs" / method / source.name, cut)
    (tmp_path / "data" / "weights").symlink_to(sample_data / "weights")
    (tmp_path / "study.toml").write_text(example.replace("per_pair = 6", "per_pair = 3"))
    result = discern("run", tmp_path / "study.toml")
    assert result.returncode == 0, result.stderr
    assert "outputs      32 (32 new) of 7 methods" in result.stdout
    left_out = pd.read_csv(tmp_path / "workspace" / "left_out.csv")
    gaps = set(zip(left_out["image"], left_out["method"], strict=True))
    assert gaps == {("dog", "ESRGAN"), ("tiger", "ESRGAN"), ("tiger", "RealSR-JPEG")}
    pairs = pd.read_parquet(tmp_path / "workspace" / "manifests" / "pairs")
    assert len(pairs) == 21 * 3
    assert "tiger" not in set(pairs[pairs["method_b"] == "RealSR-JPEG"]["stem"])
