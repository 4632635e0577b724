"""The subject's page as an instrument: pixels, timing, exactly one vote for each trial, and no vote lost on its way."""

import io
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request, Route, expect

VOTES = re.compile(r"/api/subject/trials/.+/vote$")
TRIALS = re.compile(r"/api/subject/trials$")
SIDES = ("left", "right")
KEYS = {"left": "ArrowLeft", "right": "ArrowRight"}
GREY = (128, 128, 128)
PATIENCE_MS = 20_000  # longer than the page's longest pause between two attempts

Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, invite: Callable[..., str]) -> Iterator[Open]:
    """Opens a new subject's page; afterwards no script may have failed and no policy been broken."""
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
        start(page, link or invite())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def start(page: Page, link: str) -> None:
    page.goto(link)
    if page.get_by_role("checkbox").count():
        page.get_by_role("checkbox").check()
    page.get_by_role("button", name=re.compile("start|continue", re.IGNORECASE)).click()
    page.wait_for_url("**/trial")


def on_screen(page: Page, after: str = "") -> str:
    """The trial whose images are painted, as soon as it is not the one `after` which it comes."""
    page.wait_for_selector(f'html:not([data-trial=""], [data-trial="{after}"])', state="attached")
    return page.locator("html").get_attribute("data-trial") or ""


def vote(page: Page, choice: str = "left") -> str:
    """Vote on the trial on the screen, and wait for the next."""
    trial = on_screen(page)
    page.keyboard.press(KEYS[choice])
    on_screen(page, after=trial)
    return trial


def expect_unsent(page: Page, number: int) -> None:
    expect(page.locator("html")).to_have_attribute("data-unsent", str(number), timeout=PATIENCE_MS)


def expect_message(page: Page, words: str) -> None:
    expect(page.get_by_role("status").filter(has_text=words)).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("html")).to_have_attribute("data-trial", "")
    for side in SIDES:
        expect(page.locator(f"#{side}")).to_be_hidden()


def sent(page: Page) -> list[tuple[str, dict[str, Any]]]:
    """A list that fills with every vote that leaves the page: the trial and the body."""
    votes: list[tuple[str, dict[str, Any]]] = []

    def note(request: Request) -> None:
        if request.method == "PUT":
            votes.append((request.url.split("/")[-2], request.post_data_json))

    page.on("request", note)
    return votes


def choices(votes: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, str]]:
    return [(trial, body["choice"]) for trial, body in votes]


def refuse(status: int, detail: str = "no") -> Callable[[Route], None]:
    return lambda route: route.fulfill(status=status, json={"detail": detail})


def abort(route: Route) -> None:
    route.abort()


def hold(page: Page, *addresses: str | re.Pattern[str]) -> Callable[[], None]:
    """Leave requests without an answer until the returned function is called."""
    held: list[Route] = []
    is_open = False

    def keep(route: Route) -> None:
        route.continue_() if is_open else held.append(route)

    def release() -> None:
        nonlocal is_open
        is_open = True
        for route in held:
            route.continue_()

    for address in addresses:
        page.route(address, keep)
    return release


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def check_pixels(page: Page, ratio: float) -> None:
    """What is on the screen where an image stands is that image, with the grey surround touching it on all sides."""
    on_screen(page)
    screen = pixels(page.screenshot())
    for side in SIDES:
        shown = page.get_by_alt_text(f"{side} image")
        image = pixels(page.request.get(shown.evaluate("image => image.src")).body())
        box = shown.bounding_box()
        assert box is not None
        x, y = (round(box[axis] * ratio) for axis in "xy")
        assert (x, y) == pytest.approx((box["x"] * ratio, box["y"] * ratio), abs=0.05), "not on a whole device pixel"
        height, width, _ = image.shape
        framed = np.full((height + 8, width + 8, 3), GREY, np.uint8)
        framed[4:-4, 4:-4] = image
        np.testing.assert_array_equal(screen[y - 4 : y + height + 4, x - 4 : x + width + 4], framed)


@pytest.mark.parametrize("ratio", [1, 1.1, 1.25, 1.5, 2])
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
    image = page.get_by_alt_text("left image")
    width, height = image.evaluate("image => [image.naturalWidth, image.naturalHeight]")
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
    expect_message(page, "This window is too small to show both images pixel by pixel")
    page.keyboard.press("ArrowLeft")
    page.set_viewport_size({"width": 1281, "height": 801})
    assert on_screen(page) == trial
    page.keyboard.press("ArrowRight")
    on_screen(page, after=trial)
    assert choices(votes) == [(trial, "right")]
    assert votes[0][1]["hidden"], "the images were out of sight for a while"


def test_a_pinched_page_stops_the_trial_until_it_has_its_size_again(open_page: Open) -> None:
    page = open_page()
    votes, trial = sent(page), on_screen(page)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Emulation.setPageScaleFactor", {"pageScaleFactor": 1.5})
    expect_message(page, "The page is magnified. Pinch it back")
    page.keyboard.press("ArrowLeft")
    devtools.send("Emulation.setPageScaleFactor", {"pageScaleFactor": 1})
    assert on_screen(page) == trial
    vote(page, "right")
    assert choices(votes) == [(trial, "right")]


def test_both_sides_appear_together_or_not_at_all(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    release = hold(page, "**/right.png")
    page.reload()
    expect_message(page, "Loading")
    page.keyboard.press("ArrowLeft")
    expect_unsent(page, 0)
    release()
    on_screen(page)
    for side in SIDES:
        expect(page.get_by_alt_text(f"{side} image")).to_be_visible()


def test_images_are_decoded_before_they_are_needed(open_page: Open) -> None:
    note = """
        window.ready = new Set();
        const { decode } = HTMLImageElement.prototype;
        HTMLImageElement.prototype.decode = function () { return decode.call(this).then(() => ready.add(this.src)); };
    """
    page = open_page(script=note)
    on_screen(page)
    page.wait_for_load_state("networkidle")
    release = hold(page, "**/*")
    for _ in range(3):
        vote(page)
        shown = "[...document.querySelectorAll('#stage img')].map((image) => ready.has(image.src))"
        assert page.evaluate(shown) == [True, True]
    release()


def test_votes_before_the_paint_are_ignored(open_page: Open) -> None:
    page = open_page(script="window.frames_ = []; window.requestAnimationFrame = (callback) => frames_.push(callback);")
    votes = sent(page)
    paint = "for (const callback of frames_.splice(0)) callback(performance.now())"
    expect(page.get_by_alt_text("left image")).to_be_visible()
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
        (lambda page: page.get_by_alt_text("left image").click(), "left", "click"),
        (lambda page: page.get_by_alt_text("right image").click(), "right", "click"),
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
    screen = page.evaluate("[screen.width, screen.height]")
    assert body == {
        "choice": choice,
        "input": by,
        "device_pixel_ratio": 1,
        "window_width": 1281,
        "window_height": 801,
        "screen_width": screen[0],
        "screen_height": screen[1],
        "hidden": False,
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
    page.get_by_alt_text("left image").click(modifiers=["Shift"])
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
    page.get_by_alt_text("left image").click()
    second = on_screen(page, after=first)
    page.mouse.down(click_count=2)
    page.mouse.up(click_count=2)
    vote(page, "right")
    assert choices(votes) == [(first, "left"), (second, "right")]


def test_a_click_leaves_no_ring_around_an_image(open_page: Open) -> None:
    page = open_page()
    trial = on_screen(page)
    page.get_by_alt_text("left image").click()
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
    assert page.evaluate("localStorage.length") == 0
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
    page.route(TRIALS, lambda route: route.fulfill(json={"trials": [], "voted": 9, "total": 9, "finished": True}))
    page.reload()
    expect_message(page, "All your votes are in. 1 vote not accepted by the server")
    expect(page.get_by_role("link", name="Finish")).to_have_attribute("href", "/thanks")
    expect_unsent(page, 1)


def test_a_study_that_was_closed_says_so(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    page.route(TRIALS, refuse(403, "the study is closed"))
    page.reload()
    expect_message(page, "The study is closed.")


def test_twenty_unsent_votes_stop_the_trials(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    page.route(VOTES, abort)
    page.evaluate(
        "const mine = `discern.vote.${document.body.dataset.subject}`;"
        "for (let n = 0; n < 18; n += 1) localStorage.setItem(`${mine}.earlier-${n}`, '{}')"
    )
    page.reload()
    expect_unsent(page, 18)
    vote(page)
    on_screen(page)
    page.keyboard.press("ArrowLeft")
    expect_message(page, "Votes not saved yet: 20.")
    expect_unsent(page, 20)
    page.unroute(VOTES)
    on_screen(page)
    expect_unsent(page, 18)  # the server does not know them


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
    page.route("**/left.png", damage)
    page.reload()
    expect_message(page, "Waiting for the next images")
    page.keyboard.press("ArrowLeft")
    page.unroute("**/left.png")
    trial = on_screen(page)
    vote(page, "right")
    assert choices(votes) == [(trial, "right")]


FORBIDDEN = (
    "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } });"
)
FULL = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"


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
        assert bar.get_attribute("value") == str(number - 1)
        vote(page, SIDES[number % 2])
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/thanks")
    assert len(votes) == len({trial for trial, _ in votes}) == total
    code = page.get_by_label("completion code")
    assert code.input_value()
    page.get_by_role("button", name="Copy").click()
    page.keyboard.press("End")
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
