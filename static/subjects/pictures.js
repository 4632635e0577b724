/** A trial's images, each on a canvas of its own before it is needed, so that to show them is to swap elements. */

import { t } from "./words.js";
import { decode } from "./decoder.js";
import { BROKEN } from "./decoding.js";
import { persist } from "./http.js";
import { protocol } from "./protocol.js";

export const PARTS = ["left", "right", "reference"];

/** How much memory a trial's decoded images take. */
export function bytesOf(trial) {
  return 4 * trial.width * trial.height * (trial.reference ? 3 : 2);
}

/** What an image is called. */
export function nameOf(part) {
  if (part === "reference") return protocol.reference === "enlarged" ? t("original, enlarged") : t("reference");
  if (protocol.display === "flip") return part === "left" ? t("first image") : t("second image");
  return part === "left" ? t("left image") : t("right image");
}

/** Resolves to {left, right, reference}: {canvas, sha256} each; tries until all are whole. */
export async function picturesOf(trial, trouble) {
  const parts = PARTS.filter((part) => trial[part]);
  const ready = await Promise.all(parts.map((part) => persist(fetching(trial, part), trouble)));
  return Object.fromEntries(parts.map((part, index) => [part, ready[index]]));
}

/** The browser gets the memory back at once, not when it next looks for garbage. */
export function free(pictures) {
  for (const { canvas } of Object.values(pictures)) canvas.width = canvas.height = 0;
}

/** Attempts at an image. What came and was damaged is fetched anew; after a lost connection, what came of it is of use. */
function fetching(trial, part) {
  let afresh = false;
  return () =>
    picture(trial, part, afresh).catch((error) => {
      if (error.message === BROKEN) afresh = true;
      throw error;
    });
}

async function picture(trial, part, afresh) {
  const { bitmap, sha256 } = await decode(trial[part], afresh);
  if (bitmap.width !== trial.width || bitmap.height !== trial.height) {
    bitmap.close();
    throw new Error(BROKEN);
  }
  return { canvas: canvasOf(bitmap, nameOf(part)), sha256 };
}

function canvasOf(bitmap, name) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  const renderer = canvas.getContext("bitmaprenderer", { alpha: false });
  if (renderer) renderer.transferFromImageBitmap(bitmap);
  else canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  return canvas;
}
