"""What an import brings beside pairs: versions of the protocol, references, and trials that do not count."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app import models, studies
from app.models import ImageFile, LowResolutionImage, Output, Probe
from app.store import Store
from app.study_protocol import VOTED_ON
from pipelines import study as study_files
from pipelines.errors import DiscernError
from pipelines.images import decode_bytes, pixel_hash
from pipelines.protocol import Protocol
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace
from tests.app import seats
from tests.conftest import textured

FULL = {"training": 3, "warm_up": 2, "warm_up_later": 1, "gold_rate": 0.2, "identical_rate": 0.2}
NUMBERS = {"training": 3, "warm_up": 5, "gold": 3, "identical": 3}


def ask(folder: Path, **settings: Any) -> None:
    """Let the study of a workspace have another protocol."""
    before = study_files.recorded(folder)
    protocol = Protocol.model_validate({"training": 0, "warm_up": 0, "warm_up_later": 0, **settings})
    study_files.record(before.model_copy(update={"protocol": protocol}))


def take_in(sessions: sessionmaker[Session], store: Store, folder: Path, **settings: Any) -> studies.Imported:
    ask(folder, **settings)
    with sessions.begin() as db:
        return studies.take_in(db, store, folder)


def kinds(sessions: sessionmaker[Session]) -> dict[str, int]:
    with sessions() as db:
        return dict(Counter(db.scalars(select(Probe.kind))))


def test_a_protocol_is_a_version_only_where_it_is_another(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    assert not take_in(sessions, store, copied, block=50).protocol
    assert not take_in(sessions, store, copied, block=50).protocol
    changed = take_in(sessions, store, copied, block=40)
    assert changed.protocol
    assert "new subjects go by it, those who have begun keep theirs" in changed.lines()[-1]
    with sessions() as db:
        settings = db.scalars(select(models.Protocol.settings).order_by(models.Protocol.id)).all()
        assert [one["block"] for one in settings] == [50, 40]
        assert studies.find(db, "small").description["protocol"]["block"] == 40


def test_a_protocol_that_asks_for_nothing_brings_nothing(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    imported = take_in(sessions, store, copied)
    assert kinds(sessions) == {}
    assert imported.notes == ()
    with sessions() as db:
        assert set(db.scalars(select(LowResolutionImage.reference_sha256))) == {None}


def test_probes_are_made_of_images_that_nobody_votes_on_and_lie_in_the_store_as_they_are_described(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    imported = take_in(sessions, store, copied, **FULL)
    assert kinds(sessions) == NUMBERS
    assert imported.notes == ()
    made = stage.outputs(study_files.recorded(copied), Workspace(copied))
    method = {(row["image"], row["sha256"]): row["method"] for row in made.to_dict("records")}
    with sessions() as db:
        voted_on = set(db.scalars(select(LowResolutionImage.sha256)))
        for probe in db.scalars(select(Probe).order_by(Probe.id)):
            assert probe.content not in voted_on
            assert probe.reference_sha256 is None
            assert probe.made.startswith(method[probe.content, probe.first_sha256])
            for sha256 in (probe.first_sha256, probe.second_sha256):
                file = db.get_one(ImageFile, sha256)
                assert (file.width, file.height) == (192, 160)
                assert pixel_hash(decode_bytes(store.image(sha256))) == sha256
            if probe.kind in ("training", "gold"):
                assert ", and it worse: " in probe.made
            if probe.kind == "warm_up":
                second = method[probe.content, probe.second_sha256]
                assert probe.made == f"{method[probe.content, probe.first_sha256]} and {second}"


def test_the_same_import_again_makes_no_probe_twice_and_puts_lost_images_back(
    sessions: sessionmaker[Session], store: Store, copied: Path, tmp_path: Path
) -> None:
    take_in(sessions, store, copied, **FULL)
    with sessions() as db:
        before = db.execute(select(Probe.id, Probe.kind, Probe.first_sha256, Probe.second_sha256)).all()
    empty = Store((tmp_path / "empty").as_uri())
    take_in(sessions, empty, copied, **FULL)
    with sessions() as db:
        assert db.execute(select(Probe.id, Probe.kind, Probe.first_sha256, Probe.second_sha256)).all() == before
    for *_, first, second in before:
        assert empty.image(first) == store.image(first)
        assert empty.image(second) == store.image(second)


def test_a_later_protocol_adds_what_it_asks_for_beyond_the_earlier_one(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    take_in(sessions, store, copied, training=2)
    assert kinds(sessions) == {"training": 2}
    take_in(sessions, store, copied, training=3, gold_rate=0.1)
    assert kinds(sessions) == {"training": 3, "gold": 2}
    take_in(sessions, store, copied)
    assert kinds(sessions) == {"training": 3, "gold": 2}


def test_where_all_images_are_voted_on_probes_are_made_of_them_and_that_is_said(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    manifest = stage.manifest(Workspace(copied))
    with sessions.begin() as db:
        studies.take_in(db, store, copied)
        voted_on = set(db.scalars(select(LowResolutionImage.sha256)))
    manifest.replace([row for row in manifest.rows() if row["image"] in voted_on])
    imported = take_in(sessions, store, copied, **FULL)
    assert imported.lines()[-1] == VOTED_ON
    assert kinds(sessions) == NUMBERS
    with sessions() as db:
        assert set(db.scalars(select(Probe.content))) <= voted_on
        assert all(made.endswith("; voted on") for made in db.scalars(select(Probe.made)))


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_reference_is_the_lr_image_enlarged(
    sessions: sessionmaker[Session], store: Store, copied: Path, name: str
) -> None:
    take_in(sessions, store, copied, reference=f"interpolation:{name}", training=1)
    with sessions() as db:
        for image in db.scalars(select(LowResolutionImage)):
            low = Image.fromarray(Workspace(copied).get_image(image.sha256))
            wanted = np.asarray(low.resize((192, 160), Image.Resampling[name.upper()]))
            assert image.reference_sha256 is not None
            assert np.array_equal(decode_bytes(store.image(image.reference_sha256)), wanted)
            assert db.get_one(ImageFile, image.reference_sha256).png_bytes
        probe = db.scalars(select(Probe)).one()
        low = Image.fromarray(Workspace(copied).get_image(probe.content))
        wanted = np.asarray(low.resize((192, 160), Image.Resampling[name.upper()]))
        assert probe.reference_sha256 == pixel_hash(wanted)


def test_a_reference_is_the_output_of_a_method_and_follows_the_newest_protocol(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    take_in(sessions, store, copied, reference="interpolation:nearest", training=1)
    take_in(sessions, store, copied, reference="method:sharp", training=1)
    made = stage.outputs(study_files.recorded(copied), Workspace(copied))
    sharp = dict(made[made["method"] == "sharp"][["image", "sha256"]].itertuples(index=False))
    with sessions() as db:
        for image in db.scalars(select(LowResolutionImage)):
            assert image.reference_sha256 == sharp[image.sha256]
        assert {probe.reference_sha256 == sharp[probe.content] for probe in db.scalars(select(Probe))} == {True}
        assert db.scalar(select(func.count()).select_from(Probe)) == 1


def test_an_image_without_the_reference_is_one_clear_error_and_nothing_is_half_there(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    from tests.app.test_studies import in_no_pair

    stem, method, sha256 = in_no_pair(copied)
    Workspace(copied).image_path(sha256).unlink()
    message = f"protocol.reference: {method} has no output of {stem!r} in the workspace: run the study again"
    with pytest.raises(DiscernError, match=re.escape(message)):
        take_in(sessions, store, copied, reference=f"method:{method}")
    with sessions() as db:
        assert db.scalar(select(func.count()).select_from(Output)) == 0


def test_a_reference_of_another_size_is_one_clear_error(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    record = study_files.recorded(copied)
    study_files.record(record.model_copy(update={"scale": 2}))
    with pytest.raises(DiscernError, match="has 96 x 80 pixels, its outputs have 192 x 160: choose another reference"):
        take_in(sessions, store, copied, reference="interpolation:bicubic")


def test_images_whose_outputs_have_gone_are_passed_over(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    take_in(sessions, store, copied)
    with sessions() as db:
        voted_on = set(db.scalars(select(LowResolutionImage.sha256)))
    made = stage.outputs(study_files.recorded(copied), Workspace(copied))
    unused = made[~made["image"].isin(voted_on)]
    gone = set(sorted(unused["image"])[::2])
    for sha256 in unused[unused["image"].isin(gone)]["sha256"]:
        Workspace(copied).image_path(sha256).unlink()
    take_in(sessions, store, copied, **FULL)
    assert kinds(sessions) == NUMBERS
    with sessions() as db:
        assert not set(db.scalars(select(Probe.content))) & gone


def test_trials_that_cannot_be_made_are_one_clear_error(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    manifest = stage.manifest(Workspace(copied))
    alike = Workspace(copied).put_image(textured(5, 160, 192))
    take_in(sessions, store, copied)
    with sessions() as db:
        voted_on = set(db.scalars(select(LowResolutionImage.sha256)))
    manifest.replace([row if row["image"] in voted_on else row | {"sha256": alike} for row in manifest.rows()])
    with pytest.raises(DiscernError, match="protocol: it asks for warm_up trials, but no LR image has the outputs"):
        take_in(sessions, store, copied, warm_up=2)


def test_subjects_keep_the_references_they_began_with(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    take_in(sessions, store, copied, reference="interpolation:bicubic")
    with sessions.begin() as db:
        seats.take(db)
    with pytest.raises(DiscernError, match=r"subjects have begun with another reference of 'image_.'"):
        take_in(sessions, store, copied, reference="interpolation:nearest")
    assert take_in(sessions, store, copied, reference="none").protocol
