// The proof that nothing is lost: the equation now, the same by hour, and what it all costs.

import { barChart } from "./chart.js";
import { byId, drawn, element } from "./element.js";
import { clock, count, counted, dollars, rate, sentence } from "./figures.js";
import { ask } from "./server.js";

const PROOF_SECONDS = 10;
const COST_SECONDS = 30;
const OLD = 40_000; // ms: of an answer that is asked for every PROOF_SECONDS
const HOUR = 3_600_000; // ms
const PARTS = ["loaded", "rejected", "in flight", "spooled", "dead"];
const STORED = ["loaded", "rejected", "in flight", "dead"]; // of an hour
const RESTARTED = "A service was started again and counts from 0, so these are the sums of the last 24 hours, which BigQuery has.";
const WITHOUT = "So these are the sums of the last 24 hours, which BigQuery has.";
const NO_SPOOL = "What waits in the spool is not known until the collector answers.";
const SINCE = "Counted since this start.";
const OF_ALL_PODS = "The sums of the last 24 hours, of all pods, as BigQuery has them.";
const PLACES = { spool: "at the spool", hits: "between collector and processor", rows: "between processor and loader" };

export function startProof() {
  repeat(askHours, PROOF_SECONDS);
  repeat(askCost, COST_SECONDS);
  byId("rate").addEventListener("change", askCost);
  new ResizeObserver(() => redraw()).observe(byId("hours"));
}

async function repeat(asking, every) {
  if (!document.hidden) await asking();
  setTimeout(() => repeat(asking, every), every * 1000);
}

async function askHours() {
  if (!(await showAnswer("hours", "/api/proof?hours=24", showHours))) proof = null;
}

function askCost() {
  const rate = byId("rate").value;
  return showAnswer("cost", rate ? `/api/cost?rate=${encodeURIComponent(rate)}` : "/api/cost", showCost);
}

// What failed is said in the place of the answer; returns whether there is one.
async function showAnswer(id, path, show) {
  let answer;
  try {
    answer = await ask(path);
  } catch (error) {
    byId(id).replaceChildren(element("p", { class: "error" }, error.message));
    return false;
  }
  show(byId(id), answer);
  return true;
}

let shownLedger = "";
let proof = null; // by hour
let redraw = () => {}; // the chart of the hours, for the width there is
let summed = null; // why the sums of the hours are in the ledger's place, in words

export function showLedger({ ledger, queues, read_only: readOnly }) {
  const why = readOnly ? OF_ALL_PODS : ledger.error ? `${sentence(ledger.error)} ${WITHOUT}` : (ledger.notes ?? []).length > 0 ? RESTARTED : null;
  summed = proof === null ? null : why;
  if (ledger.collected > 0 && proof?.hours.length === 0) { // the first has come
    proof = null;
    askHours();
  }
  const spooled = ledger.spooled ?? queues.spool?.hits;
  const command = queues.dead?.command;
  const key = JSON.stringify([ledger, spooled, command, proof, proof && asOf(proof)]);
  if (key === shownLedger) return;
  shownLedger = key;
  const into = byId("ledger");
  if (ledger.error && summed === null) {
    into.replaceChildren(element("p", { class: "error" }, `It cannot be computed now: ${ledger.error}.`));
    return;
  }
  // Rows of tables with `copy` are beside those of their hits.
  const numbers = summed !== null ? byHours(spooled) : { ...ledger, loaded: ledger.loaded - (ledger.copies ?? 0) };
  const parts = numbers.sampled_out > 0 ? [...PARTS, "sampled out"] : PARTS;
  const values = Object.fromEntries(parts.map((name) => [name, numbers[name.replace(" ", "_")]]));
  const { good, said } = summed !== null ? verdictOfHours(numbers) : verdict(ledger, command);
  const term = (sign, name, value) => element("div", { class: "term", "data-name": name },
    element("span", { class: "sign", "aria-hidden": "true" }, sign), element("strong", {}, count(value)), element("span", { class: "quiet" }, name));
  into.replaceChildren(
    element("div", { class: "equation" }, term("", "collected", numbers.collected), parts.map((name, index) => term(index === 0 ? "=" : "+", name, values[name]))),
    numbers.collected > 0 ? shares(values) : "",
    element("p", { class: "verdict", "data-good": String(good) }, element("span", { "aria-hidden": "true" }, good ? "✓ " : "▲ "), said),
    ...(summed !== null ? [summed, spooled === undefined && !readOnly ? NO_SPOOL : null, asOf(proof)].filter(Boolean) : [...(ledger.collected > 0 ? [SINCE] : []), ...(ledger.notes ?? []).map(sentence)]).map((note) => element("p", { class: "quiet" }, note)));
}

// What was collected in these hours, and became what. A tally counts what is in the spool, and may arrive before it. So
// what is spooled is taken for a part of what has not arrived, and only what is more than that is added: before the tally
// that may be too few, but no hit is ever counted twice.
function byHours(spooled) {
  const sum = (name) => proof.hours.reduce((total, hour) => total + (hour[name] ?? 0), 0);
  const sums = Object.fromEntries(["loaded", "rejected", "in_flight", "dead", "sampled_out"].map((name) => [name, sum(name)]));
  const told = sum("collected") + sum("untold");
  const held = spooled ?? 0;
  const away = told - sums.loaded - sums.rejected - sums.dead - sums.sampled_out;
  return { ...sums, spooled, in_flight: Math.max(0, sums.in_flight - held), collected: told + Math.max(0, held - away) };
}

// When the hours were as they are, or null where that is this moment.
function past({ error, at }) {
  return error || Date.now() - Date.parse(at) >= OLD ? clock(at).slice(0, 8) : null;
}

// The same in words, and why.
function asOf(found) {
  const at = past(found);
  return at && `${found.error ? `${sentence(found.error)} ` : ""}What has arrived in BigQuery is as of ${at}.`;
}

// What the hours show, as a sentence that says of when it is, where that is not this moment.
function dated(found, text) {
  const at = past(found);
  return sentence(at ? `as of ${at}, ${text}` : text);
}

// The hours hold across restarts; the ledger is what the services count since they started.
function verdictOfHours(numbers) {
  if (proof.hours.some((hour) => hour.difference > 0)) return { good: false, said: proof.text };
  if (numbers.collected === 0) return { good: true, said: dated(proof, "nothing has been collected in the last 24 hours") };
  const left = numbers.in_flight + (numbers.spooled ?? 0);
  const known = proof.hours.some((hour) => hour.unsure > 0 || hour.unfinished_collectors > 0) ? "known to be " : "";
  return { good: true, said: dated(proof, `nothing is ${known}missing: ${left > 0 ? `of ${counted(numbers.collected, "hit")}, ${left === 1 ? "1 is on its way" : `${count(left)} are on their way`}` : `all ${count(numbers.collected)} hits are accounted for`}`) };
}

// `command` lists the dead letters.
function verdict(ledger, command) {
  if (ledger.collected === 0) return { good: true, said: "Nothing has been collected since this start." };
  const dropped = (ledger.duplicates?.processor ?? 0) + (ledger.duplicates?.loader ?? 0);
  // More came out than went in where something came twice: that is said once.
  const told = Object.entries(ledger.hops ?? {}).filter(([, left]) => left > 0 || left < 0 && dropped === 0).map(([name, left]) => (left > 0
    ? `${counted(left, "hit")} ${PLACES[name] ?? name}`
    : `${counted(-left, "hit")} twice, or replayed, ${PLACES[name] ?? name}`));
  if (dropped > 0) told.push(`${counted(dropped, "repeated delivery", "repeated deliveries")} counted once`);
  if (ledger.dead > 0) told.push(`${count(ledger.dead)} ${ledger.dead === 1 ? "waits" : "wait"} in dead letters for someone to look${command ? `: ${command}` : ""}`);
  const missing = ledger.missing ?? 0;
  if (missing > 0 && ledger.in_flight === 0) return { good: false, said: `${count(missing)} missing. ${told.join("; ")}.` };
  const all = ledger.in_flight > 0 || ledger.spooled > 0 ? "Nothing is missing: what is not a row yet is on its way." : "All of them are accounted for.";
  return { good: true, said: told.length > 0 ? `${all} ${told.join("; ")}.` : all };
}

function shares(values) {
  const sum = Object.values(values).reduce((total, value) => total + Math.max(0, value ?? 0), 0);
  const drawing = drawn("svg", { class: "shares", viewBox: "0 0 1000 14", preserveAspectRatio: "none", "aria-hidden": "true" });
  let x = 0;
  for (const [name, part] of Object.entries(values)) {
    const value = Math.max(0, part ?? 0);
    if (value === 0 || sum === 0) continue;
    const width = Math.max(3, (1000 * value) / sum);
    drawing.append(drawn("rect", { x: x.toFixed(1), y: 0, width: width.toFixed(1), height: 14, class: `bar-${name.replace(" ", "-")}` }));
    x += width;
  }
  return drawing;
}

function showHours(into, found) {
  proof = found;
  const hours = lastDay(found.hours);
  const series = STORED.map((name) => ({ name, values: hours.map((hour) => hour[name.replace(" ", "_")] ?? 0) }));
  const labels = hours.map((hour) => String(new Date(hour.hour).getHours()).padStart(2, "0"));
  const sum = (name) => hours.reduce((total, hour) => total + (hour[name] ?? 0), 0);
  const missing = hours.filter((hour) => hour.difference > 0);
  const notes = [
    asOf(found),
    sum("untold") > 0 ? `${counted(sum("untold"), "hit")} arrived before the collector's tally, which comes once a minute.` : null,
    sum("unfinished_collectors") > 0 ? "A collector was killed: what it took in its last minute is counted where it arrived only." : null,
  ].filter(Boolean);
  const draw = () => barChart(labels, series, Math.max(260, into.clientWidth), true);
  redraw = () => into.querySelector(".chart")?.replaceWith(draw());
  if (!series.some(({ values }) => values.some(Boolean))) {
    into.replaceChildren(element("p", { class: "quiet" }, dated(found, "nothing has come in the last 24 hours")));
    return;
  }
  into.replaceChildren(
    draw(),
    element("p", { class: "legend" }, series.map(({ name }) => element("span", { class: `key key-${name.replace(" ", "-")}` }, name))),
    element("p", missing.length > 0 ? { class: "bad" } : {}, missing.length > 0 ? `▲ ${missing.map(lacks).join("; ")}: ${found.command} says more.` : `✓ ${dated(found, "in no hour is anything missing")}`),
    ...notes.map((note) => element("p", { class: "quiet" }, note)),
    table(hours, into.querySelector("details")?.open ?? false));
}

function lacks({ hour, difference }) {
  const since = new Date(hour).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return `${counted(difference, "hit")} of the hour from ${since} ${difference === 1 ? "is" : "are"} missing`;
}

// The last 24 hours, oldest first, with those in which nothing came.
function lastDay(found) {
  const byHour = new Map(found.map((one) => [Date.parse(one.hour), one]));
  const now = Math.floor(Date.now() / HOUR) * HOUR;
  return Array.from({ length: 24 }, (_none, index) => now - (23 - index) * HOUR).map((at) => byHour.get(at) ?? { hour: new Date(at).toISOString() });
}

function table(hours, open) {
  const sampled = hours.some((hour) => hour.sampled_out) ? ["sampled_out"] : [];
  const names = ["collected", "loaded", "rejected", "dead", ...sampled, "in_flight", "difference"];
  const some = hours.filter((hour) => names.some((name) => hour[name])).reverse();
  return element("details", { open }, element("summary", {}, "As a table"), element("div", { class: "wide", tabindex: "0", role: "group", "aria-label": "By hour" }, element("table", {},
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "hour"), names.map((name) => element("th", { scope: "col", class: "number" }, name.replace("_", " "))))),
    element("tbody", {}, some.map((hour) => element("tr", {}, element("th", { scope: "row" }, hour.hour.slice(0, 16).replace("T", " ")), names.map((name) => element("td", { class: "number" }, count(hour[name])))))))));
}

function showCost(into, cost) {
  const most = Math.max(...cost.parts.map((part) => part.dollars_per_million), 0.001);
  const measured = cost.measured ?? {};
  const open = into.querySelector("details")?.open ?? false;
  if (byId("rate").value === "") byId("rate").value = cost.month.events_per_second;
  into.replaceChildren(
    element("div", { class: "numbers" },
      element("p", {}, element("strong", {}, dollars(cost.per_million)), element("span", { class: "quiet" }, "a million events")),
      element("p", {}, element("strong", {}, dollars(cost.month?.dollars)), element("span", { class: "quiet" }, `a month at ${rate(cost.month?.events_per_second)} events/s`))),
    element("ul", { class: "parts" }, cost.parts.filter((part) => part.dollars_per_million > 0).map((part) => {
      const bar = drawn("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, drawn("rect", { x: 0, y: 0, width: ((100 * part.dollars_per_million) / most).toFixed(1), height: 6 }));
      return element("li", {}, element("span", {}, part.name), bar, element("span", { class: "number" }, dollars(part.dollars_per_million)));
    })),
    element("details", { open }, element("summary", {}, measured.bytes_per_event ? `Measured here: ${count(measured.bytes_per_event)} bytes an event` : "What this assumes"),
      cost.text ? element("p", { class: "quiet" }, cost.text) : null,
      element("ul", {}, (cost.assumptions ?? []).map((one) => element("li", { class: "quiet" }, one)))));
}

