/** How far the subject is, and whether everything is saved. */

import { said, trouble } from "./troubles.js";
import { t } from "./words.js";

const QUIET_MS = 500; // a vote saved sooner is not worth a flicker beside the images
const element = (id) => document.getElementById(id);
let delayed = null; // timer that starts with the first vote that waits
let overdue = false;

/** Which trial this is, of its part of the session. */
export function showPosition({ trial, block }) {
  const [n, size] = [trial.position, block?.size ?? 0];
  let words = t("{n} of {size}", { n, size });
  if (block?.training) words = t("practice, {n} of {size}", { n, size });
  else if (block?.blocks > 1) {
    words = t("part {part} of {parts}, {n} of {size}", { part: block.number, parts: block.blocks, n, size });
  }
  element("count").textContent = words;
}

export function showSaved(outbox) {
  const { voted, total } = outbox.progress;
  Object.assign(element("progress"), { max: total || 1, value: voted });
  document.documentElement.dataset.unsent = outbox.size;
  if (outbox.waiting > 0 && !outbox.trouble) {
    delayed ??= setTimeout(() => ((overdue = true), showSaved(outbox)), QUIET_MS);
    if (overdue) say(t("saving {n} …", { n: outbox.waiting }));
  } else {
    clearTimeout(delayed);
    [delayed, overdue] = [null, false];
    say(unsaved(outbox) || refusal(outbox) || t("saved"));
  }
}

function say(words) {
  if (element("saved").textContent !== words) element("saved").textContent = words;
}

function unsaved(outbox) {
  if (outbox.waiting === 0) return "";
  return t("{trouble}, {votes} {place}", {
    trouble: trouble(outbox.trouble), votes: votes(outbox.waiting), place: place(outbox),
  });
}

/** What the server did not accept, if anything. */
export function refusal(outbox) {
  const [first] = outbox.refusals;
  if (!first) return "";
  return t("{votes} not accepted by the server: {reason}; {place}. Please tell the experimenter.", {
    votes: votes(outbox.refusals.length), reason: said(first), place: place(outbox),
  });
}

/** How many votes are kept where. */
export function kept(outbox) {
  return outbox.size ? t("{votes} {place}.", { votes: votes(outbox.size), place: place(outbox) }) : "";
}

function votes(n) {
  return n === 1 ? t("1 vote") : t("{n} votes", { n });
}

function place({ lasting }) {
  return lasting ? t("kept on this computer") : t("kept in this page only: leave it open");
}
