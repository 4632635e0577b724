// Times that the server wrote in UTC, in the reader's own time zone and language.

import { timeElement } from "./format.js";

for (const element of document.querySelectorAll("time[datetime]")) element.replaceWith(timeElement(element.dateTime));
