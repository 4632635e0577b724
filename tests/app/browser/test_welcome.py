"""The door and the end in Chromium: languages, the keyboard alone, no JavaScript, and a host without secure context."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.conftest import Site, next_trials, vote_on
from tests.app.subjects.test_welcome import ask, finish, subject


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A page that nothing goes wrong on, as long as the server runs."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


def vote_to_the_end(page: Page, site: Site) -> None:
    """On every trial, with the session that the page has."""
    with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as client:
        for cookie in page.context.cookies():
            client.cookies.set(cookie["name"], cookie["value"])
        while trials := next_trials(client, 50):
            for trial in trials:
                assert vote_on(client, trial).is_success


def test_a_language_is_chosen_and_agreed_in(page: Page, site: Site) -> None:
    page.goto(f"{site.invite('shared')}?PROLIFIC_PID=p1")
    expect(page.get_by_role("button")).to_have_text("Agree and start")
    page.get_by_role("link", name="中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    assert "PROLIFIC_PID=p1" in page.url
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="同意并开始").click()
    page.wait_for_url(f"{site.url}/trial")
    vote_to_the_end(page, site)
    page.goto(f"{site.url}/session")
    expect(page.get_by_role("heading", level=1)).to_have_text("感谢您的参与")
    # The catalogue of the scripts came as data, which the content security policy lets be.
    page.get_by_role("button", name="复制").click()
    expect(page.get_by_role("status")).to_have_text("已复制")


def test_the_keyboard_suffices(page: Page, site: Site) -> None:
    page.goto(site.invite())
    focused = page.locator(":focus-visible")
    for language in ("en", "zh"):
        page.keyboard.press("Tab")
        expect(focused).to_have_attribute("hreflang", language)
    page.keyboard.press("Tab")
    expect(focused).to_have_attribute("type", "checkbox")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    expect(focused).to_have_text("Agree and start")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/trial")


def test_nothing_but_the_trials_needs_scripts(browser: Browser, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False, locale="zh-CN")
    page = context.new_page()
    ask(site, return_url="https://app.prolific.com/submissions/complete?cc=C1A2")
    page.goto(f"{site.invite('shared')}?PROLIFIC_PID=p1")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("button", name="Agree and start")).to_be_visible()
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Agree and start").click()
    page.wait_for_url(f"{site.url}/trial")
    finish(site)
    page.goto(f"{site.url}/session")
    expect(page.get_by_label("Your completion code")).to_have_value(subject(site).completion_code)
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    link = page.get_by_role("link", name="Return to Prolific")
    expect(link).to_have_attribute("href", "https://app.prolific.com/submissions/complete?cc=C1A2")
    context.close()


def test_the_code_is_copied_where_there_is_no_secure_context(launch: Callable[..., Browser], site: Site) -> None:
    browser = launch("--host-resolver-rules=MAP lab.example 127.0.0.1")
    page = browser.new_page(locale="en")
    page.goto(site.invite().replace("127.0.0.1", "lab.example"))
    assert page.evaluate("isSecureContext") is False
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Agree and start").click()
    page.wait_for_url("**/trial")
    finish(site)
    page.goto(page.url.replace("/trial", "/thanks"))
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    field = page.get_by_label("Your completion code")
    field.evaluate("field => { field.readOnly = false; field.value = ''; field.focus(); }")
    page.keyboard.press("Control+V")
    expect(field).to_have_value(subject(site).completion_code)
