// How numbers and times are written. templates/_format.html writes them alike.

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const whole = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");

export function signed(value) {
  return value === null ? "–" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
}

export const interval = (lower, upper) => `${signed(lower)} … ${signed(upper)}`;

export const ranks = (lower, upper) => (lower === upper ? `${lower}` : `${lower}–${upper}`);

/** The time of day if it is today's, else the date too. */
export function when(iso) {
  const time = new Date(iso);
  return (time.toDateString() === new Date().toDateString() ? clock : date).format(time);
}

/** A <time> in the reader's own words, or a dash. */
export function timeElement(iso) {
  if (!iso) return "–";
  const element = document.createElement("time");
  element.dateTime = iso;
  element.textContent = when(iso);
  element.title = date.format(new Date(iso));
  return element;
}
