/* pixelpipe: page views and events to your own collector. docs/tracker.md */
(function (w, d) {
  "use strict";
  var s = d.currentScript || d.querySelector("script[data-pixelpipe]"), set = (s && s.dataset) || {}, nav = navigator, loc = w.location;
  var to = new URL(set.endpoint || "/events", (s && !set.endpoint && s.src) || loc.href).href;
  var quiet = nav.globalPrivacyControl || nav.doNotTrack === "1";
  var KEY = "pixelpipe", MOST = 50, waiting = [], busy = false, timer = 0, wait = 1000, user, last, here = d.referrer;

  function store(kind) { try { return w[kind + "Storage"]; } catch (e) { return null; } }
  function keep(box, name, value) { try { box.setItem(name, value); } catch (e) { return; } }
  function load(box, name) { try { return box.getItem(name); } catch (e) { return null; } }
  var tab = quiet ? null : store("session"), long = !quiet && set.storage === "local" ? store("local") : tab;

  // A UUIDv7: the collector takes the day of the event from it, whenever it arrives.
  function id() {
    var b = w.crypto.getRandomValues(new Uint8Array(10)), hex = Date.now().toString(16).padStart(12, "0");
    b[0] = 112 | (b[0] & 15);
    b[2] = 128 | (b[2] & 63);
    b.forEach(function (x) { hex += (x + 256).toString(16).slice(1); });
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }
  function known(box, name) {
    var value = box && load(box, KEY + name);
    if (!value) { value = id(); if (box) keep(box, KEY + name, value); }
    return value;
  }
  var person = known(long, ".id"), visit = known(tab, ".visit");
  if (!quiet) user = load(long, KEY + ".user") || undefined;

  function body(events) {
    var now = new Date().toISOString();
    return JSON.stringify(events.map(function (e) { return Object.assign({ sent_at: now }, e); }));
  }
  function save() { if (tab) keep(tab, KEY + ".q", JSON.stringify(waiting)); }
  function later() {
    clearTimeout(timer);
    timer = setTimeout(send, wait);
    wait = Math.min(wait * 2, 60000);
  }
  // An event leaves the queue when the collector has it; one that is sent twice counts once, by its event_id.
  function send() {
    var events = waiting.slice(0, MOST);
    if (busy || !events.length) return;
    busy = true;
    w.fetch(to, { method: "POST", body: body(events), keepalive: true, headers: { "Content-Type": "text/plain" } }).then(function (r) {
      busy = false;
      if (r.status === 429 || r.status > 499) return later();
      waiting = waiting.slice(events.length);
      wait = 1000;
      save();
      send();
    }, function () { busy = false; later(); });
  }
  function leave() {
    var events = waiting.slice(-MOST);
    if (!events.length) return;
    var text = body(events);
    if (nav.sendBeacon && nav.sendBeacon(to, text)) return;
    if (w.fetch) w.fetch(to, { method: "POST", body: text, keepalive: true, mode: "no-cors" }).catch(function () {});
    else new Image().src = to.replace(/\/[^/]*$/, "/pixel.gif?") + new URLSearchParams(events[0]);
  }
  function track(type, properties) {
    var e = { event_id: id(), event_time: new Date().toISOString(), type: String(type), url: loc.href, referrer: here, title: d.title,
      anonymous_id: person, session_id: visit, user_id: user, tenant: set.tenant, properties: properties };
    if (quiet) e.consent = "denied";
    waiting.push(e);
    if (waiting.length > MOST) waiting.shift();
    save();
    clearTimeout(timer);
    timer = setTimeout(send, 0);
  }
  function identify(name, traits) {
    if (!quiet) { user = name == null ? undefined : String(name); if (long) keep(long, KEY + ".user", user || ""); }
    track("identify", traits);
  }
  function page(properties) {
    if (last === loc.href) return;
    if (last) here = last;
    last = loc.href;
    track("page", properties);
  }

  var api = { track: track, identify: identify, page: page }, early = w.pixelpipe;
  api.push = function (call) { api[call[0]].apply(null, [].slice.call(call, 1)); };
  w.pixelpipe = api;
  try { waiting = JSON.parse(load(tab, KEY + ".q") || "[]"); } catch (e) { waiting = []; }
  if (set.pages !== "off") {
    ["pushState", "replaceState"].forEach(function (name) {
      var was = history[name];
      history[name] = function () { var r = was.apply(this, arguments); setTimeout(page, 0); return r; };
    });
    w.addEventListener("popstate", function () { setTimeout(page, 0); });
    page();
  }
  if (early && early.forEach) early.forEach(api.push);
  if (waiting.length) send();
  w.addEventListener("online", send);
  w.addEventListener("pagehide", leave);
  d.addEventListener("visibilitychange", function () { if (d.visibilityState === "hidden") leave(); });
})(window, document);
