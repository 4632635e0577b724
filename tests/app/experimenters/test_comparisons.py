"""The page of one LR image: what every method made of it, for experimenters and admins, and for nobody else."""

import re
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import delete, select, text

from app import crops
from app.experimenters import comparisons
from app.models import LowResolutionImage, Output, Pair
from pipelines import study as studies
from pipelines.images import Pixels, decode_bytes, pixel_hash
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace
from tests.app.conftest import Site

METHODS = ["nearest", "bicubic", "sharp"]


def outputs_of(workspace: Path, stem: str) -> dict[str, tuple[str, Pixels]]:
    """Pixel hash and pixels by method."""
    table = stage.outputs(studies.recorded(workspace), Workspace(workspace))
    rows = table[table["stem"] == stem].set_index("method")
    hashes = {method: rows.loc[method, "sha256"] for method in METHODS}
    return {method: (sha256, Workspace(workspace).get_image(sha256)) for method, sha256 in hashes.items()}


def some_stem(site: Site) -> str:
    with site.sessions() as db:
        return db.scalars(select(LowResolutionImage.stem).order_by(LowResolutionImage.stem)).first() or ""


def rename(site: Site, stem: str, name: str) -> None:
    with site.sessions.begin() as db:
        db.execute(
            text("UPDATE low_resolution_images SET stem = :name WHERE stem = :stem"), {"name": name, "stem": stem}
        )


@pytest.mark.parametrize("role", ["experimenter", "admin"])
def test_the_page_shows_every_output_in_study_order_first_where_they_disagree(
    site: Site, workspace: Path, role: str
) -> None:
    browser, stem = site.staff(role), some_stem(site)
    answer = browser.get(f"/studies/small/images/{stem}")
    assert answer.status_code == 200
    assert re.findall(r"<b>(.*?)</b>", answer.text.partition("<main>")[2]) == ["low resolution", *METHODS]
    outputs = outputs_of(workspace, stem)
    links = re.findall(r'data-image="(.*?)"', answer.text)
    assert [pixel_hash(decode_bytes(browser.get(link).content)) for link in links[1:]] == [
        sha256 for sha256, _ in outputs.values()
    ]
    assert decode_bytes(browser.get(links[0]).content).shape == (40, 48, 3)
    expected = crops.most_disputed((pixels for _, pixels in outputs.values()), 4)
    assert f'data-width="48" data-height="40" data-scale="4" data-crop="{expected}"' in answer.text
    assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", answer.text)[:2] == [
        ("kind", "interpolation"),
        ("algorithm", "nearest"),
    ]


def test_the_outputs_of_an_image_are_read_once_however_many_ask_at_the_same_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, stem = site.staff("experimenter"), some_stem(site)
    reading, second = [], threading.Event()

    def slow(outputs: Iterable[Pixels], scale: int) -> crops.Crop:
        reading.append(stem)
        if len(reading) > 1:
            second.set()
        second.wait(1)  # for somebody else who reads, too
        return crops.most_disputed(outputs, scale)

    monkeypatch.setattr(comparisons, "most_disputed", slow)
    monkeypatch.setattr(comparisons, "PATIENCE_SECONDS", 60)
    comparisons._disputed_crops.clear()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: browser.get(f"/studies/small/images/{stem}"), range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert reading == [stem]


def test_who_asks_for_an_image_that_takes_long_does_not_wait_for_others_for_long(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, stem = site.staff("experimenter"), some_stem(site)
    monkeypatch.setattr(comparisons, "PATIENCE_SECONDS", 0.01)
    comparisons._disputed_crops.clear()
    with comparisons._reading:  # somebody else's image
        busy = browser.get(f"/studies/small/images/{stem}")
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
    assert "the outputs of another image are being read; ask again in a moment" in busy.text
    assert browser.get(f"/studies/small/images/{stem}").status_code == 200
    with comparisons._reading:  # what is known needs no reading
        assert browser.get(f"/studies/small/images/{stem}").status_code == 200


def test_every_pair_leads_to_the_page_of_its_image(site: Site) -> None:
    browser = site.staff("experimenter")
    rename(site, some_stem(site), "ä #1?.png 50%")
    found = set()
    for first, second in (("nearest", "bicubic"), ("bicubic", "sharp"), ("sharp", "nearest")):
        page = browser.get("/studies/small/pairs", params={"first": first, "second": second}).text
        found |= set(re.findall(r'<a href="([^"]+)">all methods</a>', page))
    with site.sessions() as db:
        stems = set(db.scalars(select(LowResolutionImage.stem)))
    assert found == {f"/studies/small/images/{quote(stem)}" for stem in stems}
    for link, stem in zip(sorted(found), sorted(stems, key=quote), strict=True):
        assert f"<h1>{stem}</h1>" in browser.get(link).text


@pytest.mark.parametrize("name", ["scan.png", "a.b.c", "x" * 64, "0" * 64])
def test_a_stem_that_looks_like_a_file_or_a_hash_is_a_stem(site: Site, name: str) -> None:
    stem = some_stem(site)
    rename(site, stem, name)
    answer = site.staff("experimenter").get(f"/studies/small/images/{name}")
    assert answer.status_code == 200
    assert f"<h1>{name}</h1>" in answer.text


def test_a_method_without_an_output_is_named(site: Site) -> None:
    with site.sessions.begin() as db:
        voted = select(Pair.first_output_id).union(select(Pair.second_output_id))
        output = db.scalars(select(Output).where(Output.id.not_in(voted))).first()
        assert output is not None
        stem = db.get_one(LowResolutionImage, output.low_resolution_image_id).stem
        db.execute(delete(Output).where(Output.id == output.id))
    page = site.staff("experimenter").get(f"/studies/small/images/{stem}").text
    assert f"No output of this image by {METHODS[output.method_position]}." in page
    assert page.count("data-image=") == 3


@pytest.mark.parametrize("stem", ["absent", "absent.png", "%2e%2e", "image_0 "])
def test_an_image_that_no_pair_shows_is_not_found(site: Site, stem: str) -> None:
    answer = site.staff("experimenter").get(f"/studies/small/images/{stem}")
    assert answer.status_code == 404


def test_an_image_that_the_store_has_lost_is_a_clear_error(site: Site, workspace: Path) -> None:
    stem = some_stem(site)
    for path in (site.settings.home / "store").rglob("*.png"):
        path.unlink()
    answer = site.staff("experimenter").get(f"/studies/small/images/{stem}", headers={"Accept": "application/json"})
    assert answer.status_code >= 400
    assert "not in the store; DISCERN_STORE must name" in answer.text


def test_subjects_and_strangers_see_neither_the_page_nor_its_images(site: Site, workspace: Path) -> None:
    stem = some_stem(site)
    hashes = [sha256 for sha256, _ in outputs_of(workspace, stem).values()]
    paths = [f"/studies/small/images/{stem}", *(f"/studies/small/images/{sha256}.png" for sha256 in hashes)]
    expected: tuple[tuple[httpx.Client, int], ...] = ((site.subject(), 403), (site.client(), 401))
    for browser, status in expected:
        for path in paths:
            assert browser.get(path, headers={"Accept": "*/*"}).status_code == status
