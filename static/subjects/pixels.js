/** Which pixels an image has, as the browser decoded it: their hash is that of `pipelines.images.pixel_hash`. */

import { sha256 } from "./sha256.js";

const KNOWN = 64; // pixels on each side of the image that tells whether pixels are read back as they are
let faithful; // whether they are: asked once
let canvas = null; // that images are drawn on: most are of one size, and new memory costs more than the drawing
let message = new Uint8Array(); // that is hashed

/** Whether pixels can be read at all here. */
export const readable = typeof OffscreenCanvas === "function";

/** The hash of an image's pixels; null where this browser does not give them away as they are. */
export async function pixelHash(bitmap) {
  if (!readable) return null;
  try {
    faithful ??= readsBackWhatIsThere();
    if (!faithful) return null;
    const { width, height } = bitmap;
    const context = contextOf(width, height);
    context.globalCompositeOperation = "copy"; // nothing of an earlier image shines through
    context.drawImage(bitmap, 0, 0);
    return await sha256(described(width, height, context.getImageData(0, 0, width, height).data));
  } catch (error) {
    if (error instanceof DOMException || error instanceof RangeError) return null; // forbidden, or no room for it
    throw error;
  }
}

/** Some browsers add noise to what pages read, so that these cannot recognise them. */
function readsBackWhatIsThere() {
  const known = new ImageData(KNOWN, KNOWN);
  for (let at = 0; at < known.data.length; at += 1) known.data[at] = at % 4 === 3 ? 255 : (at * 2654435761) >>> 24;
  const context = contextOf(KNOWN, KNOWN);
  context.putImageData(known, 0, 0);
  const read = context.getImageData(0, 0, KNOWN, KNOWN).data;
  return known.data.every((value, at) => value === read[at]);
}

function contextOf(width, height) {
  if (canvas?.width !== width || canvas.height !== height) canvas = new OffscreenCanvas(width, height);
  return canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
}

/** Size and RGB bytes; of an image that is not opaque, and so none of ours, all four. Holds until the next call. */
function described(width, height, rgba) {
  const channels = isOpaque(rgba) ? 3 : 4;
  const header = new TextEncoder().encode(`rgb${channels === 3 ? "" : "a"}8 ${width}x${height}\n`);
  const length = header.length + channels * width * height;
  if (message.length < length) message = new Uint8Array(length);
  const bytes = message.subarray(0, length);
  bytes.set(header);
  for (let from = 0, to = header.length; from < rgba.length; from += 4, to += channels) {
    bytes[to] = rgba[from];
    bytes[to + 1] = rgba[from + 1];
    bytes[to + 2] = rgba[from + 2];
    if (channels === 4) bytes[to + 3] = rgba[from + 3];
  }
  return bytes;
}

function isOpaque(rgba) {
  for (let at = 3; at < rgba.length; at += 4) if (rgba[at] !== 255) return false;
  return true;
}
