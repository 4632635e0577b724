"""A method is added while the live page is open: its matrix grows, and the ranking says who is not in it yet."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from app import studies
from app.security import invitations
from app.store import Store
from tests.app import extended as extending
from tests.app.conftest import PASSWORD, Site

PATIENCE_MS = 20_000


def test_the_open_page_shows_the_added_method(browser: Browser, site: Site, workspace: Path, tmp_path: Path) -> None:
    site.panel_votes()
    problems: list[str] = []
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.on("weberror", lambda error: problems.append(str(error.error)))
    page = context.new_page()
    page.goto(invitations.set_up_link(site.database_url, site.url, "experimenter"))
    page.get_by_label("Name").fill("grace")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create the account").click()
    page.get_by_role("link", name="small").click()
    expect(page.locator(".connection")).to_have_text("live", timeout=PATIENCE_MS)
    expect(page.locator(".matrix tbody tr")).to_have_count(3)
    expect(page.locator("[data-ranking-note]")).to_be_hidden()

    built = extending.build(workspace, tmp_path / "study")
    with site.sessions.begin() as db:
        studies.take_in(db, Store(site.settings.store_url), built.root)
    expect(page.locator(".matrix tbody tr")).to_have_count(4, timeout=PATIENCE_MS)
    expect(page.locator("[data-ranking-note]")).to_have_text("Left out until votes place it: late has no votes yet.")
    expect(page.locator(".ranking tbody tr")).to_have_count(3)
    expect(page.locator('[data-text="pairs_without_votes"]')).to_have_text("8")
    expect(page.locator(".connection")).to_have_text("live", timeout=PATIENCE_MS)
    # In either order it stands last, and every cell in its place.
    for order in ("by ranking", "study order"):
        page.get_by_label(order).check()
        assert page.locator(".matrix tbody tr").last.get_attribute("data-first") == "3"
        assert page.locator(".matrix thead [data-second]").last.get_attribute("data-second") == "3"

    for number in range(3):
        site.vote_all(lambda stem, *_, number=number: (int(stem[-1]) + number) % 3 == 0)
    expect(page.locator(".ranking tbody tr")).to_have_count(4, timeout=PATIENCE_MS)
    expect(page.locator("[data-ranking-note]")).to_be_hidden()
    context.close()
    assert problems == []
