// What waits in the spool and in the dead letters, beyond their number.

import { copyButton, element } from "./element.js";
import { bytes, clock, count, counted, seconds, shown } from "./figures.js";
import { ask } from "./server.js";
import { isShown, showDialog } from "./story.js";

const COLUMNS = ["id", "published", "source", "reason"];

export const openWaiting = (name, queues) => ({ spool: openSpool, dead: openDead })[name](queues);

function openSpool({ spool }) {
  showDialog("The collector's spool",
    element("p", { class: "outcome" }, !spool ? "What it holds is not known: the collector does not answer." : spool.files === 0 ? "It is empty."
      : `${counted(spool.hits, "hit")} in ${counted(spool.files, "file")}, ${bytes(spool.bytes)}${spool.oldest_seconds ? `, the oldest for ${seconds(spool.oldest_seconds)}` : ""}.`),
    element("p", {}, "Hits that were acknowledged while Pub/Sub did not take them. The collector publishes them by itself as soon as it does: there is nothing to do."),
    spool?.folder ? element("p", {}, "They are on its disk, in ", element("code", {}, spool.folder)) : null);
}

async function openDead({ dead }) {
  const title = "Dead letters";
  const asked = showDialog(title, element("p", { class: "quiet" }, "asking …"));
  try {
    const { letters, command } = await ask("/api/dead");
    if (!isShown(asked)) return;
    const all = dead?.messages ?? letters?.length;
    showDialog(title,
      element("p", { class: "outcome" }, all === undefined ? "How many wait is not known here." : all === 0 ? "None waits." : `${counted(all, "message")} that no service could use.`),
      letters && letters.length < all ? element("p", { class: "quiet" }, `${count(letters.length)} of them are listed: someone else holds the others, or looked at them moments ago, or they are more than a page shows.`) : null,
      letters?.length > 0 ? table(letters) : null,
      letters === null || letters.length > 0 ? element("p", {}, letters === null ? "What they are:" : "One of them whole, before it is published again or dropped:") : null,
      letters === null || letters.length > 0 ? element("div", { class: "bar" }, element("code", {}, command), copyButton(command)) : null);
  } catch (error) {
    if (isShown(asked)) showDialog(title, element("p", { class: "error" }, error.message));
  }
}

function table(letters) {
  const cell = (letter, name) => shown(name === "published" ? clock(letter.published) : letter[name] ?? "–");
  return element("div", { class: "wide", tabindex: "0", role: "group", "aria-label": "Dead letters" }, element("table", {},
    element("thead", {}, element("tr", {}, COLUMNS.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, letters.map((letter) => element("tr", {}, COLUMNS.map((name) => element("td", name === "reason" ? {} : { class: "whole" }, cell(letter, name))))))));
}
