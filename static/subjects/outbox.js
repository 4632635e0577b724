/** Votes that the server has not acknowledged. They outlive a reload or a crash: each has its own key in localStorage. */

import { lost, persist, sendJson } from "./http.js";

// Of this subject alone: another one may have voted at this computer before, and will send theirs on return.
const PREFIX = `discern.vote.${document.body.dataset.subject}.`;

/** Fires `change` whenever a vote is added, saved or refused, and when the connection fails or returns. */
export class Outbox extends EventTarget {
  votes = new Map(stored()); // trial -> body of the request
  refusals = new Map(); // trial -> why the server refused its vote: sent again at the next load, never discarded
  trouble = "";
  #sending = false;

  constructor() {
    super();
    addEventListener("beforeunload", (event) => this.lasting || event.preventDefault());
  }

  get waiting() {
    return this.votes.size - this.refusals.size;
  }

  /** Whether every vote outlives this page. */
  get lasting() {
    return [...this.votes.keys()].every(isStored);
  }

  add(trial, vote) {
    this.votes.set(trial, vote);
    storage(() => localStorage.setItem(PREFIX + trial, JSON.stringify(vote)));
    this.send();
  }

  /** Sends one vote after the other until none waits. */
  async send() {
    this.#changed();
    if (this.#sending) return;
    this.#sending = true;
    while (this.waiting > 0) await this.#put([...this.votes.keys()].find((trial) => !this.refusals.has(trial)));
    this.#sending = false;
  }

  /** Resolves once no vote waits. */
  async sent() {
    while (this.waiting > 0) {
      await new Promise((resolve) => this.addEventListener("change", resolve, { once: true }));
    }
  }

  async #put(trial) {
    try {
      await persist(() => put(trial, this.votes.get(trial)), (trouble) => this.#changed(trouble));
      this.votes.delete(trial);
      storage(() => localStorage.removeItem(PREFIX + trial));
    } catch (refused) {
      this.refusals.set(trial, refused);
    }
    this.#changed();
  }

  #changed(trouble = this.trouble) {
    this.trouble = trouble;
    this.dispatchEvent(new Event("change"));
  }
}

async function put(trial, vote) {
  const answer = await sendJson("PUT", `/api/subject/trials/${trial}/vote`, vote);
  if (answer.trial !== trial) lost(); // whoever answered, it was not our server
}

function stored() {
  const keys = storage(() => Object.keys(localStorage)) ?? [];
  const ours = keys.filter((key) => key.startsWith(PREFIX));
  return ours.map((key) => [key.slice(PREFIX.length), JSON.parse(localStorage.getItem(key))]);
}

function isStored(trial) {
  return Boolean(storage(() => localStorage.getItem(PREFIX + trial)));
}

/** localStorage may be full, or forbidden altogether: then every access throws. */
function storage(access) {
  try {
    return access();
  } catch {
    return undefined;
  }
}
