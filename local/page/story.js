// One event's whole story: request → protocol → parameters → columns → row, and what went wrong on the way.

import { byId, copyButton, element } from "./element.js";
import { count, sentence, shown } from "./figures.js";
import { ask } from "./server.js";

const OUTCOMES = {
  row: ["●", "It is a row."], reject: ["✕", "It is a reject: no row of its table, but nothing of it is lost."],
  in_flight: ["◌", "It is on its way."], nothing: ["✕", "Nothing of it is kept."], unknown: ["◌", "Nothing more is known of it."],
};

const LISTED = 100; // names; a request may have thousands
const NAME = 200; // characters of one
const TEXT = 20_000; // and of a body

const dialog = byId("story");
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => {
  if (dialog.open) return; // again, meanwhile
  // The browser gives the focus back, unless the row has gone from the list meanwhile.
  if (document.activeElement === document.body) byId("list").focus();
  if (history.state !== null) history.replaceState("closed", "", location.pathname);
});

// The Back button closes the dialog, and an address with #event=ID opens that event's story.
addEventListener("popstate", () => { if (!openAddressed() && dialog.open) dialog.close(); });

export function openAddressed() {
  const [, id] = /^#event=(.+)$/.exec(location.hash) ?? [];
  if (id === undefined) return false;
  if (history.state === null) history.replaceState(null, "", location.pathname); // what is below it
  openStory(decoded(id));
  return true;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a percent sign of its own
  }
}

export async function openStory(id, table) {
  const asked = showDialog("Its story", element("p", { class: "quiet" }, "asking …"));
  history.replaceState("open", "", `#event=${encodeURIComponent(id)}`);
  try {
    const where = new URLSearchParams({ event_id: id, ...(table ? { table } : {}) });
    const story = await ask(`/api/story?${where}`);
    if (isShown(asked)) showStory(story, "Its story", id);
  } catch (error) {
    if (isShown(asked)) showDialog("Its story", identity(id), element("p", { class: "error" }, error.message));
  }
}

export function showStory(story, title, id = story.event_id) {
  const [mark, outcome] = OUTCOMES[story.outcome] ?? OUTCOMES.unknown;
  const stored = story.steps.at(-1)?.stored ?? story.outcome !== "nothing";
  const refused = story.outcome === "row" && pairs(story.refused).length > 0 ? "It is a row; what did not fit is null there, and kept." : null;
  const wouldBe = { row: "It would become this row. Nothing was sent.", reject: "It would be a reject. Nothing was sent.", nothing: "Nothing of it would be kept. Nothing was sent." }[story.outcome];
  showDialog(title,
    id && stored ? identity(id) : null,
    element("p", { class: "outcome", "data-outcome": story.outcome }, element("span", { "aria-hidden": "true" }, `${mark} `), stored ? refused ?? outcome : wouldBe ?? outcome),
    story.note && (stored || story.outcome === "nothing") ? element("p", { class: "quiet" }, sentence(story.note)) : null,
    wrongs(story),
    element("ol", { class: "steps" }, story.steps.map(step)),
    story.curl ? element("section", {}, element("div", { class: "bar" }, element("h3", {}, "Send it again"), copyButton(story.curl)), element("pre", { tabindex: "0" }, shown(story.curl, TEXT))) : null,
    (story.others ?? []).length > 0 ? others(story, title) : null);
}

let number = 0; // of what the dialog has

// Not closed meanwhile, nor used for something else.
export const isShown = (asked) => dialog.open && asked === number;

// Returns what `isShown` takes.
export function showDialog(title, ...content) {
  const close = element("button", { type: "button", click: () => dialog.close() }, "Close");
  dialog.replaceChildren(element("header", { class: "bar" }, element("h2", { id: "story-title" }, title), close), ...content.filter(Boolean));
  if (dialog.open) {
    close.focus(); // the one that had it is gone
  } else {
    // However many are opened, one step back is enough.
    if (history.state === null) history.pushState("open", "", location.pathname);
    else history.replaceState("open", "", location.pathname);
    dialog.showModal();
  }
  dialog.scrollTop = 0;
  return (number += 1);
}

function identity(id) {
  return element("p", { class: "identity" }, element("code", {}, shown(id)), copyButton(id));
}

function wrongs(story) {
  const refused = new Set(pairs(story.refused).map(([name]) => name)); // what was refused is kept in params too
  const lists = [
    ["Refused", "what did not fit", pairs(story.refused)],
    ["Changed", "stored otherwise than sent", [
      ...pairs(story.changed).map(([name, value]) => [name, value && `was sent as ${value}`]),
      ...pairs(story.privacy?.changed).map(([name, value]) => [name, value || "cut, by the privacy policy"]),
      ...pairs(story.privacy?.removed).map(([name, value]) => [name, value || "removed, by the privacy policy"]),
    ]],
    ["Empty", "sent without a value", pairs(story.empty).filter(([name]) => !refused.has(name))],
    ["Unknown", `no column takes it: ${story.kept_in ? `kept in ${story.kept_in}` : "it is lost"}`, pairs(story.unknown).filter(([name]) => !refused.has(name))],
  ].filter(([, , list]) => list.length > 0);
  if (lists.length === 0) return null;
  return element("div", { class: "wrongs" }, lists.map(([name, what, list]) => element("section", { "data-name": name },
    element("h3", {}, name, " ", element("span", { class: "quiet" }, what)),
    element("ul", {}, list.slice(0, LISTED).map(([key, value]) => element("li", {}, element("code", {}, shown(key, NAME)), value ? ` ${value}` : null)), more(list)))));
}

function more(list) {
  return list.length > LISTED ? element("li", { class: "quiet" }, "and more") : null; // the server names only some, too
}

// [name, text] of a list of names, a list of objects, or an object.
function pairs(found) {
  if (!found) return [];
  if (!Array.isArray(found)) return Object.entries(found).map(([name, value]) => [name, shown(value)]);
  return found.map((one) => {
    if (typeof one !== "object" || one === null) return [shown(one), ""];
    const value = one.value === undefined || one.value === null ? "" : shown(one.value);
    const named = one.column ?? one.name;
    const why = [one.why ?? (named ? one.reason : null), one.detail].filter(Boolean).join(": ");
    return [shown(named ?? one.reason ?? ""), [value, why].filter(Boolean).join(" · ")];
  });
}

function step(found, _at, all) {
  const content = {
    request: () => [
      element("p", { class: "line" }, element("b", {}, shown(found.method)), " ", element("code", {}, `${shown(`${found.path ?? ""}${found.query ? `?${found.query}` : ""}`)}`)),
      list({ ...(found.ip ? { address: found.ip } : {}), ...(found.received_at ? { received: found.received_at } : {}), ...found.headers }),
      found.envelope ? list({ envelope: found.envelope }) : null,
      found.body ? element("pre", { tabindex: "0" }, pretty(found.body)) : null,
    ],
    protocol: () => [element("p", {}, element("b", {}, shown(found.protocol)), found.via ? ` through ${shown(found.via)}` : "")],
    parameters: () => [list(found.values)],
    columns: () => [columns(found.values ?? [])],
  }[found.name] ?? (() => [
    element("p", {}, found.name === "reject" ? `${[found.reason, found.column, found.detail].filter(Boolean).join(" · ")}; in ` : "in ", element("b", {}, shown(found.table))),
    list(found.row),
  ]);
  const titles = { request: "Request", protocol: "Protocol", parameters: "Parameters", columns: "Columns", row: "Row", reject: "Reject" };
  const open = all.length === 1 || found.name === "request" || found.name === "columns" || found.name === "reject";
  return element("li", { "data-step": found.name }, element("details", { open: open || found.name === "row" && found.stored === false },
    element("summary", {}, element("h3", {}, titles[found.name] ?? shown(found.name))),
    found.text ? element("p", { class: "quiet" }, found.text) : null, ...content()));
}

function list(values) {
  const entries = Object.entries(values ?? {});
  if (entries.length === 0) return element("p", { class: "quiet" }, "none");
  return [
    element("dl", {}, entries.slice(0, LISTED).flatMap(([name, value]) => [
      element("dt", {}, shown(name, NAME)), element("dd", value === null || value === undefined ? { class: "null" } : {}, shown(value)),
    ])),
    entries.length > LISTED ? element("p", { class: "quiet" }, `and ${count(entries.length - LISTED)} more`) : null,
  ];
}

function columns(values) {
  const cells = (one) => {
    const refused = one.refused && (typeof one.refused === "object" ? [one.refused.reason, one.refused.detail, one.refused.value === undefined ? "" : shown(one.refused.value)].filter(Boolean).join(" · ") : shown(one.refused));
    const changed = one.changed ?? (one.sent === null || one.sent === undefined ? null : `sent as ${shown(one.sent)}`);
    return element("tr", { "data-fate": refused ? "refused" : changed ? "changed" : "kept" },
      element("th", { scope: "row" }, shown(one.column), " ", element("span", { class: "quiet" }, shown(one.type))),
      element("td", {}, element("code", {}, shown(one.from ?? one.sources?.join(", ") ?? "–"))),
      element("td", {}, element("span", one.value === null || one.value === undefined ? { class: "null" } : {}, shown(one.value)),
        refused ? element("p", { class: "bad" }, `✕ refused: ${refused}`) : changed ? element("p", { class: "warn" }, `▲ ${changed}`) : null));
  };
  const told = values.filter((one) => one.value !== null && one.value !== undefined || one.refused);
  const empty = values.length - told.length;
  if (told.length === 0) return element("p", { class: "quiet" }, "It became no row, so none has a value.");
  return element("div", { class: "wide", tabindex: "0", role: "group", "aria-label": "Columns" },
    element("table", {}, element("thead", {}, element("tr", {}, ["column", "from", "value"].map((name) => element("th", { scope: "col" }, name)))), element("tbody", {}, told.map(cells))),
    empty > 0 ? element("p", { class: "quiet" }, `${empty} more columns have no value.`) : null);
}

function others(story, title) {
  return element("section", {}, element("h3", {}, `${story.others.length + (story.more ?? 0)} more in the same request`),
    element("ul", { class: "others" }, story.others.map((other, index) => element("li", {}, element("button", { type: "button", class: "small", click: () => showStory(other, title) }, other.event_id ?? `no. ${index + 2}`)))));
}

function pretty(text) {
  try {
    return shown(JSON.stringify(JSON.parse(text), null, 2), TEXT);
  } catch {
    return shown(text, TEXT);
  }
}
