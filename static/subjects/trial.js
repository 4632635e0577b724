/** The subject's page: show a pair, take the vote, show the next; the network never holds it up. */

import { LookAhead } from "./lookahead.js";
import { Outbox } from "./outbox.js";
import { Stage } from "./stage.js";

const QUIET_MS = 500; // a vote saved sooner is not worth a flicker beside the images
const element = (id) => document.getElementById(id);

const stage = new Stage();
const outbox = new Outbox();
const lookahead = new LookAhead(outbox, (reason) => stage.explain(reason));
let delayed; // timer of a status that is not shown yet

outbox.addEventListener("change", report);
outbox.send();
offerFullScreen();
run().catch(halt);

async function run() {
  for (let next; (next = await lookahead.next()); ) {
    element("count").textContent = `${next.trial.number} of ${lookahead.total}`;
    Object.assign(element("progress"), { max: lookahead.total, value: next.trial.number - 1 });
    outbox.add(next.trial.id, await stage.ask(next));
  }
  await outbox.sent();
  stage.end(`All your votes are in. ${refusal()}`, "Finish", "/thanks");
  if (outbox.votes.size === 0) location.assign("/thanks");
}

function halt({ status, message }) {
  const words = status === 401 ? "this session has ended; open your invitation link again" : message;
  const kept = outbox.votes.size ? `${votes(outbox.votes.size)} ${place()}.` : "";
  stage.end(`${words}. ${kept}`, "Try again", "/trial");
}

/** Says whether everything is saved. */
function report() {
  document.documentElement.dataset.unsent = outbox.votes.size;
  const over = [...outbox.refusals.values()].find(({ status }) => status === 401 || status === 403);
  if (over) halt(over);
  clearTimeout(delayed);
  const saving = outbox.waiting > 0 && !outbox.trouble;
  const words = saving ? `saving ${outbox.waiting} …` : unsaved() || refusal() || "saved";
  delayed = setTimeout(() => (element("saved").textContent = words), saving ? QUIET_MS : 0);
}

function unsaved() {
  return outbox.waiting > 0 ? `${outbox.trouble}, ${votes(outbox.waiting)} ${place()}` : "";
}

function refusal() {
  const [first] = outbox.refusals.values();
  if (!first) return "";
  const what = `${votes(outbox.refusals.size)} not accepted by the server: ${first.message}`;
  return `${what}; ${place()}. Please tell the experimenter.`;
}

function votes(number) {
  return number === 1 ? "1 vote" : `${number} votes`;
}

function place() {
  return outbox.lasting ? "kept on this computer" : "kept in this page only: leave it open";
}

function offerFullScreen() {
  const button = element("full-screen");
  button.hidden = !document.fullscreenEnabled;
  button.addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen();
  });
}
