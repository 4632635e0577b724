/** The next trials, asked for and decoded while the subject looks at this one. */

import { pause, persist, sendJson } from "./http.js";
import { decodedPair } from "./images.js";

const AHEAD = 4;
const MOST = 20; // unsent votes; also what the server hands out at most

export class LookAhead {
  #outbox;
  #explain;
  #queue = []; // {trial, images: promise of the decoded pair}
  #known = new Set(); // an answer under way may name a trial that was voted on meanwhile
  #asking = null;
  #pending = ""; // what to say while votes must be saved first
  total = 0;

  /** `explain` is told why there may be nothing to show. */
  constructor(outbox, explain) {
    this.#outbox = outbox;
    this.#explain = explain;
  }

  /** The next trial with its images; null when the server has a vote on every one. Throws `Refused`. */
  async next() {
    if (this.#outbox.waiting >= MOST) await this.#votesSent();
    if (!(await this.#fill())) return null;
    const { trial, images } = this.#queue[0];
    const [left, right] = await images;
    this.#queue.shift();
    this.#ask().catch(() => {}); // a refusal comes again when nothing is left to show
    return { trial, left, right };
  }

  /** Resolves once a trial is in the queue, or to false if there are no more. */
  async #fill() {
    while (this.#queue.length === 0) {
      const { trials, finished } = await this.#ask();
      if (finished) return false;
      if (this.#queue.length === 0) await this.#votesArrive(trials);
    }
    return true;
  }

  /** The subject has voted on every trial that the server waits for. */
  async #votesArrive(trials) {
    const { waiting, refusals } = this.#outbox;
    if (waiting > 0) return this.#votesSent();
    const refused = trials.find(({ id }) => refusals.has(id));
    if (refused) throw refusals.get(refused.id);
    return pause(500); // the answer is older than the last vote
  }

  async #votesSent() {
    this.#pending = `Votes not saved yet: ${this.#outbox.waiting}. Keep this page open; it goes on as soon as they are.`;
    this.#report("");
    await this.#outbox.sent();
    this.#pending = "";
    this.#report("");
  }

  /** Asks for more trials, once at a time. */
  #ask() {
    this.#asking ??= this.#fetch().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #fetch() {
    const ahead = Math.min(MOST, AHEAD + this.#outbox.waiting);
    const ask = () => sendJson("POST", "/api/subject/trials", { ahead });
    const answer = await persist(ask, (trouble) => this.#report(trouble));
    this.total = answer.total;
    answer.trials.forEach((trial) => this.#add(trial));
    return answer;
  }

  #add(trial) {
    if (this.#known.has(trial.id) || this.#outbox.votes.has(trial.id)) return;
    this.#known.add(trial.id);
    const images = decodedPair(trial, (trouble) => this.#report(trouble));
    images.catch(() => {}); // thrown when its turn comes
    this.#queue.push({ trial, images });
  }

  #report(trouble) {
    const images = trouble ? `Waiting for the next images: ${trouble}. Trying again …` : "Loading …";
    this.#explain(this.#pending || images);
  }
}
