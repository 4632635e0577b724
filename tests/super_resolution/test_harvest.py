"""When an output is ripe; the times of files are set by hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.super_resolution.external.harvest import Harvest, Made
from pipelines.super_resolution.external.program import Program
from pipelines.super_resolution.external.staging import Call, LowResolution
from tests.conftest import save, textured
from tests.super_resolution.conftest import Site

STEMS = ("a", "b", "c")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def harvest(site: Site, out: Path) -> Harvest:
    """Of a call at second 100 with three images of 8 x 6 pixels; the second is not wanted."""
    waiting = {stem: LowResolution(stem, out, 8, 6) for stem in ("a", "c")}
    return Harvest(site.program(), out, Call(STEMS, waiting, 100.0))


def write(out: Path, stem: str, second: float, pixels: np.ndarray | None = None) -> Path:
    path = save(out / f"{stem}.png", textured(1, 24, 32) if pixels is None else pixels)
    os.utime(path, ns=(0, int(second * 1e9)))
    return path


def taken(harvest: Harvest, *, ended: bool = False) -> list[Made]:
    harvest.look()
    return list(harvest.take(ended=ended))


def test_an_output_is_ripe_when_a_later_one_has_appeared(harvest: Harvest, out: Path) -> None:
    write(out, "a", 103)
    assert taken(harvest) == []
    write(out, "b", 103)
    assert taken(harvest) == []
    write(out, "b", 105)
    (made,) = taken(harvest)
    assert (made.image, made.position, made.of, made.seconds) == ("a", 1, 3, 3.0)
    assert [path.name for path in out.iterdir()] == ["b.png"]
    assert taken(harvest, ended=True) == []


def test_an_output_that_is_written_again_is_taken_as_it_is_then(harvest: Harvest, out: Path) -> None:
    write(out, "a", 101, np.zeros((24, 32, 3), dtype=np.uint8))
    write(out, "c", 102)
    write(out, "a", 103, textured(5, 24, 32))
    first, second = [*taken(harvest), *taken(harvest, ended=True)]
    assert (first.image, second.image) == ("c", "a")
    assert (first.seconds, second.seconds) == (2.0, 1.0)
    np.testing.assert_array_equal(second.pixels, textured(5, 24, 32))


def test_half_a_file_is_looked_at_again_when_it_has_changed(harvest: Harvest, out: Path) -> None:
    path = write(out, "a", 101)
    path.write_bytes(path.read_bytes()[:-30])
    os.utime(path, ns=(0, int(101e9)))
    write(out, "b", 102)
    assert taken(harvest) == []
    write(out, "a", 101.5)
    assert [made.image for made in taken(harvest)] == ["a"]
    assert harvest.failures() == []


def test_what_cannot_be_used_in_the_end_is_a_failure(harvest: Harvest, out: Path) -> None:
    write(out, "a", 101, textured(1, 24, 31))
    (out / "c.png").write_bytes(b"")
    assert taken(harvest, ended=True) == []
    problems = {failed.image: str(failed.problem) for failed in harvest.failures()}
    assert "a.png: the output is 31x24, expected 32x24 (4 times the LR image)" in problems["a"]
    assert "c.png: an empty file" in problems["c"]


def test_a_file_that_went_away_again_is_missing_and_not_a_failure(harvest: Harvest, out: Path) -> None:
    path = write(out, "a", 101, textured(1, 24, 31))
    taken(harvest, ended=True)
    path.unlink()
    harvest.look()
    assert harvest.failures() == []


def test_looking_says_whether_anything_is_new(harvest: Harvest, out: Path) -> None:
    assert not harvest.look()
    assert not harvest.has_begun
    write(out, "other", 101)
    (out / "c.png").mkdir()
    assert not harvest.look()
    for second in (101, 102):
        path = write(out, "a", second)
        assert harvest.look()
        assert not harvest.look()
    path.unlink()
    assert not harvest.look()
    assert harvest.has_begun


@settings(max_examples=30)  # each writes files
@given(order=st.permutations(range(6)), looks=st.lists(st.booleans(), min_size=6, max_size=6))
def test_whenever_one_looks_each_output_is_taken_once_and_never_the_newest(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], looks: list[bool]
) -> None:
    out = tmp_path_factory.mktemp("out")
    low = {f"{index}": LowResolution(f"{index}", out, 2, 2) for index in range(6)}
    program = Program("p", out, ("python",), ("x",), {}, None, "{out}", "{stem}.png", {}, (), 1.0, 1.0, False, 1, 0)
    harvest = Harvest(program, out, Call(tuple(low), low, 0.0))
    made: list[Made] = []
    for second, (index, does_look) in enumerate(zip(order, looks, strict=True), 1):
        write(out, str(index), second, np.full((2, 2, 3), index, dtype=np.uint8))
        if does_look:
            made += taken(harvest)
            assert str(index) not in {one.image for one in made}
    made += taken(harvest, ended=True)
    assert [one.image for one in made] == [str(index) for index in order]
    assert [int(one.pixels[0, 0, 0]) for one in made] == order
    assert sum(one.seconds for one in made) == 6.0
    assert not list(out.iterdir())
