"""Rated sets from CSV files: what is read, and what is refused with file and line."""

from pathlib import Path

import pytest

from pipelines.calibration.datasets import read_csv
from pipelines.errors import DiscernError


def csv(folder: Path, text: str, images: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    for name in images:
        (folder / name).touch()
    path = folder / "ratings.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_ratings_and_sources_are_read(tmp_path: Path) -> None:
    rated = read_csv(csv(tmp_path, "path,mos,std,source\na.png,3.5,.2,house\nb.png,1,.1,house\n"))
    assert rated.paths == (tmp_path / "a.png", tmp_path / "b.png")
    assert rated.mos == (3.5, 1.0)
    assert rated.sources == ("house", "house")
    assert len(rated) == 2


def test_without_a_source_every_image_is_its_own(tmp_path: Path) -> None:
    assert read_csv(csv(tmp_path, "mos,path\n3,a.png\n4,b.png\n")).sources == ("a", "b")


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    assert read_csv(csv(tmp_path, "\ufeffpath,mos\na.png,3\n")).mos == (3.0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,mos\na.png,3\nb.png,good\n", "ratings.csv: line 3: mos is 'good', expected a finite number"),
        ("path,mos\na.png,nan\n", "ratings.csv: line 2: mos is 'nan'"),
        ("path,mos\na.png,\n", "ratings.csv: line 2: mos is ''"),
        ("path,mos\na.png\n", "ratings.csv: line 2: mos is ''"),
        ("path,mos\n,3\n", "ratings.csv: line 2: path is empty"),
        ("image,score\na.png,3\n", "ratings.csv: line 1: no column 'path' among image, score"),
        ("path,quality\na.png,3\n", "ratings.csv: line 1: no column 'mos'"),
        ("", "ratings.csv: line 1: no column 'path' among none"),
        ("path,mos\n", "ratings.csv: holds a header but no images"),
        ("path,mos\na.png,3\na.png,4\n", "ratings.csv: line 3: .*a.png is listed twice"),
    ],
)
def test_a_broken_file_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DiscernError, match=message):
        read_csv(csv(tmp_path, text))


def test_missing_images_are_listed_by_name(tmp_path: Path) -> None:
    path = csv(tmp_path, "path,mos\na.png,3\ngone.png,4\nlost.png,2\n")
    with pytest.raises(DiscernError) as caught:
        read_csv(path)
    assert "line 3: no such image: " in str(caught.value)
    assert "gone.png" in str(caught.value)
    assert "lost.png" in str(caught.value)
    assert "a.png" not in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DiscernError, match="cannot be read as a CSV file"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"path,mos\n\xff\xfe\x00")
    with pytest.raises(DiscernError, match="cannot be read as a CSV file"):
        read_csv(tmp_path / "binary.csv")
