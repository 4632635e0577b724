/** What of a trial's images is seen: enlarged how much, which part, and, where they share a place, which one. */

import { arrangement } from "./arrangement.js";
import { isPhone } from "./device_facts.js";
import { magnified, onPhone, tooSmall } from "./geometry.js";
import { protocol } from "./protocol.js";

const FLIP = protocol.display === "flip";

export class View {
  #trial;
  #step = 0; // in the protocol's list of zooms
  #corner = null; // of what is seen, in device pixels of the enlarged image; null: its middle
  shown = "left"; // in flip
  reference = false; // whether the reference stands in front, where it has no place of its own
  seen = new Set(["left"]);

  constructor(trial) {
    this.#trial = trial;
  }

  get zoom() {
    return protocol.zoom[this.#step];
  }

  /** The layout now: {obstacle}, or {width, height, places: by part, image: enlarged size, x, y, movable}. */
  layout() {
    const obstacle = !protocol.phones && isPhone() ? onPhone() : magnified();
    if (obstacle) return { obstacle };
    const found = this.#arranged();
    if (!found.places) return { obstacle: tooSmall(found) };
    return { ...found, ...this.#position(found) };
  }

  /** Moves what is seen by device pixels; tells whether anything moved. */
  move(right, down) {
    const { x, y, movable, width, height } = this.layout();
    if (!movable) return false;
    this.#corner = { x: x + right, y: y + down };
    const after = this.#position({ width, height });
    this.#corner = { x: after.x, y: after.y };
    return after.x !== x || after.y !== y;
  }

  /** To the next zoom, up (1) or down (-1), about the middle; tells whether there was one. */
  enlarge(direction) {
    const before = this.layout();
    if (before.obstacle || protocol.zoom[this.#step + direction] === undefined) return false;
    const factor = protocol.zoom[this.#step + direction] / this.zoom;
    this.#step += direction;
    const after = this.#arranged();
    const middle = (at, old, now) => Math.round((at + old / 2) * factor - now / 2);
    this.#corner = {
      x: middle(before.x, before.width, after.width),
      y: middle(before.y, before.height, after.height),
    };
    return true;
  }

  flip() {
    this.reference = false;
    this.shown = this.shown === "left" ? "right" : "left";
    this.seen.add(this.shown);
  }

  /** Whether a vote would compare what was seen. */
  get complete() {
    return !FLIP || this.seen.size === 2;
  }

  #arranged() {
    return arrangement(this.#trial, this.zoom);
  }

  /** The corner of what is seen, on a whole device pixel and within the image. */
  #position({ width, height }) {
    const { zoom } = this;
    const room = { x: this.#trial.width * zoom - width, y: this.#trial.height * zoom - height };
    const within = (axis) => Math.round(Math.min(Math.max(this.#corner?.[axis] ?? room[axis] / 2, 0), room[axis]));
    return { x: within("x"), y: within("y"), movable: room.x > 0 || room.y > 0 };
  }
}
