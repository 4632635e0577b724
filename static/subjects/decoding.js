/** An image from its address to decoded pixels and their hash; in a worker where there is one, else on the page. */

import { receive } from "./http.js";
import { pixelHash } from "./pixels.js";

export const BROKEN = "an image could not be loaded"; // what came is not the image
const AS_IT_IS = { colorSpaceConversion: "none", premultiplyAlpha: "none" };

/** `afresh` replaces a copy in the browser's cache, which may be damaged. Throws `Refused`, or what may pass. */
export async function decoded(url, afresh, hashed) {
  const image = await receive(url, { cache: afresh ? "reload" : "default" });
  const bitmap = await createImageBitmap(image, AS_IT_IS).catch(broken);
  return { bitmap, sha256: hashed ? await pixelHash(bitmap) : null };
}

function broken() {
  throw new Error(BROKEN);
}
