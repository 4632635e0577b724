/** What stands in the middle of the page while there are no images on it. */

import { t } from "./words.js";

const element = (id) => document.getElementById(id);

/** Shows {words, more, timer, picture, link, href, button, disabled, undo}; nothing where there is no content. */
export function say(content) {
  const { dataset } = element("message");
  Object.assign(dataset, { empty: !content, loading: content?.words === t("Loading …"), undo: Boolean(content?.undo) });
  fill(content ?? {});
}

function fill(content) {
  for (const part of ["words", "more", "timer"]) set(element(part), content[part] ?? "");
  element("picture").dataset.shows = content.picture ?? "";
  const link = element("onward");
  link.hidden = !content.link;
  if (content.link) Object.assign(link, { textContent: content.link, href: content.href });
  const button = element("go-on");
  button.hidden = !content.button;
  if (content.button) set(button, content.button);
  if (button.disabled !== Boolean(content.disabled)) button.disabled = Boolean(content.disabled);
}

/** Announced only when it is new. */
function set(place, words) {
  place.hidden = !words;
  if (place.textContent !== words) place.textContent = words;
}
