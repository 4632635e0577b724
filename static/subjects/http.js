/** Requests to the server, and the two ways in which they fail; troubles.js has the words. */

const PATIENCE_MS = 20_000;
const SHORTEST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const LARGEST_KEPT_ALIVE = 30_000; // browsers refuse more than 64 KiB of such bodies at once

/** The server understood and said no: the same request cannot succeed later. Its message is in the subject's language. */
export class Refused extends Error {
  constructor(status, said) {
    super(said);
    this.status = status;
  }
}

/** The reply to a request. Throws `Refused`, or another error if the same request may succeed later. */
export async function send(url, options) {
  const reply = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS), ...options }).catch(lost);
  if (reply.ok) return reply;
  if (reply.status >= 500 || [408, 425, 429].includes(reply.status)) throw new Error("the server is busy");
  const { said } = await reply.json().catch(() => ({}));
  throw new Refused(reply.status, typeof said === "string" ? said : "");
}

/** The body of a reply, however long that takes on a slow line; it is given up only after a time without a byte. */
export async function receive(url, options) {
  const silence = new AbortController();
  let patience;
  const heard = () => {
    clearTimeout(patience);
    patience = setTimeout(() => silence.abort(), PATIENCE_MS);
  };
  heard();
  try {
    const { body } = await send(url, { ...options, signal: silence.signal });
    return new Blob(await pieces(body.getReader(), heard));
  } finally {
    clearTimeout(patience);
  }
}

async function pieces(reader, heard) {
  const received = [];
  for (let piece; !(piece = await reader.read().catch(lost)).done; heard()) received.push(piece.value);
  return received;
}

/** JSON in, JSON out. A vote under way outlives the page. */
export async function sendJson(method, url, content, further = {}) {
  const headers = { "Content-Type": "application/json", ...further };
  const body = JSON.stringify(content);
  const reply = await send(url, { method, headers, body, keepalive: body.length < LARGEST_KEPT_ALIVE });
  return reply.json().catch(lost); // half a reply, or the log-in page of somebody's network
}

export function lost() {
  throw new Error("no connection");
}

/** Repeats `attempt` until it succeeds or is refused; `trouble` is told of each failure, and "" in the end. */
export async function persist(attempt, trouble) {
  for (let wait = SHORTEST_PAUSE_MS, tries = 0; ; wait = Math.min(2 * wait, LONGEST_PAUSE_MS), tries += 1) {
    try {
      const result = await attempt(tries);
      trouble("");
      return result;
    } catch (error) {
      if (error instanceof Refused) throw error;
      trouble(error.message);
      await pause(wait);
    }
  }
}

/** Waits so long, or until the computer is online again. */
export function pause(milliseconds) {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
    addEventListener("online", resolve, { once: true });
  });
}
