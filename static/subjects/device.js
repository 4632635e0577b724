/** The device check: one line for each thing that matters, kept up to date while the subject changes the window. */

import { arrangement } from "./arrangement.js";
import * as facts from "./device_facts.js";
import { drawRoom } from "./device_drawing.js";
import { onChange, windowSize } from "./geometry.js";
import { protocol } from "./protocol.js";
import { finish } from "./step.js";
import { t } from "./words.js";

const element = (id) => document.getElementById(id);
const { width, height } = element("device").dataset;
// The largest trial that there can be.
const largest = { width: Number(width), height: Number(height), reference: protocol.reference };
const measured = {}; // what takes a while: frames, storage, pixels
let sending = false;

onChange(refresh);
element("continue").addEventListener("click", send);
refresh();
measure("frames", facts.frameTime());
measure("storage", facts.canStore());
measure("pixels", facts.pixelsCanBeRead());

/** What is found, whenever it is; a later change of the window does not ask for it again. */
async function measure(name, finding) {
  measured[name] = await finding;
  refresh();
}

function refresh() {
  const isTurnedAway = facts.isPhone() && !protocol.phones;
  element("phone").hidden = !isTurnedAway;
  element("checking").hidden = isTurnedAway;
  const states = Object.entries(findings()).map(([name, { state, words }]) => {
    say(name, state, words);
    return state;
  });
  drawRoom(arranged(), wholeScreen());
  const changes = states.filter((state) => state === "change").length;
  const isReady = changes === 0 && !states.includes("checking") && !isTurnedAway;
  element("continue").disabled = !isReady || sending;
  if (!sending) sum(changes, isReady);
}

function sum(changes, isReady) {
  const words = isReady ? "" : changes ? t("Please change what is marked with ! first.") : t("Checking …");
  if (element("status").textContent !== words) element("status").textContent = words; // announced only when new
}

function say(name, state, words) {
  const line = document.querySelector(`[data-check="${name}"]`);
  const said = { ok: t("fine"), change: t("to be changed"), note: t("to be noted"), checking: "" }[state];
  line.dataset.state = state;
  line.querySelector("[data-said]").textContent = said;
  line.querySelector("p").textContent = words;
}

function findings() {
  return {
    window: room(),
    zoom: zoom(),
    colour: colour(),
    frames: frames(),
    storage: storage(),
    pixels: pixels(),
  };
}

/** As the trial page arranges the images in a window of this size. */
function arranged(have = windowSize()) {
  return arrangement(largest, protocol.zoom[0], have);
}

function wholeScreen() {
  return [screen.width, screen.height].map((side) => Math.round(side * devicePixelRatio));
}

function room() {
  const { need, have, places } = arranged();
  const size = ([across, down]) => `${across}\u00a0×\u00a0${down}`;
  const sizes = { needed: size(need), present: size(have), screen: size(wholeScreen()) };
  if (places) return ok(t("{present} pixels; the images need {needed}.", sizes));
  if (!arranged(wholeScreen()).places) {
    return change(
      t("The images need {needed} pixels, and this screen has {screen}. Please open your invitation link on a larger one.", sizes),
    );
  }
  return change(
    facts.isMac()
      ? t("The images need {needed} pixels, and this window has {present}. Make it larger; Ctrl ⌘ F fills the screen.", sizes)
      : t("The images need {needed} pixels, and this window has {present}. Make it larger; F11 fills the screen.", sizes),
  );
}

function zoom() {
  const keys = { keys: facts.isMac() ? "⌘ 0" : "Ctrl 0", zoom: Math.round(100 * (facts.pageZoom() ?? 1)) };
  if (facts.isPinched()) return change(t("The page is magnified. Pinch it back to its normal size."));
  if (facts.hidesZoom() && facts.isZoomed()) {
    return change(t("The browser’s zoom is not 100%. Press {keys}, and close a side bar.", keys));
  }
  if (facts.isZoomed()) {
    return note(t("The browser’s zoom seems to be {zoom}%. The images are shown pixel by pixel all the same; {keys} sets it to 100%.", keys));
  }
  return ok(t("The page is shown at its normal size."));
}

function colour() {
  if (matchMedia("(inverted-colors: inverted)").matches) return change(t("Colours are inverted. Please switch that off."));
  if (screen.colorDepth < 24) return note(t("This screen shows fewer colours than usual ({bits} bits).", { bits: screen.colorDepth }));
  if (facts.gamut() === "unknown") return note(t("This screen seems to show a smaller range of colours than usual."));
  return ok(t("{bits} bits. Night light and colour filters should be off.", { bits: screen.colorDepth }));
}

function frames() {
  if (measured.frames === undefined) return { state: "checking", words: "" };
  if (measured.frames === null) return note(t("Could not be measured while this page was out of sight."));
  const rate = { rate: Math.round(1000 / measured.frames) };
  if (measured.frames > facts.SLOW_MS) return note(t("About {rate} pictures a second, which is slow. Closing other programs may help.", rate));
  return ok(t("About {rate} pictures a second.", rate));
}

function storage() {
  if (measured.storage === undefined) return { state: "checking", words: "" };
  if (measured.storage) return ok(t("Votes are kept on this computer until the server has them."));
  return note(t("This browser keeps nothing, as in a private window. Votes are safe while the page stays open."));
}

function pixels() {
  if (measured.pixels === undefined) return { state: "checking", words: "" };
  if (measured.pixels) return ok(t("What is shown can be compared with what was sent."));
  return note(t("This browser does not let pages read images back exactly. They are shown as they are, but that cannot be verified; it is noted with your votes."));
}

function ok(words) {
  return { state: "ok", words };
}

function change(words) {
  return { state: "change", words };
}

function note(words) {
  return { state: "note", words };
}

async function send() {
  sending = true;
  refresh();
  const notes = Object.entries(findings()).filter(([, { state }]) => state !== "ok");
  await finish("device", { ...facts.all(measured), notes: notes.map(([name]) => name) }, element("status"));
  sending = false;
  element("continue").disabled = false;
}
