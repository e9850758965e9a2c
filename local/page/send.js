// "Send": a pixel, a post or a tracker's snippet, fired from here and followed until it is a row. "Paste": what a
// request would become, without sending it.

import { byId, copyButton, element, setText } from "./element.js";
import { seconds, sentence } from "./figures.js";
import { ask } from "./server.js";
import { openStory, showStory } from "./story.js";

const GIVE_UP_SECONDS = 60; // an outage may be on
const TABS = { pixel: "Pixel", post: "Post", snippet: "Snippet", paste: "Paste" };
const POST = { type: "order", user_id: "ada", order_id: "o-1", total: 12.5 };
const PASTED = "curl 'https://c.example.com/pixel.gif?user_id=ada&type=view&event_time=yesterday'";

let host = "";
let readOnly = false;
let collector = null; // the part of the latest state
let trip = 0; // the number of the last one: an older one's answer says nothing any more
let told = null; // the place that says what becomes of it
let unanswered = null; // the trip that got no answer: the next states may say why

// The time-ordered kind of UUID, whose day decides the partition.
function uuid7() {
  const bits = crypto.getRandomValues(new Uint8Array(16));
  let at = Date.now();
  for (let index = 5; index >= 0; index -= 1, at = Math.floor(at / 256)) bits[index] = at % 256;
  bits[6] = 0x70 | (bits[6] & 0x0f);
  bits[8] = 0x80 | (bits[8] & 0x3f);
  return Array.from(bits, (byte) => byte.toString(16).padStart(2, "0")).join("").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

// The pixel of the form, fired from elsewhere; `into` says what becomes of it.
export function fireFirst(into) {
  const id = uuid7();
  travel({ id }, { method: "GET", url: `${host}/pixel.gif?${new URLSearchParams({ user_id: "ada", type: "view", event_id: id })}` }, into);
}

export function startSending() {
  const tabs = byId("send").querySelector(".tabs");
  const buttons = Object.entries(TABS).map(([name, label]) => element("button", {
    type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "send-panel", "data-name": name, click: () => choose(name),
  }, label));
  tabs.append(...buttons);
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    choose(next.dataset.name);
    next.focus();
  });
  function choose(name) {
    for (const button of buttons) {
      button.setAttribute("aria-selected", String(button.dataset.name === name));
      button.tabIndex = button.dataset.name === name ? 0 : -1;
    }
    forget();
    const panel = byId("send-panel");
    panel.setAttribute("aria-labelledby", `tab-${name}`);
    panel.replaceChildren(...{ pixel: pixelForm, post: postForm, snippet: snippetForm, paste: pasteForm }[name]());
    refreshFire();
  }
  choose("pixel");
}

export function showHost(state) {
  collector = state.parts.find((part) => part.name === "collector");
  if (unanswered === trip && ended()) {
    unanswered = null;
    sayUnanswered(trip);
  }
  if (host === state.host && readOnly === state.read_only) return;
  host = state.host;
  readOnly = state.read_only;
  byId("send-panel").dispatchEvent(new Event("host"));
  refreshFire();
}

function refreshFire() {
  for (const button of document.querySelectorAll("#send-panel .fire")) {
    button.disabled = host === "";
    if (readOnly) button.replaceWith(element("p", { class: "quiet" }, "This page only looks: send it yourself."));
  }
}

function field(label, control) {
  return element("label", {}, element("span", {}, label), control);
}

function fireButton(label, fire) {
  return element("button", { type: "button", class: "first fire", click: fire }, label);
}

function pixelForm() {
  const user = element("input", { value: "ada", autocomplete: "off", spellcheck: "false" });
  const type = element("input", { value: "view", autocomplete: "off", spellcheck: "false" });
  const more = element("textarea", { rows: 2, spellcheck: "false", placeholder: "order_id=o-1" });
  const code = element("pre", { tabindex: "0", "aria-label": "The pixel's markup" });
  const url = (id) => {
    const query = new URLSearchParams();
    if (user.value) query.set("user_id", user.value);
    if (type.value) query.set("type", type.value);
    for (const line of more.value.split("\n")) {
      const [name, ...value] = line.split("=");
      if (name.trim()) query.append(name.trim(), value.join("="));
    }
    if (id && !query.has("event_id")) query.set("event_id", id);
    return `${host}/pixel.gif?${query}`;
  };
  const show = () => setText(code, `<img src="${url().replaceAll("&", "&amp;")}" width="1" height="1" alt="">`);
  for (const input of [user, type, more]) input.addEventListener("input", show);
  byId("send-panel").addEventListener("host", show);
  show();
  return [
    element("div", { class: "fields" }, field("user_id", user), field("type", type)),
    field("More parameters, one a line", more),
    code,
    element("div", { class: "bar" }, fireButton("Fire the pixel", () => {
      const fired = url(uuid7());
      const id = new URL(fired).searchParams.get("event_id"); // or one of its own, among the parameters
      travel({ id }, { method: "GET", url: fired }); // an image could not say why it was refused
    }), copyButtonOf(() => code.textContent)),
  ];
}

function postForm() {
  const body = element("textarea", { rows: 7, spellcheck: "false" });
  body.value = JSON.stringify(POST, null, 2);
  const wrong = element("p", { class: "error", role: "alert" });
  return [
    field("JSON for /events", body), wrong,
    element("div", { class: "bar" }, fireButton("Post the event", () => {
      const id = uuid7();
      let sent;
      try {
        sent = JSON.parse(body.value);
      } catch (error) {
        setText(wrong, `This is not JSON: ${error.message}`);
        return;
      }
      const none = Array.isArray(sent) && sent.length === 0;
      setText(wrong, none ? "There is no event in this list: nothing was sent." : "");
      if (none) return;
      const first = Array.isArray(sent) ? sent[0] : sent; // the one that is followed; what is no object is refused
      if (first !== null && typeof first === "object") first.event_id ??= id;
      travel({ id: first?.event_id }, { url: `${host}/events`, method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(sent) });
    }), copyButtonOf(() => `curl -H 'Content-Type: application/json' -d '${body.value.replaceAll("'", "'\\''")}' '${host}/events'`, "Copy as curl")),
  ];
}

function snippetForm() {
  const choice = element("select", {});
  const own = element("input", { placeholder: host, maxlength: 300, autocomplete: "off", spellcheck: "false" });
  const code = element("pre", { tabindex: "0", "aria-label": "The snippet" });
  const wrong = element("p", { class: "error", role: "alert" });
  const actions = element("div", { class: "bar" });
  let snippets = [];
  let asked = 0; // an older question's answer is for another address
  const show = () => {
    const chosen = snippets[choice.selectedIndex];
    if (!chosen) return;
    setText(code, chosen.text);
    const fire = fireButton("Fire what it sends", () => {
      const { marker: sample, event_id: id, url, body, ...rest } = chosen.fires;
      const marker = uuid7();
      const fresh = (text) => text?.replaceAll(sample, marker);
      travel({ id: fresh(id), marker }, { ...rest, url: fresh(url), body: fresh(body) });
    });
    actions.replaceChildren(fire, copyButton(chosen.text));
    refreshFire();
  };
  const fill = async () => {
    const mine = (asked += 1);
    try {
      const found = await ask(`/api/snippets?${new URLSearchParams({ collector: own.value.trim() })}`);
      if (mine !== asked) return;
      snippets = found;
      setText(wrong, "");
      if (choice.length === 0) choice.append(...found.map((snippet) => element("option", {}, `${snippet.name} · ${snippet.language}`)));
      show();
    } catch (error) {
      if (mine === asked) setText(wrong, error.message);
    }
  };
  choice.addEventListener("change", () => { forget(); show(); });
  own.addEventListener("input", fill);
  fill();
  return [field("What sends", choice), field("Your collector's address, for the snippet", own), wrong, code, actions];
}

function pasteForm() {
  const text = element("textarea", { rows: 7, spellcheck: "false", placeholder: "A URL, a curl command, or a tracker's payload" });
  text.value = PASTED;
  const wrong = element("p", { class: "error", role: "alert" });
  const explain = element("button", { type: "button", class: "first", click: async () => {
    setText(wrong, "");
    explain.disabled = true;
    try {
      const pasted = text.value.trim();
      showStory(await ask("/api/explain", { method: "POST", body: /^https?:\/\/\S+$/.test(pasted) ? { url: pasted } : { request: pasted } }), "What it would become");
    } catch (error) {
      setText(wrong, error.message);
    }
    explain.disabled = false;
  } }, "Show the row it would become");
  return [field("Paste a request", text), wrong, element("div", { class: "bar" }, explain, element("span", { class: "quiet" }, "Nothing is sent."))];
}

function copyButtonOf(text, label = "Copy") {
  return element("button", { type: "button", class: "small", click: async (event) => {
    const button = event.currentTarget;
    await navigator.clipboard.writeText(text()).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Not copied"; });
    setTimeout(() => { button.textContent = label; }, 1500);
  } }, label);
}

const ended = () => ["ended", "stopped", "stopping"].includes(collector?.status);

async function send({ url, method, headers, body }) {
  let answer;
  try {
    answer = await fetch(url, { method, headers: headers ?? {}, body: method === "GET" ? undefined : body, credentials: "omit" });
  } catch {
    return false;
  }
  if (!answer.ok) throw new Error(`The collector answered ${answer.status}: ${(await answer.text()).trim().slice(0, 200)}`);
  return true;
}

// Of the trip of this number, unless another has begun.
function say(mine, state, text, ...more) {
  if (mine !== trip) return;
  told.dataset.state = state;
  const held = told.contains(document.activeElement); // the button there, which goes
  told.replaceChildren(element("p", {}, text), ...more);
  if (held) (told.querySelector("button, a") ?? told).focus();
}

function sayUnanswered(mine) {
  const flow = element("a", { href: "#flow" }, "Flow");
  if (document.body.classList.contains("stale")) say(mine, "lost", "Neither the collector nor the page's server answers. Is make run, or what else serves them, still running?");
  else if (ended()) say(mine, "lost", ["The collector is not running", collector.why ? ` (${collector.why})` : "", ": start it in ", flow, "."]);
  else say(mine, "lost", ["The collector does not answer: look at it in ", flow, ". If it is ready there, an extension of this browser may block it."]);
}

// What is shown is of another event than what one looks at now.
function forget() {
  trip += 1;
  byId("trip").replaceChildren();
}

// Fires, then asks until the event is a row or a reject, and says how long that took. Without an id of its own it is
// found by the marker, a text that its request alone has.
async function travel({ id = null, marker }, request, into = byId("trip")) {
  const mine = (trip += 1);
  told = into;
  const began = performance.now();
  const passed = () => (performance.now() - began) / 1000;
  say(mine, "wait", "Firing …");
  try {
    if (!await send(request)) {
      unanswered = mine;
      sayUnanswered(mine);
      return;
    }
    say(mine, "wait", `Acknowledged after ${seconds(passed())}. On its way to a row …`);
    let found = [];
    while (found.length === 0 && passed() < GIVE_UP_SECONDS && mine === trip) {
      id ??= (await ask(`/api/snippets/fired?marker=${marker}&wait=1`)).event_id;
      if (id === null) continue;
      const [events, rejects] = await Promise.all(["events", "rejects"].map((kind) => ask(`/api/${kind}?event_id=${encodeURIComponent(id)}&wait=${kind === "events" ? 1 : 0}`)));
      found = [...events.items, ...rejects.items];
    }
    if (found.length === 0) {
      say(mine, "lost", `Not a row after ${seconds(passed())}. The picture shows where it waits; nothing acknowledged is lost.`);
      return;
    }
    const story = element("button", { type: "button", class: "small", click: () => openStory(id) }, "Its story");
    const what = found[0].kind === "reject" ? `It became a reject (${found[0].reason})` : `It is a row of ${found[0].table}`;
    say(mine, found[0].kind, `${what}. Travelled in ${seconds(passed())}.`, story);
  } catch (error) {
    say(mine, "lost", sentence(error.message));
  }
}
