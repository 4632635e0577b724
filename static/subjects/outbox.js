/** Votes that the server has not acknowledged, in the order in which they were cast. They outlive a reload or a crash. */

import { afterFrame } from "./frames.js";
import { lost, persist, sendJson } from "./http.js";
import { discard, leftovers } from "./leftovers.js";
import * as storage from "./storage.js";
import { AS_SUBJECT, SUBJECT } from "./subject.js"; // another one may have voted here before, and will send theirs on return

/** Fires `change` whenever a vote is added, stored, saved or refused, and when the connection fails or returns; `settled`,
    with {trial, stale}, when the last of what was cast on a trial is saved, or was found to be voted on elsewhere. */
export class Outbox extends EventTarget {
  /* A vote: {trial, body, refused: why the server refused it (sent again at the next load, never discarded),
     kept: promise of what takes it out of the browser's store; null where it could not be stored} */
  #votes = [];
  trouble = "";
  progress = { voted: 0, total: 0 }; // as the server counts
  #sending = false;
  #forgotten = Promise.resolve(); // resolves once no saved vote is left in the browser's store

  constructor() {
    super();
    addEventListener("beforeunload", (event) => this.lasting || event.preventDefault());
  }

  /** Takes up what an earlier page has left, and begins to send it. */
  async load() {
    for (const [key, vote] of leftovers(SUBJECT)) this.#votes.push({ ...vote, kept: async () => discard(key) });
    const found = await storage.stored(SUBJECT).catch(() => []); // then nothing can be stored either, which `add` says
    for (const [key, vote] of found) this.#votes.push({ ...vote, kept: () => storage.remove(key) });
    this.send();
  }

  /** How many are not saved, */
  get size() {
    return this.#votes.length;
  }

  /** how many of them are on their way, */
  get waiting() {
    return this.#votes.length - this.refusals.length;
  }

  /** and why the others are not. */
  get refusals() {
    return this.#votes.filter(({ refused }) => refused).map(({ refused }) => refused);
  }

  /** Whether every vote outlives this page. */
  get lasting() {
    return this.#votes.every(({ kept }) => kept);
  }

  /** What was last cast on a trial, if it is not saved. */
  newest(trial) {
    return this.#votes.findLast((vote) => vote.trial === trial)?.body;
  }

  refusalOf(trial) {
    return this.#votes.find((vote) => vote.trial === trial && vote.refused)?.refused;
  }

  /** Whether a vote is taken back that the server may still believe in. */
  get takesBack() {
    return this.#votes.some(({ body, refused }) => body.choice === null && !refused);
  }

  /** In memory at once; stored and sent when the next pair is on the screen. */
  add(trial, body) {
    const vote = { trial, body, refused: null, kept: true };
    this.#votes.push(vote);
    vote.storing = new Promise((stored) => afterFrame(() => {
      this.#keep(vote).then(stored); // asked for first, so that it is before the vote can leave the page
      this.send();
    }));
  }

  /** Notes how far the subject is, from any answer of the server's. */
  counted({ voted, total }) {
    this.progress = { voted, total };
    this.#changed();
  }

  /** Sends one vote after the other until none waits. */
  async send() {
    this.#changed();
    if (this.#sending) return;
    this.#sending = true;
    while (this.waiting > 0) await this.#put(this.#votes.find(({ refused }) => !refused));
    this.#sending = false;
  }

  /** Resolves once no vote waits, */
  async sent() {
    while (this.waiting > 0) {
      await new Promise((resolve) => this.addEventListener("change", resolve, { once: true }));
    }
  }

  /** and once none that is saved will be found again by the next page. */
  async cleared() {
    await this.sent();
    await this.#forgotten;
  }

  /** Stores a vote; while that is under way it counts as kept, which it is a moment later. */
  #keep(vote) {
    const { trial, body } = vote;
    return storage.store(SUBJECT, { trial, body }).then(
      (key) => (vote.kept = () => storage.remove(key)),
      () => ((vote.kept = null), this.#changed()), // forbidden or full: the page says so, and warns before it is left
    );
  }

  async #put(vote) {
    try {
      const answer = await persist(() => put(vote), (trouble) => this.#changed(trouble));
      this.progress = { voted: answer.voted, total: answer.total };
      this.#votes.splice(this.#votes.indexOf(vote), 1);
      this.#settle(vote, answer); // at once: trials that arrive from now on may have been handed out before it
      this.#forgotten = this.#forget(vote, this.#forgotten); // the next vote does not wait for the disk
    } catch (refused) {
      vote.refused = refused;
    }
    this.#changed();
  }

  async #forget(vote, earlier) {
    await earlier;
    await vote.storing;
    await vote.kept?.().catch(() => {}); // it is sent again at the next load, which changes nothing
  }

  #settle({ trial, body }, { stale }) {
    if (body.choice === null || this.newest(trial)) return;
    this.dispatchEvent(new CustomEvent("settled", { detail: { trial, stale } }));
  }

  #changed(trouble = this.trouble) {
    this.trouble = trouble;
    this.dispatchEvent(new Event("change"));
  }
}

async function put({ trial, body }) {
  const answer = await sendJson("PUT", `/api/subject/trials/${trial}/vote`, body, AS_SUBJECT);
  return answer.trial === trial ? answer : lost(); // whoever answered, it was not our server
}
