// Forms that speak to the JSON API:
//   <form data-method="POST" data-action="/api/..." data-then="reload | stay | show | /path/{field of the answer}">
// The fields become JSON, numbers as numbers; empty fields are left out. An error is shown in <output role="alert">.

import { request } from "./api.js";
import { timeElement } from "./format.js";

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.action) return;
  event.preventDefault();
  if (form.dataset.ask && !confirm(form.dataset.ask)) return;
  const problem = form.querySelector('output[role="alert"]');
  const buttons = [...form.querySelectorAll("button:not([disabled])")];
  problem.textContent = "";
  setBusy(form, buttons, true);
  try {
    const { method, action, then = "reload" } = form.dataset;
    const answer = await request(method, action, method === "DELETE" ? undefined : fields(form));
    follow(form, then, answer);
    if (then !== "show") return; // Busy until the next page is here.
  } catch (error) {
    problem.textContent = error.message;
  }
  setBusy(form, buttons, false);
});

function setBusy(form, buttons, busy) {
  form.toggleAttribute("aria-busy", busy);
  for (const button of buttons) button.disabled = busy;
}

function fields(form) {
  const named = [...form.elements].filter(({ name, value, type }) => name && (value || type === "checkbox"));
  return Object.fromEntries(named.map((field) => [field.name, valueOf(field)]));
}

function valueOf(field) {
  if (field.type === "number") return field.valueAsNumber;
  return field.type === "checkbox" ? field.checked : field.value;
}

function follow(form, then, answer) {
  if (then === "show") show(form.querySelector("[data-made]"), answer);
  else if (then === "reload") location.reload();
  else if (then !== "stay") location.assign(then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(answer[name])));
}

function show(made, answer) {
  for (const element of made.querySelectorAll("[data-value]")) {
    const value = answer[element.dataset.value];
    if (element.localName === "input") element.value = value;
    else {
      const time = timeElement(value);
      time.dataset.value = element.dataset.value;
      element.replaceWith(time);
    }
  }
  made.hidden = false;
  made.querySelector("input")?.select();
}
