/** Where the images stand, so that one image pixel is exactly one device pixel, or an integer number of them. */

import { hidesZoom, isPinched, isZoomed } from "./device_facts.js";
import { t } from "./words.js";

const GAP = 48; // CSS pixels between the images,
const SIDE = 24; // beside them,
const LINES = 76; // above and below them, where the question and the keys stand,
const CAPTION = 26; // with a line above each image,
const TOOLS = 40; // and a row of tools below
const SMALLEST = 240; // sides of a window onto a larger image

/** The window's size, in device pixels. */
export function windowSize() {
  return [innerWidth, innerHeight].map((side) => Math.floor(side * devicePixelRatio));
}

/** What stands around the images. */
export function surroundings({ captions, tools }) {
  return LINES + (captions ? CAPTION : 0) + (tools ? TOOLS : 0);
}

/**
 * Equal windows for images beside each other.
 *
 * `image` and `least` are sizes in device pixels: as it is to be shown, and of what must be seen of it at least;
 * `lines` are the CSS pixels that are taken above and below; `have` is the room in device pixels. Returns what was
 * asked, with the room that it needs, and, where there is that room, the windows' size in device pixels and their
 * places in CSS pixels that fall on whole device pixels.
 */
export function arrange(image, least, columns, lines, have) {
  const ratio = devicePixelRatio;
  const gap = Math.round(GAP * ratio);
  const [beside, around] = [(columns - 1) * gap + 2 * SIDE * ratio, 2 * lines * ratio];
  const need = [columns * least.width + beside, least.height + around].map(Math.ceil);
  const asked = { least, columns, need, have };
  if (need[0] > have[0] || need[1] > have[1]) return asked;
  const width = Math.min(image.width, Math.floor((have[0] - beside) / columns));
  const height = Math.min(image.height, Math.floor(have[1] - around));
  const left = Math.round((innerWidth * ratio - columns * width - (columns - 1) * gap) / 2);
  const top = Math.round((innerHeight * ratio - height) / 2);
  const places = Array.from({ length: columns }, (_, index) => ({
    left: css(left + index * (width + gap)),
    top: css(top),
    width: css(width),
    height: css(height),
  }));
  return { ...asked, width, height, places };
}

/** A length in device pixels, in CSS pixels. */
export function css(pixels) {
  return `${pixels / devicePixelRatio}px`;
}

/** How small a window onto an image may be. */
export function smallest({ width, height }) {
  const least = SMALLEST * devicePixelRatio;
  return { width: Math.min(width, least), height: Math.min(height, least) };
}

/** Whether the page itself is shown larger or smaller than it is laid out, and what the subject must do about it. */
export function magnified() {
  if (isPinched()) {
    const words = t("The page is magnified. Pinch it back to its normal size to see the images as they are.");
    return { picture: "pinch", words };
  }
  if (!hidesZoom() || !isZoomed()) return null;
  return { picture: "zoom", words: t("Please set the zoom of the browser to 100% (⌘ 0) and close its side bar.") };
}

/** What the subject must do where the study is not for phones. */
export function onPhone() {
  const words = t("This study needs a larger screen than that of a phone: the images would not fit on it as they are.");
  const more = t("Please open your invitation link on a computer, or on a large tablet; your votes so far are kept.");
  return { picture: "phone", words, more };
}

/** What the subject must do where windows have no room. */
export function tooSmall({ need, have }) {
  const [needed, present] = [need, have].map((size) => size.join("\u00a0×\u00a0"));
  const words = t(
    "This window is too small to show the images pixel by pixel: they need {need} pixels, it has {have}.",
    { need: needed, have: present },
  );
  const more = t(
    "Make it larger (F11: full screen), set the zoom of the browser to 100% (Ctrl 0), or use a larger screen.",
  );
  return { picture: "enlarge", words, more };
}

/** Calls back whenever the window, the zoom or the screen has changed. */
export function onChange(changed) {
  addEventListener("resize", changed);
  window.visualViewport?.addEventListener("resize", changed);
  const watchRatio = () => {
    const query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    query.addEventListener("change", () => (watchRatio(), changed()), { once: true });
  };
  watchRatio();
}
