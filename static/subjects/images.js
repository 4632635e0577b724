/** Images that are whole and decoded before they are needed. */

import { persist, send } from "./http.js";

/** Resolves to a trial's two images, ready to be painted within one frame; tries until both are whole. */
export function decodedPair(trial, trouble) {
  return Promise.all(["left", "right"].map((side) => persist(() => decoded(trial, side), trouble)));
}

async function decoded(trial, side) {
  const image = new Image();
  image.alt = `${side} image`;
  image.draggable = false;
  image.decoding = "sync"; // painted in the frame in which it is shown, never one frame after the other image
  image.src = trial[side];
  const whole = await image.decode().then(() => true, () => false);
  if (whole && image.naturalWidth === trial.width && image.naturalHeight === trial.height) return image;
  const again = await send(trial[side], { cache: "reload" }); // throws if refused; replaces a damaged copy in the cache
  await again.blob();
  throw new Error("an image could not be loaded");
}
