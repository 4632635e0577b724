"""Linked crops in a browser: wherever the frame goes, every crop shows its image's pixels of that place."""

import io
import re
from collections.abc import Callable, Iterator
from math import floor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from app import figures, runs
from app.crops import Crop
from pipelines import study as studies
from pipelines.images import Pixels
from pipelines.progress import silent
from pipelines.super_resolution import stage
from pipelines.workspace import Workspace
from tests.app.conftest import Site
from tests.app.figure_files import enlarge
from tests.conftest import textured

METHODS = ["nearest", "bicubic", "sharp"]
NAMES = ["low resolution", *METHODS]
WIDTH, HEIGHT, SCALE = 80, 60, 4
STEM = "image_1"
# Each LR pixel of the overview is so many CSS pixels: it is shown in the size of the outputs.
CSS = 4
WATCH = "addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective, e.blockedURI))"

Open = Callable[..., Page]


@pytest.fixture
def open_page(launch: Callable[..., Browser]) -> Iterator[Open]:
    """Opens a page; afterwards its console may hold no error."""
    browser, problems = launch("--force-color-profile=srgb"), []

    def open_page(address: str, *, ratio: float = 1, width: int = 1440, client: httpx.Client | None = None) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 1000}, device_scale_factor=ratio)
        context.add_init_script(WATCH)
        if client is not None:
            context.add_cookies([{"name": c.name, "value": c.value or "", "url": address} for c in client.cookies.jar])
        context.on("weberror", lambda error: problems.append(str(error.error)))
        context.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
        page = context.new_page()
        page.goto(address)
        return page

    yield open_page
    assert problems == []


@pytest.fixture
def comparison(make_study: Callable[..., Path]) -> tuple[str, dict[str, Pixels]]:
    """A written page as a file's address, and the images that it compares."""
    path = make_study(images=2, size=(HEIGHT, WIDTH))
    runs.run(path, silent)
    figures.write(path, [STEM], crop=Crop(20, 10, 32, 32))
    workspace = Workspace(path.parent / "workspace")
    table = stage.outputs(studies.read(path), workspace)
    of_stem = table[table["stem"] == STEM].set_index("method")
    images = {method: workspace.get_image(of_stem.loc[method, "sha256"]) for method in METHODS}
    page = workspace.root / "figures" / "images" / f"{STEM}.html"
    return page.as_uri(), {"low resolution": textured(1, HEIGHT, WIDTH), **images}


def fields(page: Page) -> dict[str, int]:
    names = ("x", "y", "width", "height", "zoom")
    return {name: int(page.locator(f"[name={name}]").input_value()) for name in names}


def view(page: Page, name: str) -> Locator:
    return page.locator("figure.view").filter(has=page.locator("b", has_text=re.compile(f"^{re.escape(name)}$")))


BOXES = """canvases => canvases.map((canvas) => {
  const box = canvas.getBoundingClientRect();
  return [box.x + scrollX, box.y + scrollY, box.width, box.height].map((side) => side * devicePixelRatio);
})"""


def check_screen(page: Page, expected: dict[str, Pixels]) -> None:
    """Every crop shows exactly these device pixels, where its canvas is.

    A canvas may begin at a fraction of a device pixel. The browser paints it at a whole one, but may blend its
    outermost pixels with the page.
    """
    assert page.locator(".view b").all_inner_texts() == list(expected)
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
        screen = np.asarray(image.convert("RGB"))
    for (name, pixels), (x, y, *size) in zip(
        expected.items(), page.locator(".view canvas").evaluate_all(BOXES), strict=True
    ):
        height, width = pixels.shape[:2]
        assert size == pytest.approx([width, height], abs=0.1)
        starts = [(floor(x) + right, floor(y) + down) for down in (0, 1) for right in (0, 1)]
        shown = [screen[y + 1 : y + height - 1, x + 1 : x + width - 1] for x, y in starts]
        assert any(np.array_equal(inside, pixels[1:-1, 1:-1]) for inside in shown), name


def check_crops(page: Page, images: dict[str, Pixels], crop: Crop, zoom: int) -> None:
    """Every crop is its image's place, each of the outputs' pixels `zoom` device pixels wide."""
    expected = {"x": crop.x, "y": crop.y, "width": crop.width, "height": crop.height, "zoom": zoom}
    assert fields(page) == expected
    check_screen(page, {name: enlarged(pixels, crop, zoom) for name, pixels in images.items()})


def enlarged(pixels: Pixels, crop: Crop, zoom: int, low_width: int = WIDTH) -> Pixels:
    """A place of the LR image or of an output in the pixels of the screen."""
    own = pixels.shape[1] // low_width
    return enlarge(crop.of(pixels, own), SCALE * zoom // own)


def drag(page: Page, element: Locator, across: float, down: float, *, at: tuple[float, float] | None = None) -> None:
    """Press on an element, in its middle by default, move in three steps, let go."""
    box = element.bounding_box()
    assert box is not None
    x, y = at or (box["width"] / 2, box["height"] / 2)
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.mouse.down()
    page.mouse.move(box["x"] + x + across, box["y"] + y + down, steps=3)
    page.mouse.up()


def test_every_crop_shows_the_pixels_of_the_place(open_page: Open, comparison: tuple[str, dict[str, Pixels]]) -> None:
    address, images = comparison
    page = open_page(address)
    assert page.locator(".view b").all_inner_texts() == NAMES
    check_crops(page, images, Crop(20, 10, 32, 32), 2)
    box, overview = page.locator(".crop").bounding_box(), page.locator(".overview img").bounding_box()
    assert box is not None
    assert overview is not None
    assert (overview["width"], overview["height"]) == (WIDTH * CSS, HEIGHT * CSS)
    assert (box["x"] - overview["x"], box["y"] - overview["y"]) == pytest.approx((20 * CSS, 10 * CSS), abs=0.1)
    assert (box["width"], box["height"]) == (32 * CSS, 32 * CSS)


def test_all_crops_follow_the_frame_that_is_dragged(open_page: Open, comparison: tuple[str, dict[str, Pixels]]) -> None:
    address, images = comparison
    page = open_page(address)
    frame = page.locator(".crop")
    drag(page, frame, 11 * CSS, -3 * CSS)
    check_crops(page, images, Crop(31, 7, 32, 32), 2)
    # Farther than there is room for, it stays inside.
    drag(page, frame, -500, 500)
    check_crops(page, images, Crop(0, HEIGHT - 32, 32, 32), 2)
    # A press beside it brings it there.
    drag(page, page.locator(".overview"), 0, 0, at=(50 * CSS, 20 * CSS))
    check_crops(page, images, Crop(34, 4, 32, 32), 2)


def test_all_crops_follow_one_that_is_dragged(open_page: Open, comparison: tuple[str, dict[str, Pixels]]) -> None:
    address, images = comparison
    page = open_page(address)
    # An LR pixel is 8 device pixels here, and the image follows the pointer.
    drag(page, view(page, "bicubic").locator("canvas"), 5 * 8, -7 * 8)
    check_crops(page, images, Crop(15, 17, 32, 32), 2)
    drag(page, view(page, "low resolution").locator("canvas"), -3 * 8, 0)
    check_crops(page, images, Crop(18, 17, 32, 32), 2)


def test_the_corner_resizes_and_the_zoom_then_keeps_the_size_on_the_screen(
    open_page: Open, comparison: tuple[str, dict[str, Pixels]]
) -> None:
    address, images = comparison
    page = open_page(address)
    drag(page, page.locator(".corner"), 8 * CSS, -16 * CSS)
    check_crops(page, images, Crop(20, 10, 40, 16), 2)
    zoom = page.get_by_label("zoom")
    zoom.fill("4")
    check_crops(page, images, Crop(30, 14, 20, 8), 4)
    zoom.fill("8")
    check_crops(page, images, Crop(35, 16, 10, 4), 8)
    zoom.fill("2")
    check_crops(page, images, Crop(20, 10, 40, 16), 2)
    # Larger than the image it does not get.
    zoom.fill("1")
    check_crops(page, images, Crop(0, 2, 80, 32), 1)


def test_the_keyboard_does_all_that_the_pointer_does(
    open_page: Open, comparison: tuple[str, dict[str, Pixels]]
) -> None:
    address, images = comparison
    page = open_page(address)
    page.keyboard.press("Tab")
    for _ in range(20):
        if page.evaluate("document.activeElement.className") == "crop":
            break
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="crop", exact=True)).to_be_focused()
    expect(page.get_by_role("button", name="crop", exact=True)).to_have_accessible_description(
        re.compile("arrow keys move it")
    )
    for key in ["ArrowRight"] * 3 + ["ArrowDown"] * 2 + ["ArrowLeft", "ArrowUp"]:
        page.keyboard.press(key)
    check_crops(page, images, Crop(22, 11, 32, 32), 2)
    for key in ["Shift+ArrowRight"] * 2 + ["Shift+ArrowUp"] * 4:
        page.keyboard.press(key)
    check_crops(page, images, Crop(22, 11, 34, 28), 2)
    page.keyboard.press("+")
    page.keyboard.press("+")
    check_crops(page, images, Crop(31, 18, 17, 14), 4)
    page.keyboard.press("-")
    assert fields(page)["zoom"] == 3
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^x \d+, y \d+, 23 by 19, zoom 3$"))
    for _ in range(9):
        page.keyboard.press("+")
    assert fields(page)["zoom"] == 8
    page.keyboard.press("Control+ArrowLeft")
    assert page.evaluate("document.activeElement.className") == "crop"


def test_numbers_can_be_typed_and_wrong_ones_change_nothing(
    open_page: Open, comparison: tuple[str, dict[str, Pixels]]
) -> None:
    address, images = comparison
    page = open_page(address)
    for label, value in (("x", "3"), ("y", "4"), ("width", "20"), ("height", "24")):
        page.get_by_label(label, exact=True).fill(value)
    check_crops(page, images, Crop(3, 4, 20, 24), 2)
    for value in ("", "-1"):
        page.get_by_label("width", exact=True).fill(value)
        page.get_by_label("width", exact=True).blur()
        check_crops(page, images, Crop(3, 4, 20, 24), 2)
    page.get_by_label("x", exact=True).fill("9999")
    page.get_by_label("height", exact=True).press("Enter")
    check_crops(page, images, Crop(60, 4, 20, 24), 2)
    expect(page.locator(".for-print")).to_have_text("60,4,20,24")


@pytest.mark.parametrize(("ratio", "zoom"), [(2, 4), (1.5, 3)])
def test_pixels_are_whole_device_pixels_on_dense_screens(
    open_page: Open, comparison: tuple[str, dict[str, Pixels]], ratio: float, zoom: int
) -> None:
    address, images = comparison
    page = open_page(address, ratio=ratio)
    check_crops(page, images, Crop(20, 10, 32, 32), zoom)
    page.locator(".crop").press("-")
    page.locator(".crop").press("ArrowRight")
    side = round(32 * zoom / (zoom - 1))
    check_crops(page, images, Crop(36 - side // 2 + 1, 26 - side // 2, side, side), zoom - 1)


def test_on_a_narrow_screen_crops_fit_the_page(open_page: Open, comparison: tuple[str, dict[str, Pixels]]) -> None:
    address, images = comparison
    page = open_page(address, width=360)
    page.get_by_label("width", exact=True).fill("80")
    crop = fields(page)
    assert crop["width"] == (360 - 2 * 16) // 8
    check_crops(page, images, Crop(crop["x"], 10, crop["width"], 32), 2)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_facts_of_an_output_open_by_the_keyboard(open_page: Open, comparison: tuple[str, dict[str, Pixels]]) -> None:
    page = open_page(comparison[0])
    summary = view(page, "sharp").locator("summary")
    expect(view(page, "sharp").get_by_text("bicubic_unsharp")).to_be_hidden()
    summary.press("Enter")
    expect(view(page, "sharp").get_by_text("bicubic_unsharp")).to_be_visible()
    expect(view(page, "sharp").locator("dt")).to_contain_text(["kind", "algorithm", "device", "seconds"])


def test_experimenters_reach_the_comparison_from_a_pair(open_page: Open, site: Site) -> None:
    page = open_page(f"{site.url}/studies/small/pairs?first=nearest&second=sharp", client=site.staff("experimenter"))
    first = page.locator(".pairs figure").first
    stem = first.locator("figcaption b").inner_text().split(" ", 1)[1]
    first.get_by_role("link", name="all methods").click()
    expect(page.get_by_role("heading", name=stem)).to_be_visible()
    assert page.locator(".view b").all_inner_texts() == NAMES
    # Not by a script in the page: its policy forbids to evaluate text.
    expect(page.locator(".view[data-loaded]").first).to_be_visible()
    expect(page.locator(".view:not([data-loaded])")).to_have_count(0)
    page.locator(".crop").press("ArrowLeft")
    page.locator(".crop").press("+")
    place = fields(page)
    crop = Crop(place["x"], place["y"], place["width"], place["height"])
    expected = {}
    for name in NAMES:
        link = view(page, name).get_by_role("link", name="whole image").get_attribute("href")
        with Image.open(io.BytesIO(page.request.get(f"{site.url}{link}").body())) as image:
            expected[name] = enlarged(np.asarray(image.convert("RGB")), crop, place["zoom"], low_width=48)
    check_screen(page, expected)
