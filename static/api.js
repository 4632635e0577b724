// One request to the JSON API. A refusal becomes an Error whose message is the server's sentence.

export async function request(method, address, body) {
  let response;
  try {
    response = await fetch(address, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("The server does not answer. Check the connection and try again.");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Error(sentence(answer?.detail) ?? `The server answered ${response.status}.`);
  return answer;
}

function sentence(detail) {
  return Array.isArray(detail) ? detail.map(({ loc, msg }) => `${loc?.at(-1)}: ${msg}`).join("; ") : detail;
}
