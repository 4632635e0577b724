// A calibration in progress: asked for once a second; the page is loaded anew when it ends.

import { request } from "../api.js";

const EVERY_MS = 1000;
const page = document.querySelector("main[data-watch]");
const found = (selector) => page.querySelector(selector);

if (page) {
  found("[data-log]").scrollTop = found("[data-log]").scrollHeight;
  setTimeout(watch, EVERY_MS);
}

async function watch() {
  try {
    const calibration = await request("GET", page.dataset.watch);
    if (!["queued", "running"].includes(calibration.status)) return location.reload();
    found("[data-lost]").hidden = true;
    show(calibration);
  } catch {
    found("[data-lost]").hidden = false;
  }
  setTimeout(watch, EVERY_MS);
}

function show({ status, task, done, total, log, cancel_requested: cancelling }) {
  const pill = found('[data-text="status"]');
  pill.textContent = pill.dataset.state = status;
  found('[data-text="task"]').textContent = task || (status === "queued" ? "waiting for a worker" : "starting");
  found("[data-done]").textContent = total ? `${done} / ${total}` : "";
  showBar(found("progress"), done, total);
  showLog(found("[data-log]"), log.join("\n") || "nothing yet");
  const cancel = found("[data-cancel]");
  if (cancel && cancelling) {
    cancel.disabled = true;
    cancel.textContent = "Cancelling";
  }
}

function showBar(bar, done, total) {
  if (total) Object.assign(bar, { max: total, value: done });
  else bar.removeAttribute("value");
}

// The newest line stays in view, unless the reader has scrolled away from it.
function showLog(log, text) {
  if (log.textContent === text) return;
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 8;
  log.textContent = text;
  if (atEnd) log.scrollTop = log.scrollHeight;
}
