/** Keys and buttons, and what they mean: actions, each told once to whoever handles them. */

const KEYS = {
  ArrowLeft: "left", 1: "left", ArrowRight: "right", 2: "right", ArrowDown: "not_sure", 0: "not_sure",
  " ": "flip", r: "reference", "+": "enlarge", "=": "enlarge", "-": "reduce",
  w: "up", a: "leftwards", s: "down", d: "rightwards",
  Backspace: "undo", u: "undo", p: "pause", Escape: "pause", Enter: "go_on",
};
const SHIFTED = { ArrowUp: "up", ArrowLeft: "leftwards", ArrowDown: "down", ArrowRight: "rightwards", "+": "enlarge" };
const REPEATED = ["up", "leftwards", "down", "rightwards"];
const HELD_MS = 350; // a key held longer is let go of; a shorter press switches

/** Calls `act(action, input, event)`; "reference" once more when its key was held and is let go. */
export function listen(act) {
  let heldSince = 0;
  addEventListener("keydown", (event) => {
    const action = actionOf(event);
    const onButton = event.target.closest?.("button, a") && (event.key === "Enter" || event.key === " ");
    if (event.repeat && onButton) event.preventDefault(); // would press the focused button again and again
    if (!action || onButton) return;
    if (action !== "go_on") event.preventDefault();
    if (event.repeat && !REPEATED.includes(action)) return;
    if (action === "reference") heldSince = event.timeStamp;
    act(action, "key", event);
  });
  addEventListener("keyup", (event) => {
    if (actionOf(event) === "reference" && event.timeStamp - heldSince > HELD_MS) act("reference", "key", event);
  });
  for (const button of document.querySelectorAll("[data-action]")) {
    // The focus stays where it was: a ring around one image would favour it.
    button.addEventListener("mousedown", (event) => event.preventDefault());
    button.addEventListener("click", (event) => {
      if (event.detail > 1 && isVote(button)) return; // the second half of a double click is no vote on the next trial
      if (!hasModifier(event) && !event.shiftKey) act(button.dataset.action, event.detail === 0 ? "key" : "click", event);
    });
  }
}

/** Drags with mouse, pen or finger: `moved(gesture, right, down)` in device pixels; a drag is no click. */
export function drags(element, moved) {
  let from = null;
  let far = false;
  element.addEventListener("pointerdown", (event) => {
    from = { x: event.clientX, y: event.clientY, gesture: event.timeStamp };
    far = false;
  });
  addEventListener("pointermove", (event) => {
    if (!from) return;
    const [right, down] = [event.clientX - from.x, event.clientY - from.y];
    if (!far && Math.hypot(right, down) < 4) return;
    const ratio = devicePixelRatio;
    if (moved(from.gesture, Math.round(-right * ratio), Math.round(-down * ratio))) far = true;
    Object.assign(from, { x: event.clientX, y: event.clientY });
  });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (from = null));
  element.addEventListener("click", (event) => far && (event.stopImmediatePropagation(), (far = false)), true);
}

function actionOf(event) {
  if (hasModifier(event)) return undefined;
  if (event.shiftKey) return SHIFTED[event.key];
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return KEYS[key] ?? KEYS[latin(event)];
}

/** Some keyboards have their digits under Shift, and letters are not always Latin ones: then the key's place counts. */
function latin({ code, key }) {
  if (code.startsWith("Digit")) return code.slice(5);
  return code.startsWith("Key") && !/^[a-z]$/i.test(key) ? code.slice(3).toLowerCase() : undefined;
}

function hasModifier(event) {
  return event.ctrlKey || event.altKey || event.metaKey;
}

function isVote(button) {
  return ["left", "right", "not_sure"].includes(button.dataset.action);
}
