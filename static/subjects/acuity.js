/** Acuity: the screen is measured with a bank card, then letters E are shown in decreasing size. */

import { hidesZoom, isPinched, pageZoom } from "./device_facts.js";
import { onDirection, showPart, sizeCanvas } from "./directions.js";
import { onChange } from "./geometry.js";
import { logmar, pixelsPerMinute, sizes, Staircase } from "./staircase.js";
import { finish } from "./step.js";
import { t } from "./words.js";

const CARD_MM = 85.6;
const ASSUMED_PX_PER_MM = 96 / 25.4; // CSS pixels
const DISTANCE_CM = 60;
const QUARTERS = { right: 0, down: 1, left: 2, up: 3 };
const DIRECTIONS = Object.keys(QUARTERS);

const element = (id) => document.getElementById(id);
const slider = element("card-width");
const letters = [];
let sized = false;
let measured = null; // {pxPerMm, ratio, zoom}: good as long as the page keeps its size
let staircase;
let perMinute;
let shown; // {size, direction, at}

slider.value = CARD_MM * ASSUMED_PX_PER_MM;
slider.addEventListener("input", drawCard);
for (const button of document.querySelectorAll("[data-step]")) {
  button.addEventListener("click", () => {
    slider.valueAsNumber += Number(button.dataset.step);
    drawCard();
  });
}
element("sized").addEventListener("click", () => prepare(true));
element("no-card").addEventListener("click", () => prepare(false));
element("begin").addEventListener("click", begin);
onDirection(answer);
onChange(() => measured && hasChanged() && startAgain(t("The size of the page has changed. Please measure again.")));
drawCard();

function drawCard() {
  element("card").style.width = `${slider.value}px`;
}

function prepare(withCard) {
  if (isPinched()) return startAgain(t("The page is magnified. Pinch it back to its normal size."));
  sized = withCard;
  const pxPerMm = (sized ? slider.valueAsNumber / CARD_MM : ASSUMED_PX_PER_MM) * devicePixelRatio;
  measured = { pxPerMm, ratio: devicePixelRatio, zoom: pageZoom() };
  element("changed").hidden = true;
  element("unsized").hidden = withCard;
  return showPart("distance");
}

/** Whether the letters are no longer as large as was measured. */
function hasChanged() {
  const zoomedInSafari = hidesZoom() && Math.abs(pageZoom() - measured.zoom) > 0.04;
  return devicePixelRatio !== measured.ratio || isPinched() || zoomedInSafari;
}

/** Letters of two sizes that go by the same number would make no result. */
function startAgain(why) {
  measured = shown = null;
  letters.length = 0;
  Object.assign(element("changed"), { hidden: false, textContent: why });
  element("count").textContent = 0;
  drawCard();
  showPart("size");
}

function begin() {
  perMinute = pixelsPerMinute(measured.pxPerMm, DISTANCE_CM);
  staircase = new Staircase(sizes(perMinute));
  showPart("test");
  showNext();
}

function showNext() {
  const direction = DIRECTIONS[Math.floor(Math.random() * DIRECTIONS.length)];
  shown = { size: staircase.size, direction, at: performance.now() };
  const canvas = element("letter");
  sizeCanvas(canvas, 5 * shown.size.stroke);
  draw(canvas.getContext("2d"), shown.size.stroke, QUARTERS[direction]);
}

/** Three bars and a back, five strokes wide and high, turned by quarters. */
function draw(context, stroke, quarters) {
  const side = 5 * stroke;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, side, side);
  context.fillStyle = "#000";
  context.translate(side / 2, side / 2);
  context.rotate((quarters * Math.PI) / 2);
  context.translate(-side / 2, -side / 2);
  context.fillRect(0, 0, stroke, side);
  for (const bar of [0, 2, 4]) context.fillRect(0, bar * stroke, side, stroke);
}

function answer(seen) {
  if (!shown) return;
  const { size, direction, at } = shown;
  letters.push({ logmar: size.logmar, stroke_px: size.stroke, direction, answer: seen, ms: performance.now() - at });
  staircase.answer(seen === direction);
  element("count").textContent = letters.length;
  if (staircase.size) showNext();
  else end();
}

function end() {
  shown = null;
  showPart("end");
  const facts = {
    px_per_mm: measured.pxPerMm,
    sized,
    distance_cm: DISTANCE_CM,
    device_pixel_ratio: measured.ratio,
    logmar: staircase.passed,
    limit_logmar: logmar(1, perMinute),
    letters,
  };
  measured = null; // whatever changes now changes nothing
  finish("acuity", facts, element("status"));
}
