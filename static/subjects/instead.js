/** What is said instead of a pair of images: why there is none, what is in its way, a pause, the end. */

import { say } from "./message.js";
import { t } from "./words.js";

const element = (id) => document.getElementById(id);

export class Instead {
  #changed;
  #waiting; // why there is no pair
  #interval = null; // what asks the subject to go on: {content, resolve}
  #ended = null;
  paused = false; // by the subject

  /** `changed` is called when there is something else to say. */
  constructor(changed) {
    this.#changed = changed;
    this.load();
  }

  /** The next pair will be here in a moment. */
  load() {
    this.#waiting = { words: t("Loading …") };
  }

  /** What to say while there is no trial to show. */
  explain(words) {
    this.#waiting = { words };
    this.#changed();
  }

  /** Between trials, or after them: says `content`, which may change; resolves when its button is pressed, or to UNDO. */
  interval(content) {
    return new Promise((resolve) => {
      this.#interval = { content, resolve };
      element("undo").hidden = !content.undo;
      this.#changed();
      if (content.button && !content.disabled) element("go-on").focus();
    });
  }

  /** What is said in the interval that is on. */
  change(content) {
    if (!this.#interval) return;
    const ready = this.#interval.content.disabled && content.button && !content.disabled;
    this.#interval.content = content;
    this.#changed();
    if (ready) element("go-on").focus();
  }

  /** No more trials on this page. */
  end(words, link, href) {
    this.#ended = { words, link, href };
    this.#changed();
  }

  /** Says what there is to say with a pair whose layout this is, or with none; tells whether there is anything. */
  say(layout) {
    const content = this.#content(layout);
    say(content);
    return content !== null;
  }

  get isInterval() {
    return this.#interval !== null;
  }

  get canUndo() {
    return Boolean(this.#interval?.content.undo);
  }

  get canGoOn() {
    return this.isInterval && !this.#interval.content.disabled;
  }

  /** The interval is over; `answer` is what it resolves to. */
  resume(answer) {
    const { resolve } = this.#interval;
    this.#interval = null;
    this.explain(t("Loading …"));
    resolve(answer);
  }

  #content(layout) {
    if (this.#ended) return this.#ended;
    if (this.#interval) return this.#interval.content;
    if (!layout) return this.#waiting;
    if (this.paused) return { words: t("Paused. The images are hidden until you go on."), button: t("Go on") };
    return layout.obstacle ?? null;
  }
}
