// The subjects' progress. Rows are kept and filled anew, so that bars move and nothing flickers.

import { timeElement } from "../format.js";

const table = document.querySelector(".subjects");
const nobody = document.querySelector("[data-no-subjects]");

export function showSubjects(subjects) {
  table.hidden = subjects.length === 0;
  nobody.hidden = subjects.length > 0;
  const body = table.tBodies[0];
  while (body.rows.length > subjects.length) body.lastElementChild.remove();
  subjects.forEach((subject, index) => fill(body.rows[index] ?? added(body), subject));
}

function added(body) {
  const row = body.insertRow();
  const heading = document.createElement("th");
  heading.scope = "row";
  row.append(heading);
  for (const kind of ["", "number", "", "number"]) row.insertCell().className = kind;
  row.cells[1].append(document.createElement("progress"));
  return row;
}

function fill(row, { name, voted, total, state, last_vote_at: last }) {
  const [heading, bar, votes, stands, time] = row.cells;
  heading.textContent = name;
  Object.assign(bar.firstElementChild, { max: total, value: voted, ariaLabel: name });
  votes.textContent = `${voted} / ${total}`;
  stands.textContent = state;
  time.replaceChildren(timeElement(last));
}
