/** The page's words in the subject's language: t("{count} of {total}", {count: 1, total: 9}).
 *
 * The text is the English one, as a plain string, so that `make words` finds it; the page brings its translations
 * along (templates/subjects/_words.html). What is missing there stays English.
 */

const words = JSON.parse(document.getElementById("catalogue")?.textContent ?? "{}");

export function t(text, values = {}) {
  const said = Object.hasOwn(words, text) ? words[text] : text;
  return said.replace(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(values, name) ? values[name] : whole));
}
