/** Images decoded ahead of time, a few at once, so that a vote always finds a free connection. */

import { BROKEN, decoded } from "./decoding.js";
import { Refused } from "./http.js";
import { readable } from "./pixels.js";

const AT_ONCE = 4; // browsers open six connections to a server of HTTP/1.1
const CRASHES = 2; // of workers, after which there is none

const queue = []; // what waits for its turn
const underWay = new Map(); // id of a request to the worker -> its promise's functions
let running = 0;
let requests = 0;
let crashes = 0;
let worker = null;

/** The image behind an address, as {bitmap, sha256}; the hash is null where it cannot be known. */
export function decode(url, afresh) {
  return new Promise((resolve, reject) => {
    queue.push({ url, afresh, resolve, reject });
    advance();
  });
}

async function advance() {
  if (running >= AT_ONCE || queue.length === 0) return;
  const { url, afresh, resolve, reject } = queue.shift();
  running += 1;
  await (hasWorker() ? inWorker(url, afresh) : decoded(url, afresh, false)).then(resolve, reject);
  running -= 1;
  advance();
}

function hasWorker() {
  return readable && typeof Worker === "function" && crashes < CRASHES;
}

function inWorker(url, afresh) {
  worker ??= started();
  const id = (requests += 1);
  return new Promise((resolve, reject) => {
    underWay.set(id, { resolve, reject });
    worker.postMessage({ id, url: new URL(url, location).href, afresh });
  });
}

function started() {
  const made = new Worker("/static/subjects/decoder_worker.js", { type: "module" });
  made.addEventListener("message", ({ data }) => answered(data));
  made.addEventListener("error", () => crashed(made));
  return made;
}

function answered({ id, failure, ...image }) {
  const { resolve, reject } = underWay.get(id);
  underWay.delete(id);
  crashes = 0;
  if (!failure) resolve(image);
  else reject(failure.status ? new Refused(failure.status, failure.message) : new Error(failure.message));
}

/** It could not be loaded, or ran out of memory: what it was asked for is asked for again. */
function crashed(made) {
  if (made !== worker) return;
  worker = null;
  crashes += 1;
  made.terminate();
  for (const { reject } of underWay.values()) reject(new Error(BROKEN));
  underWay.clear();
}
