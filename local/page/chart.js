// Small charts in SVG: lines, bars, stacked bars. Values are numbers or null; labels are set as text.

import { drawn } from "./element.js";
import { count } from "./figures.js";

const HEIGHT = 220;
const FOOT = 24;
const HEAD = 10;
const LEFT = 56;
const MOST_LABEL = 110; // px of a label
const LEAST_LABEL = 44; // of one that is cut
const GAP = 6;
export const SERIES = 4; // as many as can be told apart by colour and dash

// `series`: [{name, values}], as many values as `labels`; `times`: where each is, as numbers that do not fall.
export function lineChart(labels, series, width, times) {
  const along = times ?? labels.map((_label, at) => at);
  const span = along.at(-1) - along[0] || 1;
  const x = (at) => LEFT + ((along[at] - along[0]) / span) * (width - LEFT - 12);
  const frame = framed(labels, series.slice(0, SERIES), width, "Line chart", x, MOST_LABEL, { even: times === undefined });
  series.slice(0, SERIES).forEach(({ values }, index) => {
    let path = "";
    let pen = "M";
    values.forEach((value, at) => {
      if (value === null) { pen = "M"; return; }
      path += `${pen}${x(at).toFixed(1)} ${frame.y(value).toFixed(1)}`;
      pen = "L";
    });
    frame.drawing.append(drawn("path", { d: path, class: `series line-${index}` }));
  });
  return frame.drawing;
}

// `stacked`: each label's values one upon the other, else side by side.
export function barChart(labels, series, width, stacked = false) {
  const used = series.slice(0, stacked ? series.length : SERIES);
  const slot = (width - LEFT - 4) / Math.max(1, labels.length);
  // Names are cut to the width of their bars, unless that leaves nothing to read.
  const room = slot >= LEAST_LABEL ? slot - GAP : MOST_LABEL;
  const frame = framed(labels, used, width, "Bar chart", (at) => LEFT + (at + 0.5) * slot, room, { stacked });
  const thick = Math.max(1, Math.min(48, slot * 0.72) / (stacked ? 1 : used.length));
  labels.forEach((label, at) => {
    let below = 0;
    used.forEach(({ name, values }, index) => {
      const value = values[at];
      if (!value) return;
      const from = stacked ? below : 0;
      const to = from + value;
      below = to;
      const start = LEFT + at * slot + (slot - thick * (stacked ? 1 : used.length)) / 2 + (stacked ? 0 : index * thick);
      const [top, bottom] = [frame.y(Math.max(from, to)), frame.y(Math.min(from, to))];
      frame.drawing.append(drawn("rect", {
        x: start.toFixed(1), y: top.toFixed(1), width: Math.max(1, thick - 1).toFixed(1), height: Math.max(1, bottom - top).toFixed(1),
        class: `bar-${stacked ? name.replace(" ", "-") : index}`,
      }, drawn("title", {}, `${label}: ${name} ${count(value)}`)));
    });
  });
  return frame.drawing;
}

// `x(at)` is the middle of a label, which has so much `room`; `even` says that they are equally far apart.
function framed(labels, series, width, kind, x, room, { stacked = false, even = true } = {}) {
  const all = stacked
    ? labels.map((_label, at) => series.reduce((sum, { values }) => sum + (values[at] ?? 0), 0))
    : series.flatMap(({ values }) => values.filter((value) => value !== null));
  const ticks = scale(Math.min(0, ...all), Math.max(0, ...all), all.every(Number.isInteger));
  const [low, high] = [ticks[0], ticks.at(-1)];
  const y = (value) => HEAD + (HEIGHT - HEAD - FOOT) * (1 - (value - low) / (high - low || 1));
  const drawing = drawn("svg", {
    class: "chart", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img",
    "aria-label": `${kind} of ${series.map(({ name }) => name).join(", ")} by ${labels.length} values; the table has the same numbers`,
  });
  for (const tick of ticks) {
    drawing.append(drawn("path", { d: `M${LEFT} ${y(tick)}H${width}`, class: "grid" }), drawn("text", { x: LEFT - 8, y: y(tick) + 4, class: "tick end" }, short(tick)));
  }
  ruler.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const texts = labels.map((label) => cut(label, room));
  // Every second, third … where not all have room, so that they are as far apart as what they name.
  const most = Math.max(...texts.map(wide)) + GAP;
  const every = even ? Math.max(1, Math.ceil((most * labels.length) / (width - LEFT))) : 1;
  let free = 0; // where the next label has room
  labels.forEach((label, at) => {
    if (at % every !== 0) return;
    const text = texts[at];
    const half = wide(text) / 2;
    const middle = Math.min(x(at), width - half);
    if (middle - half < free) return;
    free = middle + half + GAP;
    drawing.append(drawn("text", { x: middle.toFixed(1), y: HEIGHT - 6, class: "tick middle" }, text, drawn("title", {}, label)));
  });
  return { drawing, y };
}

const ruler = document.createElement("canvas").getContext("2d");

const wide = (text) => ruler.measureText(text).width;

function cut(label, room) {
  let text = label.slice(0, 40);
  while (text.length > 1 && wide(text === label ? text : `${text}…`) > room) text = text.slice(0, -1);
  return text === label ? label : `${text}…`;
}

// Round numbers that hold both ends, two to six of them.
function scale(low, high, whole) {
  if (high === low) high = low + 1;
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(whole ? 1 : 0, [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw));
  const first = Math.floor(low / step);
  return Array.from({ length: Math.ceil(high / step) - first + 1 }, (_none, index) => (first + index) * step);
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) return value.toExponential(1).replace("+", "");
  if (size >= 1e12) return `${+(value / 1e12).toFixed(1)}T`;
  if (size >= 1e9) return `${+(value / 1e9).toFixed(1)}G`;
  if (size >= 1e6) return `${+(value / 1e6).toFixed(1)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toFixed(1)}k`;
  return String(+value.toFixed(6));
}
