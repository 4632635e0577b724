"""`make screenshots`: every page that a subject sees, drawn by headless Chromium into docs/screenshots.

The scenes are drawn here, so that no photograph of anybody's stands in the repository.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Browser, Page, expect

from app import runs, studies, terms
from benchmarks import site, trial_page
from benchmarks.site import Served
from pipelines.progress import silent
from pipelines.protocol import Protocol, Question

FOLDER = Path(__file__).parent.parent / "docs" / "screenshots"
SIZES = {"1440x900": (1440, 900), "1920x1080": (1920, 1080)}
METHODS = ("nearest", "bicubic", "bicubic_unsharp")
WIDTH, HEIGHT = 144, 108  # of the LR scenes; outputs are four times larger

QUESTIONS = (
    Question(
        id="expertise",
        text={"en": "How well do you know image processing?", "zh": "您对图像处理的了解程度如何？"},
        options=(
            {"en": "not at all", "zh": "不了解"},
            {"en": "in general", "zh": "一般了解"},
            {"en": "it is my work", "zh": "从事相关工作"},
        ),
    ),
    Question(id="age", text={"en": "How old are you?", "zh": "您的年龄？"}, kind="number", least=18, most=99),
)
NOTHING: dict[str, Any] = {"device_check": False, "training": 0, "warm_up": 0, "warm_up_later": 0}
EVERYTHING = """[protocol]
training = 2
reference = "interpolation:bicubic"
"""

Walk = Callable[[Page, Callable[[str], None]], None]


def main() -> None:
    """Make the study, serve it, and walk through each kind of session at each size."""
    parser = argparse.ArgumentParser(prog="make screenshots")
    parser.add_argument("--out", type=Path, default=FOLDER)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory(prefix="discern-screenshots-") as temporary, trial_page.chromium() as browser:
        folder = Path(temporary)
        with site.serving(folder, _workspace(folder / "study")) as served:
            for name, size in SIZES.items():
                for settings, walk in WALKS:
                    _walk(browser, served, settings, walk, out / name, size)


def _walk(browser: Browser, served: Served, settings: dict[str, Any], walk: Walk, out: Path, size: Any) -> None:
    with served.sessions.begin() as db:
        terms.set_protocol(db, studies.find(db, served.study), Protocol(**settings))
    out.mkdir(parents=True, exist_ok=True)
    language = settings.get("languages", ("en",))[0]
    window = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=window, screen=window, base_url=served.url, locale=language)
    page = context.new_page()
    page.goto(served.invitation())
    walk(page, lambda name: _save(page, out / f"{name}.png"))
    context.close()


def _save(page: Page, file: Path) -> None:
    page.wait_for_load_state("networkidle")
    page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished))")
    page.screenshot(path=file)
    print(file, flush=True)  # noqa: T201 - a command of its own


def _agree(page: Page) -> None:
    page.get_by_role("checkbox").check()
    _go_on(page)


def _go_on(page: Page) -> None:
    page.locator("main .primary").click()


def _whole_session(page: Page, save: Callable[[str], None]) -> None:
    save("1-consent")
    _agree(page)
    page.wait_for_url("**/questions")
    save("2-questions")
    page.get_by_role("radio").first.check()
    page.get_by_label("How old").fill("31")
    _go_on(page)
    page.wait_for_url("**/device")
    expect(page.locator("main .primary")).to_be_enabled()
    save("3-device")
    _go_on(page)
    page.wait_for_url("**/instructions")
    save("4-instructions")
    _go_on(page)
    _training(page, save)
    trial = _shown(page)
    save("7-trial")
    page.keyboard.press("ArrowLeft")
    _shown(page, after=trial)
    page.keyboard.press("p")
    save("8-pause")


def _training(page: Page, save: Callable[[str], None]) -> None:
    trial = _shown(page)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#continue")).to_be_visible()
    save("5-training")
    page.keyboard.press("Enter")
    _shown(page, after=trial)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#continue")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#go-on")).to_be_visible()
    save("6-start")
    page.locator("#go-on").click()


def _step(url: str, name: str) -> Walk:
    def walk(page: Page, save: Callable[[str], None]) -> None:
        _agree(page)
        page.wait_for_url(f"**{url}")
        save(name)

    return walk


def _trial(name: str, *keys: str) -> Walk:
    def walk(page: Page, save: Callable[[str], None]) -> None:
        _agree(page)
        _shown(page)
        for key in keys:
            page.keyboard.press(key)
        save(name)

    return walk


def _to_the_end(page: Page, save: Callable[[str], None]) -> None:
    _agree(page)
    trial = ""
    for _ in range(3):
        trial = _shown(page, after=trial)
        page.keyboard.press("ArrowRight")
    expect(page.locator("#timer")).to_be_visible()
    save("12-break")
    viewport = page.viewport_size
    expect(page.locator("#go-on")).to_be_enabled(timeout=30_000)
    page.locator("#go-on").click()
    trial = _shown(page, after=trial)
    page.set_viewport_size({"width": 900, "height": 640})
    expect(page.locator("#words")).to_contain_text("too small")
    save("13-window-too-small")
    assert viewport is not None
    page.set_viewport_size(viewport)
    for _ in range(2):
        trial = _shown(page)
        page.keyboard.press("ArrowLeft")
        _shown(page, after=trial)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#go-on")).to_be_visible()
    save("14-all-votes-are-in")
    page.locator("#go-on").click()
    page.wait_for_url("**/thanks")
    save("15-thanks")


def _shown(page: Page, after: str = "") -> str:
    return trial_page.on_screen(page, after=after)


WALKS: tuple[tuple[dict[str, Any], Walk], ...] = (
    ({"questions": QUESTIONS, "training": 2, "warm_up": 0, "zoom": (1,)}, _whole_session),
    (NOTHING | {"acuity": True}, _step("/acuity", "9-acuity")),
    (NOTHING | {"colour_vision": True}, _step("/colour-vision", "10-colour-vision")),
    (NOTHING | {"display": "flip", "reference": "interpolation:bicubic", "not_sure": True}, _trial("11-flip", "Space")),
    (NOTHING | {"pan": True, "zoom": (1, 2, 4), "not_sure": True}, _trial("11-zoom", "+")),
    (NOTHING | {"languages": ("zh", "en")}, _trial("11-trial-zh")),
    (NOTHING | {"block": 3, "break_seconds": 5}, _to_the_end),
)


def _workspace(folder: Path) -> Path:
    (folder / "lr").mkdir(parents=True)
    for number in range(3):
        _scene(np.random.default_rng(number)).save(folder / "lr" / f"scene-{number}.png")
    blocks = [f'[[methods]]\nid = "{name}"\nkind = "interpolation"\nalgorithm = "{name}"\n' for name in METHODS]
    selection = '[selection]\ndistance = "psnr"\nsemantics = "colour_gradient"\nper_pair = 2\n'
    text = 'name = "Ten thousand pixels"\n[images]\nfolder = "lr"\n' + "".join(blocks) + selection + EVERYTHING
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return runs.run(folder / "study.toml", silent).workspace.root


def _scene(random: np.random.Generator) -> Image.Image:
    """Hills, a sun, and trees, drawn large and then made small, with the noise of a camera."""
    factor = 4
    width, height = WIDTH * factor, HEIGHT * factor
    sky = np.linspace((120, 170, 225), (250, 225, 190), height)[:, None].repeat(width, 1)
    scene = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    sun = random.uniform(0.2, 0.8) * width
    draw.ellipse((sun - 35, 60, sun + 35, 130), fill=(255, 240, 190))
    x = np.arange(width)
    for depth, colour in enumerate(((122, 140, 150), (86, 118, 100), (52, 92, 62))):
        waves = sum(random.uniform(10, 45) * np.sin(x / random.uniform(40, 150) + random.uniform(0, 6)) for _ in "ab")
        ridge = height * (0.5 + 0.16 * depth) + waves
        draw.polygon([(0, height), *zip(x.tolist(), ridge.tolist(), strict=True), (width, height)], fill=colour)
        for place in random.integers(0, width, 26):
            _tree(draw, int(place), float(ridge[place]), random.uniform(14, 34) * (1 + depth) / 2, colour)
    small = scene.filter(ImageFilter.GaussianBlur(1.6)).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    noisy = np.asarray(small) + random.normal(0, 3, (HEIGHT, WIDTH, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _tree(draw: ImageDraw.ImageDraw, x: int, foot: float, size: float, colour: tuple[int, int, int]) -> None:
    dark = tuple(int(value * 0.6) for value in colour)
    draw.polygon([(x - size / 3, foot + 4), (x, foot - size), (x + size / 3, foot + 4)], fill=dark)


if __name__ == "__main__":
    main()
