"""Folders of finished outputs: found by any naming rule, and noticed when they change."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import DiscernError
from pipelines.images import ImageError
from pipelines.super_resolution.folder import Folder
from pipelines.super_resolution.method import MissingOutputError, fingerprint
from tests.conftest import save, textured

PATTERNS = [
    "{stem}.png",
    "{stem}_x4.png",
    "sample00/{stem}.png",
    "visualization/[Single]/{stem}_x4.png",
    "{stem}/0.png",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_output_is_found_by_its_rule(tmp_path: Path, pattern: str) -> None:
    pixels = textured(1)
    save(tmp_path / pattern.replace("{stem}", "0801"), pixels)
    method = Folder("done", tmp_path, pattern, 4)
    assert method.by_stem
    assert method.path_of("0801") == tmp_path / pattern.replace("{stem}", "0801")
    np.testing.assert_array_equal(method.upscale("0801", textured(2)).pixels, pixels)
    with pytest.raises(MissingOutputError, match="done: no output for '0802'"):
        method.upscale("0802", textured(2))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_outputs_that_come_change_or_go_change_the_fingerprint(tmp_path: Path, pattern: str) -> None:
    def now() -> str:
        return fingerprint(Folder("done", tmp_path, pattern, 4))

    prints = [now()]
    path = save(tmp_path / pattern.replace("{stem}", "0801"), textured(1))
    prints.append(now())
    os.utime(path, ns=(0, 0))
    prints.append(now())
    path.write_bytes(path.read_bytes() + b"0")
    os.utime(path, ns=(0, 0))
    prints.append(now())
    path.rename(path.with_name("0802_x4.png"))
    prints.append(now())
    assert len(set(prints)) == len(prints)
    assert now() == prints[-1]


def test_what_lies_elsewhere_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path / "sample00" / "0801.png", textured(1))
    before = fingerprint(Folder("done", tmp_path, "sample00/{stem}.png", 4))
    save(tmp_path / "0801.png", textured(1))
    save(tmp_path / "sample01" / "0801.png", textured(1))
    assert fingerprint(Folder("done", tmp_path, "sample00/{stem}.png", 4)) == before
    assert fingerprint(Folder("done", tmp_path, "sample00/{stem}.png", 2)) != before


def test_a_damaged_output_is_named(tmp_path: Path) -> None:
    (tmp_path / "0801.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"0801\.png: not a"):
        Folder("done", tmp_path, "{stem}.png", 4).upscale("0801", textured(1))


def test_a_folder_has_a_rule(tmp_path: Path) -> None:
    with pytest.raises(DiscernError, match=r"pattern: 'out\.png' must hold \{stem\} once"):
        Folder("done", tmp_path, "out.png", 4)
