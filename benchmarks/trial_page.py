"""From the key to the paint of the next pair, against bare pages.

All pages run in one headless Chromium and are timed by one script: from the time stamp of the key's event to the second
animation frame after the images were swapped, which begins when the first one, with the new images, is done. The bare
swap is timed in two halves, before the trial page and after it, so that a change of the machine's load meets both.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, Route, sync_playwright

from benchmarks import site
from benchmarks.site import Served

TRIALS = 60  # keys on each page
GOAL_RATIO, FRAME_MS, FRAME_SIDE = 1.2, 1000 / 60, 1024
ROWS = ("change of a character", "`src` swap", "bare swap", "trial page")  # in the order in which they are timed
PAUSE_MS = 700  # the subject looks for so long at least; what a page prepares meanwhile costs nothing
PAUSES_MS = 200  # and at most this much longer, evenly spread: keys meet all phases of a frame
QUICK_MS = 100  # where nothing is prepared
GOLDEN = (5**0.5 - 1) / 2
PROTOCOL = {
    "device_check": False,
    "training": 0,
    "warm_up": 0,
    "warm_up_later": 0,
    "break_seconds": 0,
    "block": 1000,
    "sitting_minutes": 1000,
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

TIMER = """
window.took = [];
addEventListener("keydown", (event) => { if (event.key === "ArrowLeft") window.pressed = event.timeStamp; }, true);
window.swapped = () => requestAnimationFrame(() => requestAnimationFrame(() => {
  if (window.pressed) window.took.push(performance.now() - window.pressed);
  window.pressed = 0;
}));
"""
# The images of a trial are in the page once an element was put into the left frame.
WATCH = """
addEventListener("DOMContentLoaded", () => {
  const added = ({ addedNodes }) => addedNodes.length > 0;
  new MutationObserver((changes) => { if (changes.some(added)) swapped(); })
    .observe(document.getElementById("left"), { childList: true });
});
"""
BARE_PAGE = """<!doctype html><style>
body { margin: 0; background: #808080 } #left, #right { position: fixed; top: 60px }
#left { left: 24px } #right { left: calc(50% + 24px) }
</style><div id="left"></div><div id="right"></div>"""
BARE = {
    "least": """async () => {
      const place = document.getElementById("left");
      addEventListener("keydown", ({ key }) => {
        if (key !== "ArrowLeft") return;
        place.textContent += ".";
        swapped();
      });
      swapped();
    }""",
    "src": """async (trials) => {
      const show = async (n) => {
        const pair = ["left", "right"].map((side) => document.querySelector(`#${side} img`));
        pair.forEach((image, i) => (image.src = [trials[n].left, trials[n].right][i]));
        await Promise.all(pair.map((image) => new Promise((loaded) => (image.onload = loaded))));
        swapped();
      };
      // The bytes are in the browser's cache, so that decoding is measured and not the network.
      const fetched = async (url) => (await fetch(url)).blob();
      for (const { left, right } of trials) await Promise.all([left, right].map(fetched));
      for (const side of ["left", "right"]) document.getElementById(side).append(new Image());
      let n = 0;
      addEventListener("keydown", ({ key }) => key === "ArrowLeft" && show(++n));
      await show(0);
    }""",
    "bitmaps": """async (trials) => {
      const canvas = async (url) => {
        const bitmap = await createImageBitmap(await (await fetch(url)).blob());
        const made = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
        made.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
        return made;
      };
      const decode = ({ left, right }) => Promise.all([left, right].map(canvas));
      let n = 0, ahead = null, next = await decode(trials[0]);
      const show = () => {
        ["left", "right"].forEach((side, i) => document.getElementById(side).replaceChildren(next[i]));
        swapped();
        // As a page must, it decodes the next pair while this one is looked at.
        ahead = setTimeout(async () => { n += 1; if (trials[n]) next = await decode(trials[n]); }, 50);
      };
      addEventListener("keydown", ({ key }) => key === "ArrowLeft" && show());
      show();
    }""",
}


@dataclass(frozen=True)
class Timed:
    """Milliseconds from the key to the paint, one for each trial."""

    milliseconds: np.ndarray

    @property
    def median(self) -> float:
        """Half of them took longer."""
        return float(np.median(self.milliseconds))

    @property
    def p95(self) -> float:
        """One of twenty took longer."""
        return float(np.percentile(self.milliseconds, 95))


def sections(folder: Path, side: int) -> list[str]:
    """The part of the page about how soon a subject sees images of this side."""
    with chromium() as browser:
        return [_text(side, _time(browser, folder, side))]


def chromium_program() -> str:
    """The system's, or the one that is named in CHROMIUM."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("no Chromium: install it (Debian: apt-get install chromium), or name its program in CHROMIUM")
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """Headless Chromium, drawn by software."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium_program(), args=FLAGS)


def _time(browser: Browser, folder: Path, side: int) -> dict[str, Timed]:
    """All pages, on a study of images of this side; pairs of 5 LR images suffice."""
    workspace = site.make_workspace(folder / "study", images=5, side=side, methods=6, protocol=PROTOCOL)
    with site.serving(folder, workspace) as served:
        least = _bare(browser, served, side, "least", TRIALS)
        src = _bare(browser, served, side, "src", TRIALS)
        before = _bare(browser, served, side, "bitmaps", TRIALS // 2)
        ours = _ours(browser, served, side)
        after = _bare(browser, served, side, "bitmaps", TRIALS // 2)
    bare = Timed(np.concatenate([before.milliseconds, after.milliseconds]))
    return {"least": least, "src": src, "bitmaps": bare, "ours": ours}


def _page(browser: Browser, served: Served, side: int, script: str) -> Page:
    """A subject's page, at the first trial."""
    window = {"width": 2 * side + 160, "height": side + 240}
    context = browser.new_context(viewport=window, screen=window, base_url=served.url)
    context.add_init_script(script)
    page = context.new_page()
    page.goto(served.invitation())
    page.get_by_role("checkbox").check()
    page.locator("form button.primary").click()
    page.wait_for_url("**/trial")
    on_screen(page)
    return page


def on_screen(page: Page, after: str = "") -> str:
    """The trial whose images are painted, once it is not the one `after` which it comes."""
    page.wait_for_selector(f'html:not([data-trial=""], [data-trial="{after}"])', state="attached")
    return page.locator("html").get_attribute("data-trial") or ""


def _ours(browser: Browser, served: Served, side: int) -> Timed:
    page = _page(browser, served, side, TIMER + WATCH)
    for number in range(TRIALS):
        trial = on_screen(page)
        page.wait_for_timeout(_pause(number))
        page.keyboard.press("ArrowLeft")
        on_screen(page, after=trial)
    return _timed(page, TRIALS)


def _bare(browser: Browser, served: Served, side: int, kind: str, swaps: int) -> Timed:
    page = _page(browser, served, side, TIMER)
    trials = page.request.post("/api/subject/trials", data={"ahead": 50}).json()["trials"]
    trials = [trials[n % len(trials)] for n in range(swaps + 2)]
    page.route("**/bare", lambda route: _answer(route))
    page.goto("/bare")
    page.evaluate(BARE[kind], trials)
    for number in range(swaps):
        page.wait_for_timeout(_pause(number, PAUSE_MS if kind == "bitmaps" else QUICK_MS))
        page.keyboard.press("ArrowLeft")
        page.wait_for_function("count => took.length > count", arg=number)
    return _timed(page, swaps)


def _pause(number: int, least: float = PAUSE_MS) -> float:
    """Multiples of the golden ratio fill an interval more evenly than chance, whichever number of them is taken."""
    return least + PAUSES_MS * (number * GOLDEN % 1)


def _answer(route: Route) -> None:
    route.fulfill(content_type="text/html", body=BARE_PAGE)


def _timed(page: Page, swaps: int) -> Timed:
    taken = np.array(page.evaluate("took"))
    assert len(taken) == swaps, f"{len(taken)} times of {swaps} keys"
    page.context.close()
    return Timed(taken)


def _text(side: int, timed: dict[str, Timed]) -> str:
    bare, ours = timed["bitmaps"], timed["ours"]
    rows = "\n".join(
        f"| {words} | {found.median:.1f} | {found.p95:.1f} | {found.median / bare.median:.2f} | "
        f"{found.p95 / bare.p95:.2f} |"
        for words, found in zip(ROWS, timed.values(), strict=True)
    )
    ratios = [ours.median / bare.median, ours.p95 / bare.p95]
    verdicts = [f"at most {GOAL_RATIO} times the bare swap: {_met(max(ratios) <= GOAL_RATIO)}"]
    if side == FRAME_SIDE:
        within = f"median {_met(ours.median <= FRAME_MS)}, 95th percentile {_met(ours.p95 <= FRAME_MS)}"
        verdicts.append(f"one frame ({FRAME_MS:.1f} ms): {within}")
    return (
        f"### From the key to the paint of the next pair: {side} pixels\n\n"
        f"Headless Chromium, drawn by software, {TRIALS} keys on each page, {PAUSE_MS} to {PAUSE_MS + PAUSES_MS} ms "
        "after the last paint; ms from the time stamp of the key to the second animation frame after the swap. "
        "The change of a character shows what that measure says of any page. The `src` swap has the files in the "
        "browser's cache; the bare swap exchanges two canvases that were decoded before, and does nothing else.\n\n"
        "| page | median | 95th percentile | median / bare swap | 95th percentile / bare swap |\n"
        f"| --- | --- | --- | --- | --- |\n{rows}\n\n"
        f"Goals, for median and 95th percentile: {'; '.join(verdicts)}."
    )


def _met(met: bool) -> str:
    return "met" if met else "not met"
