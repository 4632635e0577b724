/** Where the two images stand, so that one image pixel is exactly one device pixel. */

const GAP = 48; // CSS pixels between the images,
const SIDE = 24; // beside them,
const LINES = 76; // above and below them, where the question and the keys stand

/** The places of two images of this size, in CSS pixels that fall on whole device pixels. */
export function place({ width, height }) {
  const ratio = devicePixelRatio;
  const gap = Math.round(GAP * ratio);
  const left = Math.round((innerWidth * ratio - 2 * width - gap) / 2);
  const top = Math.round((innerHeight * ratio - height) / 2);
  const css = (pixels) => `${pixels / ratio}px`;
  const size = { top: css(top), width: css(width), height: css(height) };
  return { left: { left: css(left), ...size }, right: { left: css(left + width + gap), ...size } };
}

/** What the subject must change before two images of this size can be seen pixel by pixel; "" if nothing. */
export function obstacle({ width, height }) {
  if (Math.abs((window.visualViewport?.scale ?? 1) - 1) > 1e-4) {
    return "The page is magnified. Pinch it back to its normal size to see the images as they are.";
  }
  if (isZoomedInSafari()) return "Please set the zoom of the browser to 100% (⌘ 0) and close its side bar.";
  const ratio = devicePixelRatio;
  const needed = [2 * width + (GAP + 2 * SIDE) * ratio, height + 2 * LINES * ratio].map(Math.ceil);
  const present = [innerWidth * ratio, innerHeight * ratio].map(Math.floor);
  if (needed[0] <= present[0] && needed[1] <= present[1]) return "";
  const [need, have] = [needed, present].map((size) => size.join("\u00a0×\u00a0"));
  return `This window is too small to show both images pixel by pixel: they need ${need} pixels, it has ${have}.
    Make it larger (F11: full screen), set the zoom of the browser to 100% (Ctrl 0), or use a larger screen.`;
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

/** Safari on a desktop leaves devicePixelRatio as it is when the page is zoomed: only the inner width tells. */
function isZoomedInSafari() {
  const isSafari = "GestureEvent" in window && navigator.maxTouchPoints === 0;
  return isSafari && Math.abs(outerWidth / innerWidth - 1) > 0.04;
}
