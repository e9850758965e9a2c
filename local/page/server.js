// The page's own server: requests with one clear line for each failure, and the stream of what happens.

const QUIET_SECONDS = 4; // the server sends its state every second
const AGAIN_SECONDS = 2;

export async function ask(path, { method = "GET", body, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      signal,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the page's server does not answer; is the command that serves it still running?");
  }
  const text = await answer.text();
  let said;
  try {
    said = JSON.parse(text);
  } catch {
    throw new Error(answer.status === 400 ? "this is too long to be asked for" : `the page's server answered ${answer.status}`);
  }
  if (!answer.ok) throw Object.assign(new Error(said.error?.message ?? `the page's server answered ${answer.status}`), { details: said.error });
  return said;
}

// A browser opens six connections to a server, and each stream holds one. So a tab that nobody sees has none, and goes on
// where it was once someone does. Calls onState(state), onItems(items, skipped), onReset() and onLink("live" | "lost" | "silent", seconds since the last state).
export function follow({ onState, onItems, onReset, onLink }) {
  let source;
  let last = Date.now();
  let opened = 0;
  let seen = 0; // since when someone looks
  let at = ""; // the id of the last items

  function open() {
    source?.close();
    opened = Date.now();
    source = new EventSource(at ? `/api/stream?after=${at}` : "/api/stream");
    source.addEventListener("state", (event) => {
      last = Date.now();
      onState(JSON.parse(event.data));
      onLink("live", 0);
    });
    source.addEventListener("items", (event) => {
      at = event.lastEventId;
      const { items, skipped } = JSON.parse(event.data);
      onItems(items, skipped ?? 0);
    });
    source.addEventListener("reset", onReset);
  }

  // A browser gives up on a stream that was answered with an error, and never notices one that went silent.
  setInterval(() => {
    const silent = (Date.now() - last) / 1000;
    if (document.hidden || silent < QUIET_SECONDS || Date.now() - seen < QUIET_SECONDS * 1000) return;
    onLink(source.readyState === EventSource.OPEN ? "silent" : "lost", silent);
    if (Date.now() - opened > AGAIN_SECONDS * 1000) open();
  }, 1000);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
    } else {
      seen = Date.now();
      open();
    }
  });
  if (!document.hidden) open();
}
