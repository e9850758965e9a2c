// The data flow as a live picture: parts as cards, and between them pipes and queues drawn in SVG.
//
// Positions are computed for the width there is: side by side, or one below the other on a phone.

import { drawn, element, setText } from "./element.js";
import { bytes, count, counted, rate, seconds } from "./figures.js";

const NARROW = 860;
const SECONDS_KEPT = 60;
const TITLES = { collector: "collector", processor: "processor", loader: "loader", bigquery: "BigQuery", pubsub: "Pub/Sub" };
const HOLDS = { spool: "spool", dead: "dead letters" };
const PIPES = ["collector-hits", "hits-processor", "processor-rows", "rows-loader", "loader-bigquery"];
const MARKS = {
  ready: ["●", "ready"], running: ["●", "running"], starting: ["◌", "starting"], stopping: ["◌", "stopping"],
  not_ready: ["▲", "not ready"], unseen: ["◌", "not seen"], stopped: ["■", "stopped"], ended: ["✕", "ended"], unknown: ["◌", "not asked"],
};

function wide(width) {
  const queue = width < 1100 ? 76 : 108;
  const card = Math.min(200, Math.floor((width - 5 * 32 - 2 * queue) / 4));
  const gap = (width - 4 * card - 2 * queue) / 5;
  const place = {};
  let x = 0;
  for (const name of ["collector", "hits", "processor", "rows", "loader", "bigquery"]) {
    const isQueue = name === "hits" || name === "rows";
    place[name] = isQueue ? { x, y: 54, w: queue, h: 44 } : { x, y: 0, w: card, h: 152 };
    x += place[name].w + gap;
  }
  const middle = (name) => place[name].x + place[name].w / 2;
  place.spool = { x: place.collector.x, y: 206, w: card, h: 58 };
  place.pubsub = { x: middle("hits"), y: 188, w: middle("rows") - middle("hits"), h: 94 };
  place.dead = { x: place.loader.x, y: 206, w: card, h: 62 };
  const level = 76;
  const between = (one, other) => `M${place[one].x + place[one].w} ${level}H${place[other].x}`;
  return {
    height: 286, place, compact: card < 190,
    pipes: Object.fromEntries(PIPES.map((pipe) => [pipe, between(...pipe.split("-"))])),
    ways: {
      spooling: `M${middle("collector")} 152V206`, draining: `M${card} 235H${place.pubsub.x}`,
      dying: `M${place.pubsub.x + place.pubsub.w} 235H${place.dead.x}`,
    },
    holds: [`M${middle("hits")} 118V188`, `M${middle("rows")} 118V188`],
    blocked: (one, other) => [(place[one].x + place[one].w + place[other].x) / 2, level],
  };
}

function tall(width) {
  const place = {};
  let y = 0;
  for (const name of ["collector", "hits", "processor", "rows", "loader", "bigquery"]) {
    const isQueue = name === "hits" || name === "rows";
    place[name] = isQueue ? { x: width / 2 - 70, y, w: 140, h: 40 } : { x: 0, y, w: width, h: 98 };
    y += place[name].h + 26;
  }
  place.pubsub = { x: 0, y, w: width, h: 94 };
  const half = (width - 12) / 2;
  place.spool = { x: 0, y: y + 108, w: half, h: 58 };
  place.dead = { x: half + 12, y: y + 108, w: half, h: 58 };
  const between = (one, other) => `M${width / 2} ${place[one].y + place[one].h}V${place[other].y}`;
  return {
    height: y + 168, place, tall: true,
    pipes: Object.fromEntries(PIPES.map((pipe) => [pipe, between(...pipe.split("-"))])),
    ways: {}, holds: [],
    blocked: (one, other) => [width / 2, (place[one].y + place[one].h + place[other].y) / 2],
  };
}

export class Flow {
  // `steer(name, verb)` is called when someone kills, stops or starts a part, `look(name, queues)` when someone wants to
  // know what the spool or the dead letters hold.
  constructor(into, steer, look) {
    Object.assign(this, { into, steer, look });
    this.kept = {};
    this.state = null;
    this.width = 0;
    new ResizeObserver(() => this.fit()).observe(into);
  }

  fit() {
    const width = Math.floor(this.into.clientWidth);
    if (width === this.width || width === 0 || this.state === null) return;
    this.width = width;
    this.layout = width < NARROW ? tall(width) : wide(width);
    this.pipes = {};
    this.parts = {};
    this.stores = {};
    this.drawing = drawn("svg", { id: "drawing", width, height: this.layout.height, viewBox: `0 0 ${width} ${this.layout.height}`, role: "img" });
    for (const path of this.layout.holds) this.drawing.append(drawn("path", { d: path, class: "holds" }));
    for (const [name, path] of [...Object.entries(this.layout.pipes), ...Object.entries(this.layout.ways)]) {
      this.pipes[name] = this.pipe(path);
    }
    for (const name of ["hits", "rows", "spool", "dead"]) this.stores[name] = this.store(name);
    this.into.replaceChildren(this.drawing, ...Object.keys(TITLES).map((name) => this.part(name)), ...Object.keys(HOLDS).map((name) => this.door(name)));
    this.into.dataset.tall = String(this.layout.tall ?? false);
    this.into.style.height = `${this.layout.height}px`;
    this.update(this.state);
  }

  pipe(path) {
    const moving = drawn("path", { d: path, class: "dots" });
    const group = drawn("g", { class: "pipe", "data-state": "idle" }, drawn("path", { d: path, class: "wall" }), moving);
    this.drawing.append(group);
    return { group, moving, cross: null };
  }

  store(name) {
    const { x, y, w, h } = this.layout.place[name];
    const bend = 9;
    const shape = `M${x + bend} ${y}H${x + w - bend}a${bend} ${h / 2} 0 0 1 0 ${h}H${x + bend}a${bend} ${h / 2} 0 0 1 0 ${-h}Z`;
    const clip = drawn("clipPath", { id: `clip-${name}` }, drawn("path", { d: shape }));
    const level = drawn("rect", { x, y, width: 0, height: h, class: "level", "clip-path": `url(#clip-${name})` });
    const lid = drawn("path", { d: `M${x + w - bend} ${y}a${bend} ${h / 2} 0 0 0 0 ${h}`, class: "lid" });
    const title = drawn("text", { x: x + w / 2, y: y + h / 2 - 4, class: "name" }, HOLDS[name] ?? name);
    const first = drawn("text", { x: x + w / 2, y: y + h / 2 + 13, class: "figure" });
    // Below it; on a phone there is no room, and the picture's words have it.
    const second = drawn("text", { x: x + w / 2, y: y + h + 15, class: "figure quiet" });
    const group = drawn("g", { class: "store" }, clip, drawn("path", { d: shape, class: "vessel" }), level, lid, title, first, this.layout.tall ? null : second);
    this.drawing.append(group);
    return { group, level, first, second, width: w };
  }

  // Over a store.
  door(name) {
    const { x, y, w, h } = this.layout.place[name];
    const button = element("button", { type: "button", class: "door", "aria-label": `Look into the ${HOLDS[name]}`, click: () => this.look(name, this.state.queues) });
    Object.assign(button.style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
    return button;
  }

  // The connection is gone: each part was so when it was last seen.
  lost() {
    for (const made of Object.values(this.parts ?? {})) {
      if (made.card.dataset.state === "stale") continue;
      made.card.dataset.state = "stale";
      setText(made.mark, "◌");
      setText(made.status, `last seen ${made.status.textContent}`);
      for (const button of Object.values(made.buttons)) button.disabled = true;
    }
  }

  part(name) {
    const { x, y, w, h } = this.layout.place[name];
    const made = {
      mark: element("span", { class: "mark", "aria-hidden": "true" }),
      status: element("span"), rate: element("strong"), unit: element("span", { class: "quiet" }),
      line: element("p", { class: "line" }), errors: element("p", { class: "line" }), buttons: {},
      spark: drawn("svg", { class: "spark", viewBox: "0 0 60 20", preserveAspectRatio: "none", "aria-hidden": "true" }, drawn("path")),
    };
    const buttons = ["stop", "kill", "start"].map((verb) => {
      made.buttons[verb] = element("button", {
        type: "button", class: "small", hidden: true, "aria-label": `${verb} ${TITLES[name]}`, click: () => this.steer(name, verb),
      }, verb);
      return made.buttons[verb];
    });
    made.card = element("article", { class: `part ${name}`, "aria-label": TITLES[name] },
      element("header", {}, element("h2", {}, TITLES[name]), element("p", { class: "status" }, made.mark, made.status)),
      element("div", { class: "rate" }, element("p", {}, made.rate, " ", made.unit), made.spark),
      element("div", { class: "lines" }, made.line, made.errors),
      element("div", { class: "buttons" }, ...buttons));
    Object.assign(made.card.style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
    this.parts[name] = made;
    return made.card;
  }

  // What the server says now: the state of the contract.
  update(state) {
    this.state = state;
    if (this.width === 0) {
      this.fit();
      return;
    }
    for (const part of state.parts) if (this.parts[part.name]) this.showPart(part, state);
    for (const flow of state.flows) this.showPipe(`${flow.from}-${flow.to}`, flow);
    this.showQueues(state);
    this.drawing.setAttribute("aria-label", spoken(state));
  }

  showPart(part, state) {
    const made = this.parts[part.name];
    const figures = part.figures ?? {};
    const [mark, word] = MARKS[part.status] ?? ["▲", part.status];
    const faults = state.faults.filter((fault) => fault.target === part.name);
    const trouble = state.trouble.find((one) => one.part === part.name);
    const fine = ["ready", "running", "unknown", "unseen"].includes(part.status);
    const bad = !fine || trouble !== undefined && trouble.level !== "warning";
    made.card.dataset.state = bad ? "bad" : faults.length > 0 || trouble ? "fault" : "fine";
    setText(made.mark, fine && (bad || faults.length > 0 || trouble) ? "▲" : mark);
    setText(made.status, fine && bad ? "in trouble" : fine && faults.length > 0 ? "fault set" : fine && trouble ? "warning" : word);
    made.card.title = part.why ?? trouble?.text ?? "";
    // What an emulator takes in is what its clients send.
    const source = { bigquery: ["loader", "bigquery"], pubsub: ["collector", "hits"] }[part.name];
    const flow = source && state.flows.find((one) => one.from === source[0] && one.to === source[1]);
    const shown = figures.in_per_second ?? figures.out_per_second ?? flow?.per_second;
    setText(made.rate, rate(shown));
    setText(made.unit, "/s");
    setText(made.line, figures.p99_seconds === null || figures.p99_seconds === undefined
      ? { pubsub: "carries hits, rows and dead letters", bigquery: "tables and views" }[part.name] ?? "nothing lately"
      : `${this.layout.compact ? "" : `p50 ${seconds(figures.p50_seconds)} · `}p99 ${seconds(figures.p99_seconds)}`);
    const errors = figures.errors_per_second;
    const failing = typeof errors === "number" && errors > 0;
    setText(made.errors, failing ? `▲ ${rate(errors)} errors/s` : errors === 0 && !bad ? "no errors" : "");
    made.errors.classList.toggle("bad", failing);
    if (state.read_only) made.card.querySelector(".buttons")?.remove();
    const at = document.activeElement;
    for (const [verb, button] of Object.entries(made.buttons)) {
      button.hidden = !(part.can ?? []).includes(verb);
      button.disabled = false;
    }
    keepFocus(made, at);
    this.spark(made, part.name, shown);
  }

  spark(made, name, value) {
    const kept = (this.kept[name] ??= []);
    if (this.state.at !== this.kept.at?.[name]) {
      kept.push(value ?? 0);
      if (kept.length > SECONDS_KEPT) kept.shift();
      (this.kept.at ??= {})[name] = this.state.at;
    }
    if (kept.length < 5) return;
    // One moment far above the others must not flatten them.
    const middle = [...kept].sort((one, other) => one - other)[Math.floor(kept.length / 2)];
    const most = Math.max(1, Math.min(Math.max(...kept), middle > 0 ? 3 * middle : Infinity));
    const first = SECONDS_KEPT - kept.length;
    made.spark.firstChild.setAttribute("d", kept.map((one, index) =>
      `${index === 0 ? "M" : "L"}${first + index} ${(19 - (18 * Math.min(one, most)) / most).toFixed(1)}`).join(""));
  }

  showPipe(name, { state, per_second: perSecond, why }) {
    const pipe = this.pipes[name];
    if (pipe === undefined) return;
    pipe.group.dataset.state = state;
    pipe.moving.dataset.speed = !perSecond ? "0" : perSecond < 2 ? "1" : perSecond < 20 ? "2" : perSecond < 200 ? "3" : "4";
    if (state === "blocked" && pipe.cross === null) {
      const [x, y] = this.layout.blocked(...name.split("-"));
      pipe.cross = drawn("g", { class: "cross" }, drawn("circle", { cx: x, cy: y, r: 10 }),
        drawn("path", { d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8` }), drawn("title", {}, why ?? "blocked"));
      this.drawing.append(pipe.cross);
    } else if (state !== "blocked" && pipe.cross !== null) {
      pipe.cross.remove();
      pipe.cross = null;
    }
  }

  showQueues({ queues, trouble }) {
    const { hits, rows, spool, dead } = queues;
    const waiting = (queue) => (queue?.messages ? `${count(queue.messages)} waiting` : queue?.messages === 0 ? "empty" : "unknown");
    const since = (queue) => (queue?.messages !== 0 && queue?.files !== 0 && queue?.oldest_seconds ? `oldest ${seconds(queue.oldest_seconds)}` : "");
    this.fill("hits", waiting(hits), since(hits), hits?.messages);
    this.fill("rows", waiting(rows), since(rows), rows?.messages);
    const files = spool?.files;
    this.fill("spool", files ? `${counted(files, "file")}, ${bytes(spool.bytes)}` : files === 0 ? "empty" : "unknown", since(spool), files);
    this.fill("dead", dead?.messages ? counted(dead.messages, "message") : dead?.messages === 0 ? "none" : "unknown", "", dead?.messages);
    const spooling = files > 0 && trouble.some((one) => one.part === "pubsub" && one.level !== "warning");
    if (this.pipes.spooling) {
      this.showPipe("spooling", { state: spooling ? "ok" : "idle", per_second: spooling ? 20 : 0 });
      this.showPipe("draining", { state: files > 0 && !spooling ? "ok" : "idle", per_second: files > 0 && !spooling ? 20 : 0 });
    }
  }

  fill(name, first, second, amount) {
    const store = this.stores[name];
    setText(store.first, first);
    setText(store.second, second);
    // A thousand fills half of it, a million all.
    const share = amount > 0 ? Math.min(1, Math.max(0.08, Math.log10(amount + 1) / 6)) : 0;
    store.level.setAttribute("width", (share * store.width).toFixed(1));
    store.group.dataset.filled = String(amount > 0);
  }
}

// Who pressed a button that goes is at the one that comes in its place, and meanwhile at the card.
function keepFocus({ card, buttons }, at) {
  const waits = at === card && card.hasAttribute("tabindex");
  if (!waits) card.removeAttribute("tabindex");
  if (!waits && !(Object.values(buttons).includes(at) && at.hidden)) return;
  const next = Object.values(buttons).find((button) => !button.hidden);
  if (!next) card.setAttribute("tabindex", "-1");
  (next ?? card).focus();
}

// The picture in one sentence, for who cannot see it.
function spoken({ flows, queues, trouble }) {
  const way = flows.map((flow) => `${flow.from} to ${flow.to}: ${flow.state === "blocked" ? `blocked, ${flow.why ?? "no reason known"}` : `${rate(flow.per_second)} a second`}`);
  const waiting = `waiting: ${count(queues.hits?.messages)} hits, ${count(queues.rows?.messages)} rows; spool ${count(queues.spool?.files)} files; ${count(queues.dead?.messages)} dead letters`;
  return `Data flow. ${way.join("; ")}; ${waiting}. ${trouble.length > 0 ? `In trouble: ${trouble.map((one) => one.part).join(", ")}.` : "No trouble."}`;
}
