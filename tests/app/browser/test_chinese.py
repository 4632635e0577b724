"""A Chinese session in a real browser: what goes wrong is said in Chinese, too, whoever says it."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import delete

from app import studies
from app.models import LoginSession
from tests.app.browser.trial_page import PATIENCE_MS, VOTES, Open, abort, on_screen, refuse, vote
from tests.app.conftest import Site, next_trials

# The study, and keys.
NAMES = {"Discern", "small", "Enter"}


@pytest.fixture
def page(open_page: Open, site: Site) -> Page:
    """The trial page of a subject whose browser asks for Chinese."""
    return open_page(f"{site.invite()}?lang=zh")


def expect_chinese(page: Page, said: str) -> None:
    """This is said, and nothing in English beside it."""
    expect(page.locator("body")).to_contain_text(said, timeout=PATIENCE_MS)
    assert set(re.findall(r"[A-Za-z]{2,}", page.locator("body").inner_text())) <= NAMES


def test_a_vote_that_is_refused(page: Page, site: Site) -> None:
    (strange,) = next_trials(site.subject())
    elsewhere = f"{site.url}/api/subject/trials/{strange['id']}/vote"
    page.route(VOTES, lambda route: route.continue_(url=elsewhere), times=1)
    vote(page)
    expect_chinese(page, "服务器未接受1 次选择：这不是分配给您的比较；已保存在这台电脑上。请告知实验人员。")


def test_a_study_that_closes(open_page: Open, site: Site, protocol: Callable[..., None]) -> None:
    protocol(block=1)
    page = open_page(f"{site.invite()}?lang=zh")
    on_screen(page)
    with site.sessions.begin() as db:
        studies.find(db, site.study).state = "closed"
    page.keyboard.press("ArrowLeft")
    expect_chinese(page, "此研究目前未开放；您的选择已保留。")


def test_a_session_that_ends(page: Page, site: Site) -> None:
    on_screen(page)
    with site.sessions.begin() as db:
        db.execute(delete(LoginSession))
    page.keyboard.press("ArrowLeft")
    expect_chinese(page, "本次会话已结束；请重新打开您的邀请链接。")


def somebody_elses_page(route: Route) -> None:
    route.fulfill(status=404, content_type="text/html", body="<h1>Please log in to this network</h1>")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (abort, "没有网络连接，1 次选择已保存在这台电脑上"),
        (refuse(503), "服务器繁忙，1 次选择已保存在这台电脑上"),
        (somebody_elses_page, "服务器未接受1 次选择：服务器的答复为 404；"),
        (lambda route: route.fulfill(status=422, json={"detail": "revision: missing"}), "服务器的答复为 422"),
    ],
)
def test_a_network_or_a_server_that_fails(page: Page, answer: Callable[[Route], None], said: str) -> None:
    page.route(VOTES, answer)
    vote(page)
    expect_chinese(page, said)


def test_an_address_that_there_is_not(page: Page) -> None:
    page.goto(page.url.replace("/trial", "/nothing/here"))
    expect_chinese(page, "此地址没有任何内容。")
    page.get_by_role("link", name="继续参加研究").click()
    on_screen(page)
