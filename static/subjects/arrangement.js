/** Which windows a trial's images get, by the protocol and the room that there is. */

import { arrange, smallest, surroundings, windowSize } from "./geometry.js";
import { protocol } from "./protocol.js";

const FLIP = protocol.display === "flip";
const TOOLS = protocol.pan || protocol.zoom.length > 1;

/**
 * Where the images stand, each enlarged so many times, as `arrange` of geometry.js says it: with `places` by part, the
 * enlarged `image`'s size, and `three` where the reference has a place of its own; or without places, for want of room.
 *
 * `trial` has the images' width and height, and whether there is a reference; `have` is a window's size in device pixels.
 */
export function arrangement({ width, height, reference }, zoom, have = windowSize()) {
  const image = { width: width * zoom, height: height * zoom };
  const base = { width: width * protocol.zoom[0], height: height * protocol.zoom[0] };
  const least = protocol.pan ? smallest(image) : base;
  const within = (columns, size = image, must = least) => arrange(size, must, columns, lines(columns, reference), have);
  if (FLIP) return { image, ...together(within(1)) };
  const three = reference ? within(3) : {};
  if (three.places) return { image, ...three, places: named(three.places, ["left", "reference", "right"]), three: true };
  const two = within(2);
  if (!two.places) return two;
  const places = named(two.places, ["left", "right"]);
  if (reference) [places.reference] = within(1, two, two).places;
  return { image, ...two, places };
}

function lines(columns, reference) {
  return surroundings({ captions: FLIP || Boolean(reference), tools: TOOLS || Boolean(reference && columns < 3) });
}

/** All in the one window. */
function together({ places, ...found }) {
  return { ...found, places: places && { left: places[0], right: places[0], reference: places[0] } };
}

function named(places, parts) {
  return Object.fromEntries(parts.map((part, index) => [part, places[index]]));
}
