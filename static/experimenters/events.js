// A stream of snapshots, and the state of the connection: "connecting", "live", "reconnecting" or "disconnected".

const RETRY_MS = 5000;

export function listen(address, onSnapshot, onState) {
  let source, retry;

  function open() {
    source = new EventSource(address);
    source.addEventListener("open", () => onState("live"));
    source.addEventListener("snapshot", ({ data }) => onSnapshot(JSON.parse(data)));
    source.addEventListener("error", () => {
      // The browser reconnects by itself, except after an answer that is no stream: a proxy's error, or signed out.
      const closed = source.readyState === EventSource.CLOSED;
      onState(closed ? "disconnected" : "reconnecting");
      if (closed) retry = setTimeout(open, RETRY_MS);
    });
  }

  // A page that nobody sees gives its connection back: browsers allow six to one server.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(retry);
    source?.close();
    if (!document.hidden) open();
  });
  onState("connecting");
  if (!document.hidden) open();
}
