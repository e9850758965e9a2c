// pixelpipe: docs/tracker.md
((w, d, nav) => {
  if (w.pixelpipe && w.pixelpipe.track) return;
  const script = d.currentScript || d.querySelector("script[data-endpoint]") || { dataset: {} };
  const { endpoint, tenant, storage, pages } = script.dataset;
  const to = new URL(endpoint || "/events", endpoint ? d.URL : script.src || d.URL);
  const quiet = nav.globalPrivacyControl || nav.doNotTrack === "1";
  const LIMIT = 2e4; // characters
  let flying = [], timer, wait = 1000, last, referrer = d.referrer;

  const tab = "sessionStorage", long = storage === "local" ? "localStorage" : tab;
  const stored = (box, call, name, value) => {
    try { return quiet ? null : w[box][call + "Item"]("pixelpipe." + name, value); } catch (e) { return null; }
  };
  const uuid = () => {
    let hex = Date.now().toString(16).padStart(12, "0");
    w.crypto.getRandomValues(new Uint8Array(20)).forEach((byte) => { hex += (byte & 15).toString(16); });
    return hex.replace(/(.{8})(.{4}).(.{3}).(.{3})/, "$1-$2-7$3-8$4-");
  };
  const known = (box, name) => {
    const value = stored(box, "get", name) || uuid();
    stored(box, "set", name, value);
    return value;
  };
  const person = known(long, "id"), visit = known(tab, "visit");
  let user = stored(long, "get", "user"), waiting = JSON.parse(stored(tab, "get", "queue")) || [];
  // Events wait as JSON until they are confirmed.
  const keep = (events) => {
    waiting = events;
    stored(tab, "set", "queue", JSON.stringify(events));
  };
  const next = (size) => waiting.filter((event) => !flying.includes(event) && (size -= event.length) > 0);
  const body = (events) => {
    const now = `{"sent_at":"${new Date().toJSON()}",`;
    return `[${events.map((event) => now + event.slice(1))}]`;
  };
  const post = (events) => w.fetch(to, { method: "POST", body: body(events), keepalive: true, credentials: "include" });
  const later = () => {
    flying = [];
    timer = setTimeout(send, wait * (1 + Math.random()));
    wait = Math.min(wait * 2, 6e4);
  };
  const send = () => {
    if (flying[0] || !waiting[0]) return;
    timer = clearTimeout(timer);
    if (!w.fetch) {
      leave();
      flying = [];
      return keep([]);
    }
    const events = next(LIMIT);
    flying = events;
    post(events).then((reply) => {
      if (/408|429|5../.test(reply.status)) return later();
      keep(waiting.filter((event) => !events.includes(event)));
      flying = [];
      wait = 1000;
      setTimeout(send, 9);
    }, later);
  };
  // Unconfirmed, they stay for the next page.
  const leave = () => {
    const events = next(LIMIT);
    flying = flying.concat(events);
    if (!events[0] || (nav.sendBeacon && nav.sendBeacon(to, body(events)))) return;
    if (w.fetch) post(events).catch(() => {});
    else events.forEach((text) => {
      const { properties, ...event } = JSON.parse(text);
      new Image().src = new URL("pixel.gif?" + new URLSearchParams({ ...properties, ...event }), to);
    });
  };

  const track = (type, properties) => {
    const event = { event_id: uuid(), event_time: new Date(), type, url: d.URL, referrer, title: d.title,
      anonymous_id: person, session_id: visit, user_id: user || undefined, tenant, consent: quiet ? "denied" : undefined };
    let text;
    try { text = JSON.stringify({ ...event, properties }); } catch (e) { text = ""; }
    if (!text || text.length >= LIMIT) text = JSON.stringify(event);
    if (text.length < LIMIT) keep([...waiting, text].slice(-50));
    if (!timer) Promise.resolve().then(send);
  };
  const address = () => d.URL.replace(/#(?![/!]).*/, "");
  const page = (properties) => {
    if (address() !== last) referrer = last || referrer;
    last = address();
    track("page", properties);
  };
  const look = () => setTimeout(() => { if (address() !== last) page(); }, 50);
  const identify = (name, traits) => {
    if (quiet) return;
    user = name == null ? "" : String(name);
    stored(long, "set", "user", user);
    track("identify", traits);
  };
  const push = (...calls) => calls.forEach((call) => {
    const [name, ...rest] = Array.from(call || []);
    if (api[name]) api[name](...rest);
  });

  const api = { track, identify, page, push }, early = [].concat(w.pixelpipe || []);
  w.pixelpipe = api;
  push(...early);
  if (pages !== "off") {
    ["pushState", "replaceState"].forEach((name) => {
      const usual = w.history[name];
      w.history[name] = function (...rest) { look(); return usual.apply(this, rest); };
    });
    w.addEventListener("popstate", look);
    if (d.prerendering) d.addEventListener("prerenderingchange", () => page());
    else page();
  }
  send();
  w.addEventListener("online", send);
  w.addEventListener("pagehide", leave);
  w.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    flying = [];
    send();
    if (pages !== "off") page();
  });
  d.addEventListener("visibilitychange", () => { if (d.hidden) (flying[0] ? leave : send)(); });
})(window, document, navigator);
