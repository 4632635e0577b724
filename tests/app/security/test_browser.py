"""What browsers are told, where unsafe requests may come from, and that pages hold nothing that the policy forbids."""

from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser

import httpx
from sqlalchemy import text

from app.security.browser import Throttle
from app.security.users import new_link
from tests.app.conftest import PASSWORD, Site, next_trials, serving_app, vote_on
from tests.app.subjects.test_trials import at_once

REFUSAL = {"detail": "refused: this request was sent by another site"}
OWN, OTHER_PORT, OWN_HOST_IN_ANOTHER = "{own}", "http://127.0.0.1:1", "{own}.evil.example"

ALLOWED = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": OWN},
    {"Sec-Fetch-Site": "same-origin", "Origin": OWN},
]
FORBIDDEN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "cross-site", "Origin": OWN},
    {"Sec-Fetch-Site": "same-site", "Origin": OWN},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": OTHER_PORT},
    {"Origin": OWN_HOST_IN_ANOTHER},
    {"Origin": "http://evil.example/127.0.0.1"},
    {"Origin": "file://"},
]

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}


def sent_from(site: Site, headers: dict[str, str]) -> dict[str, str]:
    return {name: value.format(own=site.url) for name, value in headers.items()}


def test_requests_of_other_sites_change_nothing_and_own_ones_do(site: Site) -> None:
    """A form (an invitation, signing in), and JSON (a vote), as a browser would send them."""
    site.add_user("Ada", "admin")
    subject, link = site.subject(), site.invite("shared")
    trials = iter(next_trials(subject, 12))

    def attempts(headers: dict[str, str]) -> Iterator[tuple[httpx.Response, int]]:
        yield site.client().post(link, data={"consent": "yes"}, headers=headers), 303
        yield site.client().post("/sign-in", data={"name": "Ada", "password": PASSWORD}, headers=headers), 303
        subject.headers.update(headers)
        yield vote_on(subject, next(trials)), 200
        for name in headers:
            del subject.headers[name]

    for headers in FORBIDDEN:
        before = counts(site)
        trials, kept = iter(next_trials(subject, 12)), next_trials(subject, 12)
        for answer, _ in attempts(sent_from(site, headers)):
            assert answer.status_code == 403, headers
            assert "set-cookie" not in answer.headers
        assert counts(site) == before
        assert next_trials(subject, 12) == kept
    for headers in ALLOWED:
        trials = iter(next_trials(subject, 12))
        for answer, status in attempts(sent_from(site, headers)):
            assert answer.status_code == status, (headers, answer.text)
    assert counts(site) == {"subjects": 1 + len(ALLOWED), "votes": len(ALLOWED), "sessions": 1 + 2 * len(ALLOWED)}


def counts(site: Site) -> dict[str, int]:
    with site.sessions() as db:
        return {
            table: db.scalars(text(f"SELECT count(*) FROM {table}")).one()
            for table in ("subjects", "votes", "sessions")
        }


def test_every_unsafe_method_is_looked_at_and_no_safe_one(site: Site) -> None:
    admin = site.staff("admin")
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for method, path, body in (
        ("POST", "/sign-out", None),
        ("POST", "/api/studies/small/invites", {}),
        ("PATCH", "/api/studies/small", {"state": "closed"}),
        ("DELETE", "/api/studies/small/invites/1", None),
        ("PUT", "/api/subject/trials/x/vote", {}),
        ("POST", "/no/such/path", {}),
        ("PROPFIND", "/", None),
    ):
        answer = admin.request(method, path, json=body, headers=elsewhere)
        assert (answer.status_code, answer.json()) == (403, REFUSAL), (method, path)
    assert admin.get("/api/studies/small", headers=elsewhere).json()["state"] == "open"
    # A link in somebody's mail or on another site leads here.
    for path in ("/", "/studies", "/admin", "/static/base.css"):
        assert admin.get(path, headers=elsewhere).status_code in (200, 303)


def test_behind_a_proxy_the_public_address_is_an_own_one(site: Site) -> None:
    settings = site.settings.model_copy(update={"public_url": "https://discern.example"})
    form = {"data": {"name": "nobody", "password": "wrong"}}
    with (
        serving_app(site.database_url, settings) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
    ):
        for origin, status in (
            ("https://discern.example", 401),
            (url, 401),
            ("https://discern.example.evil", 403),
            ("https://evil.example", 403),
            ("null", 403),
        ):
            assert client.post("/sign-in", headers={"Origin": origin}, **form).status_code == status, origin


def test_every_answer_carries_the_headers(site: Site) -> None:
    admin, subject, anonymous = site.staff("admin"), site.subject(), site.client()
    (trial,) = next_trials(subject)
    html = {"Accept": "text/html"}
    answers = {
        (200, "no-store"): [
            anonymous.get("/"),
            anonymous.get("/sign-in"),
            anonymous.get("/health"),
            anonymous.get(site.invite()),
            subject.get("/trial"),
            subject.post("/api/subject/trials", json={}),
            admin.get("/studies/small"),
            admin.get("/admin"),
            admin.get("/api/studies"),
            admin.get("/api/studies/small/votes.csv"),
        ],
        (200, "private, max-age=31536000, immutable"): [subject.get(trial["left"])],
        (200, "no-cache"): [anonymous.get("/static/base.css"), anonymous.get("/static/subjects/trial.js")],
        (200, "public, max-age=86400"): [anonymous.get("/assets/vega.js")],
        (303, "no-store"): [anonymous.get("/studies", headers=html)],
        (401, "no-store"): [anonymous.get("/trial", headers=html), anonymous.get("/api/studies")],
        (403, "no-store"): [
            subject.get("/admin", headers=html),
            subject.get("/api/users"),
            subject.post("/sign-out", headers={"Sec-Fetch-Site": "cross-site"}),
        ],
        (404, "no-store"): [anonymous.get("/none", headers=html), admin.get("/api/studies/none")],
        (404, "no-cache"): [anonymous.get("/static/none.css"), anonymous.get("/static/..%2fpyproject.toml")],
        (405, "no-store"): [anonymous.delete("/studies"), anonymous.post("/api/studies/small")],
        (410, "no-store"): [anonymous.get("/set-up/none", headers=html)],
        (422, "no-store"): [
            anonymous.get(f"/i/{'%00'}", headers=html),
            subject.post("/api/subject/trials", json={"ahead": 0}),
            admin.get("/api/studies/small/rankings/one"),
        ],
    }
    with site.sessions.begin() as db:
        db.execute(text("ALTER TABLE jobs RENAME TO jobs_gone"))
        db.execute(text("ALTER TABLE calibrations RENAME TO calibrations_gone"))
    answers[(500, "no-store")] = [
        admin.get("/studies/small/manage", headers=html),
        site_of(site, admin).get("/api/studies/small/calibrations"),
    ]
    for (status, caching), some in answers.items():
        for answer in some:
            assert answer.status_code == status, (answer.url, answer.text)
            assert_headers(answer)
            assert answer.headers.get("cache-control", "no-store") == caching, answer.url


def site_of(site: Site, client: httpx.Client) -> httpx.Client:
    """Another connection of a browser: the server closes one on which it has failed."""
    made = site.client()
    made.cookies.update(client.cookies)
    return made


def assert_headers(answer: httpx.Response) -> None:
    headers = answer.headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == POLICY, answer.url
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert not [name for name in headers if name.startswith("access-control-")]
    for name in ("content-security-policy", "cache-control"):
        assert len(headers.get_list(name)) <= 1


def test_a_fault_says_nothing_of_the_inside(site: Site) -> None:
    admin = site.staff("admin")
    with site.sessions.begin() as db:
        db.execute(text("ALTER TABLE users RENAME TO users_gone"))
    answer = admin.get("/api/users", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()) == (500, {"detail": "this is a fault of the server; its log says more"})
    page = site_of(site, admin).get("/studies", headers={"Accept": "text/html"})
    assert page.status_code == 500
    assert "users" not in page.text
    assert "Traceback" not in page.text


class Inside(HTMLParser):
    """What the policy would forbid: scripts and styles inside the page, handlers in attributes, other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._code = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self._code = tag in ("script", "style")
        # What is no script to the browser is data, which the policy lets be.
        is_data = facts.get("type") == "application/json"
        self._code = self._code and not is_data
        in_the_page = tag == "script" and not facts.get("src") and not is_data
        if tag in ("style", "base", "iframe", "object", "embed") or in_the_page:
            self.found.append(tag)
        for name, value in attrs:
            foreign = name in ("src", "href", "action", "formaction") and not (value or "/").startswith(("/", "?", "#"))
            if name == "style" or name.startswith("on") or foreign or (value or "").startswith("//"):
                self.found.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag: str) -> None:
        self._code = False

    def handle_data(self, data: str) -> None:
        if self._code and data.strip():
            self.found.append(data.strip()[:40])


def test_the_reader_of_pages_sees_what_is_forbidden() -> None:
    for page in (
        "<script>x</script>",
        "<script src='/x.js'>x</script>",
        "<style>x</style>",
        "<p style='color: red'>",
        "<p onclick='x()'>",
        "<a href='javascript:x()'>",
        "<img src='https://evil.example/x.png'>",
        "<link href='//evil.example/x.css'>",
    ):
        inside = Inside()
        inside.feed(page)
        assert inside.found, page


def test_no_page_holds_a_script_a_style_or_anything_from_another_host(site: Site) -> None:
    pages = list(all_pages(site))
    assert len(pages) >= 25
    for answer in pages:
        assert answer.headers["content-type"].startswith("text/html"), answer.url
        inside = Inside()
        inside.feed(answer.text)
        assert inside.found == [], answer.url
        assert "<!doctype html>" in answer.text.lower()


def all_pages(site: Site) -> Iterator[httpx.Response]:
    anonymous, subject, html = site.client(), site.client(), {"Accept": "text/html"}
    with site.sessions.begin() as db:
        token, _ = new_link(db, "experimenter")
    yield anonymous.get("/")
    yield anonymous.get("/sign-in?next=/admin")
    yield anonymous.post("/sign-in", data={"name": "<b>nobody</b>", "password": "x"})
    yield anonymous.get(f"/set-up/{token}")
    yield anonymous.post(f"/set-up/{token}", data={"name": "<b>x</b>", "password": "short"})
    for path in ("/none", "/set-up/none", "/i/none", "/trial", "/thanks"):
        yield anonymous.get(path, headers=html)
    link = site.invite()
    yield subject.get(link)
    yield subject.post(link)
    subject.post(link, data={"consent": "yes"})
    yield subject.get(link)
    yield subject.get("/trial")
    yield subject.get("/admin", headers=html)
    admin = site.staff("admin")
    for path in ("/studies", "/admin", "/studies/small", "/studies/small/manage", "/api"):
        yield admin.get(path)
    while trials := next_trials(subject, 12):
        for trial in trials:
            vote_on(subject, trial)
    yield subject.get("/thanks")
    ranking = admin.post("/api/studies/small/rankings", json={"ridge": 0.1}).json()["id"]
    calibration = admin.post("/api/studies/small/calibrations", json={"ranking": ranking}).json()["id"]
    admin.patch("/api/studies/small", json={"title": "<script>alert(1)</script>", "consent": "<b onclick='x'>"})
    yield anonymous.get(site.invite("shared"))
    for path in (
        "",
        "?voters=simulated",
        "/manage",
        "/pairs?first=nearest&second=bicubic",
        f"/rankings/{ranking}",
        f"/calibrations/{calibration}",
        "/pairs?first=nearest&second=none",
        "/pairs",
    ):
        yield admin.get(f"/studies/small{path}", headers=html)
    yield admin.get("/studies/none", headers=html)


def test_a_throttle_counts_names_and_addresses_apart() -> None:
    throttle = Throttle(for_a_name=3, for_an_address=8, minutes=1)
    assert [throttle.admits("host", "ada") for _ in range(4)] == [True, True, True, False]
    assert throttle.admits("other", "ada")
    throttle.forget("host", "ada")
    assert [throttle.admits("host", "ada") for _ in range(4)] == [True, True, True, False]
    # Eight attempts of this address are used up: nobody else is let in from there, whatever their name.
    assert not throttle.admits("host", "bob")
    assert throttle.admits("other", "bob")


def test_attempts_that_are_made_at_once_are_no_more_than_one_by_one() -> None:
    throttle = Throttle(for_a_name=5)
    assert at_once([partial(throttle.admits, "host", "ada")] * 20).count(True) == 5


def test_a_body_that_no_form_of_ours_sends_is_refused(site: Site) -> None:
    for content_type in ("application/x-www-form-urlencoded", "application/json"):
        body = b"name=" + b"x" * (1 << 21)
        answer = site.client().post("/sign-in", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 413


def test_static_files_are_those_of_their_folder(site: Site) -> None:
    client = site.client()
    for path in ("..%2fpyproject.toml", "..%2f..%2f..%2fetc/passwd", "%2fetc/passwd", "subjects", "", "subjects/"):
        assert client.get(f"/static/{path}").status_code == 404, path
    assert client.get("/static/subjects/..%2fbase.css").text == client.get("/static/base.css").text
