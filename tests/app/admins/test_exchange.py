"""What hosts that share no file system hand to each other through the store."""

from pathlib import Path
from typing import Any

import pytest
from obstore.store import S3Store

from app.admins import remote
from app.admins.exchange import Exchange
from app.admins.jobs import SupersededError
from app.admins.remote import Errand
from pipelines import ingest, probe
from pipelines import study as studies
from pipelines.errors import DiscernError
from pipelines.progress import silent
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace
from tests.conftest import save, textured

STUDY = """
name = "x"
images.folder = "lr"
methods = [
    { id = "nearest", kind = "interpolation", algorithm = "nearest" },
    { id = "bicubic", kind = "interpolation", algorithm = "bicubic" },
]
execution.workers = 1  # one output after the other
"""


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    """The study's workspace, with its LR images."""
    for index in range(3):
        save(tmp_path / "lr" / f"image_{index}.png", textured(index))
    (tmp_path / "study.toml").write_text(STUDY)
    workspace = Workspace(tmp_path / "workspace")
    ingest.run(studies.load(tmp_path / "study.toml"), workspace)
    return workspace


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange((tmp_path / "store").as_uri(), "0123abcd")


def elsewhere(tmp_path: Path, exchange: Exchange, images: list[str]) -> Workspace:
    """A workspace on another host, with some of the LR images."""
    made = Workspace(tmp_path / "elsewhere")
    exchange.borrow(made, ingest.manifest(made), images)
    return made


def hashes(workspace: Workspace) -> list[str]:
    return [row["sha256"] for row in ingest.manifest(workspace).rows()]


def files(exchange: Exchange) -> list[Path]:
    return [path for path in Path(exchange.url.removeprefix("file://")).rglob("*") if path.is_file()]


def make(tmp_path: Path, workspace: Workspace, images: list[str]) -> None:
    study = studies.load(tmp_path / "study.toml").model_copy(update={"workspace": workspace.root})
    stage.run_part(study, workspace, "bicubic", images)


def prints(tmp_path: Path) -> dict[str, str]:
    """What the study's outputs must have to be up to date."""
    return stage.fingerprints(studies.load(tmp_path / "study.toml"))


def hand_back(exchange: Exchange, workspace: Workspace, name: str = "7/1-1") -> None:
    table = stage.manifest(workspace)
    exchange.hand_back(workspace, table.read(), table.schema, name)


def test_images_go_there_and_outputs_come_back(here: Workspace, exchange: Exchange, tmp_path: Path) -> None:
    assert not exchange.has_lent()
    exchange.lend(here, ingest.manifest(here), silent)
    assert exchange.has_lent()
    wanted = hashes(here)[:2]
    there = elsewhere(tmp_path, exchange, wanted)
    assert hashes(there) == wanted
    make(tmp_path, there, wanted)
    assert exchange.handed_back(7) == set()
    hand_back(exchange, there)
    assert exchange.handed_back(7) == set(wanted)
    assert exchange.handed_back(8) == set()
    assert exchange.take_back(here, stage.manifest(here), prints(tmp_path), silent) == []
    rows: list[dict[str, Any]] = stage.manifest(here).rows()
    assert sorted(row["image"] for row in rows) == sorted(wanted)
    assert stage.manifest(here).read().equals(stage.manifest(there).read())
    for row in rows:
        assert (here.get_image(row["sha256"]) == there.get_image(row["sha256"])).all()
    # Taken once; again, there is nothing.
    assert exchange.handed_back(7) == set()
    exchange.clear()
    assert files(exchange) == []
    assert not exchange.has_lent()


def test_pre_runs_do_not_see_each_others_images(here: Workspace, exchange: Exchange, tmp_path: Path) -> None:
    other = Exchange(exchange.url, "0123")
    exchange.lend(here, ingest.manifest(here), silent)
    assert not other.has_lent()
    other.clear()
    assert exchange.has_lent()


def test_an_image_that_was_damaged_on_its_way_is_not_taken(here: Workspace, exchange: Exchange, tmp_path: Path) -> None:
    exchange.lend(here, ingest.manifest(here), silent)
    wanted = hashes(here)[:1]
    there = elsewhere(tmp_path, exchange, wanted)
    make(tmp_path, there, wanted)
    hand_back(exchange, there)
    (output,) = [row["sha256"] for row in stage.manifest(there).rows()]
    (file,) = [path for path in files(exchange) if output in path.name]
    file.write_bytes(there.image_path(wanted[0]).read_bytes())
    (lost,) = exchange.take_back(here, stage.manifest(here), prints(tmp_path), silent)
    assert (lost["image"], lost["method"]) == (wanted[0], "bicubic")
    assert not here.has_image(output)
    assert stage.manifest(here).rows() == []
    # It is missing, as if it had never been made, and stands in nobody's way.
    assert not file.exists()
    assert exchange.handed_back(7) == set()
    hand_back(exchange, there)
    assert exchange.take_back(here, stage.manifest(here), prints(tmp_path), silent) == []
    assert here.has_image(output)


def test_a_lent_image_that_was_damaged_is_lent_again(here: Workspace, exchange: Exchange, tmp_path: Path) -> None:
    exchange.lend(here, ingest.manifest(here), silent)
    wanted = hashes(here)[:1]
    (file,) = [path for path in files(exchange) if wanted[0] in path.name]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DiscernError, match=rf"preruns/0123abcd/images/{wanted[0]}\.png: was damaged in .*; resume"):
        elsewhere(tmp_path, exchange, wanted)
    with pytest.raises(DiscernError, match=rf"{wanted[0]}\.png: not in the store 'file:.*' any more; resume"):
        elsewhere(tmp_path, exchange, wanted)
    exchange.lend(here, ingest.manifest(here), silent)
    assert hashes(elsewhere(tmp_path, exchange, wanted)) == wanted


def test_rows_that_were_damaged_stand_in_nobodys_way(here: Workspace, exchange: Exchange, tmp_path: Path) -> None:
    exchange.lend(here, ingest.manifest(here), silent)
    wanted = hashes(here)[:1]
    there = elsewhere(tmp_path, exchange, wanted)
    make(tmp_path, there, wanted)
    hand_back(exchange, there)
    (file,) = [path for path in files(exchange) if "rows" in path.parts]
    file.write_bytes(b"nothing")
    with pytest.raises(DiscernError, match=r"preruns/0123abcd/rows/7/1-1\.parquet: was damaged in .*; resume"):
        exchange.take_back(here, stage.manifest(here), prints(tmp_path), silent)
    assert exchange.take_back(here, stage.manifest(here), prints(tmp_path), silent) == []


def test_outputs_that_are_out_of_date_do_not_overrule_newer_ones(
    here: Workspace, exchange: Exchange, tmp_path: Path
) -> None:
    exchange.lend(here, ingest.manifest(here), silent)
    wanted = hashes(here)
    there = elsewhere(tmp_path, exchange, wanted)
    make(tmp_path, there, wanted)
    hand_back(exchange, there)
    # Meanwhile the method is another one, and its outputs are made where the workspace is.
    file = tmp_path / "study.toml"
    file.write_text(file.read_text().replace('algorithm = "bicubic"', 'algorithm = "lanczos"'))
    make(tmp_path, here, wanted)
    before = stage.manifest(here).rows()
    assert exchange.take_back(here, stage.manifest(here), prints(tmp_path), silent) == []
    assert stage.manifest(here).rows() == before
    assert exchange.handed_back(7) == set()


def test_an_attempt_that_is_no_longer_wanted_hands_nothing_back(
    here: Workspace, exchange: Exchange, tmp_path: Path
) -> None:
    exchange.lend(here, ingest.manifest(here), silent)
    study, wanted = studies.load(tmp_path / "study.toml"), hashes(here)

    def superseded(task: str, done: int, total: int) -> None:
        if done == 2:
            raise SupersededError

    def interrupted(task: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    first = Errand(exchange, tmp_path / "scratch" / "first", part=7, attempt=1)
    with pytest.raises(SupersededError):
        first.run(study, "bicubic", wanted, superseded, slot="all")
    assert exchange.handed_back(7) == set()
    # One that is stopped keeps what it has.
    second = Errand(exchange, tmp_path / "scratch" / "second", part=7, attempt=2)
    with pytest.raises(KeyboardInterrupt):
        second.run(study, "bicubic", wanted, interrupted, slot="all")
    assert len(exchange.handed_back(7)) >= 2


def test_outputs_are_handed_back_while_others_are_made(
    here: Workspace, exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "HAND_BACK_SECONDS", 0.0)
    exchange.lend(here, ingest.manifest(here), silent)
    known: list[int] = []

    def look(task: str, done: int, total: int) -> None:
        known.append(len(exchange.handed_back(7)))

    errand = Errand(exchange, tmp_path / "scratch", part=7, attempt=1)
    report = errand.run(studies.load(tmp_path / "study.toml"), "bicubic", hashes(here), look, slot="all")
    assert report.new == len(hashes(here)) == len(exchange.handed_back(7))
    assert any(0 < count < len(hashes(here)) for count in known)


def test_a_store_that_does_not_answer_is_named(exchange: Exchange) -> None:
    nobody = {"endpoint": "http://127.0.0.1:1", "region": "x", "access_key_id": "x", "secret_access_key": "x"}
    exchange._store = S3Store("bucket", **nobody, client_options={"allow_http": True}, retry_config={"max_retries": 0})
    for ask in (exchange.has_lent, exchange.clear, lambda: exchange.handed_back(7)):
        with pytest.raises(DiscernError, match=r"^DISCERN_STORE: 'file:.*store' does not answer as it should: "):
            ask()


def test_a_probe_is_found_where_it_was_left_and_nowhere_else(tmp_path: Path) -> None:
    probe.leave(tmp_path / "a", "0123")
    (tmp_path / "b").mkdir()
    assert probe.found(tmp_path / "a", "0123")
    assert not probe.found(tmp_path / "a", "4567")
    assert not probe.found(tmp_path / "b", "0123")
    assert not probe.found(tmp_path / "c", "0123")
    # Another pre-run, later, in the same workspace.
    probe.leave(tmp_path / "a", "4567")
    assert not probe.found(tmp_path / "a", "0123")
    assert probe.found(tmp_path / "a", "4567")
    # A file of the name is no proof.
    (tmp_path / "a" / "probes" / "4567").write_text("89ab")
    assert not probe.found(tmp_path / "a", "4567")
