/** The trial's images in their windows. */

import { css } from "./geometry.js";
import { PARTS, nameOf } from "./pictures.js";
import { protocol } from "./protocol.js";

const FLIP = protocol.display === "flip";
const element = (id) => document.getElementById(id);
const frame = Object.fromEntries(PARTS.map((part) => [part, element(`view-${part}`)]));
const button = Object.fromEntries(PARTS.map((part) => [part, element(part)]));
const beneath = Object.fromEntries(PARTS.map((part) => [part, element(`next-${part}`)]));
let placed = "";

/**
 * Lays the next images beneath those on the screen, which cover them. The browser hands the pixels of a canvas on to
 * whoever draws the screen when the canvas is first in the page, which takes longer than everything else in a swap.
 */
export function prepare(pictures) {
  for (const part of PARTS) {
    const [place, canvas] = [beneath[part], pictures[part]?.canvas];
    if (place && canvas?.parentElement !== place) place.replaceChildren(...(canvas ? [canvas] : []));
  }
}

/** Swaps the images; nothing else on the page changes. */
export function put(pictures) {
  for (const part of PARTS) if (button[part]) button[part].replaceChildren(...(pictures[part] ? [pictures[part].canvas] : []));
}

/** Where the windows stand, and which part of the images is in them. */
export function place(view, layout, pictures) {
  const { places, image, x, y } = layout;
  const key = JSON.stringify([places, layout.movable, devicePixelRatio]);
  if (key !== placed) frames(layout);
  placed = key;
  const style = { left: css(-x), top: css(-y), width: css(image.width), height: css(image.height) };
  for (const part of Object.keys(pictures)) Object.assign(pictures[part].canvas.style, style);
  const visible = seen(view, layout);
  for (const part of PARTS) if (frame[part]) frame[part].dataset.seen = visible.includes(part);
}

function frames({ places, height, movable }) {
  for (const part of PARTS) if (frame[part] && places[part]) Object.assign(frame[part].style, places[part]);
  const stage = element("stage");
  stage.style.setProperty("--height", css(height));
  stage.dataset.movable = movable;
}

function seen(view, { three }) {
  if (three) return PARTS;
  if (view.reference) return ["reference"];
  return FLIP ? [view.shown] : ["left", "right"];
}

/** The names above the images, and, where `better` is one of them, that it is the better one. */
export function captions(better, words) {
  element("stage").dataset.better = better ?? "";
  for (const part of PARTS) {
    const caption = frame[part]?.querySelector(".caption");
    if (caption) caption.textContent = part === better ? `${nameOf(part)}: ${words}` : nameOf(part);
  }
}
