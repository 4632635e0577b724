"""What a protocol lets subjects do on the trial page: flip, reference, pan, zoom, undo, pauses, training, not sure."""

import hashlib
import re
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.browser.trial_page import (
    SIDES,
    TRIALS,
    VOTES,
    Open,
    abort,
    choices,
    expect_message,
    expect_unsent,
    hold,
    on_screen,
    pixels,
    sent,
    vote,
)

Change = Callable[..., None]


def drawn(page: Page, part: str) -> np.ndarray:
    """What is on the screen in one of the windows."""
    box = page.locator(f"#{part}").bounding_box()
    assert box is not None
    x, y, width, height = (round(box[key]) for key in ("x", "y", "width", "height"))
    return pixels(page.screenshot())[y : y + height, x : x + width]


def served(page: Page, trial: str, part: str) -> np.ndarray:
    return pixels(page.request.get(f"{page.url}s/{trial}/{part}.png").body())


def test_flip_shows_both_images_in_one_place_and_a_vote_needs_a_look_at_both(open_page: Open, protocol: Change) -> None:
    protocol(display="flip")
    page = open_page()
    votes, trial = sent(page), on_screen(page)
    np.testing.assert_array_equal(drawn(page, "left"), served(page, trial, "left"))
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("Look at both images first")).to_be_visible()
    place = page.locator("#left").bounding_box()
    page.keyboard.press("Space")
    expect(page.get_by_text("the second image is shown")).to_be_attached()
    expect(page.locator("#left")).to_be_hidden()
    assert page.locator("#right").bounding_box() == place
    np.testing.assert_array_equal(drawn(page, "right"), served(page, trial, "right"))
    page.get_by_role("button", name="switch").click()
    expect(page.locator("#right")).to_be_hidden()
    page.get_by_role("button", name="the second").click()
    on_screen(page, after=trial)
    assert choices(votes) == [(trial, "right")]
    assert [(event["event"], event["shown"]) for event in votes[0][1]["events"]] == [
        ("flip", "right"),
        ("flip", "left"),
    ]


def test_the_reference_stands_between_the_images_where_three_fit(open_page: Open, protocol: Change) -> None:
    protocol(reference="interpolation:bicubic")
    page = open_page()
    trial = on_screen(page)
    for part in (*SIDES, "reference"):
        np.testing.assert_array_equal(drawn(page, part), served(page, trial, part))
    expect(page.get_by_text("original, enlarged", exact=True)).to_be_visible()
    left, middle, right = (page.locator(f"#{part}").bounding_box() for part in ("left", "reference", "right"))
    assert left
    assert middle
    assert right
    assert middle["x"] - left["x"] == right["x"] - middle["x"]


def test_images_that_do_not_fit_are_moved_together_where_the_protocol_says_so(
    open_page: Open, protocol: Change
) -> None:
    protocol(pan=True, zoom=[4, 8])
    page = open_page()
    votes, trial = sent(page), on_screen(page)
    left, right = (page.locator(f"#{side}").bounding_box() for side in SIDES)
    assert left
    assert right
    assert (left["width"], left["height"]) == (right["width"], right["height"])
    page.keyboard.press("+")
    expect(page.get_by_text("8×")).to_be_visible()
    page.keyboard.press("d")
    page.mouse.move(300, 400)
    page.mouse.down()
    page.mouse.move(280, 390, steps=4)
    page.mouse.up()
    offsets = page.evaluate("[...document.querySelectorAll('.image canvas')].map((c) => [c.style.left, c.style.top])")
    assert offsets[0] == offsets[1]
    assert all(re.fullmatch(r"-?\d+px", length) for length in offsets[0])
    for side in SIDES:
        enlarged = served(page, trial, side).repeat(8, axis=0).repeat(8, axis=1)
        x, y = (-int(length[:-2]) for length in offsets[0])
        seen = drawn(page, side)
        np.testing.assert_array_equal(seen, enlarged[y : y + seen.shape[0], x : x + seen.shape[1]])
    vote(page)
    assert [event["event"] for event in votes[0][1]["events"]] == ["zoom", "pan", "pan"]
    assert choices(votes) == [(trial, "left")], "a drag is no vote"


def test_the_last_vote_is_taken_back_and_the_interrupted_trial_comes_again(open_page: Open) -> None:
    page = open_page()
    votes, first = sent(page), on_screen(page)
    expect(page.get_by_role("button", name="undo last")).to_be_hidden()
    vote(page)
    second = on_screen(page, after=first)
    page.keyboard.press("Backspace")
    assert on_screen(page, after=second) == first
    page.keyboard.press("u")  # there is nothing more to take back
    assert vote(page, "right") == first
    assert on_screen(page, after=first) == second
    expect_unsent(page, 0)
    told = [(trial, body["revision"], body["choice"]) for trial, body in votes]
    assert told == [(first, 1, "left"), (first, 2, None), (first, 3, "right")]
    assert votes[2][1]["events"] == []
    vote(page)
    trial, body = votes[3]
    assert (trial, body["hidden"]) == (second, True)
    (view,) = body["events"]
    assert view["event"] == "view"
    assert view["ms"] < view["until_ms"] < 0


def test_an_undo_that_was_not_sent_outlives_a_crash(open_page: Open) -> None:
    page = open_page()
    first = vote(page)
    expect_unsent(page, 0)
    second = on_screen(page)
    page.route(VOTES, abort)
    page.keyboard.press("u")
    assert on_screen(page, after=second) == first
    expect_unsent(page, 1)
    other = page.context.new_page()
    address = page.url
    page.close()
    votes = sent(other)
    other.goto(address)
    assert on_screen(other) == first
    other.keyboard.press("ArrowRight")
    on_screen(other, after=first)
    expect_unsent(other, 0)
    assert [(body["revision"], body["choice"]) for _, body in votes] == [(2, None), (3, "right")]


def test_a_subject_may_pause_and_the_time_starts_anew(open_page: Open) -> None:
    page = open_page()
    votes, trial = sent(page), on_screen(page)
    page.keyboard.press("p")
    expect_message(page, "Paused.")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(600)  # the subject rests
    page.get_by_role("button", name="Go on").click()
    assert on_screen(page) == trial
    vote(page, "right")
    assert choices(votes) == [(trial, "right")]
    body = votes[0][1]
    assert body["response_ms"] < 600 or body["events"][0]["ms"] < -600
    assert [event["event"] for event in body["events"]] == ["pause", "view", "resume"]
    assert body["events"][0]["ms"] < -500


def test_a_break_lasts_and_then_the_next_part_begins(open_page: Open, protocol: Change) -> None:
    protocol(block=2, break_seconds=5)
    page = open_page()
    expect(page.get_by_text("part 1 of 6, 1 of 2")).to_be_visible()
    vote(page)
    on_screen(page)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("Time for a break.")).to_be_visible()
    expect(page.get_by_text("You have done 2 of 12.")).to_be_visible()
    expect(page.get_by_role("timer")).to_have_text(re.compile("^0:0[1-5]$"))
    button = page.get_by_role("button", name="Go on")
    expect(page.locator("#said")).to_have_role("status")
    expect(page.locator("#said")).to_contain_text("You have done 2 of 12.")
    expect(button).to_be_disabled()
    expect(button).to_be_enabled()
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    on_screen(page)
    expect(page.get_by_text("part 2 of 6, 1 of 2")).to_be_visible()
    expect(page.get_by_role("button", name="undo last")).to_be_hidden()


def test_messages_are_announced_from_a_place_that_is_always_there(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    place = page.locator("#said")
    expect(place).to_have_text("")
    assert place.evaluate("place => getComputedStyle(place).display + getComputedStyle(place.parentNode).display") == (
        "gridgrid"
    )
    page.keyboard.press("p")
    expect(place).to_have_text("Paused. The images are hidden until you go on.")


def test_the_last_vote_before_a_break_is_taken_back_in_it(open_page: Open, protocol: Change) -> None:
    protocol(block=2, break_seconds=1)
    page = open_page()
    votes = sent(page)
    vote(page)
    second = on_screen(page)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("Time for a break.")).to_be_visible()
    page.get_by_role("button", name="undo last").click()
    assert on_screen(page) == second
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("Time for a break.")).to_be_visible()
    page.get_by_role("button", name="Go on").click()
    on_screen(page, after=second)
    assert choices(votes)[1:] == [(second, "left"), (second, None), (second, "right")]


def test_training_says_which_image_is_better_and_then_the_trials_begin(open_page: Open, protocol: Change) -> None:
    protocol(training=1)
    page = open_page()
    trial = on_screen(page)
    expect(page.get_by_text("practice, 1 of 1")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    verdict = page.get_by_text(re.compile("(Right|Look again): the (left|right) image is the better one."))
    expect(verdict).to_be_visible()
    better = re.findall("left|right", verdict.inner_text())[0]
    assert verdict.inner_text().startswith("Right" if better == "left" else "Look again")
    expect(page.locator(f"#view-{better} .caption")).to_have_text(f"{better} image: better")
    for side in SIDES:
        expect(page.locator(f"#{side} canvas")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect_message(page, "That was the practice.")
    expect(page.get_by_role("button", name="Start")).to_be_focused()
    page.keyboard.press("Enter")
    assert on_screen(page) != trial


@pytest.mark.parametrize("allowed", [True, False])
def test_not_sure_is_an_answer_where_the_protocol_says_so(open_page: Open, protocol: Change, allowed: bool) -> None:
    protocol(not_sure=allowed)
    page = open_page()
    votes, trial = sent(page), on_screen(page)
    expect(page.get_by_role("button", name="not sure")).to_have_count(int(allowed))
    page.keyboard.press("ArrowDown")
    if not allowed:
        page.keyboard.press("ArrowLeft")
    on_screen(page, after=trial)
    assert choices(votes) == [(trial, "not_sure" if allowed else "left")]


def test_the_hash_is_left_out_where_the_browser_disguises_pixels(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    noise = """
        const { getImageData } = OffscreenCanvasRenderingContext2D.prototype;
        OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...box) {
            const image = getImageData.apply(this, box);
            image.data[8] ^= 1;
            return image;
        };
    """
    script = page.evaluate("fetch('/static/subjects/decoder_worker.js').then((reply) => reply.text())")
    page.route("**/decoder_worker.js", lambda route: route.fulfill(content_type="text/javascript", body=script + noise))
    page.reload()
    votes = sent(page)
    vote(page)
    expect_unsent(page, 0)
    assert [votes[0][1][f"{side}_sha256"] for side in SIDES] == [None, None]


def test_without_a_worker_images_are_decoded_on_the_page(open_page: Open) -> None:
    page = open_page(script="delete window.Worker;")
    votes = sent(page)
    vote(page)
    assert [votes[0][1][f"{side}_sha256"] for side in SIDES] == [None, None]


def test_our_sha256_is_that_of_the_standard(open_page: Open) -> None:
    page = open_page()
    lengths = [*range(0, 200), 1000, 4096, 65537]
    digests = page.evaluate(
        """async (lengths) => {
            const { sha256Here } = await import("/static/subjects/sha256.js");
            return lengths.map((length) => sha256Here(Uint8Array.from({ length }, (_, at) => (at * 7 + length) % 256)));
        }""",
        lengths,
    )
    expected = [hashlib.sha256(bytes((at * 7 + n) % 256 for at in range(n))).hexdigest() for n in lengths]
    assert digests == expected


def test_pixels_are_hashed_without_a_secure_context(
    open_page: Open, launch: Callable[..., Browser], invite: Callable[..., str]
) -> None:
    link = re.sub(r"//[^:/]+", "//lab.test", invite())
    page = open_page(link, using=launch("--host-resolver-rules=MAP lab.test 127.0.0.1"))
    trial = on_screen(page)
    votes = sent(page)
    vote(page)
    assert votes[0][0] == trial
    assert all(re.fullmatch("[0-9a-f]{64}", votes[0][1][f"{side}_sha256"]) for side in SIDES)
    assert votes[0][1]["client"]


def test_a_trial_is_not_lost_when_the_answer_of_the_server_is_late(open_page: Open) -> None:
    page = open_page()
    on_screen(page)
    page.wait_for_load_state("networkidle")
    release = hold(page, TRIALS, VOTES)
    seen = [vote(page) for _ in range(3)]
    release()
    expect_unsent(page, 0)
    assert len(set(seen)) == 3
