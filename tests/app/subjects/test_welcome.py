"""The door in several languages: which one is spoken, which text is agreed to, and what stays with the subject."""

import json
import re
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app import studies, terms
from app.models import Consent, Protocol, Subject
from pipelines import protocol
from pipelines.errors import DiscernError
from tests.app.conftest import Site

IN_CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}


def ask(site: Site, **settings: Any) -> None:
    """Let new subjects go by another protocol: consent and trials, but for these settings."""
    plain = {"device_check": False, "training": 0, "warm_up": 0, "warm_up_later": 0, "break_seconds": 0}
    with site.sessions.begin() as db:
        terms.set_protocol(db, studies.find(db, site.study), protocol.Protocol(**plain | settings))


def version(page: str) -> str:
    found = re.search(r'name="version" value="(\d+)"', page)
    assert found is not None
    return found[1]


def language(page: str) -> str:
    found = re.search(r'<html lang="([^"]+)"', page)
    assert found is not None
    return found[1]


def subject(site: Site) -> Subject:
    with site.sessions() as db:
        return db.scalars(select(Subject).order_by(Subject.id.desc())).first()


def test_the_browser_s_language_is_spoken_unless_another_is_chosen(site: Site) -> None:
    link = site.invite("shared")
    client = site.client()
    for address, headers, spoken, text in (
        (link, {}, "en", "Agree and start"),
        (link, {"Accept-Language": "de"}, "en", "Agree and start"),
        (link, IN_CHINESE, "zh", "同意并开始"),
        (f"{link}?lang=zh", {}, "zh", "同意并开始"),
        (f"{link}?lang=en", IN_CHINESE, "en", "Agree and start"),
        (f"{link}?lang=zh-CN", {}, "zh", "同意并开始"),
        (f"{link}?lang=xx", IN_CHINESE, "zh", "同意并开始"),
        (f"{link}?lang=", IN_CHINESE, "zh", "同意并开始"),
        (f"{link}?lang=../zh", {}, "en", "Agree and start"),
        (f"{link}?lang=%00", {}, "en", "Agree and start"),
    ):
        page = client.get(address, headers=headers)
        assert (page.status_code, language(page.text)) == (200, spoken)
        assert text in page.text


def test_every_language_of_the_protocol_can_be_chosen_and_none_else(site: Site) -> None:
    page = site.client().get(site.invite()).text
    assert re.findall(r'<a href="(\?[^"]*)" lang="(\w+)"', page) == [("?lang=en", "en"), ("?lang=zh", "zh")]
    assert ">中文</a>" in page
    ask(site, languages=("zh",))
    page = site.client().get(site.invite(), headers={"Accept-Language": "en"}).text
    assert language(page) == "zh"
    assert "?lang=" not in page


def test_the_choice_of_a_language_keeps_the_rest_of_the_address(site: Site) -> None:
    link = site.invite("shared")
    page = site.client().get(f"{link}?instead_of=1&PROLIFIC_PID=abc&lang=en&STUDY_ID=s").text
    assert '"?instead_of=1&amp;PROLIFIC_PID=abc&amp;STUDY_ID=s&amp;lang=zh"' in page


def test_a_subject_agrees_to_the_text_of_the_chosen_language_and_stays_in_it(site: Site) -> None:
    link = site.invite("shared")
    client = site.client()
    page = client.get(f"{link}?lang=zh").text
    assert "参加完全自愿" in page
    answer = client.post(f"{link}?lang=zh", data={"consent": "yes", "version": version(page)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/session")
    found = subject(site)
    with site.sessions() as db:
        agreed = db.get_one(Consent, found.consent_id)
        assert (found.language, agreed.language, agreed.text) == ("zh", "zh", terms.CONSENTS["zh"])
        assert found.consented_at is not None
        assert found.protocol_id == db.scalars(select(Protocol.id)).one()
    back = client.get(f"{link}?lang=en", headers={"Accept-Language": "en"}).text
    assert language(back) == "zh"
    assert "欢迎回来" in back
    assert "参加完全自愿" in back


def test_a_text_that_has_changed_meanwhile_is_to_be_read_again(site: Site) -> None:
    link = site.invite()
    client = site.client()
    read = version(client.get(link).text)
    with site.sessions.begin() as db:
        terms.set_consent(db, studies.find(db, site.study), "Your votes are sold.", "en")
    answer = client.post(link, data={"consent": "yes", "version": read})
    assert answer.status_code == 422
    assert "This text has changed since you opened the page" in answer.text
    assert "Your votes are sold." in answer.text
    assert subject(site) is None
    assert client.post(link, data={"consent": "yes", "version": version(answer.text)}).status_code == 303


@pytest.mark.parametrize("sent", ["0", "-1", "x", "99999999999999999999", "\u0000"])
def test_a_version_that_there_is_not_is_no_consent(site: Site, sent: str) -> None:
    answer = site.client().post(site.invite(), data={"consent": "yes", "version": sent})
    assert answer.status_code == 422
    assert subject(site) is None


def test_an_edited_text_of_one_language_leaves_the_others_alone(site: Site) -> None:
    with site.sessions.begin() as db:
        study = studies.find(db, site.study)
        terms.set_consent(db, study, "另一段文字。", "zh")
        assert terms.consent(db, study, "zh").text == "另一段文字。"
        assert terms.consent(db, study, "en").text == terms.CONSENTS["en"]
        assert terms.consent(db, study).language == "en"
        with pytest.raises(DiscernError, match=r"the protocol does not offer 'de'; it offers en, zh"):
            terms.set_consent(db, study, "Text", "de")


def test_a_language_without_a_text_shows_that_of_the_first_one_that_has_it(site: Site) -> None:
    ask(site, languages=("en", "de"))
    page = site.client().get(site.invite(), headers={"Accept-Language": "de"}).text
    assert language(page) == "de"
    assert '<div class="text" lang="en">' in page
    assert "Taking part is voluntary" in page


def test_a_study_file_brings_its_own_texts(site: Site) -> None:
    ask(site, languages=("en", "de"), consent={"en": "Do you agree?", "de": "Sind Sie einverstanden?"})
    page = site.client().get(site.invite(), headers={"Accept-Language": "de"}).text
    assert "Sind Sie einverstanden?" in page
    assert "Do you agree?" in site.client().get(site.invite()).text
    with site.sessions.begin() as db:
        terms.set_consent(db, studies.find(db, site.study), "Do you really agree?", "en")
    # What an admin has edited stays, until the study file has another text.
    for block in (7, 8):
        ask(site, languages=("en", "de"), consent={"en": "Do you agree?", "de": "Sind Sie einverstanden?"}, block=block)
        assert "Do you really agree?" in site.client().get(site.invite()).text
    ask(site, languages=("en", "de"), consent={"en": "Agreed?", "de": "Einverstanden?"})
    assert "Agreed?" in site.client().get(site.invite()).text


def test_a_subject_goes_by_the_protocol_that_they_came_under(site: Site) -> None:
    site.subject()
    ask(site, languages=("en",), block=7)
    ask(site, languages=("en",), block=7)
    site.subject()
    with site.sessions() as db:
        versions = db.scalars(select(Protocol.id).order_by(Protocol.id)).all()
        assert len(versions) == 2
        assert db.scalars(select(Subject.protocol_id).order_by(Subject.id)).all() == versions


def test_refusals_speak_the_subject_s_language(site: Site) -> None:
    client, link = site.client(), site.invite()
    with site.sessions.begin() as db:
        studies.find(db, site.study).state = "closed"
    closed = client.get(link, headers=IN_CHINESE)
    assert (closed.status_code, language(closed.text)) == (403, "zh")
    assert "本研究目前没有开放" in closed.text
    unknown = client.get("/i/nothing", headers=IN_CHINESE)
    assert (unknown.status_code, language(unknown.text)) == (404, "zh")
    assert ">small<" not in unknown.text


def test_the_session_leads_onward_and_needs_a_subject(site: Site) -> None:
    assert site.client().get("/session").status_code == 401
    assert site.subject().get("/session").headers["location"] == "/trial"


def finish(site: Site) -> None:
    """As if the newest subject had voted on everything."""
    with site.sessions.begin() as db:
        newest = db.scalars(select(Subject).order_by(Subject.id.desc())).first()
        assert newest is not None
        newest.voted = newest.total


def test_thanks_are_for_those_who_have_finished(site: Site) -> None:
    client = site.client()
    client.post(f"{site.invite()}?lang=zh", data={"consent": "yes"})
    early = client.get("/thanks")
    assert (early.status_code, early.headers["location"]) == (303, "/session")
    finish(site)
    assert client.get("/session").headers["location"] == "/thanks"
    assert client.get("/trial").headers["location"] == "/session"
    page = client.get("/thanks").text
    assert "感谢您的参与" in page
    assert subject(site).completion_code in page
    (catalogue,) = re.findall(r'<script type="application/json" id="catalogue">(.*)</script>', page)
    assert json.loads(catalogue)["Copied"] == "已复制"


def test_the_words_of_scripts_are_data_that_cannot_end_early(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.subjects.languages.words", lambda language: {"a": "</script><b>&"})
    page: httpx.Response = site.client().get(site.invite())
    assert page.text.count("</script>") == page.text.count("<script ")
    assert r'{"a": "\u003c/script\u003e\u003cb\u003e\u0026"}' in page.text
