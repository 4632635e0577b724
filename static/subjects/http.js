/** Requests to the server, and the two ways in which they fail. */

const PATIENCE_MS = 20_000;
const SHORTEST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/** The server understood and said no: the same request cannot succeed later. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The reply to a request. Throws `Refused`, or another error if the same request may succeed later. */
export async function send(url, options) {
  const reply = await fetch(url, { ...options, signal: AbortSignal.timeout(PATIENCE_MS) }).catch(lost);
  if (reply.ok) return reply;
  if (reply.status >= 500 || [408, 425, 429].includes(reply.status)) throw new Error("the server is busy");
  const { detail } = await reply.json().catch(() => ({}));
  throw new Refused(reply.status, typeof detail === "string" ? detail : `the server answered ${reply.status}`);
}

/** JSON in, JSON out. A vote under way outlives the page. */
export async function sendJson(method, url, body) {
  const headers = { "Content-Type": "application/json" };
  const reply = await send(url, { method, headers, body: JSON.stringify(body), keepalive: true });
  return reply.json().catch(lost); // half a reply, or the log-in page of somebody's network
}

export function lost() {
  throw new Error("no connection");
}

/** Repeats `attempt` until it succeeds or is refused; `trouble` is told of each failure, and "" in the end. */
export async function persist(attempt, trouble) {
  for (let wait = SHORTEST_PAUSE_MS; ; wait = Math.min(2 * wait, LONGEST_PAUSE_MS)) {
    try {
      const result = await attempt();
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
