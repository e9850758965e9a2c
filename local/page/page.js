// The page of `make run`: the stream of what happens, passed on to the parts of the page that show it.

import { byId, element, setText } from "./element.js";
import { Events } from "./events.js";
import { rate, seconds, sentence } from "./figures.js";
import { Flow } from "./flow.js";
import { showLedger, startProof } from "./proof.js";
import { showDataset, startQuery } from "./query.js";
import { ask, follow } from "./server.js";
import { fireFirst, showHost, startSending } from "./send.js";
import { openAddressed, openStory } from "./story.js";
import { openWaiting } from "./waiting.js";

const flow = new Flow(byId("picture"), steer, openWaiting);
const events = new Events(
  { list: byId("list"), filter: byId("filter"), resume: byId("resume"), shownText: byId("shown"), reasons: byId("reasons"), chips: document.querySelector("#events .chips") },
  openStory,
);

async function steer(name, verb) {
  say(`${verb} ${name} …`);
  try {
    await ask(`/api/services/${name}/${verb}`, { method: "POST", body: {} });
    say("");
  } catch (error) {
    say(error.message, true);
  }
}

function say(text, bad = false) {
  setText(byId("done"), text);
  byId("done").classList.toggle("bad", bad);
}

function showState(state) {
  document.body.classList.remove("stale"); // before what is said of this state
  const perSecond = state.parts.find((part) => part.name === "collector")?.figures?.in_per_second;
  const latency = state.parts.find((part) => part.name === "loader")?.figures?.p50_seconds;
  // A rehearsed fault has a line of its own.
  const trouble = state.trouble.filter((one) => !state.faults.some((fault) => one.text.endsWith(fault.text)));
  const worst = trouble[0];
  byId("flow").dataset.state = worst ? worst.level ?? "error" : "fine";
  const first = isFirst(state);
  setText(byId("headline"), worst ? sentence(worst.text) : !state.ready ? "Starting …" : first ? "Ready for the first event" : "All is well");
  const flowing = perSecond > 0 ? `${rate(perSecond)} hits a second` : first ? "Fire it here, and watch it travel from the collector to BigQuery" : perSecond === 0 ? "Nothing arrives at the moment" : null;
  setText(byId("summary"), [
    flowing,
    latency && !worst ? `half of the latest became rows within ${seconds(latency)}` : null,
    `project ${state.project}, dataset ${state.dataset}`,
  ].filter(Boolean).join(" · "));
  const more = trouble.slice(1).map((one) => sentence(one.text));
  byId("trouble").hidden = more.length === 0;
  if (byId("trouble").textContent !== more.join("")) byId("trouble").replaceChildren(...more.map((text) => element("li", {}, text)));
  flow.update(state);
  showFaults(state);
  events.update(state);
  showHost(state);
  showDataset(state);
  showLedger(state);
  document.title = `pixelpipe: ${state.project}.${state.dataset}`;
  watching = state.read_only ? "live, only looking" : "live";
}

// Nothing has ever come: a newcomer's page. What the button says stays until something else comes.
function isFirst(state) {
  const first = !state.read_only && state.ready && state.ledger?.collected === 0 && events.items.length === 0;
  const button = byId("first").querySelector(".first");
  if (first) byId("first").hidden = false;
  else if (button !== null || state.ledger?.collected > 1) byId("first").hidden = true;
  return first;
}

byId("first").querySelector("button").addEventListener("click", () => fireFirst(byId("first")));

let faultsShown = "";
let watching = "live";

function showFaults({ faults, read_only: readOnly }) {
  if (readOnly) byId("rehearse")?.remove();
  if (byId("rehearse") === null) return;
  byId("rehearse").hidden = false;
  const list = byId("rehearse").querySelector(".faults");
  const key = faults.map((fault) => fault.id).join(" ");
  if (key !== faultsShown) {
    if (key === "") say("The rehearsal is over.");
    faultsShown = key;
    const held = list.contains(document.activeElement) ? document.activeElement.dataset.fault : null;
    list.replaceChildren(...faults.map((fault) => element("li", {}, element("span", { "aria-hidden": "true" }, "⚡ "), element("span", {}, `${fault.text}. `, element("span", { class: "quiet" }, fault.means)), element("span", { class: "left" }),
      element("button", { type: "button", class: "small", "data-fault": fault.id, click: () => end(fault) }, "End it"))));
    if (held !== null) (list.querySelector(`[data-fault="${CSS.escape(held)}"]`) ?? byId("rehearse").querySelector("button"))?.focus();
  }
  faults.forEach((fault, index) => {
    const left = fault.expires_in;
    setText(list.children[index].querySelector(".left"), left === null || left === undefined ? "until you end it" : `${Math.max(0, Math.ceil(left))} s left`);
  });
}

async function end(fault) {
  await ask(`/api/faults/${encodeURIComponent(fault.id)}`, { method: "DELETE" }).catch((error) => say(error.message, true));
}

async function showRehearsals() {
  try {
    const examples = await ask("/api/faults/examples");
    byId("rehearse")?.querySelector(".choices").replaceChildren(...examples.map((example) => element("button", {
      type: "button", title: example.text, click: async () => {
        await ask("/api/faults", { method: "POST", body: example.fault }).then(() => say(`Rehearsed: ${example.name}.`), (error) => say(error.message, true));
      },
    }, example.name)));
  } catch {
    setTimeout(showRehearsals, 5000); // the header says already that the server is away
  }
}

function showLink(link, since) {
  const said = { live: watching, lost: `no connection for ${seconds(since)}`, silent: `no news for ${seconds(since)}` }[link];
  byId("link").dataset.link = link;
  setText(byId("link"), said);
  document.body.classList.toggle("stale", link !== "live");
  if (link === "live") return;
  flow.lost();
  byId("trouble").hidden = true;
  byId("flow").dataset.state = "error";
  setText(byId("headline"), "The page's server does not answer");
  setText(byId("summary"), `What is shown is ${seconds(since)} old. Is the command that serves it still running, such as make run? The page goes on by itself as soon as it is.`);
}

follow({
  onState: showState,
  onItems: (items, skipped) => events.add(items, skipped),
  onReset: () => events.clear(),
  onLink: showLink,
});
startSending();
startProof();
startQuery();
showRehearsals();
openAddressed();
