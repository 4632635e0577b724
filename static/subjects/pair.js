/** A pair of images on the screen: placed, timed from its paint, looked at. */

import { painted } from "./frames.js";
import { inspect } from "./inspecting.js";
import { protocol } from "./protocol.js";
import { View } from "./view.js";
import * as windows from "./windows.js";
import { t } from "./words.js";

const { dataset } = document.documentElement;
const element = (id) => document.getElementById(id);
const ASLEEP_MS = 2000; // the calendar is not put right by as much in one trial

/** By how much the calendar is ahead of the page's clock, which may stand still while the computer sleeps. */
const ahead = () => Date.now() - performance.now();

export class Pair {
  #sight = null; // something of its own for each time that nothing stands in its way
  #ahead; // at the paint
  onset = null; // time of its paint

  /** `canUndo`: whether the vote before may be taken back; `verdict`: of training, {better, words} or null. */
  constructor({ trial, pictures, inspection }, { canUndo = false, verdict = null }) {
    Object.assign(this, { trial, pictures, inspection, canUndo, verdict, view: new View(trial) });
    if (verdict) this.view.shown = verdict.better;
  }

  get isSeen() {
    return this.#sight !== null;
  }

  wasSeenAt({ timeStamp }) {
    return this.onset !== null && timeStamp >= this.onset;
  }

  /** The paint's date and time, in milliseconds. */
  get paintedAt() {
    return this.onset + this.#ahead;
  }

  /** If the computer has slept since the paint, the images were out of sight, though no event has told of it. */
  noteSleep() {
    const slept = ahead() - this.#ahead;
    if (slept < ASLEEP_MS) return;
    this.inspection.hidden = true;
    this.inspection.note("sleep", { slept_ms: Math.round(slept) });
  }

  /** Where `layout` says, at once. */
  show(layout) {
    this.#place(layout);
    if (this.isSeen) return;
    this.#sight = {};
    if (!this.verdict) this.#time();
  }

  /** `obstacle`: what has come in the way, if that is why. */
  hide(obstacle) {
    if (!this.isSeen) return;
    if (obstacle) this.inspection.note("obstacle", { obstacle: obstacle.picture });
    if (this.onset !== null) this.inspection.noteView(this.onset);
    this.#sight = this.onset = null;
    dataset.trial = "";
  }

  /** The page is in sight no longer, or again; `event` says how. */
  outOfSight(event) {
    if (this.onset === null) return;
    if (event === "blur" || event === "hidden") this.inspection.hidden = true;
    this.inspection.note(event);
  }

  /** Changes what is seen of the images; tells whether anything changed. */
  inspect(action, more) {
    return this.isSeen && inspect.act(action, this, more);
  }

  #place(layout) {
    windows.place(this.view, layout, this.pictures);
    element("stage").dataset.feedback = Boolean(this.verdict);
    if (this.verdict || element("verdict").textContent) {
      element("verdict").textContent = this.verdict?.words ?? "";
      windows.captions(this.verdict?.better, t("better"));
    }
    inspect.reflect(this.view, layout);
  }

  async #time() {
    const sight = this.#sight;
    const onset = await painted();
    if (sight !== this.#sight) return;
    this.onset = onset;
    this.#ahead = ahead();
    dataset.trial = this.trial.id;
    if (document.hidden || !document.hasFocus()) this.outOfSight("blur"); // since before the paint
  }
}

/** What training says about a choice. */
export function verdict(better, choice) {
  const sides = protocol.display === "flip" ? { left: t("the first image"), right: t("the second image") }
    : { left: t("the left image"), right: t("the right image") };
  const words = choice === better ? t("Right: {image} is the better one.", { image: sides[better] })
    : t("Look again: {image} is the better one.", { image: sides[better] });
  return { better, words };
}
