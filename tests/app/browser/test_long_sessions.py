"""Whole sessions, undisturbed and disturbed: nothing lost, nothing doubled, and the subject is told the truth."""

import random
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import select

from app import children, runs, serving, studies
from app.children import Lifeline
from app.models import Subject, Trial, Vote
from pipelines.progress import silent
from tests.app.browser.trial_page import arriving
from tests.app.conftest import Site, serving_study
from tests.conftest import save, textured

METHODS = ("nearest", "bilinear", "bicubic", "lanczos", "bicubic_unsharp", "back_projection")
IMAGES, SHARE = 14, 200
KEYS = {"left": "ArrowLeft", "right": "ArrowRight"}
API = re.compile(r"/api/subject/")
IMAGE = re.compile(r"/trials/.+\.(png|webp)$")
PATIENCE_MS = 60_000

PLAIN = """
[protocol]
device_check = false
training = 0
warm_up = 0
warm_up_later = 0
break_seconds = 0
block = 70
"""


@pytest.fixture(scope="module")
def large_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """210 pairs of six methods on 14 images."""
    folder = tmp_path_factory.mktemp("large")
    for index in range(IMAGES):
        save(folder / "lr" / f"image_{index}.png", textured(index, 24, 32))
    blocks = [f'[[methods]]\nid = "{name}"\nkind = "interpolation"\nalgorithm = "{name}"\n' for name in METHODS]
    selection = f'[selection]\ndistance = "psnr"\nsemantics = "colour_gradient"\nper_pair = {IMAGES}\n'
    text = 'name = "small"\n[images]\nfolder = "lr"\n' + "".join(blocks) + selection + PLAIN
    (folder / "study.toml").write_text(text)
    return runs.run(folder / "study.toml", silent).workspace.root


@pytest.fixture
def large_site(database_url: str, large_workspace: Path, tmp_path: Path) -> Iterator[Site]:
    """A server whose subjects are asked for 200 of 210 pairs."""
    with serving_study(database_url, large_workspace, tmp_path / "home") as made:
        with made.sessions.begin() as db:
            studies.find(db, made.study, lock=True).trials_per_subject = SHARE
        yield made


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1281, "height": 801}, reduced_motion="reduce")
    yield context.new_page()
    context.close()


def begin(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_role("checkbox").check()
    page.locator("form button.primary").click()
    page.wait_for_url("**/trial")


def on_screen(page: Page, after: str = "") -> str:
    """The trial whose images are painted, as soon as it is not the one `after` which it comes."""
    query = f'html:not([data-trial=""], [data-trial="{after}"])'
    page.wait_for_selector(query, state="attached", timeout=PATIENCE_MS)
    return page.locator("html").get_attribute("data-trial") or ""


def vote_many(page: Page, number: int, choose: random.Random, last: bool = False) -> dict[str, str]:
    """Vote on so many trials by keys; what was pressed on each. After the very last one, no trial follows."""
    pressed = {}
    for count in range(1, number + 1):
        trial = on_screen(page)
        pressed[trial] = choose.choice(sorted(KEYS))
        page.keyboard.press(KEYS[pressed[trial]])
        if not (last and count == number):
            on_screen(page, after=trial)
    return pressed


def stored(site: Site) -> list[tuple[Vote, Trial]]:
    """All rows of the log, in its order."""
    with site.sessions() as db:
        return [tuple(row) for row in db.execute(select(Vote, Trial).join(Trial).order_by(Vote.id))]


def choices(rows: list[tuple[Vote, Trial]]) -> dict[str, str | None]:
    return {str(trial.id): vote.choice for vote, trial in rows}


def test_two_hundred_trials_leave_two_hundred_votes_with_sane_times(large_site: Site, page: Page) -> None:
    begun = datetime.now(UTC)
    begin(page, large_site.invite())
    pressed = vote_many(page, SHARE, random.Random(1), last=True)
    page.get_by_role("button", name="Finish").click(timeout=PATIENCE_MS)
    page.wait_for_url("**/thanks", timeout=PATIENCE_MS)
    took = (datetime.now(UTC) - begun).total_seconds() * 1000
    rows = stored(large_site)
    assert len(rows) == len(pressed) == SHARE
    assert choices(rows) == pressed
    assert [trial.number for _, trial in rows] == list(range(1, SHARE + 1))
    assert {vote.revision for vote, _ in rows} == {1}
    assert {vote.pixels for vote, _ in rows} == {"verified"}
    check_times([vote for vote, _ in rows], begun, took)
    with large_site.sessions() as db:
        subject = db.scalars(select(Subject)).one()
        assert (subject.voted, subject.total) == (SHARE, SHARE)


def check_times(votes: list[Vote], begun: datetime, took: float) -> None:
    """One trial after the other, each from its paint to its key, none before the page was opened or after its end."""
    assert all(vote.response_ms is not None and vote.response_ms > 0 for vote in votes)
    assert sum(vote.response_ms or 0 for vote in votes) < took
    paints = [vote.painted_at for vote in votes]
    assert all(paint is not None for paint in paints)
    ends = [paint + timedelta(milliseconds=vote.response_ms or 0) for paint, vote in zip(paints, votes, strict=True)]
    slack = timedelta(milliseconds=50)  # the browser reads two clocks, and a busy machine lets time pass in between
    assert begun <= paints[0] + slack
    for end, next_paint in zip(ends, paints[1:], strict=False):
        assert end <= next_paint + slack
    for end, vote in zip(ends, votes, strict=True):
        assert end <= vote.received_at + slack


@pytest.mark.slow
def test_errors_and_slow_answers_lose_and_double_nothing(large_site: Site, page: Page) -> None:
    """Of the requests, a third is answered with an error, lost before or after it reached the server, or is slow."""
    draw = random.Random(2)
    page.set_default_timeout(PATIENCE_MS)
    begin(page, large_site.invite())
    page.route(API, lambda route: disturb(route, draw))
    page.route(IMAGE, lambda route: disturb(route, draw))
    pressed = vote_many(page, 40, random.Random(3))
    page.unroute(API)
    page.unroute(IMAGE)
    expect(page.locator("html")).to_have_attribute("data-unsent", "0", timeout=PATIENCE_MS)
    assert choices(stored(large_site)) == pressed
    assert len(stored(large_site)) == len(pressed)


def disturb(route: Route, draw: random.Random) -> None:
    match draw.randrange(12):
        case 0:
            route.fulfill(status=500, json={"detail": "a fault"})
        case 1:
            route.abort()
        case 2:
            # It has arrived and was dealt with; the answer is lost.
            route.fetch()
            route.abort()
        case 3:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"detail": "busy"})
        case _:
            route.continue_()


def test_a_network_that_is_cut_in_mid_session(large_site: Site, page: Page) -> None:
    wait_for = arriving(page)
    begin(page, large_site.invite())
    pressed = vote_many(page, 5, random.Random(4))
    wait_for(5 + 1 + 3)
    expect(page.locator("html")).to_have_attribute("data-unsent", "0")
    page.context.set_offline(True)
    pressed |= vote_many(page, 3, random.Random(5))
    expect(page.get_by_role("status").filter(has_text="no connection")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-unsent", "3")
    assert len(stored(large_site)) == 5
    page.context.set_offline(False)
    expect(page.locator("html")).to_have_attribute("data-unsent", "0", timeout=PATIENCE_MS)
    expect(page.get_by_text("saved", exact=True)).to_be_visible()
    pressed |= vote_many(page, 2, random.Random(6))
    expect(page.locator("html")).to_have_attribute("data-unsent", "0", timeout=PATIENCE_MS)
    assert choices(stored(large_site)) == pressed
    assert len(stored(large_site)) == 10


@contextmanager
def web_process(site: Site, listening: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """`discern web` on a socket that this test listens on, as the parent of `discern serve` does."""
    lifeline = Lifeline()
    facts = {"DATABASE_URL": site.database_url, "DISCERN_HOME": str(site.settings.home)}
    process = subprocess.Popen(
        children.command("web", "--fd", str(listening.fileno())),
        env=lifeline.environment(facts),
        pass_fds=(lifeline.reading, listening.fileno()),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        lifeline.close()


def test_a_server_that_is_killed_and_started_again_in_mid_session(large_site: Site, page: Page) -> None:
    with serving.listen("127.0.0.1", 0) as listening:
        link = re.sub(r":\d+/", f":{listening.getsockname()[1]}/", large_site.invite())
        with web_process(large_site, listening):
            wait_for = arriving(page)
            begin(page, link)
            pressed = vote_many(page, 10, random.Random(7))
            wait_for(10 + 1 + 4)
            page.wait_for_load_state("networkidle")
        # Killed: what the page holds is voted on meanwhile.
        pressed |= vote_many(page, 4, random.Random(8))
        expect(page.locator("html")).not_to_have_attribute("data-unsent", "0")
        with web_process(large_site, listening):
            expect(page.locator("html")).to_have_attribute("data-unsent", "0", timeout=PATIENCE_MS)
            pressed |= vote_many(page, 10, random.Random(9))
            expect(page.locator("html")).to_have_attribute("data-unsent", "0", timeout=PATIENCE_MS)
            assert choices(stored(large_site)) == pressed
            assert len(stored(large_site)) == len(pressed) == 24


@pytest.mark.parametrize("leave", ["reload", "close", "other computer"])
def test_a_subject_who_leaves_goes_on_at_the_same_trial(
    large_site: Site, browser: Browser, page: Page, leave: str
) -> None:
    link = large_site.invite()
    begin(page, link)
    pressed = vote_many(page, 6, random.Random(10))
    expect(page.locator("html")).to_have_attribute("data-unsent", "0", timeout=PATIENCE_MS)
    trial = on_screen(page)
    other = LEAVE[leave](page, browser)
    if leave == "other computer":
        other.goto(link)
        other.locator("form button.primary").click()
        other.wait_for_url("**/trial")
    assert on_screen(other) == trial
    pressed |= vote_many(other, 2, random.Random(11))
    expect(other.locator("html")).to_have_attribute("data-unsent", "0", timeout=PATIENCE_MS)
    assert choices(stored(large_site)) == pressed
    if other.context is not page.context:
        other.context.close()


def _closed(page: Page, browser: Browser) -> Page:
    address, context = page.url, page.context
    page.close()
    opened = context.new_page()
    opened.goto(address)
    return opened


def _reloaded(page: Page, browser: Browser) -> Page:
    page.reload()
    return page


LEAVE: dict[str, Callable[[Page, Browser], Page]] = {
    "reload": _reloaded,
    "close": _closed,
    "other computer": lambda page, browser: browser.new_context(viewport={"width": 1281, "height": 801}).new_page(),
}
