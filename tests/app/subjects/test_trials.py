"""Trials over HTTP: rows before votes, sides as the rows say, counters that agree, and nothing that names a method."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from sqlalchemy import select, text

from app import studies, verification
from app.models import LowResolutionImage, Method, Output, Pair, Protocol, Study, Tally, Trial, Vote
from pipelines.images import decode_bytes, pixel_hash
from tests.app.conftest import Site, next_trials, vote_on

PAIRS = 12


def at_once(actions: Iterable[Callable[[], Any]]) -> list[Any]:
    """The results of actions that start together, each in a thread of its own."""
    actions = list(actions)
    gate = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        gate.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def change(site: Site, **values: Any) -> None:
    """Change the study's row."""
    with site.sessions.begin() as db:
        study = studies.find(db, site.study)
        for name, value in values.items():
            setattr(study, name, value)


def vote_to_the_end(client: httpx.Client, ahead: int = 4) -> list[dict[str, Any]]:
    """All trials of a subject, in order, each voted on."""
    shown = []
    while trials := next_trials(client, ahead):
        assert vote_on(client, trials[0]).status_code == 200
        shown.append(trials[0])
    return shown


def counters(site: Site, *, simulated: bool = False) -> list[tuple[int, int]]:
    """How often each pair was handed out with its first method left, and right."""
    with site.sessions() as db:
        query = select(Tally.issued_first_left, Tally.issued_first_right).where(Tally.simulated == simulated)
        return [tuple(row) for row in db.execute(query.order_by(Tally.pair_id))]


def test_the_row_with_its_sides_is_there_before_a_vote(site: Site) -> None:
    shown = next_trials(site.subject(), 4)
    with site.sessions() as db:
        rows = db.scalars(select(Trial).order_by(Trial.number)).all()
        assert [str(row.id) for row in rows][:4] == [trial["id"] for trial in shown]
        assert [trial["number"] for trial in shown] == [trial["position"] for trial in shown] == [1, 2, 3, 4]
        assert [row.number for row in rows] == list(range(1, PAIRS + 1))
        assert db.scalars(select(Vote)).all() == []
        assert len({row.pair_id for row in rows}) == PAIRS
    assert sum(left + right for left, right in counters(site)) == PAIRS


def test_a_reload_gives_the_same_trials_in_the_same_order(site: Site) -> None:
    subject = site.subject()
    shown = next_trials(subject, 4)
    assert next_trials(subject, 4) == shown
    assert next_trials(subject, 2) == shown[:2]
    vote_on(subject, shown[0])
    vote_on(subject, shown[2])
    again = next_trials(subject, 4)
    assert again[:2] == [shown[1], shown[3]]
    assert [trial["number"] for trial in again] == [2, 4, 5, 6]


def test_each_side_shows_the_output_that_the_row_says_and_both_have_the_stated_size(site: Site) -> None:
    subject = site.subject()
    shown = {trial["id"]: trial for trial in next_trials(subject, PAIRS)}
    sides = set()
    with site.sessions() as db:
        for row in db.scalars(select(Trial)):
            pair = db.get_one(Pair, row.pair_id)
            outputs = [db.get_one(Output, pair.first_output_id), db.get_one(Output, pair.second_output_id)]
            trial = shown[str(row.id)]
            for side, output in zip(("left", "right"), outputs if row.first_on_left else outputs[::-1], strict=True):
                answer = subject.get(trial[side])
                assert answer.headers["content-type"] == f"image/{trial[side].rpartition('.')[2]}"
                pixels = decode_bytes(answer.content)
                assert pixel_hash(pixels) == output.sha256
                assert pixels.shape == (trial["height"], trial["width"], 3)
            sides.add(row.first_on_left)
    assert sides == {False, True}


def test_a_choice_is_counted_for_the_method_on_that_side(site: Site) -> None:
    subject = site.subject()
    chosen = {}
    for index, trial in enumerate(next_trials(subject, PAIRS)):
        side = "left" if index % 3 else "right"
        vote_on(subject, trial, side)
        chosen[trial["id"]] = pixel_hash(decode_bytes(subject.get(trial[side]).content))
    with site.sessions() as db:
        for row in db.scalars(select(Trial)):
            pair, tally = db.get_one(Pair, row.pair_id), db.get_one(Tally, (row.pair_id, False))
            won = pair.first_output_id if tally.wins_first else pair.second_output_id
            assert tally.wins_first + tally.wins_second == 1
            assert db.get_one(Output, won).sha256 == chosen[str(row.id)]


def test_images_and_votes_of_somebody_else_are_not_there(site: Site) -> None:
    trial = next_trials(site.subject())[0]
    stranger = site.subject()
    for side in ("left", "right"):
        assert stranger.get(trial[side]).status_code == 404
    answer = vote_on(stranger, trial)
    assert (answer.status_code, answer.json()["detail"]) == (404, "this is not one of your trials")
    with site.sessions() as db:
        assert db.scalars(select(Vote)).all() == []


def test_a_trial_that_does_not_exist_is_not_found(site: Site) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    subject = site.subject()
    assert subject.get(f"/trials/{unknown}/left.png").status_code == 404
    assert subject.get(f"/trials/{unknown}/right.png").status_code == 404
    assert vote_on(subject, {"id": unknown}).status_code == 404


def test_nothing_that_a_subject_receives_names_a_method_an_image_or_a_hash(site: Site) -> None:
    """Neither pages, nor answers, nor addresses, nor headers, nor what stands in the image files beside the pixels."""
    client = site.client()
    link = site.invite()
    answers = [client.get(link), client.post(link, data={"consent": "yes"}), client.get("/trial")]
    trials = next_trials(client, PAIRS)
    answers.append(client.post("/api/subject/trials", json={"ahead": PAIRS}))
    images = [client.get(trial[side]) for trial in trials for side in ("left", "right")]
    answers += [vote_on(client, trial) for trial in trials]
    answers.append(client.get("/thanks"))
    with site.sessions() as db:
        secrets = [*db.scalars(select(Method.name)), *db.scalars(select(LowResolutionImage.stem))]
        secrets += [*db.scalars(select(LowResolutionImage.sha256)), *db.scalars(select(Output.sha256))]
    assert len(secrets) > 20
    seen = [f"{answer.url} {json.dumps(dict(answer.headers))} {answer.text}" for answer in answers]
    seen += [f"{answer.url} {json.dumps(dict(answer.headers))}" for answer in images]
    # Method names are ordinary words: they count where they stand alone.
    found = [word for word in secrets for page in seen if re.search(rf"\b{re.escape(word)}\b", page, re.IGNORECASE)]
    assert found == []
    assert {chunk for answer in images for chunk in chunks(answer.content)} <= {b"IHDR", b"IDAT", b"IEND", b"VP8L"}


def chunks(file: bytes) -> list[bytes]:
    """The names of what a PNG or WebP file holds."""
    names, at = [], 8
    if file[:4] == b"RIFF":
        at = 12
        while at < len(file):
            names.append(file[at : at + 4])
            size = int.from_bytes(file[at + 4 : at + 8], "little")
            at += 8 + size + size % 2
        return names
    while at < len(file):
        names.append(file[at + 4 : at + 8])
        at += 12 + int.from_bytes(file[at : at + 4])
    return names


def test_equal_images_of_two_trials_cannot_be_told_by_their_addresses_or_validators(site: Site) -> None:
    subjects = [site.subject(), site.subject()]
    headers: dict[bytes, list[httpx.Response]] = {}
    for subject in subjects:
        for trial in next_trials(subject, PAIRS):
            for side in ("left", "right"):
                answer = subject.get(trial[side])
                assert not {"etag", "last-modified", "content-disposition"} & set(answer.headers)
                headers.setdefault(answer.content, []).append(answer)
    shared = [answers for answers in headers.values() if len(answers) > 1]
    assert shared
    assert all(len({str(answer.url) for answer in answers}) == len(answers) for answers in shared)


def test_an_unreasonable_number_of_trials_is_refused(site: Site) -> None:
    subject = site.subject()
    for ahead in (0, -1, 51, 10**30, "many", None, 1.5):
        answer = subject.post("/api/subject/trials", json={"ahead": ahead})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("ahead: ")
    assert sum(map(sum, counters(site))) == 0


def in_blocks_of(site: Site, size: int) -> None:
    """Ask those who come from now on in blocks."""
    with site.sessions.begin() as db:
        newest = db.scalars(select(Protocol).order_by(Protocol.id.desc()).limit(1)).one()
        db.add(Protocol(study_id=newest.study_id, settings=newest.settings | {"block": size}))


def test_a_closed_study_hands_out_nothing_new_and_stores_outstanding_votes(site: Site) -> None:
    in_blocks_of(site, 4)
    subject = site.subject()
    shown = next_trials(subject, 4)
    change(site, state="closed")
    assert next_trials(subject, 4) == shown
    assert vote_on(subject, shown[0]).status_code == 200
    assert next_trials(subject, 4) == shown[1:]
    for trial in shown[1:]:
        assert vote_on(subject, trial).status_code == 200
        assert subject.get(trial["left"]).status_code == 200
    answer = subject.post("/api/subject/trials", json={})
    assert (answer.status_code, answer.json()["detail"]) == (403, "this study is not open now; your votes are kept")
    with site.sessions() as db:
        assert len(db.scalars(select(Trial)).all()) == len(db.scalars(select(Vote)).all()) == 4
    change(site, state="open")
    assert [trial["number"] for trial in next_trials(subject, 2)] == [5, 6]


def test_who_has_finished_finds_the_end_in_a_closed_study_too(site: Site) -> None:
    change(site, trials_per_subject=1)
    subject = site.subject()
    vote_to_the_end(subject)
    change(site, state="closed")
    answer = subject.post("/api/subject/trials", json={})
    block = {"number": 1, "blocks": 1, "size": 1, "training": False}
    end = {"trials": [], "block": block, "pause": None, "voted": 1, "total": 1, "finished": True}
    assert answer.json() == end
    assert subject.get("/thanks").status_code == 200


def test_the_end_thanks_with_a_code_and_not_before(site: Site) -> None:
    subject = site.subject()
    for number in range(PAIRS):
        answer = subject.get("/thanks")
        assert (answer.status_code, answer.headers["location"]) == (303, "/session")
        assert subject.get("/trial").status_code == 200
        stored = vote_on(subject, next_trials(subject)[0]).json()
        assert (stored["voted"], stored["total"]) == (number + 1, PAIRS)
        assert stored["finished"] == (number + 1 == PAIRS)
    assert subject.get("/trial").headers["location"] == "/session"
    with site.sessions() as db:
        code = db.scalar(text("SELECT completion_code FROM subjects"))
    assert re.fullmatch("[0-9A-F]{8}", code)
    assert code in subject.get("/thanks").text
    assert next_trials(subject, 4) == []


def test_the_very_last_vote_is_taken_back_and_its_trial_comes_again(site: Site) -> None:
    change(site, trials_per_subject=2)
    subject = site.subject()
    first, last = next_trials(subject, 4)
    vote_on(subject, first)
    assert vote_on(subject, last).json()["finished"]
    answer = subject.put(f"/api/subject/trials/{last['id']}/vote", json={"revision": 2, "choice": None})
    assert (answer.json()["voted"], answer.json()["finished"]) == (1, False)
    assert subject.get("/thanks").headers["location"] == "/session"
    assert subject.get("/session").headers["location"] == "/trial"
    (again,) = next_trials(subject, 4)
    assert (again["id"], again["revision"]) == (last["id"], 3)
    assert vote_on(subject, again, "right").json()["finished"]
    assert subject.get("/thanks").status_code == 200


def test_a_study_of_one_pair_asks_once_in_alternating_order(site: Site) -> None:
    with site.sessions.begin() as db:
        keep = db.scalars(select(Pair.id).limit(1)).one()
        db.execute(text("DELETE FROM tallies WHERE pair_id <> :keep"), {"keep": keep})
        db.execute(text("DELETE FROM pairs WHERE id <> :keep"), {"keep": keep})
    for issued in range(1, 5):
        subject = site.subject()
        (trial,) = next_trials(subject, 4)
        assert (trial["number"], vote_on(subject, trial).json()["finished"]) == (1, True)
        assert subject.get("/thanks").status_code == 200
        ((left, right),) = counters(site)
        assert (left + right, abs(left - right)) == (issued, issued % 2)


def test_a_subject_is_asked_for_the_share_and_never_more_than_there_is(site: Site) -> None:
    for asked, total in ((1, 1), (5, 5), (PAIRS, PAIRS), (1000, PAIRS), (None, PAIRS)):
        change(site, trials_per_subject=asked)
        subject = site.subject()
        assert len(next_trials(subject, 20)) == total
        assert len(next_trials(subject, 20)) == total
        assert subject.post("/api/subject/trials", json={}).json()["total"] == total


def test_shares_cover_every_pair_once_before_any_pair_twice(site: Site) -> None:
    change(site, trials_per_subject=5)
    for number in range(1, 13):
        assert len(next_trials(site.subject(), 20)) == 5
        issued = [left + right for left, right in counters(site)]
        assert sum(issued) == 5 * number
        assert max(issued) - min(issued) <= 1
    assert {frozenset(both) for both in counters(site)} == {frozenset({2, 3})}


def test_a_new_share_holds_for_new_subjects_only(site: Site) -> None:
    change(site, trials_per_subject=3)
    earlier = site.subject()
    change(site, trials_per_subject=4)
    assert len(next_trials(earlier, 20)) == 3
    assert len(next_trials(site.subject(), 20)) == 4


def test_the_trials_of_simulated_subjects_leave_those_of_people_alone(site: Site) -> None:
    change(site, trials_per_subject=7)
    vote_to_the_end(site.subject(simulated=True))
    assert counters(site) == [(0, 0)] * PAIRS
    assert sum(map(sum, counters(site, simulated=True))) == 7
    vote_to_the_end(site.subject())
    assert sum(map(sum, counters(site))) == sum(map(sum, counters(site, simulated=True))) == 7
    with site.sessions() as db:
        assert Counter(db.scalars(select(Trial.simulated))) == {True: 7, False: 7}


def test_subjects_who_come_at_once_get_exact_and_counterbalanced_trials(site: Site) -> None:
    """Each of 8 browsers, at its own pace and with trials ahead, while the others vote; some of them stop half-way."""
    change(site, trials_per_subject=9)
    subjects = [site.subject() for _ in range(8)]

    def take_part(client: httpx.Client, votes: int) -> list[str]:
        seen: list[str] = []
        while len(seen) < votes:
            trial = next_trials(client, 3)[0]
            assert vote_on(client, trial, "left" if len(seen) % 2 else "right").status_code == 200
            seen.append(trial["id"])
        return seen

    votes = [9, 9, 9, 4, 9, 6, 9, 9]
    seen = at_once(lambda c=c, n=n: take_part(c, n) for c, n in zip(subjects, votes, strict=True))
    assert len({trial for trials in seen for trial in trials}) == sum(votes)
    with site.sessions() as db:
        assert verification.problems(db) == []
        assert db.scalar(text("SELECT count(*) FROM votes")) == sum(votes)
        rows = db.execute(select(Trial.subject_id, Trial.number, Trial.pair_id)).all()
        assert sum(map(sum, counters(site))) == len(rows) == 8 * 9
        for subject in {row.subject_id for row in rows}:
            numbers = sorted(row.number for row in rows if row.subject_id == subject)
            assert numbers == list(range(1, len(numbers) + 1))
    assert all(abs(left - right) <= 1 for left, right in counters(site))
    assert min(map(sum, counters(site))) >= 1


def test_tabs_of_one_subject_that_ask_at_once_get_the_same_trials(site: Site) -> None:
    subject = site.subject()
    tabs = []
    for _ in range(6):
        tab = site.client()
        tab.cookies.update(subject.cookies)
        tabs.append(tab)
    answers = at_once(lambda tab=tab: next_trials(tab, 4) for tab in tabs)
    assert all(answer == answers[0] for answer in answers)
    assert sum(map(sum, counters(site))) == PAIRS


def test_a_study_that_is_closed_while_trials_are_handed_out_has_exact_counters(site: Site) -> None:
    subjects = [site.subject() for _ in range(4)]
    admin = site.staff("admin")

    def ask(client: httpx.Client) -> int:
        return client.post("/api/subject/trials", json={"ahead": 12}).status_code

    def close() -> int:
        return admin.patch(f"/api/studies/{site.study}", json={"state": "closed"}).status_code

    statuses = at_once([*(lambda c=c: ask(c) for c in subjects), close])
    assert statuses[-1] == 200
    assert set(statuses[:-1]) <= {200, 403}
    assert sum(map(sum, counters(site))) == PAIRS * statuses[:-1].count(200)
    assert {ask(client) for client in subjects} <= {200, 403}
    assert sum(map(sum, counters(site))) == PAIRS * statuses[:-1].count(200)
    with site.sessions() as db:
        assert verification.problems(db) == []
        assert db.scalars(select(Study.state)).one() == "closed"
