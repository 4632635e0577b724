"""A study with votes gets another method: only what is new is added, goes out first, and is ranked on the old scale."""

import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import func, select, text

from app import studies, terms, verification
from app.admins import calibrations
from app.models import Base, LowResolutionImage, Output, Pair, Study, Subject, Tally, Trial
from app.store import Store
from pipelines.errors import DiscernError
from pipelines.protocol import Protocol
from pipelines.ranking import tables
from pipelines.selection import selected
from pipelines.workspace import Workspace
from tests.app import extended as extending
from tests.app.conftest import Site, next_trials, vote_on
from tests.app.extended import NEW_PAIRS, Extended
from tests.app.processes import discern
from tests.conftest import save, textured

METHODS = ["nearest", "bicubic", "sharp"]
OLD_PAIRS = 12
LATE = 3


@pytest.fixture(scope="module")
def built(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Extended:
    return extending.build(workspace, tmp_path_factory.mktemp("extended") / "study")


@pytest.fixture
def extended(built: Extended, tmp_path: Path) -> Extended:
    """A copy to spoil."""
    root = shutil.copytree(built.root, tmp_path / "extended")
    return Extended(root, built.stems, built.fresh)


@pytest.fixture
def admin(site: Site) -> httpx.Client:
    return site.staff("admin")


def bring_in(site: Site, root: Path) -> studies.Imported:
    with site.sessions.begin() as db:
        return studies.take_in(db, Store(site.settings.store_url), root)


def contents(site: Site, *without: str) -> dict[str, list[str]]:
    """Every row of every table but some, in words."""
    with site.sessions() as db:
        return {
            name: sorted(repr(tuple(row)) for row in db.execute(select(table)))
            for name, table in Base.metadata.tables.items()
            if name not in without
        }


def voted(site: Site) -> list[str]:
    """The vote log, line by line."""
    return site.staff("experimenter").get("/api/studies/small/votes.csv").text.splitlines()


def pairs_of(site: Site, subject: int) -> list[tuple[int, int]]:
    """The methods of a subject's trials, in order."""
    query = select(Pair.first, Pair.second).join(Trial, Trial.pair_id == Pair.id).order_by(Trial.number)
    with site.sessions() as db:
        return [(a, b) for a, b in db.execute(query.where(Trial.subject_id == subject))]


def newest_subject(site: Site) -> int:
    with site.sessions() as db:
        return db.scalars(select(func.max(Subject.id))).one()


def vote_on_new_pairs(site: Site, subjects: int = 3) -> None:
    """The later method wins two votes of three."""
    for number in range(subjects):
        site.vote_all(lambda stem, *_, number=number: (int(stem[-1]) + number) % 3 == 0)


def test_what_is_new_is_added_and_everything_else_stays(site: Site, admin: httpx.Client, built: Extended) -> None:
    site.panel_votes()
    admin.post("/api/studies/small/rankings", json={})
    admin.post("/api/studies/small/invites", json={"kind": "shared"})
    before, log = contents(site), voted(site)
    answer = admin.post("/api/studies", json={"workspace": str(built.root)})
    assert answer.status_code == 201, answer.text
    view = answer.json()
    assert (view["methods"], view["pairs"]) == ([*METHODS, "late"], OLD_PAIRS + NEW_PAIRS)
    assert (view["state"], view["votes_by"]["people"]) == ("open", 36)
    after = contents(site)
    grown = {"methods": 1, "low_resolution_images": 1, "pairs": NEW_PAIRS, "tallies": 2 * NEW_PAIRS}
    for name, rows in before.items():
        if name in ("studies", "sessions", "users", "set_up_links"):
            continue
        assert set(rows) <= set(after[name]), name
        if name not in ("outputs", "image_files"):
            assert len(after[name]) - len(rows) == grown.get(name, 0), name
    assert voted(site) == log
    with site.sessions() as db:
        study = studies.find(db, "small")
        assert (study.workspace, study.description["selection"]["anchors"]) == (
            str(built.root),
            {"late": ["nearest", "sharp"]},
        )
        shown = select(Output.sha256).join(Pair, Pair.second_output_id == Output.id).where(Pair.second == LATE)
        expected = {
            row["output_b"] for row in selected.manifest(Workspace(built.root)).rows() if row["method_b"] == "late"
        }
        assert set(db.scalars(shown)) == expected
        # The image that came with the new pairs has the outputs of all methods, to compare.
        fresh = db.scalars(select(LowResolutionImage).where(LowResolutionImage.stem == built.fresh)).one()
        made = db.scalars(select(Output.method_position).where(Output.low_resolution_image_id == fresh.id)).all()
        assert sorted(made) == [0, 1, 2, LATE]
        assert verification.problems(db) == []
    assert site.staff("experimenter").get(f"/studies/small/images/{built.fresh}").status_code == 200


def test_importing_it_again_changes_nothing(site: Site, built: Extended) -> None:
    site.panel_votes()
    first = bring_in(site, built.root)
    assert (first.methods, first.images, first.pairs) == (("late",), 1, NEW_PAIRS)
    before = contents(site)
    again = bring_in(site, built.root)
    assert (again.methods, again.images, again.pairs) == ((), 0, 0)
    assert contents(site) == before
    assert again.lines() == ["imported as 'small', open; an admin opens it and makes invitations"]


def test_two_who_import_it_at_once_add_it_once(site: Site, built: Extended) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: bring_in(site, built.root), range(2)))
    assert sorted(one.pairs for one in made) == [0, NEW_PAIRS]
    with site.sessions() as db:
        assert db.scalar(select(func.count()).select_from(Pair)) == OLD_PAIRS + NEW_PAIRS


def test_a_new_subject_who_is_asked_for_as_many_trials_gets_exactly_the_new_pairs(
    site: Site, admin: httpx.Client, built: Extended
) -> None:
    site.panel_votes()
    log = voted(site)
    bring_in(site, built.root)
    admin.patch("/api/studies/small", json={"trials_per_subject": NEW_PAIRS})
    vote_on_new_pairs(site)
    assert sorted(pairs_of(site, newest_subject(site))) == [(0, LATE)] * 4 + [(2, LATE)] * 4
    assert voted(site)[: len(log)] == log
    assert len(voted(site)) == len(log) + 3 * NEW_PAIRS
    with site.sessions() as db:
        tallies = db.execute(
            select(Pair.second == LATE, Tally.wins_first + Tally.wins_second)
            .join(Pair, Tally.pair_id == Pair.id)
            .where(~Tally.simulated)
        )
        assert {tuple(row) for row in tallies} == {(True, 3), (False, 3)}
        assert verification.problems(db) == []


def test_old_and_new_votes_are_ranked_on_one_scale(
    site: Site, admin: httpx.Client, built: Extended, tmp_path: Path
) -> None:
    site.panel_votes()
    before = admin.post("/api/studies/small/rankings", json={}).json()
    bring_in(site, built.root)
    admin.patch("/api/studies/small", json={"trials_per_subject": NEW_PAIRS})
    vote_on_new_pairs(site)
    after = admin.post("/api/studies/small/rankings", json={}).json()
    assert {row["method"] for row in after["result"]["methods"]} == {*METHODS, "late"}
    assert after["votes"] == 36 + 3 * NEW_PAIRS
    assert len(before["result"]["methods"]) == 3
    assert admin.get(f"/api/studies/small/rankings/{before['id']}").json() == before
    for ranking in (before, after):
        assert admin.get(f"/studies/small/rankings/{ranking['id']}").status_code == 200
        assert admin.get(ranking["chart"]).status_code == 200
    matrix = admin.get("/api/studies/small/matrix").json()
    assert np.shape(matrix["counts"]) == (4, 4)
    assert matrix["counts"][1][LATE] == matrix["counts"][LATE][1] == 0  # nobody compares it with bicubic
    assert admin.get("/studies/small/pairs", params={"first": "bicubic", "second": "late"}).status_code == 200
    (tmp_path / "votes.csv").write_text(admin.get("/api/studies/small/votes.csv").text)
    assert tables.read(tmp_path / "votes.csv").methods == ("bicubic", "late", "nearest", "sharp")


def test_a_subject_with_trials_left_meets_new_pairs_and_one_who_has_finished_stays_finished(
    site: Site, built: Extended
) -> None:
    site.vote_all(lambda *_: True)
    finished = newest_subject(site)
    with site.sessions.begin() as db:
        settings = Protocol(device_check=False, training=0, warm_up=0, warm_up_later=0, break_seconds=0, block=4)
        terms.set_protocol(db, studies.find(db, "small"), settings)
    half_way = site.subject()
    for trial in next_trials(half_way, 4):
        vote_on(half_way, trial)
    started = newest_subject(site)
    bring_in(site, built.root)
    with site.sessions() as db:
        assert {db.get_one(Subject, key).total for key in (finished, started)} == {OLD_PAIRS}
        done = db.get_one(Subject, finished)
        assert (done.voted, done.total) == (OLD_PAIRS, OLD_PAIRS)
    while trials := next_trials(half_way, 1):
        vote_on(half_way, trials[0])
    seen = pairs_of(site, started)
    assert len(seen) == OLD_PAIRS
    assert {second for _, second in seen[4:]} == {LATE}  # all eight that were left
    assert len(pairs_of(site, finished)) == OLD_PAIRS


def test_no_trial_is_handed_out_while_it_is_brought_in(site: Site, built: Extended) -> None:
    subject, handed_out = site.subject(), threading.Event()
    shown: list[dict[str, Any]] = []

    def ask() -> None:
        shown.extend(next_trials(subject, 2))
        handed_out.set()

    asking = threading.Thread(target=ask)
    with site.sessions.begin() as db:
        studies.take_in(db, Store(site.settings.store_url), built.root)
        asking.start()
        assert not handed_out.wait(1)
    asking.join(30)
    assert len(shown) == 2


def test_the_command_says_what_was_added_and_how_the_new_pairs_go_out(site: Site, built: Extended) -> None:
    with site.sessions.begin() as db:
        studies.find(db, "small").trials_per_subject = 5
    own = {"DATABASE_URL": site.database_url, "DISCERN_HOME": str(site.settings.home)}
    result = discern("study", "import", built.root, **own)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "'small', open: added 1 method, 1 LR image, 8 pairs; all votes and trials stay",
        "ask each new subject for 8 trials (Admin > Manage; now: 5 trials) and the new pairs go out first",
    ]


def test_it_says_so_where_new_subjects_are_asked_for_all_pairs(site: Site, built: Extended) -> None:
    assert "(Admin > Manage; now: all 20 pairs)" in bring_in(site, built.root).lines()[1]


def test_lr_files_that_were_renamed_since_are_the_same_images(site: Site, extended: Extended) -> None:
    with site.sessions() as db:
        before = set(db.execute(select(LowResolutionImage.id, LowResolutionImage.stem)).all())
    extended.rewrite(lambda rows: [row | {"stem": f"renamed {row['stem']}"} for row in rows])
    assert bring_in(site, extended.root).images == 1
    with site.sessions() as db:
        after = set(db.execute(select(LowResolutionImage.id, LowResolutionImage.stem)).all())
    assert {stem for _, stem in after - before} == {f"renamed {extended.fresh}"}
    assert before < after


def without_an_old_pair(extended: Extended) -> None:
    extended.rewrite(lambda rows: [row for row in rows if (row["method_b"], row["rank"]) != ("bicubic", 2)])


def in_another_order(extended: Extended) -> None:
    methods = extending.study_files.recorded(extended.root).methods
    extended.describe(methods=(methods[1], methods[0], *methods[2:]))


def put_before_the_others(extended: Extended) -> None:
    methods = extending.study_files.recorded(extended.root).methods
    extended.describe(methods=(methods[3], *methods[:3]), selection=extending.study_files.Selection())


def without_an_old_method(extended: Extended) -> None:
    methods = extending.study_files.recorded(extended.root).methods
    extended.describe(methods=(methods[0], *methods[2:]))
    extended.rewrite(lambda rows: [row for row in rows if "bicubic" not in (row["method_a"], row["method_b"])])


def with_another_output(extended: Extended) -> None:
    another = Workspace(extended.root).put_image(textured(99, 160, 192))
    extended.rewrite(
        lambda rows: [
            row | ({"output_a": another} if (row["method_b"], row["stem"]) == ("late", extended.stems[0]) else {})
            for row in rows
        ]
    )


def with_another_image_of_an_old_name(extended: Extended) -> None:
    extended.rewrite(
        lambda rows: [
            row | ({"stem": extended.stems[0]} if row["stem"] == extended.fresh else {"stem": f"x{row['stem']}"})
            for row in rows
        ]
    )


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            without_an_old_pair,
            "1 of the study's 12 pairs are not selected in the workspace, such as nearest and bicubic",
        ),
        (in_another_order, "the study's methods are nearest, bicubic, sharp, those of the workspace bicubic, nearest,"),
        (put_before_the_others, "its own must come first, in this order"),
        (without_an_old_method, "those of the workspace nearest, sharp, late: its own must come first"),
        (with_another_output, "made another output of 'image_0' than the study has"),
        (with_another_image_of_an_old_name, "'image_0' is now the name of another LR image than in the study; rename"),
    ],
)
def test_what_votes_do_not_belong_to_is_refused_with_the_reason(
    site: Site, admin: httpx.Client, extended: Extended, spoil: Any, reason: str
) -> None:
    site.vote_all(lambda *_: True)
    before = contents(site, "sessions")
    spoil(extended)
    answer = admin.post("/api/studies", json={"workspace": str(extended.root)})
    assert answer.status_code == 409
    detail = answer.json()["detail"]
    assert re.match(rf"{re.escape(str(extended.root))}: a study is called 'small' already", detail)
    assert reason in detail
    assert detail.endswith("; give a name of its own to this one")
    assert contents(site, "sessions") == before


def test_a_damaged_new_image_leaves_the_study_as_it_was(site: Site, extended: Extended) -> None:
    before = contents(site)
    (row,) = [
        row
        for row in selected.manifest(Workspace(extended.root)).rows()
        if (row["method_a"], row["stem"], row["method_b"]) == ("sharp", extended.fresh, "late")
    ]
    save(Workspace(extended.root).image_path(row["output_b"]), textured(77, 160, 192))
    with pytest.raises(DiscernError, match=row["output_b"]):
        bring_in(site, extended.root)
    assert contents(site) == before


def test_a_method_that_is_in_no_pair_yet_is_not_in_the_study(site: Site, extended: Extended) -> None:
    """The study file has it already; what selects its pairs has not run."""
    extended.rewrite(lambda rows: [row for row in rows if row["method_b"] != "late"])
    assert bring_in(site, extended.root).methods == ()
    with site.sessions() as db:
        assert [method.name for method in studies.find(db, "small").methods] == METHODS


def test_the_ranking_of_the_others_goes_on_and_says_who_is_left_out(
    site: Site, admin: httpx.Client, built: Extended
) -> None:
    site.panel_votes()

    def snapshot() -> dict[str, Any]:
        return dict(admin.get("/api/studies/small/snapshot").json())

    before = snapshot()
    assert (before["ranking_note"], before["pairs_without_votes"]) == (None, 0)
    assert "have no votes" not in admin.get("/studies/small/manage").text
    bring_in(site, built.root)
    added = snapshot()
    assert added["ranking"] == before["ranking"]
    assert added["ranking_note"] == "Left out until votes place it: late has no votes yet."
    assert (added["pairs_without_votes"], len(added["counts"])) == (NEW_PAIRS, 4)
    assert "late has no votes yet" in admin.get("/studies/small").text
    assert "8 pairs have no votes by people yet; they go out first" in admin.get("/studies/small/manage").text
    refused = admin.post("/api/studies/small/rankings", json={})
    assert refused.status_code == 409
    assert refused.json()["detail"] == (
        "small: late has no votes yet: let people vote on its pairs first, or fit with a ridge"
    )
    assert admin.post("/api/studies/small/rankings", json={"ridge": 0.1}).status_code == 201
    admin.patch("/api/studies/small", json={"trials_per_subject": NEW_PAIRS})
    site.vote_all(lambda *_: False)
    assert snapshot()["ranking_note"] == "Left out until votes place it: late has won every vote so far."
    assert "late has won every vote so far" in admin.post("/api/studies/small/rankings", json={}).json()["detail"]
    site.vote_all(lambda *_: True)
    placed = snapshot()
    assert placed["ranking_note"] is None
    assert len(placed["ranking"]["methods"]) == 4


def test_a_calibration_with_an_older_ranking_works_on_the_methods_that_it_ranks(
    site: Site, admin: httpx.Client, built: Extended
) -> None:
    site.panel_votes()
    ranking = admin.post("/api/studies/small/rankings", json={}).json()["id"]
    bring_in(site, built.root)
    made = admin.post("/api/studies/small/calibrations", json={"ranking": ranking}).json()
    with site.sessions.begin() as db:
        job = db.execute(text("SELECT id FROM jobs WHERE calibration_id = :key"), {"key": made["id"]}).scalar_one()
        db.execute(
            text("UPDATE jobs SET status = 'running', attempt = 1, started_at = now() WHERE id = :key"), {"key": job}
        )
    calibrations.run(site.sessions, Store(site.settings.store_url), job, 1)
    done = admin.get(f"/api/studies/small/calibrations/{made['id']}").json()
    assert (done["status"], done["error"]) == ("succeeded", None)
    assert done["result"]["two_afc"]["votes"] == 36
    assert done["result"]["two_afc"]["pairs"] == OLD_PAIRS
    with site.sessions() as db:
        assert db.scalars(select(Study.description)).one()["methods"][LATE]["id"] == "late"
