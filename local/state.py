"""Looks at everything once a second: what runs, how fast, what waits, what is wrong. The page's /api/state."""

from __future__ import annotations

import asyncio
import html
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp

from local import rehearsal, run_file, scrape, trouble
from local.restart import Restarts
from local.run_file import NotRunning
from local.scrape import NoAnswer, Recent, ask, ask_json
from local.watched import EMULATORS, ORDER, SERVICES, Watched
from services.shared import reconciliation, resource_names

SECONDS, UNWATCHED_SECONDS = 1.0, 5.0  # between two looks: while someone looks at the page, and else
ATTENTION_SECONDS = 10.0  # after someone asked
HISTORY = 60  # seconds shown
_LATENCY = {
    "collector": "pixelpipe_collector_http_request_duration_seconds",
    "processor": "pixelpipe_processor_publish_seconds",
    "loader": "pixelpipe_loader_end_to_end_seconds",
}
_AWAY = {"ended": "has ended", "stopped": "is stopped", "stopping": "is stopping", "starting": "is starting"}
_ONE_POD = "each figure is that of one pod; the proof by hour has all"
_PUBLISHED = "pixelpipe_collector_hits_settled_total"
_DRAINED = "pixelpipe_collector_spool_drained_hits_total"


class Look:
    """Keeps the latest state; `run` never ends. `names` are the settings that name topics and subscriptions."""

    def __init__(self, watched: Callable[[], Watched], restarts: Restarts, names: Mapping[str, str]) -> None:
        self._watched, self._restarts = watched, restarts
        self._subscriptions = {
            "hits": names.get("PIPE_HITS_SUBSCRIPTION", resource_names.HITS_SUBSCRIPTION),
            "rows": names.get("PIPE_ROWS_SUBSCRIPTION", resource_names.ROWS_SUBSCRIPTION),
            "dead": names.get("PIPE_DEAD_SUBSCRIPTION", resource_names.DEAD_SUBSCRIPTION),
        }
        self._recent = {name: Recent() for name in SERVICES}
        self._since = trouble.Since()
        self._history: deque[tuple[int, float, float, float]] = deque(maxlen=HISTORY)
        self._totals: tuple[int, int, int] | None = None
        self._state: dict[str, Any] | None = None
        self._one = asyncio.Lock()
        self._looked = self._asked = 0.0
        self._restarts_seen: dict[str, tuple[float, float]] = {}  # by service: started first, started last
        self._wake = asyncio.Event()

    @property
    def recent(self) -> Mapping[str, Recent]:
        return self._recent

    async def run(self, session: aiohttp.ClientSession) -> None:
        while True:
            began = time.monotonic()
            try:
                await self.look(session)
            except NotRunning:
                self._state = None  # the stack has ended, and the page is about to
            took = time.monotonic() - began
            pause = SECONDS if time.monotonic() - self._asked < ATTENTION_SECONDS else UNWATCHED_SECONDS
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.1, pause - took))

    async def state(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        """At most two seconds old. Raises NotRunning."""
        if time.monotonic() - self._asked > ATTENTION_SECONDS:
            self._wake.set()
        self._asked = time.monotonic()
        if self._state is None or time.monotonic() - self._looked > 2 * SECONDS:
            return await self.look(session)
        return self._state

    async def look(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        """Ask everybody anew. Raises NotRunning."""
        async with self._one:
            watched = self._watched()
            backlogs, faults, readiness, missing = await asyncio.gather(
                self._backlogs(session, watched),
                rehearsal.listed(session, watched.control),
                asyncio.gather(*(_status(session, watched, name) for name in (*SERVICES, *EMULATORS))),
                self._scrape(session, watched),
            )
            state = self._put_together(watched, backlogs, faults, list(readiness), missing)
            self._state, self._looked = state, time.monotonic()
            return state

    async def _scrape(self, session: aiohttp.ClientSession, watched: Watched) -> str | None:
        """Read the metrics of each service, one after the other; why that did not work, if it did not."""
        missing: str | None = None
        for name in ORDER:
            found = None
            try:
                _, text = await ask(session, name, f"{watched.admin[name]}/metrics", watched.log_of(name))
                found = scrape.read(name, text, time.monotonic())
            except (NoAnswer, reconciliation.Incomplete) as error:
                missing = missing or str(error)
            self._recent[name].add(found)
            if found is not None:
                first, _ = self._restarts_seen.get(name, (found.started, found.started))
                self._restarts_seen[name] = (first, found.started)
        return missing

    async def _backlogs(self, session: aiohttp.ClientSession, watched: Watched) -> dict[str, Any] | None:
        """By subscription; None where nobody says."""
        if "pubsub" not in watched.control:
            return None
        try:
            found = await ask_json(session, "pubsub", f"{watched.control['pubsub']}/backlogs")
        except NoAnswer:
            return None
        return {one["subscription"].rpartition("/")[2]: one for one in found["backlogs"]}

    def _put_together(
        self,
        watched: Watched,
        backlogs: dict[str, Any] | None,
        faults: list[dict[str, Any]],
        statuses: list[tuple[str, str | None]],
        missing: str | None,
    ) -> dict[str, Any]:
        parts = [
            self._part(watched, name, *status) for name, status in zip((*SERVICES, *EMULATORS), statuses, strict=True)
        ]
        down = next((part for part in parts if part["name"] in SERVICES and part["status"] in _AWAY), None)
        if down is not None:  # that says more than that it does not answer
            missing = f"the {down['name']} {_AWAY[down['status']]}"
        ledger = {"error": _ONE_POD} if watched.read_only else self._ledger(missing)
        queues = self._queues(backlogs, watched)
        seen = trouble.Seen(parts, queues, faults, self._recent)
        found = trouble.find(seen)
        self._remember(ledger)
        pixel = watched.pixel
        return {
            "project": watched.project,
            "dataset": watched.dataset,
            "read_only": watched.read_only,
            "ready": watched.ready,
            "started": watched.started,
            "at": time.time(),
            "pixel": pixel,
            "pixel_html": f'<img src="{html.escape(pixel)}" width="1" height="1" alt="">',
            "query": watched.query,
            "host": watched.collector,
            "collector": watched.collector,
            "page": watched.page,
            "parts": parts,
            "flows": self._flows(parts, queues, found),
            "queues": queues,
            "faults": faults,
            "trouble": self._since.shown(found),
            "ledger": ledger,
            "history": {
                name: [one[place] for one in self._history]
                for place, name in enumerate(("seconds", "collected", "loaded", "rejected"))
            },
        }

    def _part(self, watched: Watched, name: str, status: str, why: str | None) -> dict[str, Any]:
        child = watched.children.get(name, {})
        return {
            "name": name,
            "kind": "service" if name in SERVICES else "emulator",
            "status": status,
            "why": why,
            "since": child.get("since"),
            "pid": child.get("pid"),
            "ports": child.get("ports", {}),
            "log": child.get("log"),
            "can": self._restarts.possible(watched, name, status),
            "figures": self._figures(name),
        }

    def _figures(self, name: str) -> dict[str, float | None]:
        nothing = dict.fromkeys(
            ("in_per_second", "out_per_second", "errors_per_second", "p50_seconds", "p99_seconds", "held"), None
        )
        if name not in SERVICES:
            return {**nothing, **self._seen_by_clients(name)}
        recent = self._recent[name]
        rates: dict[str, tuple[tuple[str, ...], ...]] = {
            "collector": (
                ("pixelpipe_collector_hits_total",),
                (),
                ("pixelpipe_collector_publish_failures_total", "pixelpipe_collector_spool_errors_total"),
            ),
            "processor": (
                ("pixelpipe_processor_hits_total",),
                ("pixelpipe_processor_rows_total",),
                ("pixelpipe_processor_messages_nacked_total", "pixelpipe_processor_messages_dead_total"),
            ),
            "loader": (
                (),
                ("pixelpipe_loader_rows_loaded_total",),
                ("pixelpipe_loader_append_retries_total", "pixelpipe_loader_messages_dead_total"),
            ),
        }
        into, out, errors = (recent.per_second(*names) if names else None for names in rates[name])
        if name == "collector":
            out = _sum(recent.per_second(_PUBLISHED, outcome="published"), recent.per_second(_DRAINED))
        held = None
        if name == "loader":
            into = _sum(out, recent.per_second("pixelpipe_loader_rows_duplicate_total"))
            held = recent.last.value("pixelpipe_loader_held_rows") if recent.last else None
        return {
            "in_per_second": into,
            "out_per_second": out,
            "errors_per_second": errors,
            "p50_seconds": recent.quantile(_LATENCY[name], 0.5),
            "p99_seconds": recent.quantile(_LATENCY[name], 0.99),
            "held": held,
        }

    def _seen_by_clients(self, name: str) -> dict[str, float | None]:
        """What the services say of Pub/Sub and BigQuery."""
        collector, processor, loader = (self._recent[one] for one in SERVICES)
        if name == "bigquery":
            return {
                "in_per_second": loader.per_second("pixelpipe_loader_rows_loaded_total"),
                "errors_per_second": loader.per_second("pixelpipe_loader_append_retries_total"),
                "p50_seconds": loader.quantile("pixelpipe_loader_append_seconds", 0.5),
                "p99_seconds": loader.quantile("pixelpipe_loader_append_seconds", 0.99),
            }
        failures = collector.per_second("pixelpipe_collector_publish_failures_total")
        return {
            "in_per_second": _sum(
                collector.per_second(_PUBLISHED, outcome="published"), collector.per_second(_DRAINED)
            ),
            "errors_per_second": _sum(failures, processor.per_second("pixelpipe_processor_messages_nacked_total")),
            "p50_seconds": collector.quantile("pixelpipe_collector_publish_seconds", 0.5),
            "p99_seconds": collector.quantile("pixelpipe_collector_publish_seconds", 0.99),
        }

    def _queues(self, backlogs: dict[str, Any] | None, watched: Watched) -> dict[str, Any]:
        found: dict[str, Any] = dict.fromkeys(("hits", "rows", "spool", "dead"))
        for name in ("hits", "rows", "dead"):
            if backlogs is not None and (one := backlogs.get(self._subscriptions[name])):
                found[name] = {"messages": one["messages"], "oldest_seconds": one["oldest_seconds"]}
        if found["dead"]:
            found["dead"]["command"] = watched.ops("dead list")
        if last := self._recent["collector"].last:
            oldest = last.value("pixelpipe_collector_spool_oldest_timestamp_seconds")
            found["spool"] = {
                "files": int(last.value("pixelpipe_collector_spool_packs")),
                "hits": int(last.value("pixelpipe_collector_spool_hits")),
                "bytes": int(last.value("pixelpipe_collector_spool_bytes")),
                "oldest_seconds": max(0.0, time.time() - oldest) if oldest else None,
                "folder": watched.spool,
            }
        return found

    def _flows(
        self, parts: list[dict[str, Any]], queues: Mapping[str, Any], found: list[trouble.Trouble]
    ) -> list[dict[str, Any]]:
        figures = {part["name"]: part["figures"] for part in parts}
        down = {part["name"]: part["status"] for part in parts if part["status"] in trouble.DOWN}
        wrong = {(one.part, one.rule): one.text for one in found if one.level == trouble.ERROR}

        def flow(start: str, end: str, rate: float | None, needs: tuple[str, ...], *rules: tuple[str, str]) -> Any:
            why = next((f"{name} is {down[name].replace('_', ' ')}" for name in needs if name in down), None)
            why = why or next((wrong[rule] for rule in rules if rule in wrong), None)
            state = "blocked" if why else "ok" if rate else "idle"
            return {"from": start, "to": end, "per_second": rate, "state": state, "why": why}

        rows = figures["processor"]["out_per_second"]
        loaded = figures["loader"]["out_per_second"]
        publish = (("pubsub", "breaker"), ("pubsub", "publish"))
        return [
            flow("collector", "hits", figures["collector"]["out_per_second"], ("collector", "pubsub"), *publish),
            flow(
                "hits", "processor", figures["processor"]["in_per_second"], ("pubsub", "processor"), ("hits", "backlog")
            ),
            flow("processor", "rows", rows, ("processor", "pubsub"), ("processor", "nacked")),
            flow("rows", "loader", figures["loader"]["in_per_second"], ("pubsub", "loader"), ("rows", "backlog")),
            flow("loader", "bigquery", loaded, ("loader", "bigquery"), ("bigquery", "append")),
        ]

    def _ledger(self, missing: str | None) -> dict[str, Any]:
        """The reconciliation with `error` null, or `error` alone while a service does not answer."""
        scrapes = {name: last.all for name in ORDER if (last := self._recent[name].last) is not None}
        try:
            found = reconciliation.reconcile_samples(scrapes)
        except reconciliation.Incomplete as error:
            return {"error": missing or str(error)}
        again = [name for name, (first, last) in self._restarts_seen.items() if first != last]
        notes = [
            f"{name} was started again and counts from 0: what it had counted before is missing here, so look at the "
            "proof by hour"
            for name in again
        ]
        return {**found.shown(), "notes": [*notes, *found.notes], "error": None}

    def _remember(self, ledger: dict[str, Any]) -> None:
        """One entry of the history; a restarted process counts from 0, which is no rate."""
        if ledger["error"] is not None:
            return
        now, before = (ledger["collected"], ledger["loaded"], ledger["rejected"]), self._totals
        self._totals = now
        if before is not None:
            seconds = max(0.1, time.monotonic() - self._looked) if self._looked else SECONDS
            rates = [round(max(0, new - old) / seconds, 2) for new, old in zip(now, before, strict=True)]
            self._history.append((int(time.time()), rates[0], rates[1], rates[2]))
        while self._history and self._history[0][0] < time.time() - HISTORY:
            self._history.popleft()


async def _status(session: aiohttp.ClientSession, watched: Watched, name: str) -> tuple[str, str | None]:
    """The status of a part, and why it is not well."""
    child = watched.children.get(name)
    if child is not None and child["status"] not in ("running", "starting"):
        return child["status"], child["why"]
    if child is not None and not run_file.alive(child["pid"]):
        return "ended", None  # the supervisor is about to say how
    if child is not None and child["status"] == "starting":
        return "starting", None
    try:
        if name in EMULATORS:
            if name not in watched.control:
                return "unknown", None
            await ask_json(session, name, f"{watched.control[name]}/faults")
            return "running", None
        status, text = await ask(session, name, f"{watched.admin[name]}/readyz", watched.log_of(name))
    except NoAnswer as error:
        # Of a cluster it is the way there that is known to be gone, not the service.
        return ("unseen" if watched.read_only else "not_ready"), str(error)
    return ("ready", None) if status == 200 else ("not_ready", text[:200].strip())


def _sum(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
