"""What the page records of a trial, and how much it holds: the pixels that were seen, calendars, memory."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Request, expect
from sqlalchemy import select, update

from app.models import Output, Vote
from pipelines.images import pixel_hash
from tests.app.browser.trial_page import SIDES, Open, expect_unsent, on_screen, pixels, sent, vote
from tests.app.conftest import Site

# As if the computer had slept for an hour, during which the clock of a page may stand still.
AN_HOUR_LATER = "() => { const now = Date.now; Date.now = () => now() + 3600e3; }"
WIDTH, HEIGHT = 2048, 1024  # a pair of images takes 16 MiB, and a sixteenth of the memory is for pairs, 64 MiB at least


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def test_another_image_than_the_one_that_was_ingested_is_stored_as_seen_and_flagged(
    open_page: Open, site: Site
) -> None:
    page = open_page()
    width, height = page.locator("#left canvas").evaluate("canvas => [canvas.width, canvas.height]")
    other = Image.new("RGB", (width, height), (10, 20, 30))
    page.route("**/left.*", lambda route: route.fulfill(content_type="image/png", body=png(other)))
    page.reload()
    trial = vote(page)
    expect_unsent(page, 0)
    with site.sessions() as db:
        stored = db.scalars(select(Vote)).one()
    assert stored.pixels == "different"
    assert "pixels" in stored.flags
    assert stored.left_sha256 == pixel_hash(np.asarray(other))
    right = pixels(page.request.get(f"{page.url}s/{trial}/right.png").body())
    assert stored.right_sha256 == pixel_hash(right)


def test_a_vote_tells_whether_the_computer_has_slept_since_the_paint_and_paints_are_dated_by_the_calendar(
    open_page: Open,
) -> None:
    page = open_page()
    votes = sent(page)
    vote(page)
    page.evaluate(AN_HOUR_LATER)  # the second pair is on the screen
    vote(page)
    vote(page)
    bodies = [body for _, body in votes]
    assert [body["hidden"] for body in bodies] == [False, True, False]
    slept = [event["slept_ms"] for body in bodies for event in body["events"] if event["event"] == "sleep"]
    assert slept == [pytest.approx(3_600_000, abs=1000)]
    assert all(body["response_ms"] < 300_000 for body in bodies)
    *before, after = (datetime.fromisoformat(body["painted_at"]) for body in bodies)
    assert all(abs(datetime.now(UTC) - painted) < timedelta(minutes=5) for painted in before)
    assert abs(datetime.now(UTC) + timedelta(hours=1) - after) < timedelta(minutes=5)


def test_a_break_is_over_when_the_computer_has_slept_through_it(open_page: Open, protocol: Callable[..., None]) -> None:
    protocol(block=1, break_seconds=1800)
    page = open_page()
    on_screen(page)
    page.keyboard.press("ArrowLeft")
    button = page.get_by_role("button", name="Go on")
    expect(button).to_be_disabled()
    page.evaluate(AN_HOUR_LATER)
    expect(button).to_be_enabled()
    expect(page.get_by_role("timer")).to_be_hidden()


def requested(page: Page) -> set[str]:
    """A set that fills with the addresses of images as they are asked for."""
    addresses: set[str] = set()

    def note(request: Request) -> None:
        if request.url.rsplit("/", 1)[-1].split(".")[0] in SIDES:
            addresses.add(request.url)

    page.on("request", note)
    return addresses


@pytest.mark.parametrize(("gigabytes", "pairs"), [(0.25, 4), (2, 8)])
def test_no_more_pairs_are_decoded_ahead_than_the_memory_has_room_for(
    open_page: Open, protocol: Callable[..., None], site: Site, gigabytes: float, pairs: int
) -> None:
    protocol(pan=True)  # so that they need not fit into the window
    page = open_page(script=f"Object.defineProperty(navigator, 'deviceMemory', {{ value: {gigabytes} }});")
    with site.sessions.begin() as db:
        db.execute(update(Output).values(width=WIDTH, height=HEIGHT))
    large = png(Image.new("RGB", (WIDTH, HEIGHT), (10, 20, 30)))
    for side in SIDES:
        page.route(f"**/{side}.*", lambda route: route.fulfill(content_type="image/png", body=large))
    address = page.url
    page.goto("about:blank")  # which asks for nothing more
    images = requested(page)
    page.goto(address)
    for shown in (1, 2):
        while len(images) < 2 * (shown + pairs):
            page.wait_for_event("request")
        page.wait_for_load_state("networkidle")
        assert len(images) == 2 * (shown + pairs)
        vote(page)
