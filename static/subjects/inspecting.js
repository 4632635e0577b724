/** Flip, reference, zoom and pan: what a subject does to see more of a trial, and the controls that say how it is. */

import { protocol } from "./protocol.js";
import { t } from "./words.js";

const STEP = 64; // device pixels that a key moves
const MOVES = { up: [0, -STEP], down: [0, STEP], leftwards: [-STEP, 0], rightwards: [STEP, 0] };
const element = (id) => document.getElementById(id);

export const inspect = { act, reflect, remind };

/** Changes what is seen of a trial and records it; tells whether anything changed. */
function act(action, { view, inspection }, { gesture, by } = {}) {
  if (action === "flip") return flip(view, inspection);
  if (action === "reference") return reference(view, inspection);
  if (action === "enlarge" || action === "reduce") return zoom(view, inspection, action === "enlarge" ? 1 : -1);
  if (action !== "drag" && !MOVES[action]) return false;
  const moved = view.move(...(by ?? MOVES[action]));
  if (moved) inspection.noteMove(gesture, view.layout());
  return moved;
}

function flip(view, inspection) {
  if (protocol.display !== "flip") return false;
  view.flip();
  inspection.note("flip", { shown: view.shown });
  return true;
}

function reference(view, inspection) {
  if (!protocol.reference || view.layout().three) return false;
  view.reference = !view.reference;
  inspection.note("reference", { shown: view.reference });
  return true;
}

function zoom(view, inspection, direction) {
  if (!view.enlarge(direction)) return false;
  inspection.note("zoom", { zoom: view.zoom });
  return true;
}

/** The tools that are of use now. */
function reflect(view, { movable, three }) {
  for (const tool of document.querySelectorAll(".pan")) set(tool, "hidden", !movable);
  const button = element("tool-reference");
  if (button) {
    set(button, "hidden", Boolean(three));
    if (button.ariaPressed !== String(view.reference)) button.ariaPressed = String(view.reference);
  }
  if (element("zoom")) set(element("zoom"), "textContent", `${view.zoom}×`);
  if (element("on")) set(element("on"), "textContent", view.reference ? t("the reference is shown")
    : view.shown === "left" ? t("the first image is shown") : t("the second image is shown"));
  if (element("reminder") && view.complete) set(element("reminder"), "hidden", true);
}

/** A vote without a look at the other image would compare nothing. */
function remind() {
  if (element("reminder")) element("reminder").hidden = false;
}

/** Nothing on the page is touched that stays as it is. */
function set(place, property, value) {
  if (place[property] !== value) place[property] = value;
}
