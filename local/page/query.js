// A box for SQL: examples and the schema beside it, the result as table or chart, errors underlined where they are.

import { SERIES, barChart, lineChart } from "./chart.js";
import { byId, chips, element, setText } from "./element.js";
import { bytes, count, counted, seconds, shown } from "./figures.js";
import { ask } from "./server.js";

const ROWS_SHOWN = 200;
const CELLS_SHOWN = 20_000;
const CELL = 500; // characters; the export has all
const NARROW = 860; // px, where the tables are below the answer
const POINTS = 400;
const NUMBERS = new Set(["INT64", "INTEGER", "FLOAT64", "FLOAT", "NUMERIC", "BIGNUMERIC"]);
const TIMES = new Set(["DATE", "TIMESTAMP", "DATETIME", "TIME"]);

const text = byId("query");
const underline = byId("underline");
let result = null;
let asking = null; // the AbortController of the question that is not answered yet
let dataset = "";

export async function startQuery() {
  byId("run").addEventListener("click", () => (asking === null ? run() : stop()));
  byId("csv").addEventListener("click", exportCsv);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    }
  });
  text.addEventListener("input", clearError);
  text.addEventListener("scroll", () => { underline.scrollTop = text.scrollTop; underline.scrollLeft = text.scrollLeft; });
  new ResizeObserver(() => { if (result?.view === "line" || result?.view === "bar") show(result.view); }).observe(byId("result"));
  await loadSchema();
}

export function showDataset(state) {
  dataset = state.dataset;
}

async function loadSchema() {
  let schema;
  try {
    schema = await ask("/api/schema");
  } catch (error) {
    byId("schema").append(element("p", { class: "error" }, error.message, " ", element("button", { type: "button", class: "small", click: () => {
      byId("schema").replaceChildren(element("h3", {}, "Tables"));
      loadSchema();
    } }, "Ask again")));
    return;
  }
  byId("examples").replaceChildren(...schema.examples.map((example) => element("button", {
    type: "button", class: "small", click: () => { text.value = example.sql; clearError(); run(); },
  }, example.name)));
  if (text.value === "" && document.activeElement !== text && schema.examples.length > 0) {
    text.value = schema.examples[0].sql;
    runWhenSeen();
  }
  byId("schema").append(...schema.tables.map((table, index) => element("details", { open: index === 0 && innerWidth > NARROW },
    element("summary", {}, element("code", {}, table.name), " ", element("span", { class: "quiet" }, table.kind)),
    table.description ? element("p", { class: "quiet" }, table.description) : null,
    element("ul", {}, [nameButton(table.name, "its name, with the dataset", "", () => insert(`${dataset}.${table.name}`)), ...table.columns.map((column) => nameButton(column.name, column.description, column.type))]))));
}

// The first example is an answer already when someone gets there.
function runWhenSeen() {
  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    if (result === null && asking === null) run();
  });
  watch.observe(byId("run"));
}

function nameButton(name, description, type, choose = () => insert(name)) {
  return element("li", {}, element("button", { type: "button", class: "name", title: description ?? "", click: choose }, name), element("span", { class: "quiet" }, type));
}

function insert(name) {
  const { selectionStart: from, selectionEnd: to, value } = text;
  const space = from > 0 && !/[\s.(,`]$/.test(value.slice(0, from)) ? " " : "";
  text.setRangeText(space + name, from, to, "end");
  text.focus();
  clearError();
}

function stop() {
  asking.abort();
  answered("stopped");
  showNothing();
}

function answered(said) {
  asking = null;
  setText(byId("run"), "Run");
  setText(byId("asked"), said);
  byId("result").classList.remove("old");
}

// What was answered before is no answer to what failed.
function showNothing() {
  result = null;
  byId("views").hidden = byId("csv").hidden = true;
  byId("result").replaceChildren();
}

// A newer question takes the place of one that is not answered yet.
async function run() {
  asking?.abort();
  const mine = (asking = new AbortController());
  clearError();
  setText(byId("run"), "Stop");
  setText(byId("asked"), "asking …");
  byId("result").classList.add("old");
  let found;
  try {
    found = await ask("/api/query", { method: "POST", body: { sql: text.value, limit: 1000 }, signal: mine.signal });
  } catch (error) {
    if (mine !== asking) return;
    answered("");
    showNothing();
    showError(error);
    return;
  }
  if (mine !== asking) return;
  answered(`${found.truncated ? "the first " : ""}${counted(found.rows.length, "row")} in ${seconds(found.seconds)}, ${bytes(found.bytes)} read`);
  result = { ...found, view: fitting(found) };
  const possible = views(result);
  byId("views").hidden = Object.keys(possible).length === 1;
  byId("csv").hidden = found.rows.length === 0;
  chips(byId("views"), possible, result.view, show);
  show(result.view);
}

function clearError() {
  setText(byId("query-error"), "");
  underline.replaceChildren();
  text.removeAttribute("aria-invalid");
}

function showError(error) {
  const { line, column } = error.details ?? {};
  setText(byId("query-error"), `${line ? `Line ${line}, column ${column}: ` : ""}${error.message}`);
  if (!line) return;
  text.setAttribute("aria-invalid", "true");
  const lines = text.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0) + column - 1;
  const length = /^[\w`]+/.exec(text.value.slice(start))?.[0].length ?? 1;
  const marked = text.value.slice(start, start + length);
  underline.replaceChildren(text.value.slice(0, start), element("mark", {}, marked.trim() ? marked : "\u00a0"), `${text.value.slice(start + length)}\n`);
  underline.scrollTop = text.scrollTop;
  text.setSelectionRange(start, start);
}

const numeric = ({ columns }) => columns.flatMap((column, index) => (NUMBERS.has(column.type) ? [index] : []));

function views(found) {
  const numbers = numeric(found);
  const drawable = found.rows.length > 1 && numbers.length > 0 && found.columns.length > 1;
  return { table: "Table", ...(drawable ? { line: "Line", bar: "Bar" } : {}), ...(found.rows.length === 1 && numbers.length > 0 ? { number: "Number" } : {}) };
}

function fitting(found) {
  const possible = views(found);
  if (possible.number && found.columns.length === 1) return "number";
  const [first] = labelColumns(found);
  if (possible.line && TIMES.has(found.columns[first]?.type)) return "line";
  return possible.bar && found.columns.length === 2 && found.rows.length <= 40 && first !== undefined ? "bar" : "table";
}

function labelColumns(found) {
  const numbers = numeric(found);
  return found.columns.map((_column, index) => index).filter((index) => !numbers.includes(index));
}

function show(view) {
  result.view = view;
  const into = byId("result");
  if (view === "number") {
    into.replaceChildren(element("div", { class: "numbers" }, numeric(result).map((index) => element("p", {}, element("strong", {}, grouped(result.rows[0][index])), element("span", { class: "quiet" }, result.columns[index].name)))));
  } else if (view === "table") {
    into.replaceChildren(table());
  } else {
    const rows = result.rows.slice(0, POINTS);
    const [first] = labelColumns(result);
    const axis = first ?? 0;
    const labels = withoutDay(rows.map((row) => label(row[axis], result.columns[axis].type)));
    const series = numeric(result).filter((index) => index !== axis).map((index) => ({ name: result.columns[index].name, values: rows.map((row) => drawable(row[index])) }));
    const width = Math.max(280, into.clientWidth);
    const chart = view === "line" ? lineChart(labels, series, width, times(rows, axis)) : barChart(labels, series, width);
    const left = [
      rows.length < result.rows.length ? `the first ${count(rows.length)} rows` : null,
      series.length > SERIES ? `the first ${SERIES} of ${count(series.length)} columns` : null,
    ].filter(Boolean);
    into.replaceChildren(chart,
      element("p", { class: "legend" }, series.slice(0, SERIES).map(({ name }, index) => element("span", { class: `key key-${index}` }, name))),
      left.length > 0 ? element("p", { class: "quiet" }, `Drawn: ${left.join(", ")}. The table has more.`) : "");
  }
}

// NaN and infinities have no place in a chart.
function drawable(value) {
  const number = Number(value);
  return value === null || !Number.isFinite(number) ? null : number;
}

function label(value, type) {
  if (value === null) return "null";
  const said = shown(value);
  return type === "TIMESTAMP" || type === "DATETIME" ? said.replace("T", " ").replace(/(:\d\d):\d\d.*$/, "$1").slice(5) : said;
}

// When each row was, in ms, where that does not fall; else undefined.
function times(rows, axis) {
  if (!["DATE", "TIMESTAMP", "DATETIME"].includes(result.columns[axis].type)) return undefined;
  const found = rows.map((row) => Date.parse(row[axis]));
  return found.every((one, index) => one >= (found[index - 1] ?? one)) ? found : undefined;
}

// Of times of one day only the time.
function withoutDay(labels) {
  const day = /^\d\d-\d\d /.exec(labels[0] ?? "")?.[0];
  return day && labels.every((one) => one.startsWith(day)) ? labels.map((one) => one.slice(day.length)) : labels;
}

function grouped(value) {
  return value === null ? "null" : String(value).replace(/^(-?\d+)/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ","));
}

function table() {
  const numbers = new Set(numeric(result));
  const cell = (value, index) => element("td", { class: value === null ? "null" : numbers.has(index) ? "number" : "" }, shown(value, CELL));
  const some = Math.max(1, Math.min(ROWS_SHOWN, Math.floor(CELLS_SHOWN / result.columns.length)));
  const made = element("table", {},
    element("thead", {}, element("tr", {}, result.columns.map((column, index) => element("th", { scope: "col", title: column.type, class: numbers.has(index) ? "number" : "" }, column.name)))),
    element("tbody", {}, result.rows.slice(0, some).map((row) => element("tr", {}, row.map(cell)))));
  const more = result.rows.length > some ? element("p", { class: "quiet" }, `${count(some)} of ${count(result.rows.length)} rows are shown; the export has all of them.`) : null;
  return element("div", { class: "wide", tabindex: "0", role: "group", "aria-label": "The result" }, made, result.rows.length === 0 ? element("p", { class: "quiet" }, "No rows.") : null, more);
}

function exportCsv() {
  // A spreadsheet runs what begins with these as a formula, and the values are strangers'.
  const safe = (value) => (/^[=+\-@\t\r＝＋－＠]/.test(value) && !/^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(value) ? `'${value}` : value);
  const quoted = (value) => (value === null ? "" : `"${safe(String(value)).replaceAll('"', '""')}"`);
  const lines = [result.columns.map((column) => column.name), ...result.rows].map((row) => row.map(quoted).join(","));
  const url = URL.createObjectURL(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
  element("a", { href: url, download: "pixelpipe.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
