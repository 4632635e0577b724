"""Becoming a subject: consent first, one subject for a single link, one for each browser on a shared one, no names."""

import re

import httpx
from sqlalchemy import select, text

from app import studies, terms
from app.models import Consent, Invite, LoginSession, Subject, Tally, Trial
from tests.app.conftest import Site, next_trials, vote_on
from tests.app.subjects.test_trials import at_once


def subjects(site: Site) -> list[Subject]:
    with site.sessions() as db:
        return list(db.scalars(select(Subject).order_by(Subject.number)))


def rows(site: Site) -> dict[str, int]:
    """How many rows each table holds."""
    with site.sessions() as db:
        tables = db.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        return {table: db.scalars(text(f'SELECT count(*) FROM "{table}"')).one() for table in tables}


def agree(client: httpx.Client, link: str) -> httpx.Response:
    return client.post(link, data={"consent": "yes"})


def test_nothing_is_recorded_before_somebody_agrees(site: Site) -> None:
    link = site.invite()
    before = rows(site)
    client = site.client()
    page = client.get(link)
    assert page.status_code == 200
    assert "Taking part is voluntary" in page.text
    for answer in (
        client.post(link),
        client.post(link, data={}),
        client.post(link, data={"consent": ""}),
        client.post(link, data={"consent": "no"}),
        client.post(link, data={"consent": "YES "}),
    ):
        assert answer.status_code == 422
        assert "Please tick the box if you agree" in answer.text
        assert "set-cookie" not in answer.headers
    assert "set-cookie" not in page.headers
    assert client.get("/trial").status_code == 401
    assert rows(site) == before


def test_who_agrees_gets_to_the_trials(site: Site) -> None:
    answer = agree(site.client(), site.invite())
    assert (answer.status_code, answer.headers["location"]) == (303, "/session")
    (subject,) = subjects(site)
    assert (subject.number, subject.voted, subject.total, subject.simulated) == (1, 0, 12, False)


def test_the_text_that_a_subject_agreed_to_stays_with_the_subject(site: Site) -> None:
    site.subject()
    with site.sessions.begin() as db:
        terms.set_consent(db, studies.find(db, site.study), "  Another text.\n\nOf two paragraphs. ")
    page = site.client().get(site.invite()).text
    assert re.search(r"<p>\s*Another text.\s*</p>\s*<p>\s*Of two paragraphs.\s*</p>", page)
    site.subject()
    with site.sessions() as db:
        texts = [db.get_one(Consent, subject.consent_id).text for subject in subjects(site)]
    assert texts == [terms.CONSENTS["en"], "Another text.\n\nOf two paragraphs."]


def test_a_consent_text_is_shown_as_text(site: Site) -> None:
    with site.sessions.begin() as db:
        terms.set_consent(db, studies.find(db, site.study), "<script>alert(1)</script>")
    page = site.client().get(site.invite()).text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_a_single_link_resumes_the_same_subject_in_another_browser(site: Site) -> None:
    link = site.invite()
    first = site.subject(link)
    shown = next_trials(first, 4)
    vote_on(first, shown[0])
    second = site.client()
    assert "Welcome back" in second.get(link).text
    assert second.post(link).status_code == 303
    assert next_trials(second, 3) == shown[1:]
    assert vote_on(second, shown[1]).json()["voted"] == 2
    assert vote_on(first, shown[2]).json()["voted"] == 3
    assert len(subjects(site)) == 1


def test_a_single_link_that_is_used_by_many_browsers_at_once_makes_one_subject(site: Site) -> None:
    link = site.invite()
    clients = [site.client() for _ in range(8)]
    assert [a.status_code for a in at_once(lambda c=c: agree(c, link) for c in clients)] == [303] * 8
    assert len(subjects(site)) == 1
    shown = [next_trials(client, 2) for client in clients]
    assert all(trials == shown[0] for trials in shown)


def test_a_shared_link_makes_a_subject_for_each_browser_and_knows_it_again(site: Site) -> None:
    link = site.invite("shared")
    first, second = site.subject(link), site.subject(link)
    shown = next_trials(first, 2)
    assert not {trial["id"] for trial in shown} & {trial["id"] for trial in next_trials(second, 2)}
    assert agree(first, link).status_code == 303
    assert next_trials(first, 2) == shown
    assert [subject.number for subject in subjects(site)] == [1, 2]


def test_who_follows_another_link_becomes_another_subject(site: Site) -> None:
    browser = site.subject(site.invite("shared"))
    agree(browser, site.invite("shared"))
    agree(browser, site.invite("single"))
    assert [subject.number for subject in subjects(site)] == [1, 2, 3]
    assert len({subject.invite_id for subject in subjects(site)}) == 3


def test_numbers_are_unique_when_many_come_at_once(site: Site) -> None:
    links = [site.invite("shared")] * 5 + [site.invite() for _ in range(4)]
    browsers = [(site.client(), link) for link in links]
    answers = at_once(lambda client=client, link=link: agree(client, link).status_code for client, link in browsers)
    assert answers == [303] * 9
    assert [subject.number for subject in subjects(site)] == list(range(1, 10))
    assert len({subject.seed for subject in subjects(site)}) == 9
    assert len({subject.completion_code for subject in subjects(site)}) == 9


def test_unknown_and_revoked_links_open_nothing(site: Site) -> None:
    link = site.invite()
    with site.sessions.begin() as db:
        db.scalars(select(Invite)).one().revoked = True
    client = site.client()
    for address in (link, f"{site.url}/i/unknown", link[:-1], f"{link}x", f"{site.url}/i/%27%20OR%20true--"):
        for answer in (client.get(address), agree(client, address)):
            assert answer.status_code == 404
            assert "not known, or was withdrawn" in answer.text
            assert "set-cookie" not in answer.headers
    assert subjects(site) == []


def test_who_has_started_may_finish_after_the_link_was_revoked(site: Site) -> None:
    link = site.invite()
    subject = site.subject(link)
    with site.sessions.begin() as db:
        db.scalars(select(Invite)).one().revoked = True
    assert vote_on(subject, next_trials(subject)[0]).status_code == 200
    elsewhere = site.client()
    assert "Welcome back" in elsewhere.get(link).text
    assert agree(elsewhere, link).headers["location"] == "/session"
    assert next_trials(elsewhere) == next_trials(subject)


def test_a_study_that_is_not_open_takes_nobody_new_and_lets_others_back(site: Site) -> None:
    used, unused = site.invite(), site.invite()
    site.subject(used)
    for state in ("closed", "draft"):
        with site.sessions.begin() as db:
            studies.find(db, site.study).state = state
        client = site.client()
        assert client.get(unused).status_code == 403
        assert client.post(unused).status_code == 403
        answer = agree(client, unused)
        assert answer.status_code == 403
        assert "This study is not open now; ask the person who invited you." in answer.text
        assert agree(site.client(), used).status_code == 303
    assert len(subjects(site)) == 1


def test_who_is_simulated_is_marked_everywhere(site: Site) -> None:
    link = site.invite(simulated=True)
    assert "simulated" in site.client().get(link).text.lower()
    assert "simulated" not in site.client().get(site.invite()).text.lower()
    subject = site.subject(link)
    assert "simulated" in subject.get("/trial").text.lower()
    vote_on(subject, next_trials(subject)[0])
    assert [(s.simulated, s.name) for s in subjects(site)] == [(True, "simulated-1")]
    with site.sessions() as db:
        assert set(db.scalars(select(Trial.simulated))) == {True}
        counted = db.scalars(select(Tally).where(Tally.wins_first + Tally.wins_second > 0)).all()
        assert [tally.simulated for tally in counted] == [True]


def test_neither_an_address_nor_a_browser_is_stored_anywhere(site: Site) -> None:
    """Every column of every table, after a subject has taken part and staff has signed in."""
    client = site.client()
    client.headers["User-Agent"] = "Distinguishable/7.0"
    client.headers["X-Forwarded-For"] = "203.0.113.77"
    agree(client, site.invite())
    vote_on(client, next_trials(client)[0])
    site.staff("admin")
    site.client().post("/sign-in", data={"name": "nobody at all", "password": "wrong"})
    stored = {}
    with site.sessions() as db:
        for table in rows(site):
            stored[table] = "\n".join(db.scalars(text(f'SELECT t::text FROM "{table}" AS t')))
    assert stored["votes"]
    assert stored["sessions"]
    for secret in ("127.0.0.1", "203.0.113.77", "Distinguishable", "nobody at all"):
        assert [table for table, content in stored.items() if secret in content] == []


def test_the_cookie_of_a_subject_is_stored_as_a_hash(site: Site) -> None:
    subject = site.subject()
    token = subject.cookies["discern_subject"]
    with site.sessions() as db:
        kept = db.scalars(select(LoginSession)).one()
        assert token.encode() not in kept.token_sha256
        assert len(kept.token_sha256) == 32
        assert (kept.user_id, kept.subject_id) == (None, subjects(site)[0].id)


def test_somebody_else_at_the_same_computer_is_a_new_subject_of_a_shared_link(site: Site) -> None:
    link = site.invite("shared")
    computer = site.subject(link)
    first = next_trials(computer)
    page = computer.get(link).text
    assert "Welcome back" in page
    address = link + re.findall(r'"(\?instead_of=\d+)"', page)[0]
    assert "I have read this and agree" in computer.get(address).text
    assert computer.post(address).status_code == 422
    assert len(subjects(site)) == 1
    assert computer.post(address, data={"consent": "yes"}).headers["location"] == "/session"
    assert len(subjects(site)) == 2
    second = next_trials(computer)
    assert second[0]["id"] != first[0]["id"]
    # Whoever comes back by the same address, which a browser may have kept, is no third one.
    assert "Welcome back" in computer.get(address).text
    assert computer.post(address, data={"consent": "yes"}).status_code == 303
    assert len(subjects(site)) == 2
    assert next_trials(computer) == second


def test_a_link_for_one_person_has_no_somebody_else(site: Site) -> None:
    link = site.invite()
    computer = site.subject(link)
    assert "instead_of" not in computer.get(link).text
    address = f"{link}?instead_of={subjects(site)[0].id}"
    assert computer.post(address, data={"consent": "yes"}).status_code == 303
    assert len(subjects(site)) == 1
