"""The subject's page as an instrument: pixels, timing, exactly one vote for each trial, and no vote lost on its way."""

import hashlib
import io
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from pipelines.images import pixel_hash
from tests.app.browser.trial_page import (
    IMAGES,
    NO_MORE,
    OLD_VOTE,
    SIDES,
    SLOW_DISK,
    TRIALS,
    VOTES,
    Open,
    abort,
    arriving,
    check_pixels,
    choices,
    expect_message,
    expect_unsent,
    hold,
    leave_behind,
    on_screen,
    pixels,
    refuse,
    sent,
    start,
    stored,
    vote,
)
from tests.app.conftest import wait_for


@pytest.mark.parametrize("ratio", [1, 1.1, 1.25, 1.5, 2, 3])
def test_one_image_pixel_is_one_device_pixel(open_page: Open, launch: Callable[..., Browser], ratio: float) -> None:
    # Playwright's own `device_scale_factor` lays the page out in CSS pixels, which no real screen does.
    using = launch(f"--force-device-scale-factor={ratio}", "--window-size=1441,903")
    page = open_page(using=using, viewport=None, no_viewport=True)
    assert page.evaluate("devicePixelRatio") == pytest.approx(ratio)
    check_pixels(page, ratio)
    vote(page)
    check_pixels(page, ratio)


NO_RESIZE = (
    "for (const w of [window, visualViewport]) w.addEventListener('resize', (e) => e.stopImmediatePropagation(), true);"
)


@pytest.mark.parametrize("script", ["", NO_RESIZE], ids=["all events", "the resolution's event alone"])
def test_images_keep_their_pixels_when_the_zoom_changes_during_a_trial(open_page: Open, script: str) -> None:
    page = open_page(script=script)
    trial = on_screen(page)
    image = page.locator("#left canvas")
    width, height = image.evaluate("canvas => [canvas.width, canvas.height]")
    expect(image).to_have_css("width", f"{width}px")
    metrics = {"width": 1280, "height": 800, "deviceScaleFactor": 2, "mobile": False}
    page.context.new_cdp_session(page).send("Emulation.setDeviceMetricsOverride", metrics)
    expect(image).to_have_css("width", f"{width / 2:g}px")
    expect(image).to_have_css("height", f"{height / 2:g}px")
    assert on_screen(page) == trial


def test_a_window_that_is_too_small_stops_the_trial_until_it_is_large_enough(open_page: Open) -> None:
    page = open_page()
    votes, trial = sent(page), on_screen(page)
    page.set_viewport_size({"width": 300, "height": 700})
    expect_message(page, "This window is too small to show the images pixel by pixel")
    page.keyboard.press("ArrowLeft")
    page.set_viewport_size({"width": 1281, "height": 801})
    assert on_screen(page) == trial
    page.keyboard.press("ArrowRight")
    on_screen(page, after=trial)
    assert choices(votes) == [(trial, "right")]
    assert votes[0][1]["hidden"], "the images were out of sight for a while"


@pytest.mark.parametrize("factor", [1.1, 2, 3])
def test_a_pinched_page_stops_the_trial_until_it_has_its_size_again(open_page: Open, factor: float) -> None:
    page = open_page()
    votes, trial = sent(page), on_screen(page)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Emulation.setPageScaleFactor", {"pageScaleFactor": factor})
    expect_message(page, "The page is magnified. Pinch it back")
    page.keyboard.press("ArrowLeft")
    devtools.send("Emulation.setPageScaleFactor", {"pageScaleFactor": 1})
    assert on_screen(page) == trial
    check_pixels(page, 1)
    vote(page, "right")
    assert choices(votes) == [(trial, "right")]


PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}
SCREEN = {"screen": {"width": 390, "height": 844}}


@pytest.mark.parametrize("allowed", [False, True])
def test_a_phone_is_turned_away_unless_the_protocol_lets_it_in(
    open_page: Open, protocol: Callable[..., None], allowed: bool
) -> None:
    protocol(phones=allowed)
    page = open_page(**PHONE, **SCREEN)
    refusal = page.get_by_text("This study needs a larger screen than that of a phone")
    if allowed:
        on_screen(page)
        expect(refusal).to_have_count(0)
    else:
        expect_message(page, "This study needs a larger screen than that of a phone")


def test_both_sides_appear_together_or_not_at_all(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    release = hold(page, "**/right.*")
    page.reload()
    expect_message(page, "Loading")
    page.keyboard.press("ArrowLeft")
    expect_unsent(page, 0)
    release()
    on_screen(page)
    for side in SIDES:
        expect(page.locator(f"#{side} canvas")).to_be_visible()


def test_images_are_decoded_before_they_are_needed(open_page: Open) -> None:
    page = open_page()
    wait_for = arriving(page)
    page.reload()
    on_screen(page)
    wait_for(4)
    release = hold(page, "**/*")
    for _ in range(3):
        vote(page)
        screen = pixels(page.screenshot())
        for side in SIDES:
            box = page.locator(f"#{side} canvas").bounding_box()
            assert box is not None
            x, y, width, height = (round(box[key]) for key in ("x", "y", "width", "height"))
            assert screen[y : y + height, x : x + width].std() > 1, "nothing is drawn"
    release()


def test_the_next_pair_lies_ready_beneath_the_one_on_the_screen(open_page: Open) -> None:
    page = open_page()
    trial = on_screen(page)
    for side in SIDES:
        page.locator(f"#next-{side} canvas").evaluate("(canvas, side) => (window[side] = canvas)", side)
    check_pixels(page, 1)
    assert page.get_by_role("img").count() == 2, "only what is on the screen is announced"
    page.keyboard.press("ArrowLeft")
    on_screen(page, after=trial)
    for side in SIDES:
        assert page.locator(f"#{side} canvas").evaluate("(canvas, side) => canvas === window[side]", side)
    check_pixels(page, 1)


@pytest.mark.parametrize("missing", SIDES)
def test_what_lies_beneath_is_never_seen(open_page: Open, missing: str) -> None:
    page = open_page()
    on_screen(page)
    beneath = page.locator(f"#next-{missing}")
    expect(beneath).to_be_visible()
    page.locator(f"#{missing} canvas").evaluate("canvas => canvas.remove()")
    expect(beneath).to_be_hidden()


def test_the_next_pair_is_decoded_before_any_other(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if IMAGES.search(request.url) else None)
    release = hold(page, IMAGES)
    with page.expect_response(TRIALS):
        page.reload()
    expect_unsent(page, 0)
    page.wait_for_timeout(300)  # for requests that must not be made
    before = list(asked)
    release()
    trial = on_screen(page)
    assert [trial in url for url in before] == [True, True]


def test_each_image_has_the_hash_of_its_own_pixels(open_page: Open) -> None:
    page = open_page()
    found = page.evaluate("""async () => {
        const { pixelHash } = await import("/static/subjects/pixels.js");
        const image = (width, height, ...rgba) => {
            const values = Uint8ClampedArray.from({ length: 4 * width * height }, (_, at) => rgba[at % 4]);
            return createImageBitmap(new ImageData(values, width, height));
        };
        const [grey, small, clear] = [[5, 4, 99, 99, 99, 255], [3, 2, 1, 2, 3, 255], [5, 4, 0, 0, 0, 0]];
        const images = await Promise.all([grey, small, grey, clear, grey].map((values) => image(...values)));
        return Promise.all(images.map(pixelHash));
    }""")
    grey, small = np.full((4, 5, 3), 99, np.uint8), np.tile(np.array([1, 2, 3], np.uint8), (2, 3, 1))
    clear = hashlib.sha256(b"rgba8 5x4\n" + bytes(4 * 5 * 4)).hexdigest()
    assert found == [pixel_hash(grey), pixel_hash(small), pixel_hash(grey), clear, pixel_hash(grey)]


def test_votes_before_the_paint_are_ignored(open_page: Open) -> None:
    page = open_page(script="window.frames_ = []; window.requestAnimationFrame = (callback) => frames_.push(callback);")
    votes = sent(page)
    paint = "for (const callback of frames_.splice(0)) callback(performance.now())"
    expect(page.locator("#left canvas")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.evaluate(paint)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("html")).to_have_attribute("data-trial", "")
    page.evaluate(paint)
    trial = on_screen(page)
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text(re.compile("^2 of "))).to_be_visible()
    assert choices(votes) == [(trial, "right")]


@pytest.mark.parametrize(
    ("action", "choice", "by"),
    [
        (lambda page: page.keyboard.press("ArrowLeft"), "left", "key"),
        (lambda page: page.keyboard.press("ArrowRight"), "right", "key"),
        (lambda page: page.keyboard.press("1"), "left", "key"),
        (lambda page: page.keyboard.press("2"), "right", "key"),
        (lambda page: page.locator("#left canvas").click(), "left", "click"),
        (lambda page: page.locator("#right canvas").click(), "right", "click"),
        (lambda page: (page.locator("#right").focus(), page.keyboard.press("Enter")), "right", "key"),
    ],
    ids=["left arrow", "right arrow", "1", "2", "left click", "right click", "focus and Enter"],
)
def test_a_vote_is_sent_with_how_it_was_made(
    open_page: Open, action: Callable[[Page], Any], choice: str, by: str
) -> None:
    page = open_page()
    trial = on_screen(page)
    with page.expect_response(VOTES) as response:
        action(page)
    body = response.value.request.post_data_json
    assert body.pop("response_ms") > 0
    painted = datetime.fromisoformat(body.pop("painted_at"))
    assert abs(datetime.now(UTC) - painted) < timedelta(seconds=30)
    assert UUID(body.pop("client")).version == 4
    for side in SIDES:
        image = pixels(page.request.get(f"{page.url}s/{trial}/{side}.png").body())
        assert body.pop(f"{side}_sha256") == pixel_hash(image)
    screen = page.evaluate("[screen.width, screen.height]")
    assert body == {
        "revision": 1,
        "choice": choice,
        "input": by,
        "device_pixel_ratio": 1,
        "window_width": 1281,
        "window_height": 801,
        "screen_width": screen[0],
        "screen_height": screen[1],
        "hidden": False,
        "events": [],
    }
    answer = response.value.json()
    assert (answer["trial"], answer["choice"], answer["voted"]) == (trial, choice, 1)


def test_the_response_time_counts_from_the_paint(open_page: Open) -> None:
    page = open_page()
    votes, opened = sent(page), time.monotonic()
    page.reload()
    on_screen(page)
    page.wait_for_timeout(300)  # the subject looks
    vote(page)
    assert 300 <= votes[0][1]["response_ms"] < (time.monotonic() - opened) * 1000


def test_other_keys_vote_for_nothing(open_page: Open) -> None:
    page = open_page()
    votes, trial = sent(page), on_screen(page)
    for key in ("Control+1", "Shift+ArrowLeft", "Alt+1", "Meta+ArrowLeft", "x", "3", "ArrowUp", "Space", "Enter"):
        page.keyboard.press(key)
    page.locator("#left canvas").click(modifiers=["Shift"])
    vote(page, "right")
    assert choices(votes) == [(trial, "right")]


@pytest.mark.parametrize("key", ["ArrowLeft", "Enter"])
def test_a_held_key_votes_once(open_page: Open, key: str) -> None:
    page = open_page()
    votes, first = sent(page), on_screen(page)
    page.locator("#left").focus()
    page.keyboard.down(key)
    second = on_screen(page, after=first)
    page.keyboard.down(key)  # the automatic repetition of a key that is down
    page.keyboard.up(key)
    vote(page, "right")
    assert choices(votes) == [(first, "left"), (second, "right")]


def test_a_double_click_votes_once(open_page: Open) -> None:
    page = open_page()
    votes, first = sent(page), on_screen(page)
    page.locator("#left canvas").click()
    second = on_screen(page, after=first)
    page.mouse.down(click_count=2)
    page.mouse.up(click_count=2)
    vote(page, "right")
    assert choices(votes) == [(first, "left"), (second, "right")]


def test_a_click_leaves_no_ring_around_an_image(open_page: Open) -> None:
    page = open_page()
    trial = on_screen(page)
    page.locator("#left canvas").click()
    on_screen(page, after=trial)
    assert page.evaluate("document.activeElement.tagName") == "BODY"


def test_a_vote_tells_whether_the_window_lost_the_focus_meanwhile(open_page: Open) -> None:
    page = open_page()
    votes = sent(page)
    on_screen(page)
    page.evaluate("dispatchEvent(new Event('blur'))")
    vote(page)
    vote(page)
    assert [body["hidden"] for _, body in votes] == [True, False]


def test_a_window_without_the_focus_at_the_paint_is_told_of(open_page: Open) -> None:
    page = open_page(script="document.hasFocus = () => !window.away;")
    votes = sent(page)
    on_screen(page)
    page.evaluate("window.away = true")
    vote(page)
    page.evaluate("window.away = false")
    vote(page)
    vote(page)
    assert [body["hidden"] for _, body in votes] == [False, True, False]
    assert [event["event"] for event in votes[1][1]["events"]] == ["blur"]


def test_the_next_pair_does_not_wait_for_the_network(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    page.wait_for_load_state("networkidle")
    release = hold(page, VOTES, TRIALS)
    assert len({vote(page) for _ in range(3)}) == 3
    expect_unsent(page, 3)
    expect(page.get_by_text("saving 3 …")).to_be_visible()
    release()
    expect_unsent(page, 0)
    expect(page.get_by_text("saved", exact=True)).to_be_visible()


def test_a_vote_that_is_saved_at_once_makes_no_flicker_beside_the_images(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    page.evaluate("""
        window.statuses = new Set();
        const status = document.getElementById("saved");
        new MutationObserver(() => statuses.add(status.textContent)).observe(status, { childList: true });
    """)
    for _ in range(3):
        vote(page)
        expect_unsent(page, 0)
    assert set(page.evaluate("[...statuses]")) <= {"saved"}


def test_unsent_votes_outlive_a_reload_and_their_trials_are_not_shown_again(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    page.route(VOTES, abort)
    voted = [vote(page), vote(page, "right")]
    expect_unsent(page, 2)
    expect(page.get_by_text("no connection, 2 votes kept on this computer")).to_be_visible()
    third = on_screen(page)
    page.reload()
    assert on_screen(page) == third
    expect_unsent(page, 2)
    votes = sent(page)
    page.unroute(VOTES)
    expect_unsent(page, 0)
    assert sorted(choices(votes)[-2:]) == sorted(zip(voted, SIDES, strict=True))
    wait_for(lambda: stored(page) == 0, what="clearing the browser's store")
    page.reload()
    assert on_screen(page) == third


def test_unsent_votes_do_not_shorten_the_look_ahead(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    page.route(VOTES, abort)
    assert len({vote(page) for _ in range(8)}) == 8
    expect_unsent(page, 8)
    page.unroute(VOTES)
    expect_unsent(page, 0)


def test_votes_are_sent_as_soon_as_the_computer_is_online_again(open_page: Open) -> None:
    # Pauses between attempts never end by themselves here.
    never = "const start = setTimeout; window.setTimeout = (f, ms, ...rest) => start(f, ms < 500 ? ms : 1e9, ...rest);"
    page = open_page(script=never)
    on_screen(page)
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    vote(page)
    expect(page.get_by_text("no connection, 1 vote kept on this computer")).to_be_visible()
    page.context.set_offline(False)
    expect_unsent(page, 0)


def somebody_elses_page(route: Route) -> None:
    route.fulfill(content_type="text/html", body="<h1>Log in to this network</h1>")


@pytest.mark.parametrize("answer", [refuse(500), refuse(503), refuse(429), refuse(200), somebody_elses_page, abort])
def test_a_vote_is_sent_again_until_our_server_says_that_it_is_saved(
    open_page: Open, answer: Callable[[Route], None]
) -> None:
    page = open_page()
    votes, trial = sent(page), on_screen(page)
    page.route(VOTES, answer, times=2)
    vote(page)
    expect_unsent(page, 0)
    assert choices(votes) == [(trial, "left")] * 3


@pytest.mark.parametrize("status", [404, 409, 422])
def test_a_refused_vote_is_reported_and_kept_and_does_not_stop_the_others(open_page: Open, status: int) -> None:
    page = open_page()
    votes, trial = sent(page), on_screen(page)
    page.route(VOTES, refuse(status, "the reason"), times=1)
    vote(page)
    expect(page.get_by_text("1 vote not accepted by the server: the reason; kept on this computer.")).to_be_visible()
    second = vote(page)
    expect_unsent(page, 1)
    assert choices(votes) == [(trial, "left"), (second, "left")]
    page.reload()
    expect_unsent(page, 0)
    assert choices(votes)[2:] == [(trial, "left")]


def test_votes_of_a_session_that_ended_are_kept_until_the_invitation_is_opened_again(
    open_page: Open, invite: Callable[..., str]
) -> None:
    link = invite()
    page = open_page(link)
    on_screen(page)
    page.context.clear_cookies()
    page.keyboard.press("ArrowLeft")
    expect_message(page, "This session has ended; open your invitation link again. 1 vote kept on this computer.")
    expect_unsent(page, 1)
    start(page, link)
    on_screen(page)
    expect_unsent(page, 0)


def test_votes_of_an_earlier_subject_on_the_same_computer_wait_until_that_one_is_back(
    open_page: Open, invite: Callable[..., str]
) -> None:
    link, sent = invite(), []
    page = open_page(link)
    page.route(VOTES, abort)
    first = vote(page)
    expect(page.get_by_text("no connection, 1 vote kept")).to_be_visible()
    page.goto("about:blank")
    page.unroute(VOTES)
    page.on("request", lambda request: sent.append(request.url) if VOTES.search(request.url) else None)
    page.context.clear_cookies()
    start(page, invite())
    second = vote(page)
    expect_unsent(page, 0)
    assert [url for url in sent if first in url] == []
    start(page, link)
    expect_unsent(page, 0)
    expect(page.get_by_text("2 of 12")).to_be_visible()
    assert [(first in url, second in url) for url in sent] == [(False, True), (True, False)]


def test_votes_that_the_server_refuses_are_kept_and_reported_at_the_end(open_page: Open) -> None:
    page = open_page()
    page.route(VOTES, refuse(404, "this is not one of your trials"))
    vote(page)
    expect(page.get_by_text("1 vote not accepted by the server")).to_be_visible()
    page.route(TRIALS, lambda route: route.fulfill(json=NO_MORE))
    page.reload()
    expect(page.locator("#words")).to_contain_text("1 vote not accepted by the server")
    expect(page.get_by_role("link", name="Finish")).to_have_attribute("href", "/thanks")
    expect_unsent(page, 1)


def test_a_study_that_was_closed_says_so(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    page.route(TRIALS, refuse(403, "the study is closed"))
    page.reload()
    expect_message(page, "The study is closed.")


def test_forty_unsent_votes_stop_the_trials(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    page.route(VOTES, abort)
    leave_behind(page, 38)
    page.reload()
    expect_unsent(page, 38)
    vote(page)
    on_screen(page)
    page.keyboard.press("ArrowLeft")
    expect_message(page, "Votes not saved yet: 40.")
    expect_unsent(page, 40)
    page.unroute(VOTES)
    on_screen(page)
    expect_unsent(page, 38)  # the server does not know them


def test_votes_that_an_earlier_version_of_the_page_has_kept_are_sent(open_page: Open) -> None:
    page = open_page()
    trial = on_screen(page)
    page.evaluate(
        "([trial, vote]) => localStorage.setItem(`discern.vote.${document.body.dataset.subject}.${trial}`, vote)",
        [trial, json.dumps(OLD_VOTE)],
    )
    with page.expect_response(VOTES) as response:
        page.reload()
    assert response.value.json()["voted"] == 1
    assert on_screen(page) != trial
    expect_unsent(page, 0)
    assert page.evaluate("localStorage.length") == 0


def test_a_trial_whose_vote_is_saved_while_trials_are_asked_for_does_not_come_again(open_page: Open) -> None:
    page = open_page(script=SLOW_DISK)
    trial, votes = on_screen(page), sent(page)
    send_votes = hold(page, VOTES)
    page.keyboard.press("ArrowLeft")
    on_screen(page, after=trial)
    wait_for(lambda: stored(page) == 1, what="storing the vote")

    def answer_late(route: Route) -> None:
        handed_out = route.fetch()
        assert handed_out.json()["trials"][0]["id"] == trial
        with page.expect_response(VOTES):
            send_votes()
        route.fulfill(response=handed_out)

    page.route(TRIALS, answer_late, times=1)
    page.reload()
    assert on_screen(page) != trial
    page.evaluate("window.isSlow = false")
    next_trial = vote(page)
    expect_unsent(page, 0)
    assert {voted for voted, _ in votes} == {trial, next_trial}
    wait_for(lambda: stored(page) == 0, what="clearing the browser's store")


def test_votes_are_sent_and_counted_however_slow_the_browsers_store_is(open_page: Open) -> None:
    page = open_page(script=SLOW_DISK)
    votes = sent(page)
    cast = [vote(page) for _ in range(3)]
    expect_unsent(page, 0)
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "3")
    expect(page.get_by_text("saved", exact=True)).to_be_visible()
    assert [trial for trial, _ in votes] == cast
    page.evaluate("window.isSlow = false")
    wait_for(lambda: stored(page) == 0, what="clearing the browser's store")


def of_another_size(route: Route) -> None:
    png = io.BytesIO()
    Image.new("RGB", (3, 5)).save(png, "png")
    route.fulfill(content_type="image/png", body=png.getvalue())


@pytest.mark.parametrize("damage", [refuse(500), refuse(200), of_another_size, abort])
def test_a_broken_image_is_never_voted_on_and_is_fetched_again(
    open_page: Open, damage: Callable[[Route], None]
) -> None:
    page = open_page()
    on_screen(page)
    votes = sent(page)
    page.route("**/left.*", damage)
    page.reload()
    expect_message(page, "Waiting for the next images")
    page.keyboard.press("ArrowLeft")
    page.unroute("**/left.*")
    trial = on_screen(page)
    vote(page, "right")
    assert choices(votes) == [(trial, "right")]


# Decodes on the page, where fetch can be replaced; patience is short; what the left image's bytes do is up to a test.
SLOW_LINE = """
    delete window.Worker;
    window.caches_ = [];
    const [start, real] = [setTimeout, fetch];
    window.setTimeout = (act, ms, ...rest) => start(act, ms === 20000 ? 2000 : ms, ...rest);
    window.fetch = async (url, options) => {
        if (!/left/.test(url)) return real(url, options);
        caches_.push(options.cache);
        const bytes = new Uint8Array(await (await real(url)).arrayBuffer());
        const [piece, attempt] = [Math.ceil(bytes.length / 6), caches_.length];
        return new Response(new ReadableStream({ async start(line) {
            options.signal.addEventListener("abort", () => line.error(new TypeError("aborted")));
            for (let from = 0; from < bytes.length; from += piece) {
                await new Promise((resolve) => start(resolve, 400));
                if (FAILS) return;
                line.enqueue(bytes.slice(from, from + piece));
            }
            line.close();
        } }));
    };
"""
SILENT = "attempt === 1 && from > 0"


@pytest.mark.parametrize(("fails", "attempts"), [("false", 1), (SILENT, 2)], ids=["slow", "silent"])
def test_a_slow_line_is_given_its_time_and_a_silent_one_is_tried_again(
    open_page: Open, protocol: Callable[..., None], fails: str, attempts: int
) -> None:
    protocol(block=1, break_seconds=9)  # one trial, so that there is one left image
    page = open_page(script=SLOW_LINE.replace("FAILS", fails))
    on_screen(page)
    assert page.evaluate("caches_") == ["default"] * attempts, "what came of an image stays of use"


FORBIDDEN = "IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); };"
FULL = "IDBObjectStore.prototype.add = () => { throw new DOMException('full', 'QuotaExceededError'); };"


@pytest.mark.parametrize("script", [FORBIDDEN, FULL], ids=["forbidden", "full"])
def test_without_storage_votes_stay_in_the_page_and_leaving_it_is_warned_of(open_page: Open, script: str) -> None:
    page = open_page(script=script)
    warnings: list[str] = []
    page.on("dialog", lambda dialog: (warnings.append(dialog.type), dialog.dismiss()))
    on_screen(page)
    page.route(VOTES, abort)
    vote(page)
    expect(page.get_by_text("no connection, 1 vote kept in this page only: leave it open")).to_be_visible()
    with page.expect_event("dialog"):
        page.close(run_before_unload=True)
    assert warnings == ["beforeunload"]
    page.unroute(VOTES)
    expect_unsent(page, 0)
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert warnings == ["beforeunload"]


def test_two_tabs_show_the_same_trial_and_the_first_vote_counts(open_page: Open) -> None:
    page = open_page()
    other = page.context.new_page()
    other.goto(page.url)
    trial = on_screen(page)
    assert on_screen(other) == trial
    with page.expect_response(VOTES):
        page.keyboard.press("ArrowLeft")
    with other.expect_response(VOTES) as second:
        other.keyboard.press("ArrowRight")
    assert (second.value.json()["choice"], second.value.json()["voted"]) == ("left", 1)


def test_a_tab_of_an_earlier_subject_takes_no_trials_and_no_votes_of_a_later_one(
    open_page: Open, invite: Callable[..., str]
) -> None:
    link = invite()
    page = open_page(link)
    on_screen(page)
    other = page.context.new_page()
    other.context.clear_cookies()
    start(other, invite())
    trial = on_screen(other)
    page.keyboard.press("ArrowLeft")
    expect_message(page, "This session has ended; open your invitation link again. 1 vote kept on this computer.")
    assert vote(other) == trial
    expect_unsent(other, 0)
    expect(other.get_by_text("2 of 12")).to_be_visible()
    other.close()
    start(page, link)
    expect_unsent(page, 0)
    expect(page.get_by_text("2 of 12")).to_be_visible()


@pytest.mark.parametrize("choice", ["left", "right"])
def test_a_second_tab_does_not_ask_for_all_that_the_first_has_answered(open_page: Open, choice: str) -> None:
    page = open_page()
    other = page.context.new_page()
    other.goto(page.url)
    on_screen(other)
    other.wait_for_load_state("networkidle")
    done = [vote(page) for _ in range(4)]
    expect_unsent(page, 0)
    fresh = on_screen(page)
    with other.expect_response(VOTES):
        assert vote(other, choice) == done[0]
    expect_unsent(other, 0)
    assert [vote(other), on_screen(other)] == [done[1], fresh]


def test_a_trial_whose_vote_was_taken_back_elsewhere_comes_again(open_page: Open) -> None:
    page = open_page()
    first = vote(page)
    expect_unsent(page, 0)
    page.wait_for_load_state("networkidle")
    page.evaluate(
        """async (trial) => fetch(`/api/subject/trials/${trial}/vote`, {
            method: "PUT",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ revision: 2, choice: null }),
        })""",
        first,
    )
    others = [vote(page) for _ in range(11)]
    assert first in {*others, on_screen(page)}


def test_a_stored_vote_never_has_the_key_of_an_earlier_one(open_page: Open) -> None:
    page = open_page()
    keys = page.evaluate("""async () => {
        const { remove, store } = await import("/static/subjects/storage.js");
        const first = await store(1e6, {});
        await remove(first);
        const second = await store(1e6, {});
        await remove(first); // by another tab, which has sent that one too
        return [first, second, await store(1e6, {})];
    }""")
    assert [key[:2] for key in keys] == [[1e6, 1], [1e6, 1], [1e6, 2]]
    assert keys[0] != keys[1]


def test_the_page_says_how_many_votes_it_is_saving_however_fast_they_follow_each_other(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    expect(page.get_by_text("saved", exact=True)).to_be_visible()
    page.wait_for_load_state("networkidle")
    said = page.evaluate("""async () => {
        const { showSaved } = await import("/static/subjects/status.js");
        const outbox = { progress: { voted: 0, total: 9 }, size: 1, waiting: 1, trouble: "", refusals: [] };
        for (let n = 0; n < 9; n += 1) {
            showSaved(outbox);
            await new Promise((resolve) => setTimeout(resolve, 100));
        }
        const said = () => document.getElementById("saved").textContent;
        const after = (waiting) => (showSaved({ ...outbox, waiting }), said());
        return [said(), after(3), after(0), after(1)];
    }""")
    assert said == ["saving 1 …", "saving 3 …", "saved", "saved"]


def test_a_laboratory_without_tls(open_page: Open, launch: Callable[..., Browser], invite: Callable[..., str]) -> None:
    link = re.sub(r"//[^:/]+", "//lab.test", invite())
    page = open_page(link, using=launch("--host-resolver-rules=MAP lab.test 127.0.0.1"))
    assert page.evaluate("[location.hostname, isSecureContext]") == ["lab.test", False]
    vote(page)
    expect_unsent(page, 0)


def test_the_last_vote_leads_to_thanks_and_the_completion_code(open_page: Open) -> None:
    page = open_page()
    votes = sent(page)
    total = int(page.get_by_text(re.compile(r"^1 of \d+$")).inner_text().split()[-1])
    bar = page.get_by_role("progressbar")
    for number in range(1, total):
        expect(page.get_by_text(f"{number} of {total}", exact=True)).to_be_visible()
        expect(bar).to_have_attribute("value", str(number - 1))
        vote(page, SIDES[number % 2])
    page.keyboard.press("ArrowLeft")
    expect_message(page, "All your votes are in.")
    expect(page.get_by_role("button", name="Finish")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/thanks")
    assert len(votes) == len({trial for trial, _ in votes}) == total
    code = page.get_by_label("completion code")
    assert code.input_value()
    page.get_by_role("button", name="Copy").click()
    page.keyboard.press("End")
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
