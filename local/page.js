"use strict";

// Everything shown is set as text: rows are strangers' input.
const byId = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function line(cells) {
  const row = element("tr");
  row.append(...cells);
  return row;
}

function cell(value) {
  if (value === null) return element("td", "null", "none");
  const text = String(value);
  const made = element("td", text);
  made.title = text;
  return made;
}

function showServices(services) {
  byId("services").tBodies[0].replaceChildren(...services.map((service) => line([
    cell(service.name),
    element("td", service.state, service.state === "ready" || service.state === "running" ? "good" : "bad"),
    cell(service.pid),
    cell(Object.entries(service.ports).map(([name, port]) => `${name} ${port}`).join(", ")),
    cell(service.log),
  ])));
}

function showLedger(ledger) {
  const amounts = ["collected", "loaded", "rejected", "dead", "spooled", "in_flight"];
  byId("ledger").tBodies[0].replaceChildren(...(ledger.error === null
    ? [line(amounts.map((name) => cell(ledger[name])))] : []));
  byId("balance").textContent = ledger.error === null ? balance(ledger) : ledger.error;
  byId("notes").textContent = ledger.error === null ? ledger.notes.join("; ") : "";
}

function balance(ledger) {
  const places = {spool: "at the spool", hits: "from collector to processor", rows: "from processor to loader"};
  const told = Object.entries(ledger.hops).filter(([, left]) => left !== 0).map(([name, left]) => (left > 0
    ? `${left} ${places[name]}: on the way, or lost if this stays`
    : `${-left} ${places[name]}: came twice, or were replayed`));
  const dropped = ledger.duplicates.processor + ledger.duplicates.loader;
  if (ledger.copies > 0) told.push(`${ledger.copies} of the rows loaded are copies`);
  if (ledger.sampled_out > 0) told.push(`${ledger.sampled_out} left out by samples`);
  if (dropped > 0) told.push(`${dropped} noticed as known and dropped`);
  return `Hits since the processes have started. ${told.length > 0 ? told.join("; ") : "All of them are accounted for"}.`;
}

function showTable(table) {
  const section = element("section");
  section.append(element("h2", `${table.name}: the last ${table.rows.length}`));
  if (table.error !== null) {
    section.append(element("p", table.error, "bad"));
  } else if (table.rows.length === 0) {
    section.append(element("p", "none yet", "none"));
  } else {
    const made = element("table");
    made.createTHead().append(line(table.columns.map((name) => element("th", name))));
    made.createTBody().append(...table.rows.map((row) => line(row.map(cell))));
    const wide = element("div", undefined, "wide");
    wide.append(made);
    section.append(wide);
  }
  return section;
}

let pixel = "";
let fired = 0;
let shown = "";

async function refresh() {
  try {
    const response = await fetch("/api/state");
    if (!response.ok) throw new Error(`status ${response.status}`);
    const state = await response.json();
    pixel = state.pixel;
    byId("status").textContent = `project ${state.project}, dataset ${state.dataset}, since ${state.started}`;
    byId("status").className = "";
    byId("pixel").textContent = `<img src="${pixel.replaceAll("&", "&amp;")}" width="1" height="1" alt="">`;
    byId("query").textContent = state.query;
    showServices(state.services);
    showLedger(state.ledger);
    // Unchanged rows are left in place, so that a selection in them survives.
    const tables = JSON.stringify(state.tables);
    if (tables !== shown) byId("tables").replaceChildren(...state.tables.map(showTable));
    shown = tables;
  } catch (error) {
    byId("status").textContent = `the page's server does not answer (${error.message}); has it been stopped?`;
    byId("status").className = "bad";
  }
  setTimeout(refresh, 1500);
}

byId("fire").addEventListener("click", () => {
  const image = new Image();
  image.onload = () => { fired += 1; byId("fired").textContent = `${fired} confirmed`; };
  image.onerror = () => { byId("fired").textContent = "the collector did not take it"; };
  image.src = `${pixel}&n=${Date.now()}`;
});

refresh();
