/** Fetches, decodes and hashes images away from the page, whose frames are not to wait for that. */

import { decoded } from "./decoding.js";

addEventListener("message", async ({ data: { id, url, afresh } }) => {
  try {
    const { bitmap, sha256 } = await decoded(url, afresh, true);
    postMessage({ id, bitmap, sha256 }, [bitmap]);
  } catch ({ status, message }) {
    postMessage({ id, failure: { status, message } });
  }
});
