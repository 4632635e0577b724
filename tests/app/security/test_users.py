"""Users: set up by one-time links, signed in by name and password, slowed down when they guess."""

import re
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from sqlalchemy import select, text

from app.models import SetUpLink, User
from app.security import users
from pipelines.errors import DiscernError
from tests.app.conftest import PASSWORD, Site
from tests.app.subjects.test_trials import at_once

NAME = {"name": "Ada", "password": PASSWORD}


def link(site: Site, role: str = "admin") -> str:
    """A fresh set-up link: its path."""
    with site.sessions.begin() as db:
        return f"/set-up/{users.new_link(db, role)[0]}"  # type: ignore[arg-type]


def names(site: Site) -> list[tuple[str, str]]:
    with site.sessions() as db:
        return [(user.name, user.role) for user in db.scalars(select(User).order_by(User.id))]


def sign_in(site: Site, name: str, password: str = PASSWORD, **fields: str) -> httpx.Response:
    return site.client().post("/sign-in", data={"name": name, "password": password, **fields})


def test_a_link_sets_up_one_account_and_signs_in(site: Site) -> None:
    for role, home in (("admin", "/admin"), ("experimenter", "/studies")):
        address, client = link(site, role), site.client()
        assert role in client.get(address).text
        answer = client.post(address, data=NAME | {"name": f" {role} "})
        assert (answer.status_code, answer.headers["location"]) == (303, home)
        assert client.get(home).status_code == 200
        assert client.get("/api/users").status_code == (200 if role == "admin" else 403)
        for again in (client.get(address), site.client().post(address, data=NAME)):
            assert again.status_code == 410
            assert "used already, or is too old; ask an admin for a new one" in again.text
    assert names(site) == [("admin", "admin"), ("experimenter", "experimenter")]


def test_a_link_that_is_too_old_or_unknown_opens_nothing(site: Site) -> None:
    address = link(site)
    with site.sessions.begin() as db:
        db.execute(text("UPDATE set_up_links SET expires_at = now() - interval '1 second'"))
    for path in (address, f"{link(site)}x", "/set-up/none"):
        assert site.client().get(path).status_code == 410
        assert site.client().post(path, data=NAME).status_code == 410
    assert names(site) == []


def test_the_token_of_a_link_is_not_stored(site: Site) -> None:
    token = site.staff("admin").post("/api/users/links", json={"role": "admin"}).json()["link"].rpartition("/")[2]
    with site.sessions() as db:
        kept = db.scalars(select(SetUpLink)).all()
        assert all(len(row.token_sha256) == 32 for row in kept)
        rows = "\n".join(db.scalars(text("SELECT row::text FROM set_up_links AS row")))
    assert token not in rows
    assert token.encode().hex() not in rows
    assert len(token) >= 43


def test_a_link_is_used_once_by_whoever_is_first(site: Site) -> None:
    address = link(site)
    clients = [site.client() for _ in range(6)]
    statuses = at_once(
        lambda n=n, client=client: client.post(address, data=NAME | {"name": f"name-{n}"}).status_code
        for n, client in enumerate(clients)
    )
    assert sorted(statuses)[0] == 303
    assert set(statuses) <= {303, 410, 422}
    assert statuses.count(303) == len(names(site)) == 1


def test_a_name_is_taken_once_by_whoever_is_first(site: Site) -> None:
    attempts = [(site.client(), link(site), name) for name in ("Ada", "ada", "ADA", "aDa")]
    answers = at_once(
        lambda client=client, address=address, name=name: client.post(address, data=NAME | {"name": name})
        for client, address, name in attempts
    )
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(303) == len(names(site)) == 1
    assert set(statuses) <= {303, 409, 422}


def test_what_cannot_be_an_account_is_said_and_leaves_the_link_usable(site: Site) -> None:
    site.add_user("Taken", "admin")
    address = link(site)
    for name, password, problem in (
        ("", PASSWORD, "a name is needed"),
        ("   ", PASSWORD, "a name is needed"),
        ("x" * 101, PASSWORD, "at most 100 characters"),
        ("Taken", PASSWORD, "is taken; choose another one"),
        ("tAKEN ", PASSWORD, "is taken; choose another one"),
        ("Ada", "", "this one has 0"),
        ("Ada", "x" * 11, "this one has 11"),
        ("Ada", "x" * 1025, "this one has 1025"),
    ):
        answer = site.client().post(address, data={"name": name, "password": password})
        assert answer.status_code == 422
        assert problem in answer.text
        assert password == "" or password not in answer.text
        assert "set-cookie" not in answer.headers
    assert site.client().post(address).status_code == 422
    assert site.client().post(address, data={"name": "\0", "password": PASSWORD}).status_code == 422
    assert names(site) == [("Taken", "admin")]
    assert site.client().post(address, data=NAME).status_code == 303


def test_a_password_is_stored_as_a_slow_salted_hash(site: Site) -> None:
    site.add_user("Ada", "admin")
    site.add_user("Bob", "admin")
    with site.sessions() as db:
        first, second = db.scalars(select(User.password_hash))
    assert first.startswith("$argon2id$")
    assert first != second


def test_names_are_the_same_in_any_case_and_passwords_are_not(site: Site) -> None:
    for name, others in (("Ada", ("ADA", " ada ")), ("Émile", ("Émile",)), ("İpek", ("İpek",)), ("李", ("李",))):
        site.add_user(name, "admin")
        for written in (name, *others):
            assert sign_in(site, written).status_code == 303, written
    assert sign_in(site, "Ada", PASSWORD.upper()).status_code == 401
    assert sign_in(site, "Ada", PASSWORD + " ").status_code == 401
    assert sign_in(site, "Ada", "").status_code == 401


def test_an_unknown_name_and_a_wrong_password_get_the_same_answer(site: Site) -> None:
    site.add_user("Ada", "admin")
    wrong, unknown = sign_in(site, "Ada", "wrong"), sign_in(site, "Bob", "wrong")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text == unknown.text.replace("Bob", "Ada")
    assert "set-cookie" not in wrong.headers


def test_after_ten_wrong_passwords_the_right_one_is_refused_too(site: Site) -> None:
    site.add_user("Ada", "admin")
    site.add_user("Bob", "admin")
    for number in range(10):
        assert sign_in(site, "ada" if number % 2 else " ADA", "wrong").status_code == 401
    for name in ("Ada", "ADA", "ada "):
        answer = sign_in(site, name)
        assert answer.status_code == 429
        assert "Too many attempts" in answer.text
        assert "set-cookie" not in answer.headers
    assert sign_in(site, "Bob").status_code == 303
    assert sign_in(site, "Bob", "wrong").status_code == 401


def test_who_knows_the_password_is_forgiven_earlier_mistakes(site: Site) -> None:
    site.add_user("Ada", "admin")
    for _ in range(2):
        assert {sign_in(site, "Ada", "wrong").status_code for _ in range(8)} == {401}
        assert sign_in(site, "Ada").status_code == 303


def test_many_wrong_passwords_at_once_are_no_more_than_one_by_one(site: Site) -> None:
    site.add_user("Ada", "admin")
    statuses = at_once([lambda: sign_in(site, "Ada", "wrong").status_code] * 20)
    assert (statuses.count(401), statuses.count(429)) == (10, 10)


def test_who_is_removed_is_out_at_once_and_the_last_admin_stays(site: Site) -> None:
    admin, other = site.staff("admin"), site.staff("experimenter")
    (mine, _), (theirs, _) = names(site)
    assert admin.delete("/api/users/nobody").status_code == 404
    assert admin.delete(f"/api/users/{mine}").status_code == 409
    assert admin.delete(f"/api/users/{theirs.upper()}").status_code == 204
    assert other.get("/api/studies").status_code == 401
    assert sign_in(site, theirs).status_code == 401
    assert names(site) == [(mine, "admin")]
    assert admin.get("/api/users").status_code == 200


INSIDE = ["/studies", "/admin", "/studies/small?voters=people", "/studies/small/pairs?first=a&second=b#c", "/a//b"]
OUTSIDE = [
    "https://evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    "@evil.example",
    "",
    "/studies\r\nSet-Cookie: x=1",
]


def as_browsers_read(base: str, location: str) -> str:
    """Where a browser goes: it takes backslashes for slashes, and leaves out tabs, line ends and outer spaces."""
    return urljoin(base, re.sub(r"[\t\r\n]", "", location.replace("\\", "/")).strip())


def test_signing_in_leads_to_pages_of_this_server_alone(site: Site) -> None:
    site.add_user("Ada", "admin")
    for target in INSIDE + OUTSIDE:
        answer = sign_in(site, "Ada", next=target)
        assert answer.status_code == 303
        goal = urlsplit(as_browsers_read(site.url, answer.headers["location"]))
        assert f"{goal.scheme}://{goal.netloc}" == site.url, target
        assert (answer.headers["location"] == target) == (target in INSIDE), target
        assert len(answer.headers.get_list("set-cookie")) == 1


def test_the_form_to_sign_in_holds_no_foreign_address(site: Site) -> None:
    client = site.client()
    for target in OUTSIDE:
        page = client.get("/sign-in", params={"next": target}).text
        assert 'name="next" value="/studies"' in page, target
    page = client.get("/sign-in", params={"next": '/"><script>alert(1)</script>'}).text
    assert "<script>alert" not in page


def test_the_first_admin_gets_a_link_until_somebody_can_sign_in(site: Site) -> None:
    with site.sessions.begin() as db:
        first = users.first_admin_link(db)
    with site.sessions.begin() as db:
        second = users.first_admin_link(db)
    assert first != second
    assert site.client().get(f"/set-up/{first}").status_code == 410
    experimenter = link(site, "experimenter")
    with site.sessions.begin() as db:
        third = users.first_admin_link(db)
    # Only links of the same kind are replaced.
    assert site.client().get(experimenter).status_code == 200
    assert site.client().post(f"/set-up/{third}", data=NAME).status_code == 303
    with site.sessions.begin() as db:
        assert users.first_admin_link(db) is None
    assert names(site) == [("Ada", "admin")]


def test_nobody_can_sign_in_before_an_account_was_set_up(site: Site) -> None:
    for name, password in (("admin", "admin"), ("admin", ""), ("", ""), ("admin", "password"), ("nobody", "nobody")):
        assert sign_in(site, name, password).status_code == 401
    with site.sessions() as db:
        assert not users.any_admin(db)
        with pytest.raises(DiscernError, match="used already"):
            users.use_link(db, "", "Ada", PASSWORD)


def test_a_removed_user_is_out_at_once_and_nobody_removes_themselves(site: Site) -> None:
    admin, other = site.staff("admin"), site.staff("experimenter")
    name = next(user["name"] for user in admin.get("/api/users").json() if user["role"] == "experimenter")
    own = next(user["name"] for user in admin.get("/api/users").json() if user["role"] == "admin")
    assert other.get("/api/studies").status_code == 200
    assert other.delete(f"/api/users/{own}").status_code == 403
    assert admin.delete(f"/api/users/{name}").status_code == 204
    assert other.get("/api/studies").status_code == 401
    assert sign_in(site, name).status_code == 401
    assert admin.delete(f"/api/users/{name}").status_code == 404
    refused = admin.delete(f"/api/users/{own}")
    assert (refused.status_code, refused.json()) == (409, {"detail": "you cannot remove yourself; ask another admin"})
    assert admin.get("/api/studies").status_code == 200
