// What arrives: events, rejects and problems as they come, filtered as one types, in a list of bounded length.

import { chips, element, setText } from "./element.js";
import { clock, count, counted, sentence, shown } from "./figures.js";

const IN_LIST = 150; // rows in the document
const IN_MEMORY = 3000; // items a filter looks through
const REASONS = 4;

const wrong = (item) => item.kind !== "event";

export class Events {
  // `open(item)` shows an item's whole story.
  constructor(page, open) {
    Object.assign(this, page, { open, items: [], known: new Set(), fresh: [], kind: "all", words: [], missed: 0, scheduled: false });
    this.press = chips(page.chips, { wrong: "Went wrong", event: "Events", all: "All" }, "all", (kind) => { this.kind = kind; this.renew(); });
    this.filter.addEventListener("input", () => { this.search(); });
    this.resume.addEventListener("click", () => { this.list.scrollTop = 0; this.insert(); });
    this.list.addEventListener("click", (event) => {
      const row = event.target.closest("button");
      if (row) this.open(row.item);
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
      this.fresh.push(item);
    }
    while (this.items.length > IN_MEMORY + 500) {
      for (const gone of this.items.splice(0, 500)) this.known.delete(gone.key);
    }
    if (this.fresh.length > IN_LIST) this.fresh.splice(0, this.fresh.length - IN_LIST);
    this.schedule();
  }

  // Why the server cannot say what arrives, or null.
  showError(text) {
    this.error = text;
    this.count();
  }

  clear() {
    Object.assign(this, { items: [], known: new Set(), fresh: [], missed: 0 });
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
    const waiting = this.fresh.filter((item) => this.matches(item));
    if (waiting.length > 0 && this.paused()) {
      setText(this.resume, `Paused: ${count(waiting.length)}${waiting.length >= IN_LIST ? "+" : ""} more. Show them`);
      this.resume.hidden = false;
    } else {
      this.insert(waiting);
    }
    this.count();
  }

  insert(waiting = this.fresh.filter((item) => this.matches(item))) {
    this.resume.hidden = true;
    this.fresh = [];
    this.list.querySelector(".none")?.remove();
    this.list.prepend(...waiting.reverse().map(row));
    while (this.list.childElementCount > IN_LIST) this.list.lastElementChild.remove();
    if (this.list.childElementCount === 0) this.list.append(element("li", { class: "none" }, this.empty()));
    this.reachable();
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
    setText(this.chips.querySelector("[data-name=wrong]"), `Went wrong ${count(bad.length)}`);
    setText(this.shownText, this.error ? `▲ ${sentence(this.error)}` : this.items.length > 0 ? `The last ${counted(this.items.length, "event")}${this.missed > 0 ? `; ${count(this.missed)} more not listed` : ""}` : "");
    const reasons = new Map();
    for (const item of bad.slice(-500)) {
      const names = item.kind === "reject" ? [item.reason] : (item.problems ?? []).map((one) => `${one.column} ${one.reason}`);
      for (const name of names) reasons.set(name, (reasons.get(name) ?? 0) + 1);
    }
    const most = [...reasons].sort((one, other) => other[1] - one[1]).slice(0, REASONS);
    const key = JSON.stringify(most);
    if (key === this.reasonsShown) return;
    this.reasonsShown = key;
    this.reasons.hidden = most.length === 0;
    this.reasons.replaceChildren(element("span", { class: "quiet" }, "Went wrong most:"), ...most.map(([name, times]) => element("button", {
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
