"""What subjects are told who may not do something: in their language, whatever goes wrong, and before anything else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, exc, text, update

import app
from app import studies, terms
from app.errors import RefusalError
from app.models import Invite, LoginSession
from app.subjects import languages, words
from pipelines import protocol
from tests.app.conftest import Site, next_trials, vote_on
from tests.app.subjects.test_votes import GOOD

PAGE = {"Accept": "text/html"}
IN_CHINESE = PAGE | {"Accept-Language": "zh-CN,zh;q=0.9"}
# Names that are the same in every language.
NAMES = {"Discern", "Prolific", "Sona", "PROLIFIC_PID", "STUDY_ID", "small", "device", "script"}


def is_chinese(said: str) -> bool:
    latin = set(re.findall(r"[A-Za-z_]{2,}", said)) - NAMES
    return bool(re.search(r"[\u4e00-\u9fff]", said)) and not latin


def read(page: httpx.Response) -> str:
    """What a page says, without its marks."""
    assert page.headers["content-type"].startswith("text/html"), page.text
    return re.sub(r"<script.*?</script>|<[^>]+>", " ", page.text, flags=re.DOTALL)


def check_page(answer: httpx.Response, status: int, said: str) -> None:
    assert answer.status_code == status
    assert '<html lang="zh"' in answer.text
    assert is_chinese(read(answer)), read(answer)
    assert said in answer.text


def check_answer(answer: httpx.Response, status: int, detail: str, said: str) -> None:
    """Of the API: English for programs, and what the page shows."""
    content = answer.json()
    assert (answer.status_code, content.keys()) == (status, {"detail", "said"})
    assert detail in content["detail"]
    assert content["said"] == said
    assert is_chinese(said)


@pytest.fixture
def chinese(site: Site) -> httpx.Client:
    """A subject who has chosen Chinese in a browser that asks for English."""
    client = site.subject(f"{site.invite()}?lang=zh")
    client.headers.update({"Accept-Language": "en"})
    return client


def change(site: Site, **settings: Any) -> None:
    plain = {"device_check": False, "training": 0, "warm_up": 0, "warm_up_later": 0, "break_seconds": 0}
    with site.sessions.begin() as db:
        terms.set_protocol(db, studies.find(db, site.study), protocol.Protocol(**plain | settings))


def close(site: Site) -> None:
    with site.sessions.begin() as db:
        studies.find(db, site.study).state = "closed"


def take_back(client: httpx.Client, trial: dict[str, Any], revision: int = 2) -> httpx.Response:
    return client.put(f"/api/subject/trials/{trial['id']}/vote", json={"revision": revision, "choice": None})


def test_refused_votes_say_why_in_the_subject_s_language(site: Site, chinese: httpx.Client) -> None:
    first, second = next_trials(chinese, 2)
    (strange,) = next_trials(site.subject())
    only_last = "您已在后面的比较中作出选择；只能撤回最后一次选择"
    choose = "本研究要求在两幅图像中选出一幅；请选择其中一幅"
    check_answer(vote_on(chinese, first, "not_sure"), 409, "choose one", choose)
    check_answer(take_back(chinese, first, 1), 409, "no vote on this trial", "此次比较没有可以撤回的选择")
    check_answer(vote_on(chinese, strange), 404, "not one of your trials", "这不是分配给您的比较")
    check_answer(chinese.get(strange["left"]), 404, "not one of your trials", "这不是分配给您的比较")
    for wrong in ({"choice": "both"}, {"response_ms": -1}):
        check_answer(vote_on(chinese, first, **{"choice": "left"} | wrong), 422, ", got ", "服务器无法识别收到的内容")
    for trial in (first, second):
        assert vote_on(chinese, trial).status_code == 200
    check_answer(take_back(chinese, first), 409, "you have voted on a later trial", only_last)


def test_votes_that_are_not_taken_back_say_so_in_the_subject_s_language(site: Site) -> None:
    change(site, undo=False)
    chinese = site.subject(f"{site.invite()}?lang=zh")
    (trial,) = next_trials(chinese)
    vote_on(chinese, trial)
    check_answer(take_back(chinese, trial), 409, "not taken back", "此次比较的选择不能撤回")


def test_a_step_that_is_not_done_is_named_in_the_subject_s_language(site: Site) -> None:
    change(site, device_check=True)
    chinese = site.subject(f"{site.invite()}?lang=zh")
    said = "比较开始之前还有一个步骤没有完成：/device"
    check_answer(chinese.post("/api/subject/trials", json={}), 409, "a step before the trials is not done", said)


def test_a_closed_study_says_so_in_the_subject_s_language(site: Site, chinese: httpx.Client) -> None:
    close(site)
    said = "此研究目前未开放；您的选择已保留"
    check_answer(chinese.post("/api/subject/trials", json={}), 403, "this study is not open now", said)


def test_addresses_that_are_not_for_subjects_say_so_in_their_language(chinese: httpx.Client) -> None:
    for address in ("/nothing/here", "/i/nothing", "/static/nothing/../../nothing"):
        check_page(chinese.get(address, headers=PAGE), 404, "此")
    for address in ("/studies", "/admin", "/studies/small/manage"):
        check_page(chinese.get(address, headers=PAGE), 403, "此页面不对参加者开放。")
    onward = re.search(r'<a class="button" href="([^"]+)">继续参加研究</a>', chinese.get("/admin", headers=PAGE).text)
    assert onward is not None
    assert chinese.get(onward[1]).headers["location"] == "/trial"


def test_the_first_page_leads_subjects_back_to_their_session(site: Site, chinese: httpx.Client) -> None:
    assert chinese.get("/").headers["location"] == "/session"
    assert site.client().get("/").status_code == 200
    assert site.staff("admin").get("/").headers["location"] == "/studies"


def test_a_session_that_is_over_says_so_in_the_browser_s_language(site: Site, chinese: httpx.Client) -> None:
    (trial,) = next_trials(chinese)
    with site.sessions.begin() as db:
        db.execute(delete(LoginSession))
    for address in ("/session", "/trial", "/questions", "/thanks"):
        check_page(chinese.get(address, headers=IN_CHINESE), 401, "本次会话已结束；请重新打开您的邀请链接。")
        assert '<html lang="en"' in chinese.get(address, headers=PAGE).text
    # The page of the session has words of its own: nobody knows here in which language it was.
    assert vote_on(chinese, trial).json() == {"detail": "this session has ended; open your invitation link again"}


def test_invitations_that_let_nobody_in_say_so_in_the_browser_s_language(site: Site) -> None:
    link, client = site.invite(), site.client()
    client.headers.update(IN_CHINESE)
    shared = site.invite("shared")
    check_page(client.get(f"{shared}?PROLIFIC_PID=%7B&STUDY_ID=x"), 422, "PROLIFIC_PID：&#39;{&#39; 不是")
    check_page(client.get(f"{shared}?instead_of=perhaps"), 422, "服务器无法识别收到的内容")
    site.subject(f"{link}?PROLIFIC_PID=a")
    check_page(client.get(f"{link}?PROLIFIC_PID=b"), 403, "此链接仅供一人使用，并且已被使用；请索取您自己的链接。")
    with site.sessions.begin() as db:
        db.execute(update(Invite).values(revoked=True))
    revoked = client.get(shared)
    check_page(revoked, 404, "此邀请不存在，或已被撤回；请询问发送邀请的人。")
    assert "small" not in read(revoked)
    with site.sessions.begin() as db:
        db.execute(update(Invite).values(revoked=False))
    close(site)
    check_page(client.get(shared), 403, "本研究目前没有开放；请询问邀请您的人。")
    check_page(client.post(shared, data={"consent": "yes"}), 403, "本研究目前没有开放；请询问邀请您的人。")
    check_page(client.get(f"{shared}?lang=zh", headers={"Accept-Language": "en"}), 403, "本研究目前没有开放")


def test_what_another_site_made_a_browser_send_is_refused_in_its_language(site: Site) -> None:
    headers = IN_CHINESE | {"Sec-Fetch-Site": "cross-site"}
    check_page(site.client().post(site.invite(), headers=headers), 403, "已拒绝：此请求来自其他网站。")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (exc.TimeoutError(), 503, "服务器暂时没有响应；请稍后重新加载页面。"),
        (RuntimeError("a fault"), 500, "这是服务器的故障，不是您的问题；请稍后重新加载页面。"),
        (exc.IntegrityError("", None, Exception()), 500, "这是服务器的故障"),
    ],
)
def test_faults_say_so_in_the_subject_s_language(
    site: Site, chinese: httpx.Client, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("app.subjects.flow.current_step", fail)
    answer = chinese.get("/trial", headers=PAGE)
    check_page(answer, status, said)
    assert "已保存的内容不会丢失。" in answer.text


def test_while_the_database_is_gone_the_browser_s_language_is_spoken(site: Site, chinese: httpx.Client) -> None:
    with site.sessions.begin() as db:
        db.execute(text("ALTER TABLE sessions RENAME TO sessions_gone"))
    check_page(chinese.get("/session", headers=IN_CHINESE), 500, "这是服务器的故障")


def test_staff_s_pages_stay_as_they_are(site: Site) -> None:
    admin, nobody = site.staff("admin"), site.client()
    for client, address, title in (
        (admin, "/nothing/here", "Not found"),
        (admin, "/studies/nothing", "Not found"),
        (admin, "/trial", "Not for you"),
        (nobody, "/set-up/nothing", "No longer there"),
    ):
        page = client.get(address, headers=IN_CHINESE).text
        assert f"<h1>{title}</h1>" in page
        assert '<html lang="en"' in page
    assert admin.get("/api/studies/nothing", headers=IN_CHINESE).json() == {"detail": "there is no study 'nothing'"}
    refused = nobody.post("/sign-in", headers=IN_CHINESE | {"Sec-Fetch-Site": "cross-site"})
    assert refused.json() == {"detail": "refused: this request was sent by another site"}


BODIES = [b"", b"{", b"[]", b"null", b"\xff", b'{"choice": "both"}']


@pytest.mark.parametrize("body", BODIES)
def test_who_asks_comes_before_what_is_asked(site: Site, body: bytes) -> None:
    (trial,) = next_trials(site.subject())
    headers = {"Content-Type": "application/json"}
    for method, address in (
        ("PUT", f"/api/subject/trials/{trial['id']}/vote"),
        ("PUT", "/api/subject/trials/7/vote"),
        ("POST", "/api/subject/trials"),
        ("POST", "/api/subject/steps/device"),
    ):
        for client, status in ((site.client(), 401), (site.staff("admin"), 403)):
            answer = client.request(method, address, content=body, headers=headers)
            assert (answer.status_code, list(answer.json())) == (status, ["detail"]), address
    assert site.client().put("/api/subject/trials/7/vote", json=GOOD).status_code == 401
    assert site.client().get("/trials/7/left.png").status_code == 401


def raised() -> Iterator[tuple[Path, ast.Call]]:
    """Every error that is made in the code for subjects."""
    rooms = Path(app.__file__).parent
    for file in [*sorted((rooms / "subjects").glob("*.py")), rooms / "security" / "roles.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith(("Error", "Exception")):
                yield file, node


def test_whatever_subjects_are_refused_is_in_every_catalogue() -> None:
    """So that no further error can be raised in English alone; a fault is told in general words."""
    known = {message.id for message in words.texts()}
    others = set()
    for file, call in raised():
        name, first = call.func.id, call.args[0] if call.args else None  # type: ignore[attr-defined]
        if name == "RefusalError":
            assert isinstance(first, ast.Constant), f"{file.name}:{call.lineno}: not a text that can be translated"
            assert first.value in known
            assert all(languages.translated(one, first.value) != first.value for one in languages.spoken()[1:])
        else:
            others.add((file.name, name))
    assert others == {
        ("roles.py", "HTTPException"),  # to staff
        ("questions.py", "_NotTakenError"),  # whose words the page has
        ("trial_routes.py", "ValueError"),  # names a field for programs
        ("trials.py", "RuntimeError"),  # a fault
    }


@pytest.mark.parametrize("value", ["{", "{name}", "%(name)s", "<b>", "", "{0}"])
def test_values_are_said_as_they_are(value: str) -> None:
    refusal = RefusalError("{name}: given twice, as {first} and {second}", name=value, first=value, second=value)
    assert str(refusal) == f"{value}: given twice, as {value} and {value}"
