"""The loop in a browser: a subject votes, an experimenter watches, an admin fits a ranking and calibrates with it."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.security import invitations
from tests.app import processes
from tests.app.conftest import PASSWORD, Site

PATIENCE_MS = 20_000
JOB_MS = 120_000
WATCH = "addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective, e.blockedURI))"

Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[Open]:
    """Opens a page of the site in a browser of its own; afterwards no console may hold an error."""
    contexts, problems = [], []

    def open_page(address: str) -> Page:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
        contexts.append(context)
        context.add_init_script(WATCH)
        context.on("weberror", lambda error: problems.append(str(error.error)))
        context.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
        context.on(
            "response",
            lambda answer: problems.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
        )
        page = context.new_page()
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def sign_up(page: Page, name: str) -> None:
    """Choose a name and a password behind a set-up link."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create the account").click()
    expect(page.get_by_role("link", name="small").first).to_be_visible()


def vote_with_keys(page: Page, keys: list[str]) -> None:
    """Agree, and answer each question by a key once its images are there."""
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Agree and start").click()
    page.wait_for_url("**/trial")
    shown = ""
    for key in keys:
        page.wait_for_selector(f'html:not([data-trial=""], [data-trial="{shown}"])', state="attached")
        shown = page.locator("html").get_attribute("data-trial") or ""
        page.keyboard.press(key)
    expect(page.locator("html")).to_have_attribute("data-unsent", "0", timeout=PATIENCE_MS)


def wins(page: Page) -> list[int]:
    """The counts in the matrix, cell by cell; cells without votes are empty."""
    return [int(cell) for cell in page.locator(".matrix td[data-first] b").all_inner_texts() if cell]


def test_votes_of_the_keyboard_appear_on_the_experimenters_open_page(open_page: Open, site: Site) -> None:
    watching = open_page(invitations.set_up_link(site.database_url, site.url, "experimenter"))
    sign_up(watching, "grace")
    watching.get_by_role("link", name="small").click()
    expect(watching.locator(".connection")).to_have_text("live", timeout=PATIENCE_MS)
    expect(watching.get_by_text("Nobody has started yet.")).to_be_visible()
    assert wins(watching) == []
    watching.evaluate("window.notReloaded = true")

    subject = open_page(site.invite())
    vote_with_keys(subject, ["ArrowLeft", "ArrowRight", "ArrowRight", "1", "2"])
    expect(subject.get_by_text("6 of 12", exact=True)).to_be_visible()

    expect(watching.locator('[data-text="votes"]')).to_have_text("5", timeout=PATIENCE_MS)
    assert sum(wins(watching)) == 5
    row = watching.locator(".subjects tbody tr")
    expect(row).to_have_count(1)
    expect(row.get_by_role("rowheader")).to_have_text("S1")
    expect(row).to_contain_text("5 / 12")
    expect(row.get_by_role("progressbar")).to_have_js_property("value", 5)
    assert watching.evaluate("window.notReloaded") is True

    # More votes: the ranking appears, and a chart of it; a cell leads to its images.
    site.panel_votes()
    expect(watching.locator('[data-text="votes"]')).to_have_text("41", timeout=PATIENCE_MS)
    expect(watching.locator(".ranking tbody tr")).to_have_count(3)
    expect(watching.locator(".chart svg")).to_be_visible(timeout=PATIENCE_MS)
    assert watching.evaluate("window.notReloaded") is True
    cell = watching.locator('.matrix td[data-first="0"][data-second="1"] a')
    votes = int(cell.locator("b").inner_text())
    cell.click()
    expect(watching.locator(".pairs figure")).to_have_count(4)
    shown = watching.locator(".pairs figure img").evaluate_all(
        "async (images) => { for (const image of images) { image.loading = 'eager'; await image.decode(); }"
        " return images.map((image) => image.naturalWidth); }"
    )
    assert len(shown) == 12
    assert min(shown) > 0
    counted = watching.locator(".pairs figure .images a:nth-child(2) b").all_inner_texts()
    assert sum(map(int, counted)) == votes


def test_an_admin_signs_up_fits_a_ranking_and_sees_a_calibration_finish(open_page: Open, site: Site) -> None:
    site.panel_votes()
    link = invitations.first_admin(site.database_url, site.url)
    assert link is not None
    page = open_page(link)
    sign_up(page, "ada")
    page.wait_for_url("**/admin")
    expect(page.get_by_text("signed in as ada")).to_be_visible()
    page.get_by_role("link", name="small").first.click()
    page.wait_for_url("**/studies/small/manage")
    page.get_by_role("button", name="Fit a ranking").click()
    page.wait_for_url(re.compile(r"/studies/small/rankings/\d+$"))
    ranked = page.locator(".ranking tbody tr").get_by_role("rowheader").all_inner_texts()
    assert ranked == ["nearest", "bicubic", "sharp"]
    expect(page.locator(".chart svg")).to_be_visible(timeout=PATIENCE_MS)

    page.goto(f"{site.url}/studies/small/manage")
    with processes.running("worker", DATABASE_URL=site.database_url, DISCERN_HOME=str(site.settings.home)):
        page.get_by_role("button", name="Calibrate").click()
        page.wait_for_url(re.compile(r"/studies/small/calibrations/\d+$"))
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.get_by_role("button", name="Cancel")).to_be_visible()
        # The page follows the job, and shows its end, by itself.
        expect(page.locator(".pill")).to_have_text("running", timeout=JOB_MS)
        expect(page.locator(".pill")).to_have_text("succeeded", timeout=JOB_MS)
    expect(page.get_by_role("progressbar")).to_have_count(0)
    for words in ("quality model before calibration", "quality model after calibration", "ranking only, in sample"):
        figure = page.get_by_role("row").filter(has_text=words).locator("td.number").first
        assert 0 <= float(figure.inner_text()) <= 1
    expect(page.locator("[data-log]")).to_contain_text("training the rectifier")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the calibrated model").click()
    archive = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes()))
    with archive:
        assert {name.rpartition("/")[2] for name in archive.namelist()} == {"model.json", "model.safetensors"}
    page.goto(f"{site.url}/studies/small/manage")
    expect(page.get_by_role("row").filter(has_text=re.compile(r"Calibration \d"))).to_contain_text("succeeded")


def test_an_admin_opens_closes_and_invites_by_clicking(open_page: Open, site: Site) -> None:
    link = invitations.first_admin(site.database_url, site.url)
    assert link is not None
    page = open_page(link)
    sign_up(page, "ada")
    page.goto(f"{site.url}/studies/small/manage")
    page.get_by_role("button", name="Close the study").click()
    expect(page.locator(".pill").first).to_have_text("closed")
    page.get_by_role("button", name="Open the study").click()
    expect(page.locator(".pill").first).to_have_text("open")
    page.get_by_label("how many").fill("2")
    page.get_by_role("button", name="Make links").click()
    expect(page.locator("td.link")).to_have_count(2)
    invitation = page.locator("td.link").first.inner_text()
    subject = open_page(invitation)
    vote_with_keys(subject, ["ArrowLeft"])
    page.reload()
    used = page.get_by_role("row").filter(has_text=invitation)
    expect(used.locator("td.number")).to_have_text("1")


def test_pages_of_simulated_votes_say_so_and_those_of_people_do_not(open_page: Open, site: Site) -> None:
    site.panel_votes(simulated=True)
    site.panel_votes()
    link = invitations.first_admin(site.database_url, site.url)
    assert link is not None
    page = open_page(link)
    sign_up(page, "ada")
    mark = page.get_by_role("note").filter(has_text="These votes come from simulated subjects, not from people.")
    for voters in ("simulated", "people"):
        is_simulated = voters == "simulated"
        page.goto(f"{site.url}/studies/small/manage")
        page.get_by_label("votes of").select_option(voters)
        page.get_by_role("button", name="Fit a ranking").click()
        page.wait_for_url(re.compile(r"/rankings/\d+$"))
        expect(mark).to_be_visible(visible=is_simulated)
        page.goto(f"{site.url}/studies/small?voters={voters}")
        expect(page.locator(".connection")).to_have_text("live", timeout=PATIENCE_MS)
        expect(mark).to_be_visible(visible=is_simulated)
        expect(page.get_by_role("rowheader", name="simulated-1", exact=True)).to_have_count(1 if is_simulated else 0)
        page.locator('.matrix td[data-first="0"][data-second="1"] a').click()
        page.wait_for_url("**/pairs?**")
        expect(mark).to_be_visible(visible=is_simulated)
