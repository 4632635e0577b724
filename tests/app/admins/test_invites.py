"""Invitations to hand out: QR codes, sheets to print, and consent texts in each language."""

import re
from xml.etree import ElementTree

import httpx
import pytest
from sqlalchemy import select

from app import studies
from app.admins import invites
from app.models import Consent
from tests.app.conftest import Site

STUDY = "/api/studies/small"


@pytest.fixture
def admin(site: Site) -> httpx.Client:
    return site.staff("admin")


def made(admin: httpx.Client, kind: str = "shared") -> dict[str, object]:
    (invite,) = admin.post(f"{STUDY}/invites", json={"kind": kind}).json()["invites"]
    return dict(invite)


def dark_modules(drawn: str) -> int:
    """How many modules of a QR code are dark, from the runs of its path."""
    return sum(int(run) for run in re.findall(r"h(\d+)", drawn))


@pytest.mark.parametrize("kind", ["single", "shared"])
def test_an_invitation_has_a_qr_code_of_its_link(admin: httpx.Client, kind: str) -> None:
    invite = made(admin, kind)
    answer = admin.get(f"/studies/small/invites/{invite['id']}/qr.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.text == invites.qr_code(str(invite["link"]))
    root = ElementTree.fromstring(answer.text)
    assert root.find("{http://www.w3.org/2000/svg}title").text == invite["link"]
    # Nothing in it that a strict content security policy would refuse.
    assert "<script" not in answer.text
    assert "style=" not in answer.text


def test_codes_of_different_links_differ() -> None:
    first, second = (invites.qr_code(f"https://lab.example/i/{name}") for name in ("a" * 43, "b" * 43))
    assert dark_modules(first) > 300
    assert first != second


def test_a_sheet_to_print_speaks_the_study_s_languages(admin: httpx.Client) -> None:
    invite = made(admin)
    page = admin.get(f"/studies/small/invites/{invite['id']}").text
    assert str(invite["link"]) in page
    assert f'src="/studies/small/invites/{invite["id"]}/qr.svg"' in page
    assert "scan this code" in page
    assert "扫描此二维码" in admin.get(f"/studies/small/invites/{invite['id']}?lang=zh").text
    assert "scan this code" in admin.get(f"/studies/small/invites/{invite['id']}?lang=xx").text


def test_only_admins_see_them(site: Site, admin: httpx.Client) -> None:
    invite = made(admin)
    for path in (f"/studies/small/invites/{invite['id']}", f"/studies/small/invites/{invite['id']}/qr.svg"):
        assert site.staff("experimenter").get(path).status_code == 403
        assert site.subject().get(path).status_code == 403
        assert site.client().get(path).status_code == 401


def test_there_is_none_of_an_invitation_that_is_unknown_or_revoked(site: Site, admin: httpx.Client) -> None:
    invite = made(admin)
    assert admin.get("/studies/small/invites/999/qr.svg").status_code == 404
    assert admin.get("/studies/small/invites/999").status_code == 404
    assert admin.get(f"/studies/other/invites/{invite['id']}").status_code == 404
    admin.delete(f"{STUDY}/invites/{invite['id']}")
    assert admin.get(f"/studies/small/invites/{invite['id']}").status_code == 404


def test_the_consent_is_edited_in_each_language(site: Site, admin: httpx.Client) -> None:
    page = admin.get("/studies/small/manage").text
    assert page.count('name="consent"') == 2
    assert "Taking part is voluntary" in page
    assert "参加完全自愿" in page
    assert admin.patch(STUDY, json={"consent": "新的文字。", "language": "zh"}).is_success
    assert "新的文字。" in site.client().get(f"{site.invite()}?lang=zh").text
    assert "Taking part is voluntary" in site.client().get(site.invite()).text
    refused = admin.patch(STUDY, json={"consent": "Neu.", "language": "de"})
    assert refused.status_code == 409
    assert refused.json()["detail"] == "consent: the protocol does not offer 'de'; it offers en, zh"
    with site.sessions() as db:
        kept = db.scalars(select(Consent.language).order_by(Consent.id)).all()
        assert kept == ["en", "zh", "zh"]
        assert studies.find(db, "small").title == "small"
