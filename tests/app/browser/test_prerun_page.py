"""The page of a pre-run in a browser: started, followed, cancelled, resumed and imported by clicking."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import func, select, update

from app.admins import preruns
from app.models import Job
from tests.app.admins.conftest import IMAGES, METHODS, PrerunStudy, prerun_study, wait_for_outputs, work_off, worker
from tests.app.conftest import PASSWORD, Site

__all__ = ["prerun_study"]

JOB_MS = 120_000
OUTPUTS = IMAGES * len(METHODS)
WATCH = "addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective, e.blockedURI))"


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """The admin's page, signed in; afterwards its console may hold no error but the refusals of requests."""
    context, problems = browser.new_context(), []
    context.add_init_script(WATCH)
    context.on("weberror", lambda error: problems.append(str(error.error)))
    context.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
    made = context.new_page()
    site.add_user("ada", "admin")
    made.goto(f"{site.url}/sign-in?next=/admin")
    made.get_by_label("Name").fill("ada")
    made.get_by_label("Password").fill(PASSWORD)
    made.get_by_label("Password").press("Enter")
    made.wait_for_url("**/admin")
    yield made
    context.close()
    assert [problem for problem in problems if "409 (Conflict)" not in problem] == []


def test_an_admin_starts_follows_cancels_resumes_and_imports_a_pre_run(
    page: Page, site: Site, prerun_study: PrerunStudy
) -> None:
    prerun_study.allow(2)
    page.get_by_label("study file").fill(str(prerun_study.file))
    page.get_by_label("images at a time").fill(str(IMAGES))
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile(r"/preruns/\d+$"))
    state, figures = page.locator(".heading .pill"), page.locator(".figures")
    expect(page.get_by_text("1 part waits for a worker on the cpu queue")).to_be_visible()
    page.evaluate("window.notReloaded = true")
    with worker(site):
        # It follows by itself: a program at work, and what it has made.
        wait_for_outputs(prerun_study, 2)
        expect(state).to_have_text("running", timeout=JOB_MS)
        row = page.get_by_role("row").filter(has_text="external")
        expect(row).to_contain_text("at work", timeout=JOB_MS)
        expect(row).to_contain_text("1 / 6", timeout=JOB_MS)
        expect(figures).to_contain_text("outputs a minute", timeout=JOB_MS)
        expect(figures).to_contain_text(re.compile(r"left\s*(about|more than) \d+ (s|min)"), timeout=JOB_MS)
        expect(page.get_by_role("row").filter(has_text="upstream, part-0001")).to_contain_text("1 / 6")
        assert page.evaluate("window.notReloaded") is True
        page.get_by_role("button", name="Cancel").click()
        expect(state).to_have_text("cancelled", timeout=JOB_MS)
        expect(page.get_by_text("Cancelled. What was finished is kept.")).to_be_visible()
    prerun_study.allow(1000)
    page.get_by_role("button", name="Resume").click()
    expect(state).to_have_text("queued")
    work_off(site, "cpu", "gpu")
    expect(state).to_have_text("succeeded")
    expect(figures).to_contain_text(re.compile(rf"{OUTPUTS} / {OUTPUTS}"))
    expect(page.get_by_role("progressbar")).to_have_count(len(METHODS))
    page.get_by_role("button", name="Import as a study").click()
    page.wait_for_url("**/studies/pre-run/manage")
    page.goto(f"{site.url}/admin")
    listed = page.get_by_role("row").filter(has_text=str(prerun_study.file))
    expect(listed).to_contain_text("succeeded")
    listed.get_by_role("link").click()
    expect(page.get_by_text("Imported as")).to_be_visible()


def test_a_method_that_fails_everywhere_is_said_once_and_rows_stay_low_on_a_phone(
    page: Page, site: Site, prerun_study: PrerunStudy
) -> None:
    number = half_failed(site, prerun_study)
    page.goto(f"{site.url}/preruns/{number}")
    notice = page.locator(".notice")
    expect(notice).to_have_text("Failed: upstream, 20 parts (40 images), on 2 workers. The first: no program on 0")
    # The worker of the gpu queue is busy elsewhere, for all that is known.
    expect(page.get_by_text("1 part of the gpu queue: waiting until a worker is free.")).to_be_visible()
    assert "discern worker" not in page.locator("main").inner_text()
    page.set_viewport_size({"width": 390, "height": 844})
    row = page.get_by_role("row").filter(has_text="external")
    expect(row).to_contain_text("1 waiting, 20 failed")
    box = row.bounding_box()
    assert box is not None
    assert box["height"] < 50  # one line
    # Nobody is at work any more.
    with site.sessions.begin() as db:
        db.execute(update(Job).where(Job.status == "running").values(status="queued"))
    expect(page.get_by_text("1 part waits for a worker on the gpu queue: discern worker --queue gpu")).to_be_visible()


def half_failed(site: Site, study: PrerunStudy) -> int:
    """A pre-run of which a part is at work, one waits for another queue, and twenty have failed; its number."""
    tried = {"new": 0, "problems": [{"reason": "no program"}] * 2}
    with site.sessions.begin() as db:
        made = preruns.start(db, study.file, images_per_part=2, created_by="ada")
        for number in range(22):
            method, queue = ("nearest", "cpu") if number == 20 else ("upstream", "gpu")
            preruns.add(
                db, preruns.part(made, queue, step="outputs", method=method, slot=str(number), images=["a", "b"])
            )
        db.flush()
        prepare, *failed, running, _ = db.scalars(select(Job).order_by(Job.id))
        prepared = {"images": 44, "missing": dict.fromkeys(METHODS, 44), "problems": []}
        prepare.status, prepare.finished_at, prepare.part.result = "succeeded", func.now(), prepared
        for number, job in enumerate(failed):
            job.status, job.finished_at, job.worker = "failed", func.now(), f"worker-{number % 2}"
            job.error, job.part.result = f"no program on {number}", tried
        running.status, running.started_at, running.worker = "running", func.now(), "worker-3"
        return made.id


def test_a_refusal_is_shown_beside_the_button(page: Page, prerun_study: PrerunStudy) -> None:
    page.get_by_label("study file").fill(f"{prerun_study.root}/absent.toml")
    page.get_by_role("button", name="Start").click()
    form = page.locator("form").filter(has_text="study file")
    expect(form.get_by_role("alert")).to_contain_text("absent.toml: no such file")
