// A pre-run in progress: its page is asked for once a second, and what is new in it put in place. It is loaded anew when
// the pre-run ends.

const EVERY_MS = 1000;
const active = "main[data-active]";
const shown = new Map();

if (document.querySelector(active)) setTimeout(watch, EVERY_MS);

async function watch() {
  const lost = document.querySelector("[data-lost]");
  try {
    const response = await fetch(location.href);
    if (response.status === 401) return location.reload();
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!page.querySelector(active)) return location.reload();
    page.querySelectorAll("[data-live]").forEach(show);
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
  setTimeout(watch, EVERY_MS);
}

// What has not changed stays, and with it where the reader is.
function show(fresh) {
  const name = fresh.dataset.live;
  if (shown.get(name) === fresh.outerHTML) return;
  shown.set(name, fresh.outerHTML);
  document.querySelector(`[data-live="${name}"]`).replaceWith(fresh);
}
