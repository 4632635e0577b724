/** Pauses of the session, which the server asks for: before the first trials that count, breaks, and rests. */

import { t } from "./words.js";

/** Resolves when the subject goes on, which they can when the pause has lasted long enough; or to UNDO, which `undo` allows. */
export async function pause(instead, { reason, seconds }, outbox, undo) {
  const over = Date.now() + 1000 * seconds; // the page's own clock may stand still while the computer sleeps
  const left = () => Math.max(0, Math.ceil((over - Date.now()) / 1000));
  const content = () => ({ ...contentOf(reason, left(), outbox), undo });
  const ticking = setInterval(() => instead.change(content()), 250);
  const answer = await instead.interval(content());
  clearInterval(ticking);
  return answer;
}

function contentOf(reason, left, outbox) {
  const done = progress(outbox);
  const button = { button: t("Go on"), disabled: left > 0, timer: left > 0 ? clock(left) : "" };
  if (reason === "start") {
    const more = t("From now on your answers count, and you are no longer told whether they are right.");
    return { words: t("That was the practice."), more, ...button, button: t("Start") };
  }
  if (reason === "break") return { words: t("Time for a break. Look away from the screen."), more: done, ...button };
  const words = t("That is enough for one sitting. Please come back after a rest.");
  const link = t("Your link stays valid: you can close this page and open it again later.");
  return { words, more: `${done} ${link}`, ...button };
}

function progress({ progress: { voted, total }, size }) {
  const done = t("You have done {n} of {total}.", { n: voted, total });
  const saved = t("Every vote is saved.");
  return size === 0 ? `${done} ${saved}` : done;
}

/** 1:05, or 1:02:03. */
function clock(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const [first, ...rest] = parts[0] ? parts : parts.slice(1);
  return [first, ...rest.map((part) => String(part).padStart(2, "0"))].join(":");
}
