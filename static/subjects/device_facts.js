/** What a page can know of screen, window and browser; sizes in device pixels unless they say otherwise. */

export const SLOW_MS = 40; // between two frames: slower than 25 a second
const FRAMES = 30;
const PATIENCE_MS = 3000; // a page out of sight gets no frames
const SMALLEST_SIDE = 600; // CSS pixels: a touch screen with a shorter side is a phone's
const STORAGE_PATIENCE_MS = 4000; // some browsers never answer
const ZOOMED = 0.04;

export function isPinched() {
  return Math.abs((window.visualViewport?.scale ?? 1) - 1) > 1e-4;
}

/** The browser's own zoom, estimated by the width of its frame; null where that cannot be known, as on phones. */
export function pageZoom() {
  if (!outerWidth || !innerWidth || isTouchOnly()) return null;
  return outerWidth / innerWidth;
}

export function isZoomed() {
  const zoom = pageZoom();
  return zoom !== null && Math.abs(zoom - 1) > ZOOMED;
}

/** Safari on a desktop leaves devicePixelRatio as it is when the page is zoomed. */
export function hidesZoom() {
  return "GestureEvent" in window && navigator.maxTouchPoints === 0;
}

export function isMac() {
  return /Mac/.test(navigator.userAgentData?.platform ?? navigator.platform);
}

function isTouchOnly() {
  return matchMedia("(any-pointer: coarse)").matches && !matchMedia("(any-pointer: fine)").matches;
}

export function isPhone() {
  return isTouchOnly() && Math.min(screen.width, screen.height) < SMALLEST_SIDE;
}

export function gamut() {
  return ["rec2020", "p3", "srgb"].find((name) => matchMedia(`(color-gamut: ${name})`).matches) ?? "unknown";
}

/** The median time between frames, in milliseconds; null if the page got none. */
export function frameTime() {
  return new Promise((resolve) => {
    const times = [];
    const patience = setTimeout(() => resolve(null), PATIENCE_MS);
    const step = (time) => {
      times.push(time);
      if (times.length <= FRAMES) requestAnimationFrame(step);
      else resolve(median(times.slice(1).map((time, index) => time - times[index]))), clearTimeout(patience);
    };
    requestAnimationFrame(step);
  });
}

function median(values) {
  return values.sort((one, other) => one - other)[values.length >> 1];
}

/** Whether the browser keeps what a page writes: a private window may not. */
export function canStore() {
  return new Promise((resolve) => {
    setTimeout(() => resolve(false), STORAGE_PATIENCE_MS);
    try {
      const opening = indexedDB.open("discern-check");
      opening.onerror = () => resolve(false);
      opening.onblocked = () => resolve(false);
      opening.onsuccess = () => {
        opening.result.close();
        indexedDB.deleteDatabase("discern-check");
        resolve(true);
      };
    } catch {
      resolve(false); // forbidden altogether: every access throws
    }
  });
}

/** Whether a canvas is read back as it was drawn: some browsers change pixels a little, so that pages cannot know them. */
export async function pixelsCanBeRead() {
  const drawn = new ImageData(16, 16);
  drawn.data.forEach((_, index, data) => (data[index] = index % 4 === 3 ? 255 : (index * 37) % 256));
  try {
    const context = new OffscreenCanvas(16, 16).getContext("2d", { willReadFrequently: true });
    context.drawImage(await createImageBitmap(drawn), 0, 0);
    return context.getImageData(0, 0, 16, 16).data.every((value, index) => value === drawn.data[index]);
  } catch {
    return false; // no OffscreenCanvas, or reading is forbidden
  }
}

/** Family and major version, such as "Firefox 140"; the rest of what a browser says of itself is not asked. */
export function browser() {
  const names = { Edg: "Edge", OPR: "Opera", Firefox: "Firefox", Chrome: "Chrome", Version: "Safari" };
  const found = Object.keys(names).map((mark) => [names[mark], navigator.userAgent.match(new RegExp(`${mark}/(\\d{1,4})`))]);
  const [name, version] = found.find(([, match]) => match) ?? ["other"];
  return version ? `${name} ${version[1]}` : name;
}

/** As the server stores them. */
export function all({ frames, storage, pixels }) {
  return {
    device_pixel_ratio: devicePixelRatio,
    page_zoom: pageZoom(),
    window_width: innerWidth,
    window_height: innerHeight,
    screen_width: screen.width,
    screen_height: screen.height,
    colour_depth: screen.colorDepth,
    gamut: gamut(),
    touch_points: navigator.maxTouchPoints,
    coarse_pointer: isTouchOnly(),
    frame_ms: frames,
    pixels: pixels ? "verifiable" : "unverifiable",
    storage,
    browser: browser(),
  };
}
