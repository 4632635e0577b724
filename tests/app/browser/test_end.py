"""The end of a session: the very last vote can be taken back until the subject says that they have finished."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from app import studies, verification
from app.models import Subject, Trial, Vote
from tests.app.browser.trial_page import (
    PATIENCE_MS,
    SLOW_DISK,
    VOTES,
    Open,
    abort,
    expect_message,
    expect_unsent,
    hold,
    leave_behind,
    on_screen,
    sent,
    stored,
    vote,
)
from tests.app.conftest import Site

ALL_IN = "All your votes are in."


@pytest.fixture(autouse=True)
def two_trials(site: Site) -> None:
    """Sessions are short."""
    with site.sessions.begin() as db:
        studies.find(db, site.study, lock=True).trials_per_subject = 2


def to_the_last(page: Page) -> str:
    """Votes on all trials but the last, which is on the screen."""
    vote(page)
    expect(page.get_by_text("2 of 2", exact=True)).to_be_visible()
    return on_screen(page)


def log(site: Site, trial: str) -> list[tuple[int, str | None]]:
    """The rows of a trial's votes: revision and choice; what follows from them must agree."""
    with site.sessions() as db:
        assert verification.problems(db) == []
        subject = db.scalars(select(Subject)).one()
        assert subject.voted == subject.total == 2
        query = select(Vote.revision, Vote.choice).join(Trial).where(Trial.id == trial).order_by(Vote.id)
        return [tuple(row) for row in db.execute(query)]


def test_the_very_last_vote_is_taken_back_and_the_new_choice_stands(open_page: Open, site: Site) -> None:
    page = open_page()
    last = to_the_last(page)
    undo, finish = (page.get_by_role("button", name=name) for name in ("undo last", "Finish"))
    page.keyboard.press("ArrowLeft")
    expect_message(page, ALL_IN)
    expect(undo).to_be_visible()
    page.keyboard.press("u")
    assert on_screen(page) == last
    page.keyboard.press("ArrowRight")
    expect_message(page, ALL_IN)
    undo.click()
    assert on_screen(page) == last
    expect(undo).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect_message(page, ALL_IN)
    expect(finish).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**/thanks")
    assert log(site, last) == [(1, "left"), (2, None), (3, "right"), (4, None), (5, "left")]


def test_where_votes_are_not_taken_back_the_session_ends_by_itself(
    open_page: Open, protocol: Callable[..., None], site: Site
) -> None:
    protocol(undo=False)
    page = open_page()
    last = to_the_last(page)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/thanks")
    assert log(site, last) == [(1, "left")]


def test_a_page_that_is_loaded_again_at_the_end_leads_to_thanks(open_page: Open) -> None:
    page = open_page()
    to_the_last(page)
    page.keyboard.press("ArrowLeft")
    expect_message(page, ALL_IN)
    page.reload()
    page.wait_for_url("**/thanks")


def test_a_last_vote_of_an_earlier_load_is_sent_and_the_session_ends_by_itself(open_page: Open, site: Site) -> None:
    page = open_page()
    last = to_the_last(page)
    page.route(VOTES, abort)
    page.keyboard.press("ArrowRight")
    expect_unsent(page, 1)
    page.reload()
    expect_unsent(page, 1)
    page.unroute(VOTES)
    page.wait_for_url("**/thanks", timeout=PATIENCE_MS)
    assert log(site, last) == [(1, "right")]


def test_a_last_vote_that_was_taken_back_stays_so_when_only_the_last_page_can_say_it(
    open_page: Open, site: Site
) -> None:
    page = open_page()
    last = to_the_last(page)
    page.keyboard.press("ArrowLeft")
    expect_message(page, ALL_IN)
    page.route(VOTES, abort)
    page.keyboard.press("u")
    on_screen(page)
    expect_unsent(page, 1)
    page.goto(f"{site.url}/session")
    assert page.url.endswith("/thanks"), "the server believes that all is done"
    page.unroute(VOTES)
    page.wait_for_url("**/trial", timeout=PATIENCE_MS)
    assert on_screen(page) == last
    page.keyboard.press("ArrowRight")
    expect_message(page, ALL_IN)
    page.get_by_role("button", name="Finish").click()
    page.wait_for_url("**/thanks")
    assert log(site, last) == [(1, "left"), (2, None), (3, "right")]


def test_the_last_page_waits_for_a_slow_disk_and_sends_what_is_left_there_once(open_page: Open, site: Site) -> None:
    page = open_page(script=SLOW_DISK)
    first, last = on_screen(page), to_the_last(page)
    page.keyboard.press("ArrowLeft")
    expect_message(page, ALL_IN)
    votes, pages = sent(page), []
    page.on("framenavigated", lambda frame: pages.append(frame.url.rpartition("/")[2]))
    with page.expect_response(VOTES):  # the last page sends what it finds
        page.get_by_role("button", name="Finish").click()
    page.wait_for_timeout(300)  # for what must not come
    assert pages == ["thanks"]
    with page.expect_event("framenavigated"):
        page.evaluate("window.isSlow = false")
    page.wait_for_load_state("networkidle")
    assert (pages, stored(page)) == (["thanks", "thanks"], 0)
    # The first vote; the second one too, if it came to the disk, behind what was slow there, as its page was left.
    assert [trial for trial, _ in votes] in ([first], [first, last])
    assert log(site, last) == [(1, "left")]


def test_an_answer_from_before_the_undo_does_not_end_the_session(open_page: Open, site: Site) -> None:
    page = open_page()
    last = to_the_last(page)
    page.keyboard.press("ArrowLeft")
    expect_message(page, ALL_IN)
    release = hold(page, VOTES)
    page.keyboard.press("u")
    on_screen(page)
    page.keyboard.press("ArrowRight")
    expect_message(page, "Votes not saved yet: 2.")
    release()
    expect_message(page, ALL_IN)
    page.keyboard.press("Enter")
    page.wait_for_url("**/thanks")
    assert log(site, last) == [(1, "left"), (2, None), (3, "right")]


def test_the_last_page_says_which_votes_the_server_did_not_accept(open_page: Open) -> None:
    page = open_page()
    to_the_last(page)
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Finish").click()
    page.wait_for_url("**/thanks")
    expect(page.get_by_role("alert")).to_have_count(0)
    leave_behind(page, 1)
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("1 vote not accepted by the server")
    assert page.url.endswith("/thanks")
    assert stored(page) == 1
