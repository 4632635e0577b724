/** One trial on the screen: shown at once on both sides, timed from its paint, answered once. */

import * as geometry from "./geometry.js";

const { dataset } = document.documentElement;
const element = (id) => document.getElementById(id);
const KEYS = { ArrowLeft: "left", ArrowRight: "right", 1: "left", 2: "right", Digit1: "left", Digit2: "right" };

export class Stage {
  #pair = null; // {trial, resolve, onset: time of its paint or null, hidden: whether it was out of sight since}
  #shown = null; // the pair while nothing stands in its way
  #reason = "Loading …"; // why there is no pair
  #ended = "";

  constructor() {
    geometry.onChange(() => this.#refresh());
    addEventListener("keydown", (event) => this.#key(event));
    for (const side of ["left", "right"]) {
      element(side).addEventListener("click", (event) => this.#click(side, event));
      // The focus stays where it was: a ring around one image would favour it.
      element(side).addEventListener("mousedown", (event) => event.preventDefault());
    }
    addEventListener("blur", () => this.#outOfSight());
    document.addEventListener("visibilitychange", () => this.#outOfSight());
  }

  /** Shows a trial; resolves to the vote, as the server wants it. */
  ask({ trial, left, right }) {
    element("left").replaceChildren(left);
    element("right").replaceChildren(right);
    return new Promise((resolve) => {
      this.#pair = { trial, resolve, onset: null, hidden: false };
      this.#refresh();
    });
  }

  /** What to say while there is no trial to show. */
  explain(reason) {
    this.#reason = reason;
    this.#refresh();
  }

  /** No more trials on this page. */
  end(words, link, href) {
    this.#ended = words;
    Object.assign(element("onward"), { hidden: false, textContent: link, href });
    this.#refresh();
  }

  #refresh() {
    const pair = this.#pair;
    const words = this.#ended || (pair ? geometry.obstacle(pair.trial) : this.#reason);
    element("message").hidden = !words;
    if (element("words").textContent !== words) element("words").textContent = words; // announced only when new
    element("stage").hidden = Boolean(words);
    if (!words) position(pair.trial);
    this.#show(words ? null : pair);
  }

  #show(pair) {
    if (pair === this.#shown) return;
    this.#outOfSight();
    if (this.#shown) this.#shown.onset = null;
    dataset.trial = "";
    this.#shown = pair;
    if (pair) this.#time(pair);
  }

  /** The second frame begins after the first, with the images in it, was painted. */
  async #time(pair) {
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    if (this.#shown !== pair) return;
    pair.onset = performance.now();
    dataset.trial = pair.trial.id;
  }

  #outOfSight() {
    if (this.#shown?.onset) this.#shown.hidden = true;
  }

  #key(event) {
    if (hasModifier(event)) return;
    const choice = KEYS[event.key] ?? KEYS[event.code]; // the code: some keyboards have their digits under Shift
    const heldEnter = event.repeat && event.key === "Enter"; // would click the focused image again and again
    if (choice || heldEnter) event.preventDefault();
    if (choice && !event.repeat) this.#answer(choice, "key", event);
  }

  #click(side, event) {
    if (event.detail > 1 || hasModifier(event)) return; // the second half of a double click is no vote on the next trial
    this.#answer(side, event.detail === 0 ? "key" : "click", event);
  }

  #answer(choice, input, event) {
    this.#refresh(); // the window may have changed without an event
    const pair = this.#shown;
    if (!pair?.onset || event.timeStamp < pair.onset) return;
    const vote = { choice, response_ms: event.timeStamp - pair.onset, input, hidden: pair.hidden, ...circumstances() };
    this.#pair = null;
    this.#refresh();
    pair.resolve(vote);
  }
}

function hasModifier(event) {
  return event.ctrlKey || event.altKey || event.metaKey || event.shiftKey;
}

function position({ width, height }) {
  const { left, right } = geometry.place({ width, height });
  Object.assign(element("left").style, left);
  Object.assign(element("right").style, right);
  element("stage").style.setProperty("--height", left.height);
}

function circumstances() {
  return {
    device_pixel_ratio: devicePixelRatio,
    window_width: innerWidth,
    window_height: innerHeight,
    screen_width: screen.width,
    screen_height: screen.height,
  };
}
