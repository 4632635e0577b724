"""Real headless Chromium, and the pages' inhabitants."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.app.conftest import Site

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# For one file of tests: Playwright keeps an event loop running in this thread until it is stopped, so that no later
# test of the same process could use one of its own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Callable[..., Browser]]:
    """Starts headless Chromium with further flags: the system's (`CHROMIUM` names another one)."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("no Chromium: install it (Debian: apt-get install chromium), or name its program in CHROMIUM")
    with sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])


@pytest.fixture(scope="module")
def browser(chromium: Callable[..., Browser]) -> Iterator[Browser]:
    """Headless Chromium."""
    browser = chromium()
    yield browser
    browser.close()


@pytest.fixture
def launch(chromium: Callable[..., Browser]) -> Iterator[Callable[..., Browser]]:
    """Starts a browser of this test's own, with flags of its own."""
    started: list[Browser] = []

    def launch(*flags: str) -> Browser:
        started.append(chromium(*flags))
        return started[-1]

    yield launch
    for browser in started:
        browser.close()


@pytest.fixture
def server(site: Site) -> Site:
    """The running server; `.url` is its address."""
    return site


@pytest.fixture
def invite(site: Site) -> Callable[..., str]:
    """Makes invitation links."""
    return lambda kind="single", simulated=False: site.invite(kind, simulated=simulated)
