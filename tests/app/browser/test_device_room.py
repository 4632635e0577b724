"""The device check and the trial page measure the room for the images alike: to the pixel, whatever the protocol."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.conftest import Site

REFERENCE = {"reference": "interpolation:bicubic"}


def pages(browser: Browser, link: str) -> tuple[Page, Page]:
    """One subject's device check, which stays open, and their trial page."""
    context = browser.new_context(viewport={"width": 1281, "height": 801})
    check, trial = context.new_page(), context.new_page()
    check.goto(link)
    check.get_by_role("checkbox").check()
    check.get_by_role("button").click()
    check.wait_for_url("**/device")
    trial.goto(check.url)
    trial.get_by_role("button", name="Continue").click()
    trial.wait_for_url("**/trial")
    return check, trial


def expect_verdict(check: Page, trial: Page, size: tuple[int, int], fits: bool) -> None:
    for page in (check, trial):
        page.set_viewport_size({"width": size[0], "height": size[1]})
    expect(check.locator('[data-check="window"]')).to_have_attribute("data-state", "ok" if fits else "change")
    if fits:
        expect(trial.locator("#left")).to_be_visible()
    else:
        expect(trial.locator("#words")).to_contain_text("This window is too small")


# The study's images are 192 pixels wide and 160 high.
@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({}, (2 * 192 + 96, 160 + 152)),
        (REFERENCE, (2 * 192 + 96, 160 + 284)),
        (REFERENCE, (3 * 192 + 144, 160 + 204)),
        ({"display": "flip"}, (192 + 48, 160 + 204)),
        ({"display": "flip", **REFERENCE}, (192 + 48, 160 + 284)),
        ({"zoom": [2, 4]}, (4 * 192 + 96, 2 * 160 + 232)),
        ({"zoom": [4, 8], "pan": True}, (2 * 240 + 96, 240 + 232)),
        ({"zoom": [4], "pan": True, **REFERENCE}, (2 * 240 + 96, 240 + 284)),
    ],
    ids=["plain", "reference", "reference between", "flip", "flip and reference", "zoom", "pan", "pan and reference"],
)
def test_both_pages_want_the_same_room(
    browser: Browser,
    site: Site,
    protocol: Callable[..., None],
    settings: dict[str, Any],
    least: tuple[int, int],
) -> None:
    protocol(device_check=True, **settings)
    check, trial = pages(browser, site.invite())
    width, height = least
    for size, fits in (((width, height), True), ((width - 1, height), False), ((width, height - 1), False)):
        expect_verdict(check, trial, size, fits)
    check.context.close()
