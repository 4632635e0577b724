"""What admins can ask for under /api: studies, invitations, users; and that the API is written down."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import func, select, text

from app.models import Consent, Invite, Pair
from app.web import create_app
from tests.app.conftest import PASSWORD, Site, next_trials, vote_on

STUDY = "/api/studies/small"


@pytest.fixture
def admin(site: Site) -> httpx.Client:
    return site.staff("admin")


def detail(answer: httpx.Response, status: int) -> str:
    """The one sentence of a refusal."""
    assert answer.status_code == status, answer.text
    message = answer.json()["detail"]
    assert isinstance(message, str)
    assert "\n" not in message
    assert "Traceback" not in message
    return message


def test_a_workspace_is_imported_under_the_name_asked_for(site: Site, admin: httpx.Client, workspace: Path) -> None:
    answer = admin.post("/api/studies", json={"workspace": str(workspace), "name": "again"})
    assert answer.status_code == 201
    imported, first = answer.json(), admin.get(STUDY).json()
    assert (imported["name"], imported["state"], imported["votes_by"]) == (
        "again",
        "draft",
        {"people": 0, "simulated": 0},
    )
    assert {key: imported[key] for key in ("title", "methods", "images", "pairs")} == {
        key: first[key] for key in ("title", "methods", "images", "pairs")
    }
    assert [study["name"] for study in admin.get("/api/studies").json()] == ["again", "small"]


def test_the_same_workspace_again_changes_nothing(site: Site, admin: httpx.Client, workspace: Path) -> None:
    site.panel_votes()
    before = admin.get(STUDY).json()
    answer = admin.post("/api/studies", json={"workspace": str(workspace)})
    assert (answer.status_code, answer.json()) == (201, before)
    with site.sessions() as db:
        assert db.scalar(select(func.count()).select_from(Pair)) == before["pairs"]


def test_another_workspace_under_the_same_name_is_refused(site: Site, admin: httpx.Client, workspace: Path) -> None:
    with site.sessions.begin() as db:
        db.execute(text("UPDATE methods SET name = 'other' WHERE position = 0"))
    message = detail(admin.post("/api/studies", json={"workspace": str(workspace)}), 409)
    assert message.startswith(f"{workspace}: a study is called 'small' already, and its votes belong to what it has")


@pytest.mark.parametrize("name", ["Große Studie", "-", "a/b", "a" * 64])
def test_a_name_that_cannot_stand_in_an_address_is_refused(admin: httpx.Client, workspace: Path, name: str) -> None:
    message = detail(admin.post("/api/studies", json={"workspace": str(workspace), "name": name}), 409)
    assert message == f"name: {name!r} cannot stand in an address; give small letters, digits and hyphens"
    assert len(admin.get("/api/studies").json()) == 1


def test_a_folder_that_is_no_workspace_is_refused(admin: httpx.Client, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        assert str(folder) in detail(admin.post("/api/studies", json={"workspace": str(folder)}), 409)
    assert len(admin.get("/api/studies").json()) == 1


def test_a_study_is_closed_and_opened_and_nobody_starts_while_it_is_closed(site: Site, admin: httpx.Client) -> None:
    link = site.invite()
    assert admin.patch(STUDY, json={"state": "closed"}).json()["state"] == "closed"
    assert site.client().post(link, data={"consent": "yes"}).status_code in (403, 409)
    assert admin.patch(STUDY, json={"state": "open"}).json()["state"] == "open"
    assert site.client().post(link, data={"consent": "yes"}).status_code == 303


def test_what_is_left_out_of_a_change_stays(admin: httpx.Client) -> None:
    before = admin.get(STUDY).json()
    assert admin.patch(STUDY, json={"title": "Small but fine"}).json() == before | {"title": "Small but fine"}
    shared = admin.patch(STUDY, json={"trials_per_subject": 5}).json()
    assert shared == before | {"title": "Small but fine", "trials_per_subject": 5}
    assert admin.patch(STUDY, json={"trials_per_subject": 0}).json()["trials_per_subject"] is None
    assert admin.patch(STUDY, json={}).json() == before | {"title": "Small but fine"}


def test_a_share_of_the_trials_is_for_new_subjects(site: Site, admin: httpx.Client) -> None:
    earlier = site.subject()
    admin.patch(STUDY, json={"trials_per_subject": 2})
    later = site.subject()
    totals = [s.post("/api/subject/trials", json={"ahead": 20}).json() for s in (earlier, later)]
    assert [(answer["total"], len(answer["trials"])) for answer in totals] == [(12, 12), (2, 2)]


def test_a_changed_consent_is_a_new_version_and_the_earlier_one_is_kept(site: Site, admin: httpx.Client) -> None:
    site.subject()
    admin.patch(STUDY, json={"consent": "You will look at images.\n\nThat is all."})
    admin.patch(STUDY, json={"consent": "You will look at images.\n\nThat is all."})
    site.subject()
    page = site.client().get(site.invite()).text
    assert "<p>You will look at images.</p>" in page
    assert "<p>That is all.</p>" in page
    with site.sessions() as db:
        consents = db.scalars(select(Consent.id).where(Consent.language == "en").order_by(Consent.id)).all()
        agreed = db.execute(text("SELECT consent_id FROM subjects ORDER BY number")).scalars().all()
    assert len(consents) == 2
    assert agreed == consents


def test_invitations_are_made_listed_and_lead_to_trials(site: Site, admin: httpx.Client) -> None:
    made = admin.post(f"{STUDY}/invites", json={"kind": "single", "count": 3, "note": "room 2"})
    assert made.status_code == 201
    invites = made.json()["invites"]
    shared = admin.post(f"{STUDY}/invites", json={"kind": "shared", "count": 5}).json()["invites"]
    assert [(i["kind"], i["note"], i["subjects"], i["revoked"]) for i in invites] == [
        ("single", "room 2", 0, False)
    ] * 3
    assert len({i["link"] for i in invites}) == 3
    assert len(shared) == 1
    for link in (invites[0]["link"], shared[0]["link"], shared[0]["link"]):
        assert link.startswith(f"{site.url}/i/")
        assert len(next_trials(site.subject(link))) == 1
    listed = {i["id"]: i["subjects"] for i in admin.get(f"{STUDY}/invites").json()["invites"]}
    assert listed == {shared[0]["id"]: 2, invites[0]["id"]: 1, invites[1]["id"]: 0, invites[2]["id"]: 0}
    assert list(listed) == sorted(listed, reverse=True)


def test_a_revoked_invitation_opens_nothing_new_and_whoever_used_it_finishes(site: Site, admin: httpx.Client) -> None:
    invite = admin.post(f"{STUDY}/invites", json={"kind": "shared"}).json()["invites"][0]
    subject = site.subject(invite["link"])
    assert admin.delete(f"{STUDY}/invites/{invite['id']}").status_code == 204
    assert site.client().get(invite["link"]).status_code == 404
    assert site.client().post(invite["link"], data={"consent": "yes"}).status_code == 404
    trials = next_trials(subject, 20)
    assert [vote_on(subject, trial).status_code for trial in trials] == [200] * 12
    assert admin.get(f"{STUDY}/invites").json()["invites"][0]["revoked"] is True


def test_an_invitation_of_another_study_is_not_revoked(site: Site, admin: httpx.Client, workspace: Path) -> None:
    admin.post("/api/studies", json={"workspace": str(workspace), "name": "other"})
    invite = admin.post(f"{STUDY}/invites", json={}).json()["invites"][0]["id"]
    for study, key in (("other", invite), ("small", invite + 1000)):
        message = detail(admin.delete(f"/api/studies/{study}/invites/{key}"), 404)
        assert message == f"study {study!r} has no invitation {key}"
    with site.sessions() as db:
        assert not db.get_one(Invite, invite).revoked


@pytest.mark.parametrize("role", ["experimenter", "admin"])
def test_a_set_up_link_makes_one_user_of_its_role(site: Site, admin: httpx.Client, role: str) -> None:
    made = admin.post("/api/users/links", json={"role": role})
    assert made.status_code == 201
    link = made.json()["link"]
    assert link.startswith(f"{site.url}/set-up/")
    lifetime = datetime.fromisoformat(made.json()["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6) < lifetime <= timedelta(days=7)
    colleague = site.client()
    assert colleague.post(link, data={"name": "Grace", "password": PASSWORD}).status_code == 303
    assert site.client().post(link, data={"name": "Eve", "password": PASSWORD}).status_code == 410
    assert colleague.get("/api/users").status_code == (200 if role == "admin" else 403)
    users = [(user["name"], user["role"]) for user in admin.get("/api/users").json()]
    assert users[1:] == [("Grace", role)]
    assert "password" not in admin.get("/api/users").text


@pytest.mark.parametrize(
    ("method", "path", "body", "beginning"),
    [
        ("PATCH", STUDY, {"state": "ajar"}, "state: "),
        ("PATCH", STUDY, {"title": ""}, "title: "),
        ("PATCH", STUDY, {"trials_per_subject": -1}, "trials_per_subject: "),
        ("POST", f"{STUDY}/invites", {"count": 0}, "count: "),
        ("POST", f"{STUDY}/invites", {"kind": "many"}, "kind: "),
        ("POST", f"{STUDY}/rankings", {"ridge": "much"}, "ridge: "),
        ("POST", f"{STUDY}/calibrations", {"ranking": "first"}, "ranking: "),
        ("POST", "/api/users/links", {"role": "subject"}, "role: "),
        ("POST", "/api/studies", {"workspace": 7}, "workspace: "),
    ],
)
def test_a_wrong_field_is_named_in_one_sentence(
    admin: httpx.Client, method: str, path: str, body: dict[str, Any], beginning: str
) -> None:
    message = detail(admin.request(method, path, json=body), 422)
    assert message.startswith(beginning)
    assert message.endswith(f", got {next(iter(body.values()))!r}")


def test_a_missing_field_is_named(admin: httpx.Client) -> None:
    assert detail(admin.post(f"{STUDY}/calibrations", json={}), 422).startswith("ranking: ")
    assert detail(admin.post("/api/studies", json={"name": "x"}), 422).startswith("workspace: ")


def test_an_empty_consent_is_refused(site: Site, admin: httpx.Client) -> None:
    message = detail(admin.patch(STUDY, json={"consent": " \n "}), 409)
    assert message == "consent: the text is empty; subjects must know what they agree to"
    with site.sessions() as db:
        assert db.scalar(select(func.count()).select_from(Consent)) == 2


def test_what_is_no_json_is_refused_in_one_sentence(admin: httpx.Client) -> None:
    for content in (b"{", b"[]", b""):
        message = detail(admin.patch(STUDY, content=content, headers={"Content-Type": "application/json"}), 422)
        assert len(message) < 200


def test_what_is_not_there_is_named(admin: httpx.Client) -> None:
    assert detail(admin.get("/api/studies/large"), 404) == "there is no study 'large'"
    assert detail(admin.patch("/api/studies/large", json={"state": "open"}), 404) == "there is no study 'large'"
    assert detail(admin.get(f"{STUDY}/rankings/7"), 404) == "study 'small' has no ranking 7"
    assert detail(admin.get(f"{STUDY}/calibrations/7"), 404) == "study 'small' has no calibration 7"
    assert detail(admin.post(f"{STUDY}/calibrations/7/cancel"), 404) == "study 'small' has no calibration 7"


def api_routes(routes: Iterable[Any]) -> Iterator[APIRoute]:
    """All routes, those of included routers too."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from api_routes(included.routes)
        elif isinstance(route, APIRoute):
            yield route


def test_every_route_of_the_api_is_documented(site: Site, admin: httpx.Client) -> None:
    app = create_app(site.database_url, site.settings)
    routes = {
        (method, re.sub(r":\w+}", "}", route.path))
        for route in api_routes(app.routes)
        if route.path.startswith("/api/") and route.path != "/api/openapi.json"
        for method in route.methods
    }
    app.state.sessions.kw["bind"].dispose()
    described = admin.get("/api/openapi.json").json()
    operations = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert {
        ("POST", "/api/studies/{study}/rankings"),
        ("POST", "/api/studies/{study}/calibrations"),
        ("GET", "/api/studies/{study}/matrix"),
        ("GET", "/api/studies/{study}/votes.csv"),
        ("PUT", "/api/subject/trials/{trial}/vote"),
    } <= routes
    assert routes <= operations.keys()
    page = admin.get("/api").text
    for (method, path), operation in operations.items():
        assert operation["summary"], (method, path)
        assert operation["description"].endswith("."), (method, path)
        assert operation["tags"][0] in ("subjects", "experimenters", "admins")
        assert path in page
