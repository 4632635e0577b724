/** When something is on the screen, and what can wait until then. */

const waiting = [];
const channel = new MessageChannel();
channel.port1.onmessage = run;
addEventListener("pagehide", run);
document.addEventListener("visibilitychange", () => document.hidden && run());

/** The time at which what was changed just now is seen: the frame that draws it is shown as the next one begins. */
export function painted() {
  return new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}

/** Runs `task` once the next frame is seen: nothing stands between a key and the next pair but the swap. */
export function afterFrame(task) {
  waiting.push(task);
  if (waiting.length > 1) return;
  painted().then(() => channel.port2.postMessage(null)); // arrives when the frame after that is drawn
  setTimeout(run, 200); // a page that is not seen has no frames
}

function run() {
  for (const task of waiting.splice(0)) task();
}
