// What arrives: events, rejects and problems as they come, filtered as one types, in a list of bounded length.

import { chips, element, setText } from "./element.js";
import { clock, count, counted, sentence, shown } from "./figures.js";

const IN_LIST = 150; // rows in the document
const IN_MEMORY = 1500; // items a filter looks through: of what went wrong, and as many others
const REASONS = 4;
const RECENT = 500; // items that went wrong whose reasons are counted

const wrong = (item) => item.kind !== "event";

export class Events {
  // `open(id, table)` shows an item's whole story; of an id that is not in the list the table is not known.
  constructor(page, open) {
    Object.assign(this, page, { open, items: [], known: new Set(), fresh: [], kind: "all", words: [], missed: 0, wrong: 0, scheduled: false });
    this.press = chips(page.chips, { wrong: "Went wrong", event: "Events", all: "All" }, "all", (kind) => { this.kind = kind; this.renew(); });
    this.filter.addEventListener("input", () => { this.search(); });
    this.filter.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !this.list.querySelector(".none button")) return;
      event.preventDefault(); // or it also presses what has the focus then: Close
      this.open(this.filter.value.trim());
    });
    this.resume.addEventListener("click", () => {
      this.list.focus(); // this button goes
      this.list.scrollTop = 0;
      this.insert();
    });
    this.list.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) this.open(row.item.id, row.item.table);
    });
    this.list.addEventListener("keydown", (event) => this.move(event));
    for (const moment of ["pointerleave", "focusout"]) this.list.addEventListener(moment, () => this.schedule());
    document.addEventListener("selectionchange", () => this.schedule());
    this.renew();
  }

  add(items, skipped) {
    this.missed += skipped;
    for (const item of items) {
      if (this.known.has(item.key)) continue;
      this.known.add(item.key);
      item.text = [item.id, item.kind, item.type, item.who, item.summary, item.protocol, item.reason, item.column,
        item.detail, item.at, ...(item.problems ?? []).flatMap((problem) => [problem.column, problem.reason])].filter(Boolean).join(" ").toLowerCase();
      this.items.push(item);
      if (this.matches(item)) this.fresh.push(item);
    }
    if (this.items.length > 2 * IN_MEMORY + 500) {
      const room = { true: IN_MEMORY, false: IN_MEMORY };
      this.items = this.items.reverse().filter((item) => (room[wrong(item)] -= 1) >= 0).reverse();
      this.known = new Set(this.items.map((item) => item.key));
    }
    if (this.fresh.length > IN_LIST) this.fresh.splice(0, this.fresh.length - IN_LIST);
    this.schedule();
  }

  // Of the state: how many rows went wrong, listed or not, and why the server cannot say what arrives, or null.
  update({ wrong, feed_error: error }) {
    Object.assign(this, { wrong, error });
    this.count();
  }

  clear() {
    Object.assign(this, { items: [], known: new Set(), fresh: [], missed: 0, wrong: 0 });
    this.renew();
  }

  // Someone reads or marks a row: it must not move away under the pointer.
  paused() {
    if (!this.list.querySelector(".row")) return false;
    const marked = document.getSelection();
    const selecting = marked && !marked.isCollapsed && this.list.contains(marked.anchorNode);
    return this.list.matches(":hover") || selecting || this.list.contains(document.activeElement) && document.activeElement !== this.list;
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.show();
    });
  }

  show() {
    const waiting = this.fresh.length;
    if (waiting > 0 && this.paused()) {
      setText(this.resume, `Paused: ${count(waiting)}${waiting >= IN_LIST ? "+" : ""} more. Show them`);
      this.resume.hidden = false;
    } else {
      this.insert();
    }
    this.count();
  }

  insert() {
    this.resume.hidden = true;
    const none = this.list.querySelector(".none");
    if (none && (this.fresh.length > 0 || none.dataset.said !== this.empty())) none.remove();
    this.list.prepend(...this.fresh.reverse().map(row));
    this.fresh = [];
    while (this.list.childElementCount > IN_LIST) this.list.lastElementChild.remove();
    if (this.list.childElementCount === 0) this.list.append(this.none());
    this.reachable();
  }

  // In the place of rows. An event that is not in the list is found by its id.
  none() {
    const id = this.filter.value.trim();
    return element("li", { class: "none", "data-said": this.empty() }, element("p", {}, this.empty()),
      this.words.length === 1 ? element("button", { type: "button", click: () => this.open(id) }, `Look in BigQuery for the event with the id ${id.slice(0, 80)}`) : null);
  }

  renew() {
    const found = [];
    for (let index = this.items.length - 1; index >= 0 && found.length < IN_LIST; index -= 1) {
      if (this.matches(this.items[index])) found.push(row(this.items[index]));
    }
    this.fresh = [];
    this.list.replaceChildren(...found);
    this.show();
  }

  matches(item) {
    if (this.kind === "wrong" ? !wrong(item) : this.kind === "event" && item.kind === "reject") return false;
    return this.words.every((word) => item.text.includes(word));
  }

  search() {
    this.words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.renew();
  }

  empty() {
    if (this.items.length === 0) return "Nothing yet. Send an event, and watch it arrive here.";
    if (this.words.length > 0) return "Nothing of what is here matches the filter.";
    return this.kind === "wrong" ? "Nothing went wrong." : "Nothing yet.";
  }

  count() {
    const bad = this.items.filter(wrong);
    const all = Math.max(bad.length, this.wrong ?? 0);
    setText(this.chips.querySelector("[data-name=wrong]"), `Went wrong ${count(all)}${this.wrong === null ? "+" : ""}`);
    const more = this.kind === "wrong" ? all - bad.length : this.missed;
    const listed = this.kind === "wrong" ? `The last ${count(bad.length)} that went wrong` : `The last ${counted(this.items.length, "event")}`;
    setText(this.shownText, this.error ? `▲ ${sentence(this.error)}` : this.items.length > 0 ? `${listed}${more > 0 ? `; ${count(more)} more not listed` : ""}` : "");
    const reasons = new Map();
    const recent = bad.slice(-RECENT);
    for (const item of recent) {
      const names = item.kind === "reject" ? [item.reason] : (item.problems ?? []).map((one) => `${one.column} ${one.reason}`);
      for (const name of names) reasons.set(name, (reasons.get(name) ?? 0) + 1);
    }
    const most = [...reasons].sort((one, other) => other[1] - one[1]).slice(0, REASONS);
    const of = all > recent.length ? ` of the last ${count(recent.length)}` : "";
    const key = JSON.stringify([most, of]);
    if (key === this.reasonsShown || this.reasons.contains(document.activeElement)) return;
    this.reasonsShown = key;
    this.reasons.hidden = most.length === 0;
    this.reasons.replaceChildren(element("span", { class: "quiet" }, `Went wrong most${of}:`), ...most.map(([name, times]) => element("button", {
      type: "button", class: "small", click: () => { this.filter.value = name; this.kind = "wrong"; this.press("wrong"); this.search(); },
    }, `${name} × ${count(times)}`)));
  }

  // One row is in the tab order; the arrow keys go to the others.
  reachable() {
    if (this.list.querySelector("button[tabindex='0']")) return;
    this.list.querySelector("button")?.setAttribute("tabindex", "0");
  }

  move(event) {
    const now = document.activeElement.closest("li");
    const next = { ArrowDown: now?.nextElementSibling, ArrowUp: now?.previousElementSibling, Home: this.list.firstElementChild, End: this.list.lastElementChild }[event.key];
    const button = next?.querySelector("button");
    if (!button) return;
    event.preventDefault();
    now?.querySelector("button").setAttribute("tabindex", "-1");
    button.setAttribute("tabindex", "0");
    button.focus();
  }
}

const KINDS = { event: ["", "event"], problem: ["▲", "problem"], reject: ["✕", "reject"] };

function row(item) {
  const [mark, word] = KINDS[item.kind] ?? ["▲", String(item.kind)];
  const why = item.kind === "reject" ? [item.reason, item.column].filter(Boolean).join(": ") : (item.problems ?? []).map((one) => `${one.column} ${one.reason}: ${shown(one.value)}`).join("; ");
  const what = item.kind === "reject" ? item.detail ?? item.summary : [item.protocol, item.row?.url ?? item.row?.title].filter(Boolean).join(" · ");
  const button = element("button", { type: "button", class: "row", "data-kind": item.kind, tabindex: "-1" },
    element("span", { class: "at", title: item.at }, clock(item.at)),
    element("span", { class: "kind" }, mark ? element("span", { "aria-hidden": "true" }, `${mark} `) : null, word),
    element("span", { class: "type" }, shown(item.type ?? "–")),
    element("span", { class: "who" }, shown(item.who ?? "–")),
    element("span", { class: "what" }, why ? element("b", {}, why) : null, why && what ? " · " : null, what ? shown(what) : null));
  button.item = item;
  return element("li", {}, button);
}
