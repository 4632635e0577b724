"""The contact sheet: every shown pair with why it was chosen, both groups, reuse, near-duplicates, doubtful weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app import contact_sheet, runs
from pipelines.progress import silent
from pipelines.selection import selected
from tests.conftest import save, textured

MakeStudy = Callable[..., Path]


@pytest.fixture
def summary(make_study: MakeStudy, tmp_path: Path) -> runs.Summary:
    """A study with a control group, and a near-duplicate among its LR images."""
    path = make_study(images=6, replace={"per_pair = 2": "per_pair = 2\nrandom_per_pair = 1"})
    copy = textured(0)
    copy[3, 3] = 0
    save(tmp_path / "lr" / "nearly_image_0.png", copy)
    return runs.run(path, silent)


def test_every_pair_is_shown_with_what_explains_it(summary: runs.Summary) -> None:
    page = summary.end.contact_sheet.read_text(encoding="utf-8")
    rows = selected.manifest(summary.workspace).rows()
    assert {row["group"] for row in rows} == {"mad", "random"}
    assert "6 image pairs by the MAD competition" in page
    assert "control group of\n    3 drawn at random" in page
    for row in rows:
        label = f"{'random ' if row['group'] == 'random' else ''}{row['rank']}. {row['stem']}</b>"
        place = page.index(f"D1 {row['distance']:.4f} (no. {row['rank_by_distance']} by D1 alone)")
        assert label in page
        assert place > 0
        for part in (f"D2 {row['semantics']:.4f}", f"score {row['score']:.4f}", row["output_a"], row["output_b"]):
            assert part in page


def test_reuse_and_near_duplicates_are_counted(summary: runs.Summary) -> None:
    page = summary.end.contact_sheet.read_text(encoding="utf-8")
    report = summary.end.pairs
    assert f"{report.images} distinct images" in page
    for row in report.reuse:
        assert f'<td class="number">{row.distance:.4f}</td>' in page
    assert "<td>nearly_image_0</td><td>image_0</td>" in page
    assert "near-duplicates; the contact sheet lists them" in "\n".join(summary.lines())
    assert "6 mad and 3 random" in "\n".join(summary.lines())


def test_weights_that_are_not_the_published_ones_are_named(summary: runs.Summary) -> None:
    assert "not the published ones" not in summary.end.contact_sheet.read_text(encoding="utf-8")
    doubtful = replace(summary.end.pairs, weights=("vgg16 from /a/file.pt",))
    path = contact_sheet.write(summary.study, summary.workspace, doubtful)
    assert "not the published ones: vgg16 from /a/file.pt" in path.read_text(encoding="utf-8")
