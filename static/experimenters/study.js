// The live page of a study: each snapshot that arrives is written into the page that the server rendered.

import "../times.js";
import { timeElement, whole } from "../format.js";
import { listen } from "./events.js";
import { showMatrix } from "./matrix.js";
import { showRanking } from "./ranking.js";
import { showStored } from "./stored.js";
import { showSubjects } from "./subjects.js";

const page = document.querySelector("main.study");
const connection = page.querySelector(".connection");

listen(page.dataset.events, show, (state) => {
  connection.dataset.state = state;
  connection.textContent = state;
});
showStored(page.querySelector("[data-rankings]"));

function show(snapshot) {
  // A method was added to the study: the matrix has another size.
  if (snapshot.methods.length !== page.querySelector(".matrix tbody").rows.length) return location.reload();
  showFigures(snapshot);
  showMatrix(snapshot);
  showRanking(snapshot);
  showSubjects(snapshot.subjects);
}

function showFigures(snapshot) {
  const figure = (name) => page.querySelector(`[data-text="${name}"]`);
  for (const name of ["votes", "not_sure", "pairs", "pairs_without_votes"]) figure(name).textContent = whole(snapshot[name]);
  for (const element of page.querySelectorAll("[data-not-sure]")) element.hidden = snapshot.not_sure === 0;
  figure("votes_per_minute").textContent = snapshot.votes_per_minute.toFixed(1);
  figure("last_vote_at").replaceChildren(timeElement(snapshot.last_vote_at));
  figure("state").textContent = figure("state").dataset.state = snapshot.state;
  for (const element of page.querySelectorAll("[data-votes-by]")) {
    element.textContent = whole(snapshot.votes_by[element.dataset.votesBy]);
  }
  for (const element of page.querySelectorAll("[data-votes-of-group]")) {
    element.textContent = whole(snapshot.votes_by_group[element.dataset.votesOfGroup]);
  }
  const all = page.querySelector("[data-votes-of-all]");
  if (all) all.textContent = whole(Object.values(snapshot.votes_by_group).reduce((sum, votes) => sum + votes, 0));
}
