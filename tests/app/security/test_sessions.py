"""Sessions: random tokens in cookies that scripts cannot read, their hashes in a table from which they are ended."""

import hashlib
from collections.abc import Iterator
from http.cookies import SimpleCookie

import httpx
import pytest
from sqlalchemy import select, text

from app.config import Settings
from app.models import LoginSession
from tests.app.conftest import PASSWORD, Site, next_trials, serving_app

STAFF, SUBJECT = "discern_staff", "discern_subject"


@pytest.fixture
def behind_tls(site: Site) -> Iterator[Site]:
    """The same database, served as it is behind a proxy that speaks TLS."""
    settings = site.settings.model_copy(update={"public_url": "https://discern.example"})
    with serving_app(site.database_url, settings) as url:
        yield Site(url, site.database_url, site.sessions, settings, clients=site.clients)


def sign_in(site: Site, name: str = "Ada", password: str = PASSWORD) -> httpx.Response:
    return site.client().post("/sign-in", data={"name": name, "password": password})


def cookie(answer: httpx.Response) -> tuple[str, str, dict[str, str]]:
    """Name, value and attributes of the one cookie that an answer sets."""
    (header,) = answer.headers.get_list("set-cookie")
    ((name, morsel),) = SimpleCookie(header).items()
    return name, morsel.value, {key: str(value) for key, value in morsel.items() if value}


def stored(site: Site) -> list[LoginSession]:
    with site.sessions() as db:
        return list(db.scalars(select(LoginSession)))


def status(site: Site, path: str, **cookies: str) -> int:
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return site.client().get(path, headers={"Cookie": header, "Accept": "application/json"}).status_code


def test_a_token_is_stored_as_its_hash_alone(site: Site) -> None:
    site.add_user("Ada", "admin")
    tokens = [cookie(sign_in(site))[1], site.subject().cookies[SUBJECT]]
    assert sorted(row.token_sha256 for row in stored(site)) == sorted(
        hashlib.sha256(token.encode()).digest() for token in tokens
    )
    assert min(map(len, tokens)) >= 43
    with site.sessions() as db:
        tables = db.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        for table in tables:
            rows = "\n".join(db.scalars(text(f'SELECT row::text FROM "{table}" AS row')))
            assert not [token for token in tokens if token in rows or token.encode().hex() in rows], table


def test_cookies_are_out_of_reach_of_scripts_and_of_other_sites(site: Site) -> None:
    site.add_user("Ada", "admin")
    name, _, attributes = cookie(sign_in(site))
    common = {"httponly": "True", "samesite": "lax", "path": "/"}
    assert (name, attributes) == (STAFF, common | {"max-age": str(7 * 86_400)})
    name, _, attributes = cookie(site.client().post(site.invite(), data={"consent": "yes"}))
    assert (name, attributes) == (SUBJECT, common | {"max-age": str(30 * 86_400)})


def test_behind_tls_cookies_are_secure_and_bound_to_the_host(behind_tls: Site) -> None:
    behind_tls.add_user("Ada", "admin")
    staff, token, attributes = cookie(sign_in(behind_tls))
    common = {"httponly": "True", "samesite": "lax", "path": "/", "secure": "True"}
    assert (staff, attributes) == (f"__Host-{STAFF}", common | {"max-age": str(7 * 86_400)})
    assert status(behind_tls, "/api/studies", **{staff: token}) == 200
    # A cookie that a sister domain or an earlier plain-http visit may have set is not looked at.
    assert status(behind_tls, "/api/studies", **{STAFF: token}) == 401
    subject, token, attributes = cookie(behind_tls.client().post(behind_tls.invite(), data={"consent": "yes"}))
    assert (subject, attributes) == (f"__Host-{SUBJECT}", common | {"max-age": str(30 * 86_400)})
    assert status(behind_tls, "/trial", **{subject: token}) == 200
    out = behind_tls.client().post("/sign-out", headers={"Cookie": f"{staff}={token}"})
    name, value, attributes = cookie(out)
    assert (name, value, attributes.pop("expires", "") != "") == (staff, "", True)
    assert attributes == common | {"max-age": "0"}


def test_links_are_made_for_the_public_address(behind_tls: Site) -> None:
    behind_tls.add_user("Ada", "admin")
    name, token, _ = cookie(sign_in(behind_tls))
    answer = behind_tls.client().post("/api/users/links", json={"role": "admin"}, headers={"Cookie": f"{name}={token}"})
    assert answer.json()["link"].startswith("https://discern.example/set-up/")


def test_signing_out_ends_the_session_wherever_its_cookie_was_copied_to(site: Site) -> None:
    browser = site.staff("admin")
    token = browser.cookies[STAFF]
    assert status(site, "/api/users", **{STAFF: token}) == 200
    answer = browser.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert STAFF not in browser.cookies
    assert status(site, "/api/users", **{STAFF: token}) == 401
    assert stored(site) == []


def test_signing_out_in_one_browser_leaves_the_others_signed_in(site: Site) -> None:
    site.add_user("Ada", "admin")
    first, second = cookie(sign_in(site))[1], cookie(sign_in(site))[1]
    assert first != second
    site.client().post("/sign-out", headers={"Cookie": f"{STAFF}={first}"})
    assert status(site, "/api/users", **{STAFF: first}) == 401
    assert status(site, "/api/users", **{STAFF: second}) == 200


def test_signing_out_without_a_session_is_harmless(site: Site) -> None:
    kept = site.staff("admin")
    assert site.client().post("/sign-out").status_code == 303
    assert site.client().post("/sign-out", headers={"Cookie": f"{STAFF}=x"}).status_code == 303
    assert kept.get("/api/users").status_code == 200


def test_an_expired_session_opens_nothing_and_goes_with_the_next_sign_in(site: Site) -> None:
    staff, subject = site.staff("admin"), site.subject()
    with site.sessions.begin() as db:
        db.execute(text("UPDATE sessions SET expires_at = now() - interval '1 second'"))
    assert staff.get("/api/users").status_code == 401
    assert subject.post("/api/subject/trials", json={}).status_code == 401
    site.add_user("Ada", "admin")
    assert sign_in(site).status_code == 303
    assert len(stored(site)) == 1


def test_a_subject_whose_session_has_ended_comes_back_by_the_link(site: Site) -> None:
    link = site.invite()
    subject = site.subject(link)
    shown = next_trials(subject, 3)
    with site.sessions.begin() as db:
        db.execute(text("DELETE FROM sessions"))
    answer = subject.get("/trial")
    assert answer.status_code == 401
    assert "open your invitation link again" in answer.text
    assert next_trials(site.subject(link), 3) == shown


def test_no_other_cookie_is_taken_for_a_session(site: Site) -> None:
    staff, subject = site.staff("admin").cookies[STAFF], site.subject().cookies[SUBJECT]
    digest = stored(site)[0].token_sha256
    for value in ("", "x", staff[:-1], f"{staff}x", subject, digest.hex(), "1", "admin", '""'):
        assert status(site, "/api/users", **{STAFF: value}) in (401, 403), value
    assert status(site, "/trial", **{SUBJECT: staff}) == 401
    assert status(site, "/trial", **{STAFF: subject}) == 401


def test_a_session_is_begun_anew_by_each_sign_in(site: Site) -> None:
    """A token that somebody planted in the browser before is not the one that is signed in."""
    site.add_user("Ada", "admin")
    client = site.client()
    planted = {"Cookie": f"{STAFF}=planted"}
    answer = client.post("/sign-in", data={"name": "Ada", "password": PASSWORD}, headers=planted)
    assert cookie(answer)[1] != "planted"
    assert status(site, "/api/users", **{STAFF: "planted"}) == 401


def test_a_setting_without_scheme_or_with_a_path_is_refused() -> None:
    for url in ("discern.example", "https://discern.example/", "ftp://discern.example", "https://a/b"):
        with pytest.raises(ValueError, match="public_url"):
            Settings(public_url=url)
