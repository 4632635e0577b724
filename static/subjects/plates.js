/** Plates of coloured dots, drawn by us: a ring with a gap that differs from its ground in colour alone.
 *
 * Colours lie on the lines through grey along which a dichromat sees no difference: in CIE 1976 u'v' they meet at the
 * copunctal points (of the cones of Smith and Pokorny). The brightness of every dot is random, so that it tells nothing; on control plates it is all that
 * tells. Nothing here touches the page.
 */

export const STRENGTH = 0.055; // from grey, in u'v': the farthest that every brightness of all four colours is in sRGB
const GREY = [0.1978, 0.4683]; // D65
const COPUNCTAL = { protan: [0.6566, 0.5017], deutan: [-1.2174, 0.7826] };
const SHOWN = { control: 3, protan: 4, deutan: 4 };
const DIRECTIONS = ["up", "right", "down", "left"];
const RING = { outer: 0.68, inner: 0.36, gap: 0.36 }; // radii, and the width of the gap, where the plate's radius is 1
const RADII = [0.052, 0.042, 0.033, 0.026, 0.02];
const ATTEMPTS = 700; // to place a dot, for each radius
const BRIGHT = [0.14, 0.38]; // luminance of a dot, where white is 1
const CONTROL = { ground: [0.28, 0.38], figure: [0.07, 0.11] };
const FROM_XYZ = [
  [3.2404542, -1.5371385, -0.4985314],
  [-0.969266, 1.8760108, 0.041556],
  [0.0556434, -0.2040259, 1.0572252],
];

/** Numbers from 0 to 1 that follow from a seed of 32 bits (mulberry32). */
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The plates of a subject, in order: a control plate first, so that everybody sees what is asked. */
export function series(random) {
  const kinds = Object.entries(SHOWN).flatMap(([kind, times]) => Array(times).fill(kind));
  const [first, ...rest] = kinds;
  return [first, ...shuffled(rest, random)].map((kind, number) => ({
    kind,
    direction: DIRECTIONS[Math.floor(random() * DIRECTIONS.length)],
    sign: number % 2 ? 1 : -1, // towards the copunctal point, or away from it
  }));
}

/** The dots of a plate: places and radii as shares of the plate's radius, colours for a canvas. */
export function dots({ kind, direction, sign }, random) {
  return placed(random).map((dot) => ({ ...dot, colour: colour(kind, sign, isFigure(dot, direction), random()) }));
}

/** sRGB, from 0 to 1 if the colour is one that screens can show. */
export function srgb([u, v], luminance) {
  const xyz = [(luminance * 9 * u) / (4 * v), luminance, (luminance * (12 - 3 * u - 20 * v)) / (4 * v)];
  const linear = FROM_XYZ.map((row) => row.reduce((sum, weight, index) => sum + weight * xyz[index], 0));
  return linear.map((value) => (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055));
}

/** A chromaticity on a confusion line, so far from grey. */
export function confused(kind, distance) {
  const away = COPUNCTAL[kind].map((value, axis) => value - GREY[axis]);
  const length = Math.hypot(...away);
  return GREY.map((value, axis) => value + (distance * away[axis]) / length);
}

function colour(kind, sign, inFigure, chance) {
  const between = ([low, high]) => low + chance * (high - low);
  if (kind === "control") return css(srgb(GREY, between(inFigure ? CONTROL.figure : CONTROL.ground)));
  return css(srgb(inFigure ? confused(kind, sign * STRENGTH) : GREY, between(BRIGHT)));
}

function css(channels) {
  return `rgb(${channels.map((value) => Math.round(255 * value)).join(" ")})`;
}

function isFigure({ x, y }, direction) {
  const distance = Math.hypot(x, y);
  if (distance > RING.outer || distance < RING.inner) return false;
  const [along, across] = { up: [-y, x], right: [x, y], down: [y, x], left: [-x, y] }[direction];
  return !(along > 0 && Math.abs(across) < RING.gap / 2);
}

/** As many dots as find room, large ones first. */
function placed(random) {
  const found = [];
  const hasRoom = (dot) => found.every((other) => Math.hypot(dot.x - other.x, dot.y - other.y) > dot.r + other.r + 0.006);
  for (const r of RADII) {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const [angle, distance] = [2 * Math.PI * random(), (0.97 - r) * Math.sqrt(random())];
      const dot = { x: distance * Math.cos(angle), y: distance * Math.sin(angle), r };
      if (hasRoom(dot)) found.push(dot);
    }
  }
  return found;
}

function shuffled(items, random) {
  const order = items.map((item) => [random(), item]).sort(([one], [other]) => one - other);
  return order.map(([, item]) => item);
}
