"""A study's life: imported whole or not at all, the same again without change, opened, closed, its consent text."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app import studies, terms
from app.models import Base, Consent, LowResolutionImage, Method, Output, Pair, Study, Tally
from app.store import Store
from app.studies import UnknownError
from pipelines import ingest
from pipelines import study as study_files
from pipelines.errors import DiscernError
from pipelines.images import decode_bytes, pixel_hash
from pipelines.selection import selected
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace, WorkspaceError
from tests.conftest import save, textured

METHODS = ["nearest", "bicubic", "sharp"]
PAIRS = 12


def rows(sessions: sessionmaker[Session]) -> dict[str, int]:
    with sessions() as db:
        return {
            name: db.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }


def files(tmp_path: Path) -> set[Path]:
    return {path for path in (tmp_path / "store").rglob("*") if path.is_file()}


def all_outputs(workspace: Path) -> set[tuple[str, str, str]]:
    """Stem, method and pixel hash of every output of the LR images that are in some pair."""
    table = stage.outputs(study_files.recorded(workspace), Workspace(workspace))
    shown = table[table["stem"].isin(selected.manifest(Workspace(workspace)).read()["stem"])]
    return set(zip(shown["stem"], shown["method"], shown["sha256"], strict=True))


def stored_outputs(sessions: sessionmaker[Session]) -> set[tuple[str, str, str]]:
    """The same, as the database has it."""
    query = (
        select(LowResolutionImage.stem, Method.name, Output.sha256)
        .join(LowResolutionImage, Output.low_resolution_image_id == LowResolutionImage.id)
        .join(Method, (Method.study_id == Output.study_id) & (Method.position == Output.method_position))
    )
    with sessions() as db:
        return {tuple(row) for row in db.execute(query)}  # type: ignore[misc]


def in_pairs(workspace: Path) -> set[tuple[str, str, str]]:
    """The same of the outputs that are themselves in some pair."""
    return {
        (row["stem"], row[f"method_{side}"], row[f"output_{side}"])
        for row in selected.manifest(Workspace(workspace)).rows()
        for side in "ab"
    }


def in_no_pair(workspace: Path) -> tuple[str, str, str]:
    """An output that is in no pair, of an LR image that is in some."""
    return min(all_outputs(workspace) - in_pairs(workspace))


def rewrite(workspace: Path, **columns: Any) -> None:
    """Change columns of the selected pairs in every row."""
    manifest = selected.manifest(Workspace(workspace))
    manifest.replace([row | {k: v(row) for k, v in columns.items()} for row in manifest.rows()])


def test_a_workspace_fills_every_table_of_what_is_voted_on(
    sessions: sessionmaker[Session], store: Store, workspace: Path
) -> None:
    reports: list[tuple[str, int, int]] = []
    with sessions.begin() as db:
        made = studies.import_workspace(db, store, workspace, progress=lambda *report: reports.append(report))
    assert (made.name, made.title, made.state, made.trials_per_subject) == ("small", "small", "draft", None)
    assert made.workspace == str(workspace)
    wanted = selected.manifest(Workspace(workspace)).read()
    with sessions() as db:
        assert list(db.scalars(select(Method.name).order_by(Method.position))) == METHODS
        assert set(db.scalars(select(LowResolutionImage.stem))) == set(wanted["stem"])
        assert set(db.scalars(select(Output.sha256))) == {sha256 for _, _, sha256 in all_outputs(workspace)}
        assert db.scalar(select(func.count()).select_from(Pair)) == len(wanted) == PAIRS
        tallies = db.scalars(select(Tally)).all()
        assert {(tally.pair_id, tally.simulated) for tally in tallies} == {
            (key, simulated) for key in db.scalars(select(Pair.id)) for simulated in (False, True)
        }
        assert {(t.issued_first_left, t.issued_first_right, t.wins_first, t.wins_second) for t in tallies} == {(0,) * 4}
        assert terms.consent(db, made).text == terms.CONSENTS["en"]
    images = set(wanted["image"]) | {sha256 for _, _, sha256 in all_outputs(workspace)}
    assert [done for _, done, _ in reports] == list(range(1, len(images) + 1))


def test_a_pair_holds_what_the_selection_said_of_it(
    sessions: sessionmaker[Session], store: Store, workspace: Path
) -> None:
    with sessions.begin() as db:
        studies.import_workspace(db, store, workspace)
    expected = {
        (METHODS.index(row["method_a"]), METHODS.index(row["method_b"]), row["stem"]): row
        for row in selected.manifest(Workspace(workspace)).rows()
    }
    with sessions() as db:
        for pair in db.scalars(select(Pair)):
            image = db.get_one(LowResolutionImage, pair.low_resolution_image_id)
            row = expected.pop((pair.first, pair.second, image.stem))
            outputs = [db.get_one(Output, key) for key in (pair.first_output_id, pair.second_output_id)]
            assert image.sha256 == row["image"]
            assert [output.sha256 for output in outputs] == [row["output_a"], row["output_b"]]
            facts = ("group", "rank", "distance", "semantics", "score")
            assert [getattr(pair, fact) for fact in facts] == [row[fact] for fact in facts]
            assert [(output.width, output.height) for output in outputs] == [(192, 160)] * 2
            assert (image.width, image.height) == (48, 40)
    assert expected == {}


def test_every_image_of_the_study_is_in_the_store_pixel_for_pixel(
    sessions: sessionmaker[Session], store: Store, workspace: Path
) -> None:
    with sessions.begin() as db:
        studies.import_workspace(db, store, workspace)
        hashes = [*db.scalars(select(Output.sha256)), *db.scalars(select(LowResolutionImage.sha256))]
    assert [pixel_hash(decode_bytes(store.image(sha256))) for sha256 in hashes] == hashes


def test_all_outputs_of_the_images_in_pairs_are_there_and_no_others(
    sessions: sessionmaker[Session], store: Store, workspace: Path, tmp_path: Path
) -> None:
    assert in_pairs(workspace) < all_outputs(workspace)
    with sessions.begin() as db:
        studies.import_workspace(db, store, workspace)
    assert stored_outputs(sessions) == all_outputs(workspace)
    assert store.image(in_no_pair(workspace)[2])
    shown = set(selected.manifest(Workspace(workspace)).read()["image"])
    pngs = [file for file in files(tmp_path) if file.suffix == ".png"]
    assert len(pngs) == len(shown | {sha256 for _, _, sha256 in all_outputs(workspace)})


def test_outputs_that_were_made_since_are_added_by_another_import_and_votes_keep_theirs(
    sessions: sessionmaker[Session], store: Store, workspace: Path, copied: Path
) -> None:
    late = in_no_pair(copied)
    path = Workspace(copied).image_path(late[2])
    path.rename(copied / "not made yet.png")
    with sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    assert stored_outputs(sessions) == all_outputs(workspace) - {late}
    with sessions() as db:
        before = db.execute(select(Output.id, Output.sha256)).all()
        pairs = db.execute(select(Pair.id, Pair.first_output_id, Pair.second_output_id)).all()
    (copied / "not made yet.png").rename(path)
    with sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    assert stored_outputs(sessions) == all_outputs(workspace)
    assert store.image(late[2])
    with sessions() as db:
        assert set(before) < set(db.execute(select(Output.id, Output.sha256)).all())
        assert db.execute(select(Pair.id, Pair.first_output_id, Pair.second_output_id)).all() == pairs


def test_an_output_that_was_made_anew_after_the_selection_replaces_none_that_is_voted_on(
    sessions: sessionmaker[Session], store: Store, workspace: Path, copied: Path
) -> None:
    manifest = stage.manifest(Workspace(copied))
    stem, method, selected_one = min(in_pairs(copied))
    made = manifest.read()
    row = made[(made["method"] == method) & (made["sha256"] == selected_one)].iloc[0]
    another = Workspace(copied).put_image(textured(99, 160, 192))
    manifest.append([{**{key: row[key] for key in ("image", "method", "fingerprint", "named")}, "sha256": another}])
    assert (stem, method, another) in all_outputs(copied)
    with sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    assert stored_outputs(sessions) == all_outputs(workspace)


def test_outputs_that_are_out_of_date_are_left_out(
    sessions: sessionmaker[Session], store: Store, workspace: Path, copied: Path
) -> None:
    manifest = stage.manifest(Workspace(copied))
    table = manifest.read()
    old = in_no_pair(copied)
    row = table[(table["method"] == old[1]) & (table["sha256"] == old[2])].iloc[0]
    facts = {key: row[key] for key in ("image", "method", "named", "sha256")}
    manifest.append([{**facts, "fingerprint": "0" * 64}])
    with sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    assert stored_outputs(sessions) == all_outputs(workspace) - {old}


def test_each_output_stays_with_its_image_when_lr_files_were_renamed_or_swapped_after_the_selection(
    sessions: sessionmaker[Session], store: Store, workspace: Path, copied: Path
) -> None:
    """As ingest leaves it behind: the pairs tell what the images were called when they were selected."""
    expected = all_outputs(workspace)
    first, second, third, *_ = sorted({stem for stem, _, _ in expected})
    renamed = {first: second, second: first, third: "another name"}
    manifest = ingest.manifest(Workspace(copied))
    manifest.replace([row | {"stem": renamed.get(row["stem"], row["stem"])} for row in manifest.rows()])
    with sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    assert stored_outputs(sessions) == expected


def test_outputs_are_added_to_the_image_they_are_of_though_its_pairs_were_selected_anew_under_another_stem(
    sessions: sessionmaker[Session], store: Store, workspace: Path, copied: Path
) -> None:
    late = in_no_pair(copied)
    path = Workspace(copied).image_path(late[2])
    path.rename(copied / "not made yet.png")
    with sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    (copied / "not made yet.png").rename(path)
    rewrite(copied, stem=lambda row: f"new {row['stem']}")
    with sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    assert stored_outputs(sessions) == all_outputs(workspace)


def test_a_damaged_output_that_nobody_votes_on_is_refused_too(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    path = Workspace(copied).image_path(in_no_pair(copied)[2])
    save(path, textured(77, 160, 192))
    with pytest.raises(DiscernError, match=re.escape(str(path))), sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    assert set(rows(sessions).values()) == {0}


def test_the_same_workspace_again_changes_nothing(
    sessions: sessionmaker[Session], store: Store, workspace: Path, copied: Path
) -> None:
    with sessions.begin() as db:
        first = studies.import_workspace(db, store, workspace)
        studies.set_state(db, first, "open")
        terms.set_consent(db, first, "Another text.")
    before = rows(sessions)
    for again in (workspace, copied):
        with sessions.begin() as db:
            assert studies.import_workspace(db, store, again).id == first.id
        with sessions() as db:
            assert db.scalars(select(Study.workspace)).one() == str(again)
    assert rows(sessions) == before
    with sessions() as db:
        assert db.scalars(select(Study.state)).one() == "open"


def test_images_that_the_store_has_lost_are_put_back_by_another_import(
    sessions: sessionmaker[Session], store: Store, workspace: Path, tmp_path: Path
) -> None:
    with sessions.begin() as db:
        studies.import_workspace(db, store, workspace)
        sha256 = db.scalars(select(Output.sha256)).first()
    empty = Store((tmp_path / "empty").as_uri())
    with pytest.raises(DiscernError, match="not in the store"):
        empty.image(sha256)
    with sessions.begin() as db:
        studies.import_workspace(db, empty, workspace)
    assert empty.image(sha256) == store.image(sha256)


def test_one_workspace_may_be_two_studies_of_different_names(
    sessions: sessionmaker[Session], store: Store, workspace: Path
) -> None:
    with sessions.begin() as db:
        studies.import_workspace(db, store, workspace)
        other = studies.import_workspace(db, store, workspace, name="pilot-2")
        assert other.name == "pilot-2"
    assert (rows(sessions)["studies"], rows(sessions)["pairs"]) == (2, 2 * PAIRS)


def test_a_workspace_is_imported_wherever_it_was_made(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    with sessions.begin() as db:
        made = studies.import_workspace(db, store, copied)
    assert made.workspace == str(copied)
    assert rows(sessions)["pairs"] == PAIRS


def test_other_pairs_under_a_name_that_is_taken_are_refused(
    sessions: sessionmaker[Session], store: Store, workspace: Path, copied: Path
) -> None:
    manifest = selected.manifest(Workspace(copied))
    manifest.replace(manifest.rows()[:-1])
    with sessions.begin() as db:
        studies.import_workspace(db, store, workspace)
    before = rows(sessions)
    with sessions.begin() as db, pytest.raises(DiscernError, match="give a name of its own to this one") as refusal:
        studies.import_workspace(db, store, copied)
    assert str(copied) in str(refusal.value)
    assert "'small'" in str(refusal.value)
    assert rows(sessions) == before


@pytest.mark.parametrize("damage", ["cut short", "other pixels", "missing"])
def test_a_damaged_image_is_refused_and_nothing_is_half_there(
    sessions: sessionmaker[Session], store: Store, copied: Path, tmp_path: Path, damage: str
) -> None:
    path = Workspace(copied).image_path(max(selected.manifest(Workspace(copied)).read()["output_b"]))
    match damage:
        case "cut short":
            path.write_bytes(path.read_bytes()[:200])
        case "other pixels":
            save(path, textured(77, 160, 192))
        case "missing":
            path.unlink()
    with pytest.raises(DiscernError, match=re.escape(str(path))), sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    assert set(rows(sessions).values()) == {0}
    # Images that were copied before are whole, and under their own names: the next import finds them.
    assert [pixel_hash(decode_bytes(file.read_bytes())) for file in files(tmp_path)] == [
        file.stem for file in files(tmp_path)
    ]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "not the workspace of a study .*`discern run STUDY` makes one"),
        (lambda folder: (folder / "study.json").unlink(), "not the workspace of a study"),
        (lambda folder: (folder / "study.json").write_text("{"), "study.json: damaged.*run the study again"),
        (lambda folder: shutil.rmtree(folder / "manifests" / "pairs"), "no pairs were selected; run the study"),
        (lambda folder: selected.manifest(Workspace(folder)).replace([]), "no pairs were selected; run the study"),
        (
            lambda folder: next((folder / "manifests" / "pairs").glob("*.parquet")).write_bytes(b"x"),
            "damaged.*run the study again",
        ),
    ],
)
def test_what_is_no_whole_workspace_is_refused_with_the_remedy(
    sessions: sessionmaker[Session], store: Store, copied: Path, tmp_path: Path, spoil: Any, message: str
) -> None:
    spoil(copied)
    with pytest.raises(DiscernError, match=f"(?s){message}") as refusal, sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    assert str(copied) in str(refusal.value)
    assert set(rows(sessions).values()) == {0}
    assert files(tmp_path) == set()


def test_a_workspace_is_not_imported_while_somebody_works_in_it_alone_and_parts_of_a_pre_run_do_not_matter(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    """What works there alone replaces files that an import would be reading."""
    with (
        Workspace(copied).lock(),
        pytest.raises(DiscernError, match=re.escape(f"{copied}: another run is working here; wait for it or stop it")),
        sessions.begin() as db,
    ):
        studies.import_workspace(db, store, copied)
    assert set(rows(sessions).values()) == {0}
    with Workspace(copied).lock(shared=True), sessions.begin() as db:
        studies.import_workspace(db, store, copied)
    assert rows(sessions)["pairs"] == PAIRS


def test_nobody_works_alone_in_a_workspace_while_it_is_imported(
    sessions: sessionmaker[Session], store: Store, copied: Path
) -> None:
    refused: list[str] = []

    def try_to_work(task: str, done: int, total: int) -> None:
        try:
            with Workspace(copied).lock():
                pass
        except WorkspaceError as error:
            refused.append(str(error))

    with sessions.begin() as db:
        studies.import_workspace(db, store, copied, progress=try_to_work)
    assert "another run is working here" in refused[0]
    assert len(refused) > PAIRS  # at every image
    with Workspace(copied).lock():  # and afterwards it is free
        pass


@pytest.mark.parametrize("name", ["Small", "a b", "../up", "-a", "a/b", "ä", "a" * 64, "a\n", " "])
def test_a_name_that_cannot_stand_in_an_address_is_refused(
    sessions: sessionmaker[Session], store: Store, workspace: Path, name: str
) -> None:
    with sessions.begin() as db, pytest.raises(DiscernError, match="give small letters, digits and hyphens"):
        studies.import_workspace(db, store, workspace, name=name)
    assert set(rows(sessions).values()) == {0}


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("small", "small"),
        ("RealSR: 4x, round 2", "realsr-4x-round-2"),
        ("  --Été 2026!--  ", "t-2026"),
        ("a" * 100, "a" * 63),
        ("/../..", ""),
        ("超解像", ""),
    ],
)
def test_a_name_for_addresses_is_made_from_the_title(title: str, name: str) -> None:
    assert studies.slug(title) == name


def test_a_long_title_gives_a_name_that_is_allowed(
    sessions: sessionmaker[Session], store: Store, workspace: Path
) -> None:
    name = studies.slug("a" * 62 + " and more")
    with sessions.begin() as db:
        assert studies.import_workspace(db, store, workspace, name=name).name == name


def test_a_study_is_found_by_its_name_alone(sessions: sessionmaker[Session], store: Store, workspace: Path) -> None:
    with sessions.begin() as db:
        made = studies.import_workspace(db, store, workspace)
        assert studies.find(db, "small") is made
        assert studies.find(db, "small", lock=True) is made
        for name in ("SMALL", "smal_", "%", "", "other"):
            with pytest.raises(UnknownError, match=re.escape(f"there is no study {name!r}")):
                studies.find(db, name)


def test_a_study_is_opened_and_closed_and_knows_no_other_state(
    sessions: sessionmaker[Session], store: Store, workspace: Path
) -> None:
    with sessions.begin() as db:
        made = studies.import_workspace(db, store, workspace)
        studies.set_state(db, made, "open")
        studies.set_state(db, made, "closed")
        with pytest.raises(DiscernError, match="'paused' is not known; choose 'open' or 'closed'"):
            studies.set_state(db, made, "paused")  # type: ignore[arg-type]
        assert made.state == "closed"


def test_an_edited_consent_is_a_new_version_and_an_equal_one_is_not(
    sessions: sessionmaker[Session], store: Store, workspace: Path
) -> None:
    with sessions.begin() as db:
        made = studies.import_workspace(db, store, workspace)
        for text in ("New.", " New. \n", "Newer.", "New."):
            terms.set_consent(db, made, text)
        with pytest.raises(DiscernError, match="subjects must know what they agree to"):
            terms.set_consent(db, made, " \n ")
        assert terms.consent(db, made).text == "New."
    with sessions() as db:
        texts = list(db.scalars(select(Consent.text).where(Consent.language == "en").order_by(Consent.id)))
        assert texts == [terms.CONSENTS["en"], "New.", "Newer.", "New."]


def test_links_of_invitations_cannot_be_guessed(sessions: sessionmaker[Session], store: Store, workspace: Path) -> None:
    with sessions.begin() as db:
        made = studies.import_workspace(db, store, workspace)
        tokens = {studies.invite(db, made, "single", note="x").token for _ in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 43
