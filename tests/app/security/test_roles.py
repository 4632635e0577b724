"""Every route of the application, asked for by everybody: each opens for its audience, and refuses the others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import select, text
from starlette.routing import BaseRoute, Mount

from app.config import Settings
from app.models import Invite
from app.web import create_app
from tests.app.conftest import Site, next_trials, vote_on
from tests.app.subjects.test_steps import GOOD

STUDY = "/studies/{study}"
API = "/api/studies/{study}"

# A new route is added to one of these by hand: whom it is for is a decision.
OPEN = {
    "GET /",
    "GET /health",
    "GET /sign-in",
    "POST /sign-in",
    "POST /sign-out",
    "GET /set-up/{token}",
    "POST /set-up/{token}",
    "GET /i/{token}",
    "POST /i/{token}",
    "GET /assets/vega.js",
    "MOUNT /static",
}
# Out of turn, these lead to where the subject is in the session.
LEADING_ON = {
    "GET /session",
    "GET /questions",
    "POST /questions",
    "GET /device",
    "GET /acuity",
    "GET /colour-vision",
    "GET /instructions",
    "POST /instructions",
    "GET /thanks",
}
SUBJECTS = LEADING_ON | {
    "POST /api/subject/steps/device",
    "POST /api/subject/steps/acuity",
    "POST /api/subject/steps/colour-vision",
    "GET /trial",
    "POST /api/subject/trials",
    "GET /trials/{trial}/{part}.{encoding}",
    "PUT /api/subject/trials/{trial}/vote",
}
EXPERIMENTERS = {
    "GET /api",
    "GET /api/openapi.json",
    "GET /studies",
    f"GET {STUDY}",
    f"GET {STUDY}/events",
    f"GET {STUDY}/pairs",
    f"GET {STUDY}/images/{{sha256}}.png",
    f"GET {STUDY}/images/{{stem}}",
    f"GET {STUDY}/rankings/{{ranking}}",
    f"GET {STUDY}/calibrations/{{calibration}}",
    "GET /api/studies",
    f"GET {API}",
    f"GET {API}/snapshot",
    f"GET {API}/matrix",
    f"GET {API}/votes.csv",
    f"GET {API}/rankings",
    f"GET {API}/rankings/{{ranking}}",
    f"GET {API}/rankings/{{ranking}}/chart",
    f"GET {API}/calibrations",
    f"GET {API}/calibrations/{{calibration}}",
    f"GET {API}/calibrations/{{calibration}}/model.zip",
}
ADMINS = {
    "GET /admin",
    "GET /preruns/{prerun}",
    "GET /api/preruns",
    "POST /api/preruns",
    "GET /api/preruns/{prerun}",
    "POST /api/preruns/{prerun}/cancel",
    "POST /api/preruns/{prerun}/resume",
    f"GET {STUDY}/manage",
    "POST /api/studies",
    f"PATCH {API}",
    f"GET {API}/invites",
    f"POST {API}/invites",
    f"DELETE {API}/invites/{{invite}}",
    f"GET {STUDY}/invites/{{invite}}",
    f"GET {STUDY}/invites/{{invite}}/qr.svg",
    f"GET {API}/recruits.csv",
    f"POST {API}/rankings",
    f"POST {API}/calibrations",
    f"POST {API}/calibrations/{{calibration}}/cancel",
    "GET /api/users",
    "POST /api/users/links",
    "DELETE /api/users/{name:path}",
}
STAFF = EXPERIMENTERS | ADMINS


def routes(found: list[BaseRoute], prefix: str = "") -> Iterator[str]:
    """METHOD and path of every route, through routers and mounts."""
    for route in found:
        if isinstance(route, Mount):
            if route.routes:
                yield from routes(list(route.routes), prefix + route.path)
            else:
                yield f"MOUNT {prefix}{route.path}"
        elif hasattr(route, "original_router"):
            yield from routes(route.original_router.routes, prefix)
        else:
            yield from (f"{method} {prefix}{route.path}" for method in route.methods or ["ANY"])  # type: ignore[attr-defined]


def test_every_route_belongs_to_one_audience(tmp_path: Path) -> None:
    app = create_app("postgresql://nobody@localhost/nowhere", Settings(home=tmp_path))
    found = [route for route in routes(app.routes) if not route.startswith("HEAD ")]
    assert sorted(found) == sorted([*OPEN, *SUBJECTS, *EXPERIMENTERS, *ADMINS])
    app.state.sessions.kw["bind"].dispose()


def test_experimenters_can_only_read() -> None:
    assert {route for route in EXPERIMENTERS if not route.startswith("GET ")} == set()


class Everything:
    """Requests that are right in every respect but who sends them; they would succeed for the right audience."""

    def __init__(self, site: Site, workspace: Path) -> None:
        self.site = site
        self.admin = site.staff("admin")
        self.subject = site.subject()
        for trial in next_trials(self.subject, 12)[:11]:
            vote_on(self.subject, trial, "left")
        (self.trial,) = next_trials(self.subject, 1)
        ranking = self.admin.post("/api/studies/small/rankings", json={"ridge": 0.1}).json()["id"]
        calibration = self.admin.post("/api/studies/small/calibrations", json={"ranking": ranking}).json()["id"]
        prerun = self.admin.post("/api/preruns", json={"study_file": str(self._another_study(workspace))}).json()["id"]
        site.invite()
        site.add_user("removable", "experimenter")
        with site.sessions() as db:
            image = db.scalars(text("SELECT sha256 FROM outputs LIMIT 1")).one()
            stem = db.scalars(text("SELECT stem FROM low_resolution_images LIMIT 1")).one()
            invite = db.scalars(select(Invite.id).order_by(Invite.id.desc()).limit(1)).one()
        self.values = {
            "study": "small",
            "sha256": image,
            "stem": stem,
            "ranking": ranking,
            "calibration": calibration,
            "invite": invite,
            "prerun": prerun,
            "trial": self.trial["id"],
            "part": "left",
            "encoding": "png",
            "name": "removable",
        }
        self.bodies: dict[str, dict[str, Any]] = {
            "POST /api/subject/trials": {"ahead": 12},
            **{f"POST /api/subject/steps/{step}": facts for step, facts in GOOD.items()},
            "POST /api/studies": {"workspace": str(workspace), "name": "another"},
            f"PATCH {API}": {"title": "Changed", "consent": "Changed", "trials_per_subject": 3, "state": "closed"},
            f"POST {API}/invites": {"kind": "shared"},
            f"POST {API}/rankings": {"ridge": 0.1},
            f"POST {API}/calibrations": {"ranking": ranking},
            "POST /api/preruns": {"study_file": str(workspace.parent / "study.toml")},
            "POST /api/users/links": {"role": "admin"},
        }

    def _another_study(self, workspace: Path) -> Path:
        """Its pre-run keeps nobody from starting one of the study."""
        text = (workspace.parent / "study.toml").read_text()
        file = self.site.settings.home / "another.toml"
        file.write_text(text.replace('name = "small"', 'name = "another"'))
        return file

    def ask(self, client: httpx.Client, route: str, *, accept: str = "text/html", **changes: Any) -> httpx.Response:
        """Send the request; of a stream, only its beginning is read."""
        method, path = route.split(" ")
        if method == "PUT":
            return vote_on(client, self.trial)
        url = path.replace(":path", "").format(**self.values | changes)
        query = {"first": "nearest", "second": "bicubic"} if path.endswith("/pairs") else {}
        request = client.build_request(
            method, url, params=query, json=self.bodies.get(route), headers={"Accept": accept}
        )
        answer = client.send(request, stream=True)
        if "event-stream" not in answer.headers.get("content-type", ""):
            answer.read()
        answer.close()
        return answer

    def content(self) -> dict[str, list[str]]:
        """Every row of every table."""
        with self.site.sessions() as db:
            tables = db.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
            return {t: sorted(db.scalars(text(f'SELECT row::text FROM "{t}" AS row'))) for t in tables}


@pytest.fixture
def everything(site: Site, workspace: Path) -> Everything:
    return Everything(site, workspace)


def test_who_is_nobody_is_sent_to_sign_in_or_told_so(everything: Everything) -> None:
    before = everything.content()
    anonymous = everything.site.client()
    for route in sorted(STAFF | SUBJECTS):
        answer = everything.ask(anonymous, route)
        asked_for = answer.request.url.raw_path.decode()
        if route.startswith("GET ") and route in STAFF and not asked_for.startswith("/api/"):
            assert answer.status_code == 303, route
            assert answer.headers["location"] == f"/sign-in?next={quote(asked_for)}"
        else:
            assert answer.status_code == 401, route
        assert everything.ask(anonymous, route, accept="*/*").status_code == 401, route
        assert "set-cookie" not in answer.headers
    assert everything.content() == before


def test_a_subject_is_refused_wherever_staff_works(everything: Everything) -> None:
    before = everything.content()
    for route in sorted(STAFF):
        answer = everything.ask(everything.subject, route)
        assert answer.status_code == 403, route
        assert "nearest" not in answer.text
    assert everything.content() == before


def test_an_experimenter_is_refused_wherever_admins_decide_and_nothing_changes(everything: Everything) -> None:
    experimenter = everything.site.staff("experimenter")
    before = everything.content()
    for route in sorted(ADMINS):
        answer = everything.ask(experimenter, route, accept="application/json")
        assert (answer.status_code, answer.json()) == (403, {"detail": "this is for admins; ask one"}), route
    assert everything.content() == before


def test_staff_that_does_not_vote_is_refused_wherever_subjects_vote(everything: Everything) -> None:
    before = everything.content()
    for route in sorted(SUBJECTS):
        answer = everything.ask(everything.admin, route)
        assert answer.status_code == 403, route
        assert "open an invitation link to vote" in answer.text
    assert everything.content() == before


def test_who_may_not_enter_does_not_learn_which_studies_there_are(everything: Everything) -> None:
    experimenter = everything.site.staff("experimenter")
    for client, known in ((everything.site.client(), STAFF), (everything.subject, STAFF), (experimenter, ADMINS)):
        for route in sorted(route for route in known if "{study}" in route):
            there, absent = everything.ask(client, route), everything.ask(client, route, study="absent")
            assert there.status_code == absent.status_code != 404, route
            assert there.text == absent.text.replace("absent", "small")


def test_everybody_is_let_in_where_they_belong(everything: Everything) -> None:
    """The refusals above are due to the role alone: the same requests succeed for the right one."""
    experimenter = everything.site.staff("experimenter")
    without_result = f"GET {API}/calibrations/{{calibration}}/model.zip"
    for client, known in ((experimenter, EXPERIMENTERS), (everything.admin, STAFF), (everything.subject, SUBJECTS)):
        for route in sorted(known, key=lambda route: (route.startswith("DELETE"), route)):
            answer = everything.ask(client, route)
            expected = (404,) if route == without_result else (200, 201, 204)
            assert answer.status_code in ((303,) if route in LEADING_ON else expected), (route, answer.text)


def test_an_admin_who_also_votes_is_both(everything: Everything) -> None:
    everything.admin.cookies.update(everything.subject.cookies)
    assert everything.ask(everything.admin, "GET /admin").status_code == 200
    assert everything.ask(everything.admin, "GET /trial").status_code == 200
    assert vote_on(everything.admin, everything.trial).json()["voted"] == 12


def test_a_role_that_was_taken_away_ends_at_once(everything: Everything) -> None:
    with everything.site.sessions.begin() as db:
        db.execute(text("UPDATE users SET role = 'experimenter'"))
    for route in sorted(ADMINS):
        assert everything.ask(everything.admin, route).status_code == 403, route


def test_methods_that_no_route_knows_are_refused(everything: Everything) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE"):
        assert everything.admin.request(method, "/studies").status_code == 405
        assert everything.site.client().request(method, "/static/base.css").status_code == 405
