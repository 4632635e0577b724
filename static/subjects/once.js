/** A form is sent once, however often its button is pressed: a shared link would make two subjects of a double click. */

addEventListener("submit", ({ target }) => setDisabled(target, true));
addEventListener("pageshow", () => document.querySelectorAll("form").forEach((form) => setDisabled(form, false)));

function setDisabled(form, disabled) {
  for (const button of form.querySelectorAll("button")) button.disabled = disabled;
}
