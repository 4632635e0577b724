"""Real headless Chromium, and the pages' inhabitants."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import select, update

from app import models
from tests.app.browser.trial_page import start, welcomed
from tests.app.conftest import Site

# The first one is Chromium without windows and menus of its own, which would take half of the time.
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


expect.set_options(timeout=20_000)  # a busy machine may take its time


# For one file of tests: Playwright keeps an event loop running in this thread until it is stopped, so that no later
# test of the same process could use one of its own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Callable[..., Browser]]:
    """Starts headless Chromium with further flags: the system's (`CHROMIUM` names another one)."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(f"no Chromium: install it (Debian: apt-get install {BROWSERS[0]}), or name its program in CHROMIUM")
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


@pytest.fixture
def protocol(site: Site) -> Callable[..., None]:
    """Changes the study's protocol for subjects who come from now on, and brings what it needs."""

    def change(**settings: Any) -> None:
        with site.sessions.begin() as db:
            newest = db.scalars(select(models.Protocol).order_by(models.Protocol.id.desc()).limit(1)).one()
            db.add(models.Protocol(study_id=newest.study_id, settings=newest.settings | settings))
            first, second = db.scalars(select(models.Output).order_by(models.Output.method_position).limit(2))
            if settings.get("reference", "none") != "none":
                db.execute(update(models.LowResolutionImage).values(reference_sha256=first.sha256))
            for number in range(settings.get("training", 0)):
                probe = {"content": str(number), "first_sha256": first.sha256, "second_sha256": second.sha256}
                db.add(models.Probe(study_id=newest.study_id, kind="training", made="for a test", **probe))

    return change


@pytest.fixture
def open_page(browser: Browser, invite: Callable[..., str]) -> Iterator[Callable[..., Page]]:
    """Opens a new subject's page, by `link` through the welcome; no script may fail there and no policy be broken."""
    contexts, problems = [], []

    def open_page(link: str | None = None, script: str = "", using: Browser = browser, **options: Any) -> Page:
        context = using.new_context(
            **{"viewport": {"width": 1281, "height": 801}, "reduced_motion": "reduce"} | options
        )
        contexts.append(context)
        context.on("weberror", lambda error: problems.append(str(error.error)))
        context.on("console", lambda m: problems.append(m.text) if "Content Security Policy" in m.text else None)
        context.add_init_script(script or "0")
        page = context.new_page()
        if link:
            start(page, link)
        else:
            welcomed(page, invite())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
