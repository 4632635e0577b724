/** Votes that an earlier version of this page kept in localStorage: [their key there, {trial, body}]. */

export function leftovers(subject) {
  const prefix = `discern.vote.${subject}.`;
  const keys = allowed(() => Object.keys(localStorage)) ?? [];
  return keys
    .filter((key) => key.startsWith(prefix))
    .map((key) => [key, { trial: key.slice(prefix.length), body: JSON.parse(localStorage.getItem(key)) }]);
}

export function discard(key) {
  allowed(() => localStorage.removeItem(key));
}

/** Where localStorage is forbidden, every access to it throws. */
function allowed(access) {
  try {
    return access();
  } catch (error) {
    if (error instanceof DOMException) return undefined;
    throw error;
  }
}
