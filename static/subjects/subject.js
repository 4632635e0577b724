/** Whose page this is: the server refuses what it sends once another subject has begun in this browser. */

export const SUBJECT = Number(document.body.dataset.subject);
export const AS_SUBJECT = { "X-Discern-Subject": String(SUBJECT) };
