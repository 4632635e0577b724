"""Whom platforms send: read from the address, known again anywhere, led back, and kept apart from the votes."""

import csv
import io
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from app.models import Recruit, Subject
from app.subjects import recruitment
from pipelines.errors import DiscernError
from tests.app import seats
from tests.app.conftest import Site
from tests.app.subjects.test_trials import at_once
from tests.app.subjects.test_welcome import ask, finish

PROLIFIC = "PROLIFIC_PID=5a9d64f5f6dfdd0001eaa73d&STUDY_ID=60aca280709ee40ec37d4885&SESSION_ID=60bf9310e8dec401be6e9615"
MTURK = "workerId=AZ3456EXAMPLE&assignmentId=123RVWYBAZW00EXAMPLE456&hitId=123RVWYBAZW00EXAMPLE"
SUBMIT_TO = "turkSubmitTo=https%3A%2F%2Fworkersandbox.mturk.com%2F"
PREVIEW = "assignmentId=ASSIGNMENT_ID_NOT_AVAILABLE&hitId=123RVWYBAZW00EXAMPLE"


def agree(client: httpx.Client, address: str) -> httpx.Response:
    return client.post(address, data={"consent": "yes"})


def recruits(site: Site) -> list[Recruit]:
    with site.sessions() as db:
        return list(db.scalars(select(Recruit).order_by(Recruit.id)))


def numbers(site: Site) -> list[int]:
    with site.sessions() as db:
        return list(db.scalars(select(Subject.number).order_by(Subject.number)))


def read(query: str) -> recruitment.Recruitment | None:
    return recruitment.read(httpx.QueryParams(query).multi_items())


@pytest.mark.parametrize(
    ("query", "platform", "participant", "parameters"),
    [
        (PROLIFIC, "prolific", "5a9d64f5f6dfdd0001eaa73d", {"STUDY_ID", "SESSION_ID"}),
        ("PROLIFIC_PID=x", "prolific", "x", set()),
        (MTURK, "mturk", "AZ3456EXAMPLE", {"assignmentId", "hitId"}),
        (f"{MTURK}&{SUBMIT_TO}", "mturk", "AZ3456EXAMPLE", {"assignmentId", "hitId", "turkSubmitTo"}),
        ("survey_code=12345", "sona", "12345", set()),
        ("id=12345&lang=zh&instead_of=1", "sona", "12345", set()),
        ("survey_code=12345&id=12345", "sona", "12345", {"id"}),
        (f"{PROLIFIC}&id=7", "prolific", "5a9d64f5f6dfdd0001eaa73d", {"STUDY_ID", "SESSION_ID"}),
        ("PROLIFIC_PID=x&PROLIFIC_PID=x", "prolific", "x", set()),
    ],
)
def test_who_sent_somebody_is_read_from_the_address(
    query: str, platform: str, participant: str, parameters: set[str]
) -> None:
    who = read(query)
    assert who is not None
    assert (who.platform, who.participant, set(who.parameters)) == (platform, participant, parameters)
    assert not who.is_preview


@pytest.mark.parametrize("query", ["", "lang=zh", "instead_of=1&prolific_pid=x", "hitId=x", "SESSION_ID=x"])
def test_other_addresses_name_nobody(query: str) -> None:
    assert read(query) is None


WRONG = [
    ("PROLIFIC_PID=", "PROLIFIC_PID: ''"),
    ("PROLIFIC_PID={{%25PROLIFIC_PID%25}}", "PROLIFIC_PID: '{{%PROLIFIC_PID%}}' is no id of Prolific"),
    ("survey_code=%25SURVEY_CODE%25", "survey_code: '%SURVEY_CODE%' is no id of Sona"),
    ("STUDY_ID=s", "PROLIFIC_PID: missing from the address, which has STUDY_ID"),
    ("assignmentId=a&hitId=h", "workerId: missing"),
    ("PROLIFIC_PID=a&PROLIFIC_PID=b", "PROLIFIC_PID: given twice, as 'a' and 'b'"),
    ("PROLIFIC_PID=" + "x" * 129, "is no id of Prolific"),
    ("PROLIFIC_PID=x%0Ay", "is no id of Prolific"),
    ("PROLIFIC_PID=x%00", "is no id of Prolific"),
    ("PROLIFIC_PID=x&SESSION_ID=<script>", "SESSION_ID: '<script>' is no id of Prolific"),
    ("id=%3D1%2B1", "id: '=1+1' is no id of Sona"),
    ("workerId=" + "%F0%9F%98%80", "is no id of Mechanical Turk"),
]


@pytest.mark.parametrize(("query", "message"), WRONG)
def test_what_a_platform_cannot_have_sent_is_refused(query: str, message: str) -> None:
    with pytest.raises(DiscernError) as refusal:
        read(query)
    assert message in str(refusal.value)


@pytest.mark.parametrize(("query", "message"), WRONG)
def test_and_the_page_says_so_and_nobody_becomes_a_subject(site: Site, query: str, message: str) -> None:
    client, link = site.client(), site.invite("shared")
    for answer in (client.get(f"{link}?{query}"), agree(client, f"{link}?{query}")):
        assert answer.status_code == 422
        assert "The address that brought you here is not complete" in answer.text
        assert "<script>" not in answer.text
        assert "set-cookie" not in answer.headers
    assert numbers(site) == []


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("https://www.mturk.com/", True),
        ("https://workersandbox.mturk.com", True),
        ("https://mturk.com/mturk/externalSubmit", True),
        ("http://www.mturk.com/", False),
        ("https://mturk.com.evil.example/", False),
        ("https://evilmturk.com/", False),
        ("https://evil.example/?mturk.com/", False),
        ("https://evil.example#.mturk.com/", False),
        ("https://user@evil.example/.mturk.com", False),
        ("javascript:alert(1)//.mturk.com", False),
        ("https://www.mturk.com/" + "x" * 300, False),
        ("", False),
    ],
)
def test_only_amazon_s_own_pages_are_a_way_back(address: str, is_trusted: bool) -> None:
    who = recruitment.read([("workerId", "w"), ("assignmentId", "a"), ("turkSubmitTo", address)])
    assert who is not None
    assert ("turkSubmitTo" in who.parameters) == is_trusted


def test_the_same_participant_is_the_same_subject_on_any_computer(site: Site) -> None:
    link = site.invite("shared")
    for session in ("s1", "s2"):
        answer = agree(site.client(), f"{link}?PROLIFIC_PID=p1&STUDY_ID=x&SESSION_ID={session}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/session")
    assert "Welcome back" in site.client().get(f"{link}?PROLIFIC_PID=p1").text
    # Nor does a wish to be somebody else help, nor is it offered.
    assert "instead_of" not in site.client().get(f"{link}?PROLIFIC_PID=p1").text
    assert agree(site.client(), f"{link}?PROLIFIC_PID=p1&instead_of=1").status_code == 303
    assert numbers(site) == [1]
    (kept,) = recruits(site)
    assert (kept.platform, kept.participant) == ("prolific", "p1")
    assert kept.parameters == {"STUDY_ID": "x", "SESSION_ID": "s1"}


def test_another_participant_at_the_same_computer_is_another_subject(site: Site) -> None:
    link, computer = site.invite("shared"), site.client()
    for participant in ("p1", "p2", "p1"):
        assert agree(computer, f"{link}?PROLIFIC_PID={participant}").status_code == 303
    assert numbers(site) == [1, 2]
    # The same id elsewhere is somebody else: another platform, or another invitation.
    agree(computer, f"{link}?survey_code=p1")
    agree(computer, f"{site.invite('shared')}?PROLIFIC_PID=p1")
    assert numbers(site) == [1, 2, 3, 4]


def test_a_participant_who_comes_many_times_at_once_is_one_subject(site: Site) -> None:
    address = f"{site.invite('shared')}?{PROLIFIC}"
    clients = [site.client() for _ in range(6)]
    answers = at_once(lambda client=client: agree(client, address).status_code for client in clients)
    assert answers == [303] * 6
    assert numbers(site) == [1]


def test_a_preview_shows_the_consent_and_takes_nobody_in(site: Site) -> None:
    client, address = site.client(), f"{site.invite('shared')}?{PREVIEW}"
    for answer in (client.get(address), agree(client, address)):
        assert answer.status_code == 200
        assert "This is a preview" in answer.text
        assert "Taking part is voluntary" in answer.text
        assert "<form" not in answer.text
        assert "set-cookie" not in answer.headers
    assert numbers(site) == []
    assert agree(client, address.replace(PREVIEW, MTURK)).status_code == 303


@pytest.mark.parametrize(
    ("return_url", "query", "address", "name"),
    [
        (
            "https://app.prolific.com/submissions/complete?cc=C1A2",
            PROLIFIC,
            "https://app.prolific.com/submissions/complete?cc=C1A2",
            "Prolific",
        ),
        (
            "https://school.sona-systems.com/webstudy_credit.aspx?experiment_id=123&credit_token=4e&survey_code={participant}",
            "survey_code=987",
            "https://school.sona-systems.com/webstudy_credit.aspx?experiment_id=123&amp;credit_token=4e&amp;survey_code=987",
            "Sona",
        ),
        (
            "https://lab.example/{study}/{session}?by={participant}&{other}",
            "PROLIFIC_PID=a:b&STUDY_ID=s&SESSION_ID=t",
            "https://lab.example/s/t?by=a%3Ab&amp;{other}",
            "Prolific",
        ),
        (None, f"{MTURK}&{SUBMIT_TO}", "https://workersandbox.mturk.com/", "Mechanical Turk"),
        ("https://lab.example/end", "", "https://lab.example/end", "lab.example"),
    ],
)
def test_the_last_page_leads_back(site: Site, return_url: str | None, query: str, address: str, name: str) -> None:
    ask(site, return_url=return_url)
    client = site.client()
    agree(client, f"{site.invite('shared')}?{query}")
    finish(site)
    page = client.get("/thanks").text
    assert f'href="{address}"' in page
    assert f"Return to {name}</a>" in page


def test_the_code_is_filled_in(site: Site) -> None:
    ask(site, return_url="https://lab.example/end?code={code}")
    client = site.subject()
    finish(site)
    with site.sessions() as db:
        code = db.scalars(select(Subject.completion_code)).one()
    assert f'href="https://lab.example/end?code={code}"' in client.get("/thanks").text


@pytest.mark.parametrize("query", ["", f"{MTURK}&turkSubmitTo=https%3A%2F%2Fevil.example%2F"])
def test_there_is_no_way_back_to_nowhere(site: Site, query: str) -> None:
    client = site.client()
    ask(site, return_url="https://x.sona-systems.com/?survey_code={participant}" if not query else None)
    agree(client, f"{site.invite('shared')}?{query}")
    finish(site)
    page = client.get("/thanks").text
    assert "Return to" not in page
    assert "You can close this page." in page


def test_admins_get_the_recruits_and_no_votes_and_nobody_else_gets_them(site: Site) -> None:
    link = site.invite("shared")
    agree(site.client(), f"{link}?{PROLIFIC}")
    finish(site)
    agree(site.client(), f"{link}?{MTURK}")
    site.subject()
    answer = site.staff("admin").get("/api/studies/small/recruits.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "small-recruits.csv" in answer.headers["content-disposition"]
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(r["platform"], r["participant"], r["state"]) for r in rows] == [
        ("prolific", "5a9d64f5f6dfdd0001eaa73d", "finished"),
        ("mturk", "AZ3456EXAMPLE", "started"),
    ]
    assert (rows[0]["study"], rows[1]["study"]) == ("60aca280709ee40ec37d4885", "123RVWYBAZW00EXAMPLE")
    with site.sessions() as db:
        codes = db.scalars(select(Subject.completion_code).order_by(Subject.number)).all()
    assert [row["completion_code"] for row in rows] == list(codes[:2])
    # Nor what subjects are called in tables of votes.
    assert not {"choice", "votes", "voted", "pair", "subject"} & set(rows[0])
    assert site.staff("experimenter").get("/api/studies/small/recruits.csv").status_code == 403
    assert site.subject().get("/api/studies/small/recruits.csv").status_code == 403
    assert site.client().get("/api/studies/small/recruits.csv").status_code == 401


def test_what_platforms_call_a_subject_stands_in_one_table_and_in_no_vote_log(site: Site) -> None:
    with site.sessions.begin() as db:
        chosen = seats.take(db)
        db.add(
            Recruit(
                subject_id=chosen.id, invite_id=chosen.invite_id, platform="prolific", participant="SECRETPID",
                parameters={"SESSION_ID": "SECRETSESSION"},
            )
        )  # fmt: skip
        trial = seats.trials(db, chosen)[0]
        client = site.client()
        seats.sit(client, db, chosen)
    assert client.put(f"/api/subject/trials/{trial.id}/vote", json=seats.FACTS).is_success
    experimenter = site.staff("experimenter")
    log = experimenter.get("/api/studies/small/votes.csv").text
    assert log.count("\n") == 2
    assert "SECRET" not in log
    assert "SECRET" not in experimenter.get("/api/studies/small/subjects").text
    with site.sessions() as db:
        tables = db.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        holding = [
            table
            for table in tables
            if any("SECRET" in row for row in db.scalars(text(f'SELECT t::text FROM "{table}" AS t')))
        ]
    assert holding == ["recruits"]
