/** The end of a step: what it gave is sent until the server has it, then the session goes on. */

import { persist, sendJson } from "./http.js";
import { said } from "./troubles.js";
import { t } from "./words.js";

/** `status` is the element that says what is going on. Resolves only if the server refuses. */
export async function finish(step, facts, status) {
  const send = () => sendJson("POST", `/api/subject/steps/${step}`, facts);
  const tell = (trouble) => (status.textContent = trouble ? t("No connection. Trying again …") : t("Saving …"));
  tell("");
  try {
    location.assign((await persist(send, tell)).next);
  } catch (refused) {
    status.textContent =
      refused.status === 401
        ? t("This session has ended. Please open your invitation link again.")
        : t("This could not be saved. Please load the page again. ({reason})", { reason: said(refused) });
  }
}
