/** The chart of tumbling E: which sizes a screen can draw, and how they are gone through. Nothing here touches the page. */

export const LARGEST = 0.5; // logMAR: the logarithm of the minutes of arc that a stroke covers
export const SMALLEST = 0;
export const STEP = 0.1;
export const LETTERS = 5; // of one size, at most
export const NEEDED = 4; // of them right: then the next smaller size

/** How many device pixels a minute of arc covers on the screen. */
export function pixelsPerMinute(pixelsPerMm, distanceCm) {
  return pixelsPerMm * distanceCm * 10 * Math.tan(Math.PI / 180 / 60);
}

/** The size of an E whose strokes are so many device pixels wide. */
export function logmar(stroke, perMinute) {
  return Math.log10(stroke / perMinute);
}

/** The steps of the chart in decreasing size, each as near as whole device pixels come; none twice. */
export function sizes(perMinute) {
  const strokes = [];
  for (let step = 0; step <= Math.round((LARGEST - SMALLEST) / STEP); step++) {
    const stroke = Math.max(1, Math.round(10 ** (LARGEST - step * STEP) * perMinute));
    if (stroke !== strokes.at(-1)) strokes.push(stroke);
  }
  return strokes.map((stroke) => ({ stroke, logmar: logmar(stroke, perMinute) }));
}

/** Goes on to the next size as soon as enough letters are right, and ends as soon as they cannot be any more. */
export class Staircase {
  passed = null; // the logMAR of the smallest size that was passed
  #sizes;
  #right = 0;
  #wrong = 0;

  constructor(steps) {
    this.#sizes = [...steps];
  }

  /** The size of the next letter; undefined at the end. */
  get size() {
    return this.#sizes[0];
  }

  answer(right) {
    if (right) this.#right++;
    else this.#wrong++;
    if (this.#right === NEEDED) this.#pass();
    else if (this.#wrong > LETTERS - NEEDED) this.#sizes = [];
  }

  #pass() {
    this.passed = this.#sizes.shift().logmar;
    this.#right = this.#wrong = 0;
  }
}
