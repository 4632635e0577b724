/** The subject's page: show a pair, take the vote, show the next; the network never holds it up. */

import { afterFrame } from "./frames.js";
import { Inspection } from "./inspection.js";
import { LookAhead } from "./lookahead.js";
import { Outbox } from "./outbox.js";
import { pause } from "./pause.js";
import { free } from "./pictures.js";
import { protocol } from "./protocol.js";
import { Stage } from "./stage.js";
import { kept, refusal, showPosition, showSaved } from "./status.js";
import { said } from "./troubles.js";
import { UNDO, withdrawal } from "./vote.js";
import { prepare } from "./windows.js";
import { t } from "./words.js";

const stage = new Stage();
const outbox = new Outbox();
const lookahead = new LookAhead(outbox, { explain: (reason) => stage.instead.explain(reason), prepare });
let previous = null; // the trial that was voted on last, as long as that vote can be taken back

outbox.addEventListener("change", report);
offerFullScreen();
run().catch(halt);

async function run() {
  await outbox.load();
  if (outbox.takesBack) await outbox.sent(); // only then does the server hand that trial out again
  do await toTheEnd();
  while (await goesBack());
  stage.instead.end(refusal(outbox) || t("All your votes are in."), t("Finish"), "/thanks");
  if (outbox.size === 0) location.assign("/thanks");
}

async function toTheEnd() {
  for (let next; (next = await lookahead.next()); ) {
    if (next.pause) await rest(next.pause);
    else await show(next);
  }
}

/** All votes are in: until the subject says that they have finished, they may take back the last one. */
async function goesBack() {
  if (!previous || outbox.size > 0) return false;
  const content = { words: t("All your votes are in."), button: t("Finish"), undo: true };
  const answer = await stage.instead.interval(content);
  if (answer === UNDO) takeBack();
  return answer === UNDO;
}

async function show(next) {
  const { trial } = next;
  next.inspection ??= new Inspection();
  afterFrame(() => showPosition(next));
  const answer = await stage.ask(next, previous !== null);
  if (answer === UNDO) return takeBack(next);
  add(trial, answer);
  if (trial.better) await stage.feedback(next, answer.choice);
  forget(previous);
  previous = null;
  if (protocol.undo && !trial.better) previous = next;
  else forget(next);
  return undefined;
}

/** The trial before comes again, and after it the one that was interrupted, if any. */
function takeBack(interrupted) {
  add(previous.trial, withdrawal(previous.trial));
  if (interrupted) lookahead.putBack(interrupted);
  lookahead.putBack({ ...previous, inspection: null }); // its vote has taken that along
  previous = null;
}

function add(trial, body) {
  trial.revision += 1;
  outbox.add(trial.id, body);
}

async function rest(interval) {
  if ((await pause(stage.instead, interval, outbox, previous !== null)) === UNDO) return takeBack();
  forget(previous);
  previous = null;
  return lookahead.goOn();
}

function forget(shown) {
  if (shown) afterFrame(() => free(shown.pictures));
}

function halt(error) {
  if (!error.status) reportError(error); // a fault of this page
  const reason = said(error);
  const words = t("{reason}.", { reason: reason.charAt(0).toUpperCase() + reason.slice(1) });
  stage.instead.end([words, kept(outbox)].filter(Boolean).join(" "), t("Try again"), "/trial");
}

/** Says whether everything is saved. */
function report() {
  const over = outbox.refusals.find(({ status }) => status === 401 || status === 403);
  if (over) halt(over);
  showSaved(outbox);
}

function offerFullScreen() {
  const button = document.getElementById("full-screen");
  button.hidden = !document.fullscreenEnabled;
  button.addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen();
  });
}
