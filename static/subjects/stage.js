/** What is on the screen: a pair of images, answered once, or what is said instead; keys and buttons go to it. */

import * as controls from "./controls.js";
import { afterFrame } from "./frames.js";
import { onChange } from "./geometry.js";
import { Inspection } from "./inspection.js";
import { inspect } from "./inspecting.js";
import { Instead } from "./instead.js";
import { Pair, verdict } from "./pair.js";
import { PARTS } from "./pictures.js";
import { protocol } from "./protocol.js";
import { UNDO, voteOn } from "./vote.js";
import * as windows from "./windows.js";

const element = (id) => document.getElementById(id);

export class Stage {
  #pair = null;
  #answered; // resolves what asked for an answer to the pair
  instead = new Instead(() => this.#refresh());

  constructor() {
    onChange(() => this.#refresh());
    controls.listen((action, input, event) => this.#act(action, input, event));
    for (const image of PARTS.map(element).filter(Boolean)) {
      controls.drags(image, (gesture, ...by) => this.#inspect("drag", { gesture, by }));
    }
    for (const event of ["blur", "focus"]) addEventListener(event, () => this.#pair?.outOfSight(event));
    document.addEventListener("visibilitychange", () => this.#pair?.outOfSight(document.hidden ? "hidden" : "visible"));
  }

  /** Shows a trial; resolves to the vote, as the server wants it, or to UNDO. */
  ask(next, canUndo) {
    windows.put(next.pictures);
    const answer = this.#present(new Pair(next, { canUndo }));
    afterFrame(() => (element("undo").hidden = !canUndo));
    return answer;
  }

  /** Keeps a trial of training on the screen, and says whether the vote was right; resolves when the subject goes on. */
  feedback({ trial, pictures }, choice) {
    const shown = { trial, pictures, inspection: new Inspection() };
    const answer = this.#present(new Pair(shown, { verdict: verdict(trial.better, choice) }));
    element("continue").focus({ focusVisible: false });
    return answer;
  }

  #present(pair) {
    return new Promise((resolve) => {
      this.#pair = pair;
      this.#answered = resolve;
      this.#refresh();
    });
  }

  #refresh() {
    const pair = this.#pair;
    const layout = pair?.view.layout();
    const instead = this.instead.say(layout);
    element("stage").hidden = instead;
    if (instead) pair?.hide(layout.obstacle);
    else pair.show(layout);
  }

  #act(action, input, event) {
    if (action === "left" || action === "right" || action === "not_sure") this.#answer(action, input, event);
    else if (action === "undo") this.#undo(event);
    else if (action === "pause") this.#pause(true);
    else if (action === "go_on") this.#goOn();
    else this.#inspect(action);
  }

  #inspect(action, more) {
    const changed = this.#pair?.inspect(action, more) ?? false;
    if (changed) this.#refresh();
    return changed;
  }

  #pause(paused) {
    if (paused && !this.#pair?.onset) return;
    this.#pair.inspection.note(paused ? "pause" : "resume");
    this.instead.paused = paused;
    this.#refresh();
    if (paused) element("go-on").focus({ focusVisible: false });
  }

  #goOn() {
    if (this.instead.isInterval) this.instead.canGoOn && this.instead.resume();
    else if (this.instead.paused) this.#pause(false);
    else if (this.#pair?.isSeen && this.#pair.verdict) this.#leave(undefined);
  }

  #undo(event) {
    if (this.instead.canUndo) this.instead.resume(UNDO);
    else if (this.#pair?.canUndo && this.#pair.wasSeenAt(event)) this.#leave(UNDO);
  }

  #answer(choice, input, event) {
    if (choice === "not_sure" && !protocol.not_sure) return;
    this.#refresh(); // the window may have changed without an event
    const pair = this.#pair;
    if (!pair?.wasSeenAt(event)) return;
    if (pair.view.complete) this.#leave(voteOn(pair, choice, input, event));
    else inspect.remind();
  }

  /** What was shown is over; the next one takes its place before another frame is drawn, if it is ready. */
  #leave(answer) {
    this.#pair.hide();
    this.#pair = null;
    this.instead.load();
    this.#answered(answer);
    setTimeout(() => this.#pair || this.#refresh());
  }
}
