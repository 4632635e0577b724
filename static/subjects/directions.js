/** Answers in four directions: arrow keys, or the buttons of the pad; 0, or its button, where none is seen. */

const KEYS = { ArrowUp: "up", ArrowRight: "right", ArrowDown: "down", ArrowLeft: "left", 0: "none", Digit0: "none" };

/** Calls `answered(direction)` once for each key that is pressed and each click, while the pad is on the page. */
export function onDirection(answered) {
  const buttons = document.querySelectorAll("[data-direction]");
  for (const button of buttons) {
    button.addEventListener("click", (event) => event.detail < 2 && answered(button.dataset.direction));
  }
  addEventListener("keydown", (event) => {
    const direction = KEYS[event.key] ?? KEYS[event.code]; // the code: some keyboards have their digits under Shift
    if (!direction || event.ctrlKey || event.altKey || event.metaKey) return;
    if (buttons[0].offsetParent === null) return; // nothing is asked now
    event.preventDefault();
    if (!event.repeat) answered(direction);
  });
}

/** One of several parts of a step is on the page; its heading gets the focus, so that it is read out. */
export function showPart(name) {
  for (const part of document.querySelectorAll("[data-part]")) part.hidden = part.dataset.part !== name;
  document.querySelector(`[data-part="${name}"] h1`).focus();
}

/** Draws without blur: `side` device pixels each way, at a place that falls on whole ones. */
export function sizeCanvas(canvas, side) {
  const ratio = devicePixelRatio;
  Object.assign(canvas, { width: side, height: side });
  Object.assign(canvas.style, { width: `${side / ratio}px`, height: `${side / ratio}px`, left: "0px", top: "0px" });
  const { left, top } = canvas.getBoundingClientRect();
  const rest = (place) => (Math.round(place * ratio) - place * ratio) / ratio;
  Object.assign(canvas.style, { left: `${rest(left + scrollX)}px`, top: `${rest(top + scrollY)}px` });
}
