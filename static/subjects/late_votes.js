/** On the last page, what an earlier one could not send: it may take back the last vote, and then there is more to do. */

import { Outbox } from "./outbox.js";
import { refusal } from "./status.js";

const outbox = new Outbox();
await outbox.load();
const found = outbox.size;
await outbox.cleared();
if (outbox.size < found) location.replace("/session");
Object.assign(document.getElementById("refused"), { textContent: refusal(outbox), hidden: outbox.size === 0 });
