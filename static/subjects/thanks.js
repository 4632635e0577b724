/** Copies the completion code; `navigator.clipboard` is missing where the page is not served over TLS. */

import { t } from "./words.js";

const code = document.getElementById("code");
const button = document.getElementById("copy");
const copied = document.getElementById("copied");

button.hidden = false;
code.addEventListener("focus", () => code.select());
button.addEventListener("click", async () => {
  copied.textContent = (await copy()) ? t("Copied") : t("Not copied: select the code and copy it by hand");
});

async function copy() {
  if (navigator.clipboard) return navigator.clipboard.writeText(code.value).then(() => true, copySelected);
  return copySelected();
}

function copySelected() {
  code.select();
  return document.execCommand("copy");
}
