// The matrix of votes: its counts, the order of its methods, and the sentence about the cell that is pointed at.

import { whole } from "../format.js";

const table = document.querySelector(".matrix");
const readout = document.querySelector(".readout");
const orders = document.querySelector(".order");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const cells = [...table.querySelectorAll("td[data-first]")];
let ranked = [];

/** Write the counts of a snapshot into the cells; those that changed light up for a moment. */
export function showMatrix({ methods, counts, ranking }) {
  for (const cell of cells) showCell(cell, methods, counts);
  for (const cell of table.querySelectorAll("[data-wins]")) {
    cell.textContent = whole(counts[cell.dataset.wins].reduce((sum, wins) => sum + wins, 0));
  }
  ranked = ranking?.methods.map(({ method }) => methods.indexOf(method)) ?? [];
  // A method that was added later may be in no ranking yet.
  if (ranked.length > 0) ranked.push(...[...methods.keys()].filter((index) => !ranked.includes(index)));
  orders.hidden = ranked.length === 0;
  arrange();
}

function showCell(cell, methods, counts) {
  const { first, second } = cell.dataset;
  const wins = counts[first][second];
  const votes = wins + counts[second][first];
  const sentence = `${methods[first]} preferred to ${methods[second]} in ${wins} of ${votes} votes`;
  const link = cell.firstElementChild;
  if (link.ariaLabel === sentence) return;
  const before = link.querySelector("b").textContent;
  link.ariaLabel = sentence;
  cell.className = `share-${Math.round((10 * wins) / votes)}`;
  cell.querySelector("b").textContent = wins;
  cell.querySelector("i").textContent = `${Math.round((100 * wins) / votes)}%`;
  if (before !== String(wins) && wins > 0) flash(cell);
}

function flash(cell) {
  if (calm.matches) return;
  cell.animate({ boxShadow: ["inset 0 0 0 2px var(--ink)", "inset 0 0 0 2px transparent"] }, 1600);
}

// Order: rows and columns are moved only where they stand wrongly, so that nothing loses the focus needlessly.
function arrange() {
  const byRanking = ranked.length > 0 && orders.querySelector(":checked").value === "ranking";
  const order = byRanking ? ranked : ranked.map((_, index) => index).sort((a, b) => a - b);
  if (order.join() === table.dataset.order || order.length === 0) return;
  table.dataset.order = order.join();
  const body = table.tBodies[0];
  body.append(...order.map((first) => body.querySelector(`tr[data-first="${first}"]`)));
  for (const row of table.rows) {
    const wins = row.querySelector(".wins");
    for (const second of order) wins.before(row.querySelector(`[data-second="${second}"]`));
  }
}
orders.addEventListener("change", arrange);

// What the cell says, in words, and its mirror image.
function point(cell) {
  for (const marked of table.querySelectorAll(".pointed, .mirror")) marked.classList.remove("pointed", "mirror");
  const link = cell?.querySelector("a");
  readout.classList.toggle("quiet", !link);
  readout.textContent = link ? `${link.ariaLabel}, ${link.querySelector("i").textContent.replace("%", " %")}.` : readout.dataset.hint;
  if (!link) return;
  const { first, second } = cell.dataset;
  table.querySelector(`tr[data-first="${first}"] th`).classList.add("pointed");
  table.querySelector(`thead [data-second="${second}"]`).classList.add("pointed");
  table.querySelector(`td[data-first="${second}"][data-second="${first}"]`).classList.add("mirror");
}
readout.dataset.hint = readout.textContent;
for (const type of ["pointerover", "focusin"]) table.addEventListener(type, ({ target }) => point(target.closest("td")));
for (const type of ["pointerleave", "focusout"]) table.addEventListener(type, () => point(null));
