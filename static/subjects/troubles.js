/** Why something failed, in the subject's language. */

import { t } from "./words.js";

/** Of what was thrown: what the server refused it says in the subject's language; all else is said here. */
export function said({ status, message }) {
  if (status === 401) return t("this session has ended; open your invitation link again"); // whose it was, nobody knows
  if (status) return message || t("the server answered {status}", { status });
  return trouble(message);
}

/** Of a failure that may pass: http.js, which a worker uses too, names it in English. */
export function trouble(name) {
  switch (name) {
    case "no connection": return t("no connection");
    case "the server is busy": return t("the server is busy");
    case "an image could not be loaded": return t("an image could not be loaded");
    default: return t("this page has failed");
  }
}
