// The current ranking: its chart and its table, or the reason why there is none.

import { interval, ranks, signed } from "../format.js";
import { draw } from "./chart.js";

const found = (selector) => document.querySelector(selector);

export function showRanking({ ranking, ranking_problem: problem, ranking_note: note, ranking_chart: chart }) {
  found("[data-ranking]").hidden = !ranking;
  found("[data-ranking-problem]").hidden = Boolean(ranking);
  found("[data-ranking-problem]").textContent = problem ?? "";
  found("[data-ranking-note]").hidden = !note;
  found("[data-ranking-note]").textContent = note ?? "";
  if (!ranking) return;
  found("[data-clusters]").textContent = ranking.clusters;
  found(".ranking .interval").textContent = `${+(100 * ranking.level).toFixed(4)} % interval`;
  found(".ranking tbody").replaceChildren(...ranking.methods.map(row));
  if (chart) draw(found(".chart"), chart);
}

function row({ rank, method, score, lower, upper, rank_lower: from, rank_upper: to }) {
  const element = document.createElement("tr");
  element.append(
    cell("td", rank, "number"),
    cell("th", method),
    cell("td", signed(score), "number"),
    cell("td", interval(lower, upper), "number"),
    cell("td", ranks(from, to), "number"),
  );
  return element;
}

function cell(tag, text, kind) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  if (tag === "th") element.scope = "row";
  return element;
}
