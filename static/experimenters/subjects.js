// The subjects' progress, and what their votes look like. Rows are kept and filled anew, so that bars move and nothing
// flickers. templates/experimenters/_conduct.html writes the cells alike.

import { timeElement } from "../format.js";

const table = document.querySelector(".subjects");
const nobody = document.querySelector("[data-no-subjects]");
const KINDS = ["", "number", "", "number", "number", "number", "number", "flags", "number"];
// Columns that are shown where any subject has any of these.
const OPTIONAL = { 5: ["gold"], 6: ["repeats"], 7: ["identical"], 8: ["fast", "hidden", "pixels_different", "pixels_unverifiable"] };

export function showSubjects(subjects) {
  table.hidden = subjects.length === 0;
  nobody.hidden = subjects.length > 0;
  const body = table.tBodies[0];
  while (body.rows.length > subjects.length) body.lastElementChild.remove();
  subjects.forEach((subject, index) => fill(body.rows[index] ?? added(body), subject));
  for (const [column, names] of Object.entries(OPTIONAL)) {
    const empty = !subjects.some((subject) => names.some((name) => subject[name] > 0));
    for (const row of table.rows) row.cells[column].hidden = empty;
  }
}

function added(body) {
  const row = body.insertRow();
  const heading = document.createElement("th");
  heading.scope = "row";
  row.append(heading);
  for (const kind of KINDS) row.insertCell().className = kind;
  row.cells[1].append(document.createElement("progress"));
  return row;
}

function fill(row, subject) {
  const [heading, bar, votes, stands, done, gold, repeats, left, marks, time] = row.cells;
  heading.textContent = subject.name;
  Object.assign(bar.firstElementChild, { max: subject.total, value: subject.voted, ariaLabel: subject.name });
  votes.textContent = `${subject.voted} / ${subject.total}`;
  stands.textContent = subject.state;
  done.textContent = blocks(subject);
  gold.textContent = share(subject.gold_right, subject.gold);
  repeats.textContent = share(subject.repeats_agreeing, subject.repeats);
  left.textContent = share(subject.identical_left, subject.identical);
  marks.textContent = flags(subject);
  time.replaceChildren(timeElement(subject.last_vote_at));
}

const share = (part, of) => (of ? `${part} / ${of}` : "–");

function blocks({ blocks: done, sitting }) {
  if (!sitting) return "–";
  return sitting > 1 ? `${done}, sitting ${sitting}` : `${done}`;
}

function flags(subject) {
  const named = [
    [subject.pixels_different, "other pixels"],
    [subject.fast, "fast"],
    [subject.hidden, "hidden"],
    [subject.pixels_unverifiable, "unverified"],
  ];
  return named.filter(([number]) => number).map((mark) => mark.join(" ")).join(", ") || "–";
}
