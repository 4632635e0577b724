/** How a subject looked at a trial before the vote: zooms, moves, flips, and what came in between. */

const MOST = 500; // events that a vote takes along
const GESTURE_MS = 700; // moves by key that follow each other sooner are one

export class Inspection {
  #events = []; // {at: on the page's clock, event, ...}
  left_out = 0;
  hidden = false; // whether the images were out of sight, or the page without the focus, before the vote

  note(event, more = {}, at = performance.now()) {
    if (this.#events.length < MOST - 1) this.#events.push({ at, event, ...more });
    else this.left_out += 1;
  }

  /** The images were seen from `onset` until now, and are to be painted again. */
  noteView(onset) {
    this.hidden = true;
    this.note("view", { end: performance.now() }, onset);
  }

  /** Moves of one gesture are one event: from when, until when, and to where. */
  noteMove(gesture, { x, y }) {
    const now = performance.now();
    const last = this.#events.at(-1);
    const goesOn = last?.event === "pan" && last.gesture === gesture && (gesture || now - last.end < GESTURE_MS);
    if (goesOn) Object.assign(last, { x, y, end: now });
    else this.note("pan", { x, y, gesture, end: now });
  }

  /** The events as the server wants them; those before a second paint, after a pause, have negative times. */
  since(onset) {
    const round = (time) => Math.round((time - onset) * 10) / 10;
    const told = this.#events.map(({ at, event, gesture, end, ...more }) => {
      return { ms: round(at), event, ...(end === undefined ? {} : { until_ms: round(end) }), ...more };
    });
    if (this.left_out) told.push({ ms: round(performance.now()), event: "left_out", number: this.left_out });
    return told;
  }
}
