// The list of rankings that were fitted and kept.

import { request } from "../api.js";
import { when, whole } from "../format.js";

export async function showStored(list) {
  let rankings;
  try {
    rankings = await request("GET", list.dataset.rankings);
  } catch (error) {
    list.append(item(error.message));
    return;
  }
  list.replaceChildren(...(rankings.length ? rankings.map(linked) : [item("None yet.")]));

  function linked({ id, voters, group, votes, created_at: made }) {
    const link = document.createElement("a");
    link.href = list.dataset.rankings.replace(/^\/api/, "") + `/${id}`;
    link.textContent = `Ranking ${id}`;
    const whose = voters === "people" ? "people" : "simulated subjects";
    const pairs = group === null ? "" : ` on ${group} pairs`;
    return item(link, ` of ${whole(votes)} votes by ${whose}${pairs}, ${when(made)}`);
  }
}

function item(...parts) {
  const element = document.createElement("li");
  element.append(...parts);
  return element;
}
