/** The next trials, asked for and decoded while the subject looks at this one: as many as the memory has room for. */

import { afterFrame } from "./frames.js";
import { pause, persist, sendJson } from "./http.js";
import { bytesOf, free, picturesOf } from "./pictures.js";
import { AS_SUBJECT } from "./subject.js";
import * as troubles from "./troubles.js";
import { t } from "./words.js";

const FEWEST = 2;
const FIRST = 4; // asked for before the images' size is known
const LOOK_MS = 50; // from the paint of a pair until others than the next are decoded,
const REST_MS = 400; // and from one of them to another
const FARTHEST = 50; // what the server hands out at most
const MOST_UNSENT = 40;
const MEGABYTE = 2 ** 20;
const GIGABYTES = navigator.deviceMemory ?? 4;
const BUDGET = Math.min(Math.max((GIGABYTES * 1024) / 16, 64), 512) * MEGABYTE;

export class LookAhead {
  #outbox;
  #explain;
  #prepare;
  #queue = []; // {trial, block, pictures: promise of them, once there is room}
  #known = new Set(); // an answer under way may name a trial that was voted on meanwhile, here or before this page
  #settled = new Set(); // those of them on which the server has a vote
  #asking = null;
  #goOn = false;
  #more = true; // whether the server may have trials that are not in the queue
  #pending = ""; // what to say while votes must be saved first
  #timer = null; // of the next decoding that can wait
  #decoding = false; // whether such a one is under way

  /** `explain` is told why there may be nothing to show, and `prepare` which pictures come next. */
  constructor(outbox, { explain, prepare }) {
    this.#outbox = outbox;
    this.#explain = explain;
    this.#prepare = prepare;
    outbox.addEventListener("settled", ({ detail: { trial, stale } }) => {
      this.#known.add(trial);
      this.#settled.add(trial);
      if (stale) this.#startAfresh();
    });
  }

  /** {trial, block, pictures}; or {pause}; or null when every trial has its vote, and the server has it. Throws `Refused`. */
  async next() {
    if (this.#outbox.waiting >= MOST_UNSENT) await this.#votesSent();
    const instead = await this.#fill();
    if (instead !== undefined) return instead;
    const next = this.#queue[0];
    this.#decode(next);
    const pictures = await next.pictures;
    if (this.#queue[0] !== next) return this.next(); // another tab has voted on it meanwhile
    this.#queue.shift();
    afterFrame(() => this.#goAhead());
    return { ...next, pictures };
  }

  /** What was shown is to come again, before everything else. */
  putBack({ pictures, ...shown }) {
    this.#settled.delete(shown.trial.id);
    this.#queue.unshift({ ...shown, pictures: Promise.resolve(pictures) });
  }

  /** The subject has ended a pause. */
  goOn() {
    this.#goOn = true;
  }

  /** Resolves once a trial is in the queue; to what `next` is to return if none comes. */
  async #fill() {
    while (this.#queue.length === 0) {
      const { trials, finished, pause: interval } = await this.#ask();
      if (this.#queue.length > 0) break;
      if (finished && this.#outbox.waiting === 0) return null; // what waits may take a vote back
      if (interval && this.#outbox.waiting === 0) return { pause: interval };
      await this.#votesArrive(trials);
    }
    return undefined;
  }

  /** The subject has voted on every trial that the server waits for. */
  async #votesArrive(trials) {
    if (this.#outbox.waiting > 0) return this.#votesSent();
    const refused = trials.map(({ id }) => this.#outbox.refusalOf(id)).find(Boolean);
    if (refused) throw refused;
    return pause(500); // the answer is older than the last vote
  }

  async #votesSent() {
    const { waiting } = this.#outbox;
    this.#pending = t("Votes not saved yet: {n}. Keep this page open; it goes on as soon as they are.", { n: waiting });
    this.#report("");
    await this.#outbox.sent();
    this.#pending = "";
    this.#report("");
  }

  /** Another page votes for this subject: what waits here may have its vote, which only the server knows. */
  #startAfresh() {
    for (const { trial, pictures } of this.#queue.splice(0)) {
      this.#known.delete(trial.id);
      pictures?.then(free, () => {});
    }
    this.#more = true;
  }

  /** What is to be done while the subject looks at a pair. */
  #goAhead() {
    this.#layReady();
    if (this.#more && this.#queue.length < this.#room()) this.#ask().catch(() => {}); // a refusal comes again when nothing is left to show
  }

  /** The next pair as soon as can be, and only then the others. */
  async #layReady() {
    const [next] = this.#queue;
    if (!next) return;
    this.#decode(next);
    const pictures = await next.pictures.catch(() => null);
    if (pictures && next === this.#queue[0]) this.#prepare(pictures);
    this.#fillUp(LOOK_MS);
  }

  /** Asks for more trials, once at a time. */
  #ask() {
    this.#asking ??= this.#fetch().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #fetch() {
    const wanted = Math.min(FARTHEST, this.#room() + this.#outbox.size + 1); // one is on the screen
    const body = { ahead: wanted, go_on: this.#goOn };
    const settled = [...this.#settled];
    const send = () => sendJson("POST", "/api/subject/trials", body, AS_SUBJECT);
    const answer = await persist(send, (trouble) => this.#report(trouble));
    this.#goOn = false;
    this.#more = answer.trials.length >= wanted;
    this.#outbox.counted(answer);
    this.#reopen(answer.trials, settled);
    for (const trial of answer.trials) this.#add(trial, answer.block);
    this.#layReady();
    return answer;
  }

  /** What is handed out although its vote had been saved before the request was taken back elsewhere. */
  #reopen(trials, settled) {
    for (const { id } of trials) if (settled.includes(id) && this.#settled.delete(id)) this.#known.delete(id);
  }

  #add(trial, block) {
    const unsent = this.#outbox.newest(trial.id);
    if (this.#known.has(trial.id) || unsent?.choice) return;
    this.#known.add(trial.id);
    const revision = Math.max(trial.revision, (unsent?.revision ?? 0) + 1);
    this.#queue.push({ trial: { ...trial, revision }, block, pictures: null });
  }

  #room() {
    const largest = Math.max(...this.#queue.map(({ trial }) => bytesOf(trial)));
    return this.#queue.length ? Math.min(FARTHEST, Math.max(FEWEST, Math.floor(BUDGET / largest))) : FIRST;
  }

  #decode(next) {
    if (next.pictures) return;
    next.pictures = picturesOf(next.trial, (trouble) => this.#report(trouble));
    next.pictures.catch(() => {}); // thrown when its turn comes
  }

  /** Decodes one pair after the other, with rests: a vote that falls together with it is followed by a later paint. */
  #fillUp(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#decodeOne(), wait);
  }

  async #decodeOne() {
    const next = this.#firstToDecode();
    if (!next || this.#decoding) return;
    this.#decoding = true;
    this.#decode(next);
    await next.pictures.catch(() => {});
    this.#decoding = false;
    this.#fillUp(REST_MS);
  }

  /** The first pair that is not decoded and for which there is room. */
  #firstToDecode() {
    let bytes = 0;
    return this.#queue.find(({ trial, pictures }, index) => {
      bytes += bytesOf(trial);
      return !pictures && (index < FEWEST || bytes <= BUDGET);
    });
  }

  #report(trouble) {
    const images = trouble
      ? t("Waiting for the next images: {trouble}. Trying again …", { trouble: troubles.trouble(trouble) })
      : t("Loading …");
    this.#explain(this.#pending || images);
  }
}
