// "Send": a pixel, a post or a tracker's snippet, fired from here and followed until it is a row. "Paste": what a
// request would become, without sending it.

import { byId, copyButton, element, setText } from "./element.js";
import { seconds } from "./figures.js";
import { ask } from "./server.js";
import { openStory, showStory } from "./story.js";

const GIVE_UP_SECONDS = 60; // an outage may be on
const TABS = { pixel: "Pixel", post: "Post", snippet: "Snippet", paste: "Paste" };
const POST = { type: "order", user_id: "ada", order_id: "o-1", total: 12.5 };
const PASTED = "curl 'https://c.example.com/pixel.gif?user_id=ada&type=view&event_time=yesterday'";

let host = "";
let readOnly = false;
let snippets = null;
let trip = 0; // the number of the last one: an older one's answer says nothing any more

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
  travel(id, () => load(`${host}/pixel.gif?${new URLSearchParams({ user_id: "ada", type: "view", event_id: id })}`), into);
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
    const panel = byId("send-panel");
    panel.setAttribute("aria-labelledby", `tab-${name}`);
    panel.replaceChildren(...{ pixel: pixelForm, post: postForm, snippet: snippetForm, paste: pasteForm }[name]());
    refreshFire();
  }
  choose("pixel");
}

export function showHost(state) {
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
    if (id) query.set("event_id", id);
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
      const id = uuid7();
      travel(id, () => load(url(id)));
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
      setText(wrong, "");
      if (sent !== null && typeof sent === "object" && !Array.isArray(sent)) sent = { event_id: id, ...sent };
      travel(sent?.event_id ?? null, () => post({ url: `${host}/events`, method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(sent) }));
    }), copyButtonOf(() => `curl -H 'Content-Type: application/json' -d '${body.value.replaceAll("'", "'\\''")}' ${host}/events`, "Copy as curl")),
  ];
}

function snippetForm() {
  const choice = element("select", {});
  const own = element("input", { placeholder: host, autocomplete: "off", spellcheck: "false" });
  const code = element("pre", { tabindex: "0", "aria-label": "The snippet" });
  const actions = element("div", { class: "bar" });
  const show = () => {
    const chosen = snippets?.[choice.selectedIndex];
    if (!chosen) return;
    const text = own.value.trim() ? chosen.text.replaceAll(host, own.value.trim()) : chosen.text;
    setText(code, text);
    const fire = chosen.fires
      ? fireButton("Fire what it sends", () => {
        const { event_id: sample } = chosen.fires;
        const id = sample ? uuid7() : null;
        const fresh = (sent) => (sample && sent ? sent.replaceAll(sample, id) : sent);
        travel(id, () => post({ ...chosen.fires, url: fresh(chosen.fires.url), body: fresh(chosen.fires.body) }));
      })
      : element("p", { class: "quiet" }, "To be run where the tracker runs.");
    actions.replaceChildren(fire, copyButton(text));
    refreshFire();
  };
  choice.addEventListener("change", show);
  own.addEventListener("input", show);
  const fill = () => {
    choice.replaceChildren(...snippets.map((snippet) => element("option", {}, `${snippet.name} · ${snippet.language}`)));
    show();
  };
  if (snippets) fill();
  else {
    setText(code, "asking …");
    ask("/api/snippets").then((found) => { snippets = found; fill(); }, (error) => setText(code, error.message));
  }
  return [field("What sends", choice), field("Your collector's address, for the snippet", own), code, actions];
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

function load(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = resolve;
    image.onerror = () => reject(new Error("the collector did not take it"));
    image.src = url;
  });
}

async function post({ url, method, headers, body }) {
  let answer;
  try {
    answer = await fetch(url, { method, headers: headers ?? {}, body: method === "GET" ? undefined : body, credentials: "omit" });
  } catch {
    throw new Error("the collector does not answer");
  }
  if (!answer.ok) throw new Error(`the collector answered ${answer.status}: ${(await answer.text()).trim().slice(0, 200)}`);
}

// Fires, then asks until the event is a row or a reject, and says how long that took.
async function travel(id, fire, into = byId("trip")) {
  const mine = (trip += 1);
  const began = performance.now();
  const passed = () => (performance.now() - began) / 1000;
  const say = (state, text, ...more) => {
    if (mine !== trip) return;
    into.dataset.state = state;
    into.replaceChildren(element("p", {}, text), ...more);
  };
  say("wait", "Firing …");
  try {
    await fire();
    if (id === null) {
      say("done", `The collector took it after ${seconds(passed())}. It carries no id of its own: look for it in what arrives.`);
      return;
    }
    say("wait", `Acknowledged after ${seconds(passed())}. On its way to a row …`);
    let found = [];
    while (found.length === 0 && passed() < GIVE_UP_SECONDS && mine === trip) {
      const [events, rejects] = await Promise.all(["events", "rejects"].map((kind) => ask(`/api/${kind}?event_id=${encodeURIComponent(id)}&wait=${kind === "events" ? 1 : 0}`)));
      found = [...events.items, ...rejects.items];
    }
    if (found.length === 0) {
      say("lost", `Not a row after ${seconds(passed())}. The picture shows where it waits; nothing acknowledged is lost.`);
      return;
    }
    const story = element("button", { type: "button", class: "small", click: () => openStory(id) }, "Its story");
    const what = found[0].kind === "reject" ? `It became a reject (${found[0].reason})` : `It is a row of ${found[0].table}`;
    say(found[0].kind, `${what}. Travelled in ${seconds(passed())}.`, story);
  } catch (error) {
    say("lost", error.message);
  }
}
