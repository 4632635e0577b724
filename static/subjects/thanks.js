/** Copies the completion code; `navigator.clipboard` is missing where the page is not served over TLS. */

const code = document.getElementById("code");
const button = document.getElementById("copy");

code.addEventListener("focus", () => code.select());
button.addEventListener("click", () => {
  code.select();
  if (document.execCommand("copy")) button.textContent = "Copied";
});
