"""The steps in Chromium: a device check that follows the window, and screening by keyboard from end to end."""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import select

from app.models import Answer, Output
from app.security import sessions
from tests.app import seats
from tests.app.conftest import Site

OFF = {"device_check": False, "training": 0}
STEP = re.compile("/(questions|device|acuity|colour-vision|instructions)$")
ARROWS = {"up": "ArrowUp", "right": "ArrowRight", "down": "ArrowDown", "left": "ArrowLeft", "none": "0"}
QUESTIONS = [
    {"id": "age", "text": {"en": "How old are you?", "zh": "您的年龄？"}, "kind": "number", "least": 18, "most": 99},
    {
        "id": "expertise",
        "text": {"en": "How well do you know image processing?", "zh": "您对图像处理了解多少？"},
        "options": [
            {"en": "not at all", "zh": "完全不了解"},
            {"en": "in general", "zh": "一般了解"},
            {"en": "it is my work", "zh": "这是我的专业"},
        ],
    },
    {"id": "field", "text": {"en": "Your field", "zh": "您的专业领域"}, "kind": "text", "required": False},
]

# Frames of 60 a second, however busy this computer is.
STEADY = """
    const [real, begun] = [requestAnimationFrame, performance.now()];
    let frames = 0;
    window.requestAnimationFrame = (act) => real(() => act(begun + (frames += 1) * 1000 / 60));
"""

Open = Callable[..., Page]


@pytest.fixture
def open_step(browser: Browser, site: Site) -> Iterator[Open]:
    """Opens a page as a new subject, who goes by a protocol; afterwards no script may have failed, no policy broken."""
    contexts, problems = [], []

    def open_step(
        path: str, *, language: str = "en", browser_options: Any = None, script: str = "0", **settings: Any
    ) -> Page:
        with site.sessions.begin() as db:
            subject = seats.take(db, **(OFF | settings))
            subject.language = language
            token = sessions.open_for_subject(db, subject)
        context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | (browser_options or {})))
        contexts.append(context)
        context.add_cookies([{"name": sessions.SUBJECT, "value": token, "url": site.url}])
        context.on("weberror", lambda error: problems.append(str(error.error)))
        context.on("console", lambda m: problems.append(m.text) if "Content Security Policy" in m.text else None)
        context.add_init_script(script)
        page = context.new_page()
        page.goto(site.url + path)
        return page

    yield open_step
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def large_images(site: Site) -> None:
    """The study's images are 600 pixels wide and 500 high."""
    with site.sessions.begin() as db:
        for output in db.scalars(select(Output)):
            output.width, output.height = 600, 500


def stored(site: Site, step: str) -> dict[str, Any]:
    with site.sessions() as db:
        return db.scalars(select(Answer.content).where(Answer.step == step)).one()


def goes_on(page: Page) -> None:
    """The session goes on behind the steps, whatever is there."""
    page.wait_for_url(lambda url: not STEP.search(url), wait_until="commit")


def line(page: Page, check: str) -> Locator:
    return page.locator(f'[data-check="{check}"]')


def expect_state(page: Page, check: str, state: str) -> None:
    expect(line(page, check)).to_have_attribute("data-state", state)


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize(("language", "missing"), [("en", "Please choose one of these."), ("zh", "请选择其中一项。")])
def test_questions_are_answered_with_and_without_scripts(
    open_step: Open, site: Site, scripts: bool, language: str, missing: str
) -> None:
    options = {"java_script_enabled": scripts}
    page = open_step("/questions", language=language, questions=QUESTIONS, browser_options=options)
    page.get_by_label(re.compile("How old|年龄")).fill("31")
    page.get_by_role("button").click()
    expect(page.get_by_role("radiogroup")).to_contain_text(missing)
    expect(page.locator(".problem")).to_have_count(1)
    expect(page.get_by_label(re.compile("How old|年龄"))).to_have_value("31")
    page.get_by_label(re.compile("in general|一般了解")).check()
    page.get_by_role("button").click()
    goes_on(page)
    assert stored(site, "questions") == {"age": 31, "expertise": "in general"}


def test_a_device_that_is_fit_is_recorded_and_asked_no_more(open_step: Open, site: Site, large_images: None) -> None:
    page = open_step("/device", device_check=True, script=STEADY)
    for check in ("window", "zoom", "colour", "frames", "storage", "pixels"):
        expect_state(page, check, "ok")
    page.get_by_role("button", name="Continue").click()
    goes_on(page)
    found = stored(site, "device")
    assert (found["window_width"], found["window_height"], found["device_pixel_ratio"]) == (1440, 900, 1)
    assert (found["pixels"], found["storage"], found["notes"], found["touch_points"]) == ("verifiable", True, [], 0)
    assert 5 < found["frame_ms"] < 200
    assert re.fullmatch(r"Chrome \d+", found["browser"])
    page.goto(f"{site.url}/device")
    assert not page.url.endswith("/device")


def test_the_check_follows_the_window(open_step: Open, large_images: None) -> None:
    page = open_step("/device", device_check=True)
    cdp = page.context.new_cdp_session(page)

    def resize(width: int, height: int) -> None:
        sizes = {"width": width, "height": height, "screenWidth": 1920, "screenHeight": 1080}
        cdp.send("Emulation.setDeviceMetricsOverride", {**sizes, "deviceScaleFactor": 1, "mobile": False})

    go_on = page.get_by_role("button", name="Continue")
    expect(go_on).to_be_enabled()
    for width, height in ((1290, 900), (1440, 640)):
        resize(width, height)
        expect_state(page, "window", "change")
        expect(line(page, "window")).to_contain_text("1296\u00a0×\u00a0652")
        expect(line(page, "window")).to_contain_text("Make it larger")
        expect(go_on).to_be_disabled()
        expect(page.get_by_role("status")).to_have_text("Please change what is marked with ! first.")
        resize(1296, 652)
        expect_state(page, "window", "ok")
        expect(go_on).to_be_enabled()


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        ({}, False),
        ({"display": "flip"}, True),
        ({"pan": True}, True),
    ],
)
def test_one_image_at_a_time_and_windows_onto_images_need_less_room(
    open_step: Open, large_images: None, settings: dict[str, Any], fits: bool
) -> None:
    options = {"viewport": {"width": 900, "height": 760}}
    page = open_step("/device", device_check=True, browser_options=options, **settings)
    expect_state(page, "window", "ok" if fits else "change")


def test_a_screen_that_is_too_small_is_not_asked_for_a_larger_window(open_step: Open, large_images: None) -> None:
    page = open_step("/device", device_check=True, browser_options={"viewport": {"width": 1100, "height": 800}})
    expect(line(page, "window")).to_contain_text("Please open your invitation link on a larger one")


def test_zoom_is_explained_and_does_not_block(open_step: Open, site: Site, large_images: None) -> None:
    """Chromium's own zoom of 150%: as many device pixels, fewer CSS pixels."""
    page = open_step("/device", device_check=True, script=STEADY)
    expect_state(page, "zoom", "ok")
    page.evaluate("Object.defineProperty(window, 'outerWidth', { value: 1440 })")
    page.context.new_cdp_session(page).send(
        "Emulation.setDeviceMetricsOverride",
        {"width": 960, "height": 600, "deviceScaleFactor": 1.5, "mobile": False},
    )
    expect_state(page, "zoom", "note")
    expect(line(page, "zoom")).to_contain_text("150%")
    expect(line(page, "zoom")).to_contain_text("Ctrl 0")
    page.get_by_role("button", name="Continue").click()
    goes_on(page)
    assert stored(site, "device")["page_zoom"] == 1.5
    assert stored(site, "device")["notes"] == ["zoom"]


def test_scaling_by_the_system_is_no_zoom(open_step: Open, large_images: None) -> None:
    page = open_step("/device", device_check=True, browser_options={"device_scale_factor": 2})
    expect_state(page, "zoom", "ok")
    expect(line(page, "window")).to_contain_text("2880\u00a0×\u00a01800")


def test_a_pinched_page_has_to_be_pinched_back(open_step: Open, large_images: None) -> None:
    page = open_step("/device", device_check=True)
    expect(page.get_by_role("button", name="Continue")).to_be_enabled()
    cdp = page.context.new_cdp_session(page)
    cdp.send("Emulation.setPageScaleFactor", {"pageScaleFactor": 1.5})
    expect_state(page, "zoom", "change")
    expect(line(page, "zoom")).to_contain_text("Pinch it back")
    expect(page.get_by_role("button", name="Continue")).to_be_disabled()
    cdp.send("Emulation.setPageScaleFactor", {"pageScaleFactor": 1})
    expect_state(page, "zoom", "ok")
    expect(page.get_by_role("button", name="Continue")).to_be_enabled()


PHONE = {
    "viewport": {"width": 390, "height": 844},
    "screen": {"width": 390, "height": 844},
    "device_scale_factor": 3,
    "is_mobile": True,
    "has_touch": True,
}


@pytest.mark.parametrize(("language", "words"), [("en", "needs a larger screen"), ("zh", "需要比手机更大的屏幕")])
def test_a_phone_is_turned_away_politely(open_step: Open, large_images: None, language: str, words: str) -> None:
    page = open_step("/device", language=language, device_check=True, browser_options=PHONE)
    expect(page.locator("#phone")).to_contain_text(words)
    expect(page.get_by_role("button")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_phone_is_let_in_where_the_protocol_says_so(open_step: Open, site: Site) -> None:
    page = open_step("/device", device_check=True, phones=True, browser_options=PHONE)
    page.get_by_role("button", name="Continue").click()
    goes_on(page)
    assert stored(site, "device")["coarse_pointer"]


@pytest.mark.parametrize(
    ("script", "check", "words"),
    [
        (
            "OffscreenCanvasRenderingContext2D.prototype.getImageData = () => new ImageData(16, 16)",
            "pixels",
            "verified",
        ),
        ("delete window.OffscreenCanvas", "pixels", "verified"),
        ("indexedDB.__proto__.open = () => { throw new DOMException('no', 'SecurityError') }", "storage", "nothing"),
        ("indexedDB.__proto__.open = () => ({})", "storage", "nothing"),  # and never an answer
    ],
)
def test_what_a_browser_forbids_is_noted_and_does_not_block(
    open_step: Open, site: Site, large_images: None, script: str, check: str, words: str
) -> None:
    page = open_step("/device", device_check=True, script=STEADY + script)
    expect_state(page, check, "note")
    expect(line(page, check)).to_contain_text(words)
    page.get_by_role("button", name="Continue").click()
    goes_on(page)
    assert stored(site, "device")["notes"] == [check]


def test_a_lost_connection_loses_no_step(open_step: Open, site: Site, large_images: None) -> None:
    page = open_step("/device", device_check=True)
    page.route("**/api/subject/steps/device", lambda route: route.abort())
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("status")).to_contain_text("Trying again")
    page.unroute("**/api/subject/steps/device")
    goes_on(page)
    assert stored(site, "device")["window_width"] == 1440


def pointed(page: Page) -> tuple[str, int]:
    """In which direction the E on the screen points, and how many device pixels its strokes are wide."""
    return tuple(
        page.evaluate("""() => {
          const canvas = document.getElementById("letter");
          const side = canvas.width, stroke = side / 5;
          const data = canvas.getContext("2d").getImageData(0, 0, side, side).data;
          const black = (x, y) => data[4 * ((y * stroke) * side + x * stroke)] === 0;
          const open = { right: !black(4, 1), left: !black(0, 1), up: !black(1, 0), down: !black(1, 4) };
          const grey = data.some((value) => value !== 0 && value !== 255);
          return [grey ? "grey" : Object.keys(open).filter((side) => open[side]).join(), stroke];
        }""")
    )


def on_whole_pixels(page: Page) -> bool:
    return page.evaluate("""() => {
      const box = document.getElementById("letter").getBoundingClientRect();
      const away = (pixels) => Math.abs(pixels - Math.round(pixels)); // layout counts in 64ths
      const whole = (value) => away(value * devicePixelRatio) < 0.05;
      return [box.left, box.top, box.width, box.height].every(whole);
    }""")


@pytest.mark.parametrize("ratio", [1, 1.25, 2, 3])
def test_acuity_by_keyboard_from_end_to_end(open_step: Open, site: Site, ratio: float) -> None:
    """A card 342 CSS pixels wide makes 4 CSS pixels to a millimetre; an observer sees strokes of 2 device pixels."""
    page = open_step("/acuity", acuity=True, browser_options={"device_scale_factor": ratio})
    slider = page.get_by_role("slider")
    slider.focus()
    while int(slider.input_value()) < 342:
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sit 60 cm")).to_be_focused()
    page.get_by_role("button", name="Begin").focus()
    page.keyboard.press("Enter")
    strokes, count = [], 0
    while page.locator("#letter").is_visible():
        direction, stroke = pointed(page)
        assert direction in ("up", "right", "down", "left")
        assert on_whole_pixels(page)
        strokes.append(stroke)
        page.keyboard.press(ARROWS[direction if stroke > 1 else "none"])
        count += 1
        assert count < 60
    goes_on(page)
    found = stored(site, "acuity")
    assert found["sized"]
    assert found["px_per_mm"] == pytest.approx(342 / 85.6 * ratio)
    per_minute = found["px_per_mm"] * 600 * math.tan(math.radians(1 / 60))
    assert found["limit_logmar"] == pytest.approx(math.log10(1 / per_minute))
    assert strokes == sorted(strokes, reverse=True)
    assert [letter["stroke_px"] for letter in found["letters"]] == strokes
    passed = {stroke for stroke in strokes if stroke > 1}
    assert found["logmar"] == pytest.approx(math.log10(min(passed) / per_minute))
    assert all(strokes.count(stroke) == 4 for stroke in passed)
    assert strokes.count(1) in (0, 2)
    assert math.log10(max(strokes) / per_minute) == pytest.approx(0.5, abs=0.1)


def test_acuity_without_a_card_and_without_any_letter_seen_is_recorded_as_that(open_step: Open, site: Site) -> None:
    page = open_step("/acuity", language="zh", acuity=True)
    page.get_by_role("button", name="我手边没有卡片").click()
    expect(page.locator("#unsized")).to_be_visible()
    page.get_by_role("button", name="开始").click()
    page.get_by_role("button", name="看不清").click()
    page.get_by_role("button", name="看不清").click()
    goes_on(page)
    found = stored(site, "acuity")
    assert (found["sized"], found["logmar"], len(found["letters"])) == (False, None, 2)
    assert found["px_per_mm"] == pytest.approx(96 / 25.4)


@pytest.mark.parametrize(
    ("command", "there", "back"),
    [
        (
            "Emulation.setDeviceMetricsOverride",
            {"width": 960, "height": 600, "deviceScaleFactor": 1.5, "mobile": False},
            {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        ),
        ("Emulation.setPageScaleFactor", {"pageScaleFactor": 2}, {"pageScaleFactor": 1}),
    ],
    ids=["zoom", "pinch"],
)
def test_acuity_starts_again_when_the_page_changes_its_size(
    open_step: Open, site: Site, command: str, there: dict[str, Any], back: dict[str, Any]
) -> None:
    page = open_step("/acuity", acuity=True)
    devtools = page.context.new_cdp_session(page)
    unseen = page.get_by_role("button", name="I cannot see it")
    page.get_by_role("button", name="I have no card").click()
    page.get_by_role("button", name="Begin").click()
    unseen.click()
    devtools.send(command, there)
    expect(page.get_by_role("alert")).to_have_text("The size of the page has changed. Please measure again.")
    devtools.send(command, back)
    page.wait_for_function("devicePixelRatio === 1 && visualViewport.scale === 1")
    page.get_by_role("button", name="I have no card").click()
    page.get_by_role("button", name="Begin").click()
    unseen.click()
    unseen.click()
    goes_on(page)
    found = stored(site, "acuity")
    assert len(found["letters"]) == 2
    assert found["px_per_mm"] == pytest.approx(96 / 25.4)


def test_the_steps_of_the_chart(open_step: Open) -> None:
    """The staircase itself: sizes that decrease to the smallest one that can be drawn, 4 of 5 to pass."""
    page = open_step("/acuity", acuity=True)
    found = page.evaluate("""async () => {
      const { sizes, Staircase } = await import("/static/subjects/staircase.js");
      const run = (answers) => {
        const staircase = new Staircase([{ stroke: 2, logmar: 0.4 }, { stroke: 1, logmar: 0.1 }]);
        let used = 0;
        for (const right of answers) if (staircase.size) staircase.answer(right === "y"), used++;
        return [staircase.passed, used, Boolean(staircase.size)];
      };
      return {
        strokes: [0.3, 0.66, 2, 10].map((perMinute) => sizes(perMinute).map(({ stroke }) => stroke)),
        runs: ["yyyyyyyyy", "ynyyynn", "nn", "yyyynyyyy", "yyyyynyn", "yyyyn"].map(run),
      };
    }""")
    assert found["strokes"] == [[1], [2, 1], [6, 5, 4, 3, 2], [32, 25, 20, 16, 13, 10]]
    assert found["runs"] == [
        [0.1, 8, False],
        [0.4, 7, False],
        [None, 2, False],
        [0.1, 9, False],
        [0.4, 8, False],
        [0.4, 5, True],
    ]


SERIES = """async (seed) => {
  const { generator, series } = await import("/static/subjects/plates.js");
  return series(generator(seed));
}"""


def shown_plates(page: Page) -> list[dict[str, Any]]:
    return page.evaluate(SERIES, int(page.locator("[data-seed]").get_attribute("data-seed") or 0))


def test_the_plates_by_keyboard_from_end_to_end(open_step: Open, site: Site) -> None:
    """An observer who sees everything but what deutan plates show."""
    page = open_step("/colour-vision", colour_vision=True)
    plates = shown_plates(page)
    page.get_by_role("button", name="Begin").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="On which side")).to_be_focused()
    for number, plate in enumerate(plates, 1):
        expect(page.locator("#count")).to_have_text(f"{number} / {len(plates)}")
        page.keyboard.press(ARROWS["none" if plate["kind"] == "deutan" else plate["direction"]])
    goes_on(page)
    found = stored(site, "colour_vision")
    assert found["right"] == {
        "control": {"shown": 3, "right": 3},
        "protan": {"shown": 4, "right": 4},
        "deutan": {"shown": 4, "right": 0},
    }
    assert [plate["kind"] for plate in found["plates"]] == [plate["kind"] for plate in plates]


def test_a_held_key_answers_one_plate(open_step: Open) -> None:
    page = open_step("/colour-vision", colour_vision=True)
    page.get_by_role("button", name="Begin").click()
    page.keyboard.down("ArrowUp")
    page.keyboard.down("ArrowUp")
    page.keyboard.down("ArrowUp")
    expect(page.locator("#count")).to_have_text("2 / 11")


def test_the_colours_of_plates_are_ones_that_screens_show_and_lie_on_confusion_lines(open_step: Open) -> None:
    """By independent reckoning: a dichromat's cones of the two remaining kinds see ring and ground alike in hue."""
    page = open_step("/colour-vision", colour_vision=True)
    found = page.evaluate("""async () => {
      const { srgb, confused, dots, generator, STRENGTH } = await import("/static/subjects/plates.js");
      const colours = [];
      for (const kind of ["protan", "deutan"]) {
        for (const sign of [-1, 1]) {
          for (const luminance of [0.14, 0.2, 0.3, 0.38]) {
            const ring = srgb(confused(kind, sign * STRENGTH), luminance);
            colours.push({ kind, ring, ground: srgb([0.1978, 0.4683], luminance) });
          }
        }
      }
      const plate = dots({ kind: "protan", direction: "up", sign: 1 }, generator(5));
      const again = dots({ kind: "protan", direction: "up", sign: 1 }, generator(5));
      return { colours, plate, same: JSON.stringify(plate) === JSON.stringify(again) };
    }""")
    # Linear sRGB to the responses of the cones (Smith and Pokorny), whose copunctal points these are.
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    to_lms = np.array([[0.15514, 0.54312, -0.03286], [-0.15514, 0.45684, 0.03286], [0, 0, 0.00801]])
    for colour in found["colours"]:
        both = np.array([colour["ring"], colour["ground"]])
        assert both.min() >= 0
        assert both.max() <= 1
        linear = np.where(both <= 0.04045, both / 12.92, ((both + 0.055) / 1.055) ** 2.4)
        ring, ground = linear @ (to_lms @ to_xyz).T
        missing = {"protan": 0, "deutan": 1}[colour["kind"]]
        change = ring / ground
        left = np.delete(change, missing)
        assert left[0] == pytest.approx(left[1], rel=0.005)  # a change of brightness alone
        assert abs(change[missing] / left[0] - 1) > 0.1
    assert found["same"]
    assert len(found["plate"]) > 250
    assert all(math.hypot(dot["x"], dot["y"]) + dot["r"] <= 1 for dot in found["plate"])


def test_the_instructions_go_on_without_scripts(open_step: Open, site: Site) -> None:
    page = open_step("/instructions", training=4, browser_options={"java_script_enabled": False})
    page.get_by_role("button", name="Start").click()
    goes_on(page)
    assert stored(site, "instructions") == {}


@pytest.mark.parametrize("path", ["/questions", "/device", "/acuity", "/colour-vision", "/instructions"])
@pytest.mark.parametrize("width", [390, 768, 1440])
def test_no_page_is_wider_than_its_window(open_step: Open, path: str, width: int) -> None:
    on = {
        "/questions": {"questions": QUESTIONS},
        "/device": {"device_check": True},
        "/acuity": {"acuity": True},
        "/colour-vision": {"colour_vision": True},
        "/instructions": {"training": 4},
    }
    page = open_step(path, browser_options={"viewport": {"width": width, "height": 800}}, **on[path])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if page.get_by_role("button", name="Begin").count():
        page.get_by_role("button", name="Begin").click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
