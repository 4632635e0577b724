"""The choice of a group of pairs in a browser: on the live page, behind a cell, and when a ranking is fitted."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.security import invitations
from tests.app import grouped
from tests.app.conftest import PASSWORD, Site, next_trials, vote_on

PATIENCE_MS = 20_000


@pytest.fixture
def page(browser: Browser, grouped_site: Site) -> Iterator[Page]:
    """A signed-in admin's page; afterwards its console may hold no error."""
    context, problems = browser.new_context(viewport={"width": 1440, "height": 900}), []
    context.on("weberror", lambda error: problems.append(str(error.error)))
    context.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
    page = context.new_page()
    link = invitations.first_admin(grouped_site.database_url, grouped_site.url)
    assert link is not None
    page.goto(link)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create the account").click()
    page.wait_for_url("**/admin")
    yield page
    context.close()
    assert problems == []


def ranked(page: Page) -> list[str]:
    return page.locator(".ranking tbody tr").get_by_role("rowheader").all_inner_texts()


def test_a_group_is_chosen_on_the_live_page_and_stays_chosen(page: Page, grouped_site: Site) -> None:
    grouped.panel_votes(grouped_site)
    page.goto(f"{grouped_site.url}/studies/small")
    groups = page.get_by_role("navigation", name="Votes on which pairs")
    expect(groups.get_by_role("link")).to_have_text(["all pairs 54", "mad 36", "random 18"])
    expect(groups.locator("[aria-current]")).to_have_text("all pairs 54")
    orders = {}
    for group, votes in (("mad", "36"), ("random", "18")):
        groups.get_by_role("link", name=group).click()
        expect(groups.locator("[aria-current]")).to_have_text(f"{group} {votes}")
        expect(page.locator(".connection")).to_have_text("live", timeout=PATIENCE_MS)
        expect(page.locator('[data-text="votes"]')).to_have_text(votes)
        expect(page.locator(".ranking tbody tr")).to_have_count(3)
        orders[group] = ranked(page)
    assert orders["mad"] == orders["random"][::-1] == ["nearest", "bicubic", "sharp"]

    # Votes that come now are counted where they belong, on the open page.
    page.evaluate("window.notReloaded = true")
    subject, random = grouped_site.subject(), grouped.places(grouped_site, "random")
    on_random = 0
    for _ in range(8):
        (trial,) = next_trials(subject)
        on_random += grouped_site.shown(trial["id"])[1:] in random
        assert vote_on(subject, trial).is_success
    expect(groups.get_by_role("link")).to_have_text(
        ["all pairs 62", f"mad {36 + 8 - on_random}", f"random {18 + on_random}"], timeout=PATIENCE_MS
    )
    expect(page.locator('[data-text="votes"]')).to_have_text(str(18 + on_random))
    assert page.evaluate("window.notReloaded") is True

    # The choice of voters keeps it, and so does a cell, with the way back.
    page.get_by_role("navigation", name="Whose votes").get_by_role("link", name="simulated").click()
    expect(groups.locator("[aria-current]")).to_have_text("random 0")
    expect(page.get_by_text("Nobody has voted on the pairs of group random yet.")).to_be_visible()
    page.get_by_role("navigation", name="Whose votes").get_by_role("link", name="people").click()
    expect(groups.locator("[aria-current]")).to_have_text(f"random {18 + on_random}")
    page.locator('.matrix td[data-first="0"][data-second="1"] a').click()
    expect(page.locator(".pairs figure")).to_have_count(2)
    page.get_by_role("link", name="Swap sides").click()
    expect(page.locator("h1")).to_have_text("bicubic against nearest")
    expect(page.locator(".pairs figure")).to_have_count(2)
    page.get_by_role("link", name="Show the pairs of all groups").click()
    expect(page.locator(".pairs figure")).to_have_count(6)
    page.go_back()
    page.locator(".crumbs").get_by_role("link", name="small").click()
    expect(groups.locator("[aria-current]")).to_have_text(f"random {18 + on_random}")


def test_an_admin_fits_a_ranking_of_a_group(page: Page, grouped_site: Site) -> None:
    grouped.panel_votes(grouped_site)
    for group, expected in (("random", ["sharp", "bicubic", "nearest"]), ("mad", ["nearest", "bicubic", "sharp"])):
        page.goto(f"{grouped_site.url}/studies/small/manage")
        page.get_by_label("on pairs of").select_option(group)
        page.get_by_role("button", name="Fit a ranking").click()
        page.wait_for_url(re.compile(r"/rankings/\d+$"))
        assert ranked(page) == expected
        expect(page.get_by_text(f"votes on {group} pairs.")).to_be_visible()
    page.goto(f"{grouped_site.url}/studies/small/manage")
    page.get_by_role("button", name="Fit a ranking").click()  # of all groups, as nothing is chosen
    page.wait_for_url(re.compile(r"/rankings/\d+$"))
    expect(page.get_by_text("36 on mad, 18 on random pairs")).to_be_visible()
    page.goto(f"{grouped_site.url}/studies/small")
    stored = page.locator(".stored li")
    expect(stored).to_have_count(3)
    expect(stored.nth(2)).to_contain_text("of 18 votes by people on random pairs")
    expect(stored.nth(0)).to_contain_text("of 54 votes by people,")
