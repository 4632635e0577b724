"""How tests use the trial page: wait for its images, vote, hold up the network, read the pixels of the screen."""

import io
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Request, Route, expect

VOTES = re.compile(r"/api/subject/trials/.+/vote$")
TRIALS = re.compile(r"/api/subject/trials$")
IMAGES = re.compile(r"/trials/.+\.(png|webp)$")
SIDES = ("left", "right")
KEYS = {"left": "ArrowLeft", "right": "ArrowRight"}
GREY = (128, 128, 128)
PATIENCE_MS = 20_000  # longer than the page's longest pause between two attempts

OPEN = """
    const database = await new Promise((resolve) =>
        (indexedDB.open("discern").onsuccess = ({ target }) => resolve(target.result)));
    const votes = database.transaction("votes", "readwrite").objectStore("votes");
    const subject = Number(document.body.dataset.subject);
"""
COUNT = f"async () => {{ {OPEN} return new Promise((r) => (votes.count().onsuccess = (e) => r(e.target.result))); }}"
KEEP = f"""async (number) => {{ {OPEN}
    for (let n = 1; n <= number; n += 1) {{
        const trial = `00000000-0000-4000-8000-${{1e11 + n}}`;
        votes.add({{ trial, body: {{ revision: 1, choice: "left" }} }}, [subject, n]);
    }}
    await new Promise((resolve) => (votes.transaction.oncomplete = resolve));
}}"""
# What is taken out of the browser's store stays there until `isSlow` is false.
SLOW_DISK = """
    window.isSlow = true;
    const remove = IDBObjectStore.prototype.delete;
    IDBObjectStore.prototype.delete = function (key) {
        const wait = () => (this.get([0]).onsuccess = () => (window.isSlow ? wait() : remove.call(this, key)));
        wait();
    };
"""
OLD_VOTE = {
    "choice": "right",
    "response_ms": 900,
    "input": "key",
    "device_pixel_ratio": 1,
    "hidden": False,
} | dict.fromkeys(("window_width", "window_height", "screen_width", "screen_height"), 900)
NO_MORE = {"trials": [], "block": None, "pause": None, "voted": 9, "total": 9, "finished": True}

Open = Callable[..., Page]


def start(page: Page, link: str) -> None:
    page.goto(link)
    if page.get_by_role("checkbox").count():
        page.get_by_role("checkbox").check()
    page.get_by_role("button", name=re.compile("start|continue|开始|继续", re.IGNORECASE)).click()
    page.wait_for_url(re.compile("/(trial|instructions)$"))
    _pass_instructions(page)


def welcomed(page: Page, link: str) -> None:
    """As `start`, for tests of what comes after the welcome, whose page they need not draw."""
    page.context.request.post(link, form={"consent": "yes"}, max_redirects=0)
    page.goto(urljoin(link, "/trial"))
    _pass_instructions(page)


def _pass_instructions(page: Page) -> None:
    if page.url.endswith("/instructions"):
        page.get_by_role("button", name=re.compile("Start|开始")).click()
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


def stored(page: Page) -> int:
    """How many votes the browser keeps, of whichever subject."""
    return int(page.evaluate(COUNT))


def leave_behind(page: Page, number: int) -> None:
    """Votes that an earlier load of the page could not send."""
    page.evaluate(KEEP, number)


def refuse(status: int, said: str = "no") -> Callable[[Route], None]:
    return lambda route: route.fulfill(status=status, json={"detail": "in English", "said": said})


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


def arriving(page: Page) -> Callable[[int], None]:
    """Count the images that come from now on: what is returned waits until those of so many pairs are here."""
    images: set[str] = set()
    page.on("requestfinished", lambda request: images.add(request.url) if IMAGES.search(request.url) else None)

    def wait(pairs: int) -> None:
        while len(images) < 2 * pairs:
            page.wait_for_event("requestfinished")

    return wait


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def check_pixels(page: Page, ratio: float) -> None:
    """What is on the screen where an image stands is that image, with the grey surround touching it on all sides."""
    trial = on_screen(page)
    screen = pixels(page.screenshot())
    for side in SIDES:
        shown = page.locator(f"#{side} canvas")
        image = pixels(page.request.get(page.url + f"s/{trial}/{side}.png").body())
        box = shown.bounding_box()
        assert box is not None
        x, y = (round(box[axis] * ratio) for axis in "xy")
        assert (x, y) == pytest.approx((box["x"] * ratio, box["y"] * ratio), abs=0.05), "not on a whole device pixel"
        height, width, _ = image.shape
        framed = np.full((height + 8, width + 8, 3), GREY, np.uint8)
        framed[4:-4, 4:-4] = image
        np.testing.assert_array_equal(screen[y - 4 : y + height + 4, x - 4 : x + width + 4], framed)
