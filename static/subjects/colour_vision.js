/** Colour vision: plates of dots, one after the other; on which side is the ring open? */

import { onDirection, showPart, sizeCanvas } from "./directions.js";
import { dots, generator, series, STRENGTH } from "./plates.js";
import { finish } from "./step.js";

const SIDE = 400; // CSS pixels

const element = (id) => document.getElementById(id);
const random = generator(Number(document.querySelector("[data-seed]").dataset.seed));
const plates = series(random);
const answers = [];
let shownAt = null; // when the plate came that is asked about

element("begin").addEventListener("click", begin);
onDirection(answer);

function begin() {
  showPart("test");
  element("progress").max = plates.length;
  showNext();
}

function showNext() {
  const number = answers.length;
  element("count").textContent = `${number + 1} / ${plates.length}`;
  element("progress").value = number;
  draw(element("plate"), dots(plates[number], random));
  shownAt = performance.now();
}

function draw(canvas, placed) {
  const side = Math.round(SIDE * devicePixelRatio);
  sizeCanvas(canvas, side);
  const context = canvas.getContext("2d");
  for (const { x, y, r, colour } of placed) {
    context.fillStyle = colour;
    context.beginPath();
    context.arc(((1 + x) * side) / 2, ((1 + y) * side) / 2, (r * side) / 2, 0, 2 * Math.PI);
    context.fill();
  }
}

function answer(seen) {
  if (shownAt === null) return;
  const { kind, direction } = plates[answers.length];
  answers.push({ kind, direction, answer: seen, ms: performance.now() - shownAt });
  if (answers.length < plates.length) showNext();
  else end();
}

function end() {
  shownAt = null;
  showPart("end");
  finish("colour-vision", { strength: STRENGTH, gamut: gamut(), plates: answers }, element("status"));
}

function gamut() {
  return ["rec2020", "p3", "srgb"].find((name) => matchMedia(`(color-gamut: ${name})`).matches) ?? "unknown";
}
