"""What is wrong now, and where: one line each, worst first, from what the services and emulators say. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from local.scrape import Recent
from services.collector import breaker

ERROR, WARNING = "error", "warning"
SLOW_SECONDS = 10.0  # a message that waits longer is worth a line
DOWN = ("ended", "stopped", "stopping", "not_ready", "starting")
_NAMES = {"bigquery": "BigQuery", "pubsub": "Pub/Sub"}
_MEANWHILE = {  # what becomes of events
    "collector": "senders have to send again",
    "processor": "hits wait in Pub/Sub",
    "loader": "rows wait in Pub/Sub",
    "pubsub": "hits wait in the collector's spool",
    "bigquery": "rows wait in Pub/Sub",
}
_BREAKER = "pixelpipe_collector_breaker_state"


class Trouble(NamedTuple):
    """`rule` tells two troubles of one part apart, so that `since` survives a text that changes."""

    part: str
    rule: str
    level: str
    text: str


@dataclass
class Seen:
    """What one look found: parts as /api/state has them, the queues, the faults, and each service's scrapes."""

    parts: list[dict[str, Any]]
    queues: Mapping[str, Any]
    faults: list[dict[str, Any]]
    recent: Mapping[str, Recent]
    errors: list[str] = field(default_factory=list)


def find(seen: Seen) -> list[Trouble]:
    """Errors before warnings, in the order of the data's way."""
    every = [*_parts(seen), *_collector(seen), *_processor(seen), *_loader(seen), *_queues(seen), *_faults(seen)]
    return sorted(every, key=lambda one: one.level != ERROR)


def _parts(seen: Seen) -> Iterator[Trouble]:
    if unseen := [part["name"] for part in seen.parts if part["status"] == "unseen"]:
        text = f"the {' and the '.join(unseen)} cannot be seen: is kubectl port-forward running?"
        yield Trouble("forward", "unseen", WARNING, text)
    for part in seen.parts:
        if part["status"] in DOWN:
            level = WARNING if part["status"] in ("starting", "stopping") else ERROR
            why = f": {part['why']}" if part["why"] else ""
            who = _NAMES.get(part["name"], f"the {part['name']}")
            verb = "has ended" if part["status"] == "ended" else f"is {part['status'].replace('_', ' ')}"
            meanwhile = f"; {_MEANWHILE[part['name']]}" if level == ERROR else ""
            yield Trouble(part["name"], "down", level, f"{who} {verb}{why}{meanwhile}")


def _collector(seen: Seen) -> Iterator[Trouble]:
    recent = seen.recent["collector"]
    if recent.last is None:
        return
    state = recent.last.value(_BREAKER)
    failed = recent.grown("pixelpipe_collector_publish_failures_total")
    if state != breaker.CLOSED:
        text = "the collector cannot publish: hits wait in its spool until Pub/Sub is back"
        yield Trouble("pubsub", "breaker", ERROR, text)
    elif failed:
        text = f"Pub/Sub did not confirm {_many(failed, 'pack')} of the collector in the last 10 s"
        yield Trouble("pubsub", "publish", ERROR, text)
    for outcome in ("unconfirmed", "shed"):
        if hits := recent.grown("pixelpipe_collector_hits_settled_total", outcome=outcome):
            text = (
                f"503 was the answer to {_many(hits, 'hit')} in the last 10 s ({outcome}): their senders have to resend"
            )
            yield Trouble("collector", outcome, ERROR, text)
    if recent.grown("pixelpipe_collector_spool_errors_total"):
        yield Trouble("spool", "disk", ERROR, "the spool's disk failed in the last 10 s; see the collector's log")
    if corrupt := recent.last.value("pixelpipe_collector_spool_corrupt_total"):
        yield Trouble("spool", "corrupt", ERROR, f"{_many(corrupt, 'file')} of the spool could not be read, set aside")


def _processor(seen: Seen) -> Iterator[Trouble]:
    recent = seen.recent["processor"]
    if nacked := recent.grown("pixelpipe_processor_messages_nacked_total"):
        text = (
            f"the processor gave {_many(nacked, 'message')} back in the last 10 s: Pub/Sub did not confirm their rows"
        )
        yield Trouble("processor", "nacked", ERROR, text)
    if dead := recent.grown("pixelpipe_processor_messages_dead_total"):
        yield Trouble(
            "dead", "processor", ERROR, f"the processor dead-lettered {_many(dead, 'message')} in the last 10 s"
        )


def _loader(seen: Seen) -> Iterator[Trouble]:
    recent = seen.recent["loader"]
    if recent.last is None:
        return
    if codes := recent.grown_by("pixelpipe_loader_append_retries_total", "code"):
        listed = ", ".join(f"{code} {_many(count, 'time')}" for code, count in sorted(codes.items()))
        yield Trouble("bigquery", "append", ERROR, f"appends to BigQuery failed in the last 10 s: {listed}")
    for table, value in recent.last.by("pixelpipe_loader_table_suspended", "table").items():
        if value:
            text = f"table {table} is suspended: BigQuery refuses it, and its rows wait"
            yield Trouble("bigquery", f"suspended {table}", ERROR, text)
    for one in recent.last.samples.get("pixelpipe_loader_column_refused", ()):
        if one.value:
            name = f"{one.labels.get('table')}.{one.labels.get('column')}"
            text = f"column {name} is missing in BigQuery or of another type; provision again"
            yield Trouble("bigquery", f"column {name}", ERROR, text)
    if refused := recent.grown("pixelpipe_loader_rows_rejected_total"):
        text = f"BigQuery refused {_many(refused, 'row')} in the last 10 s: see the rejects"
        yield Trouble("bigquery", "rows", WARNING, text)
    if dead := recent.grown("pixelpipe_loader_messages_dead_total"):
        yield Trouble("dead", "loader", ERROR, f"the loader dead-lettered {_many(dead, 'pack')} in the last 10 s")


def _queues(seen: Seen) -> Iterator[Trouble]:
    for name, reader in (("hits", "processor"), ("rows", "loader")):
        queue = seen.queues.get(name)
        if queue and queue["messages"] and (queue["oldest_seconds"] or 0) > SLOW_SECONDS:
            since = f"{queue['oldest_seconds']:.0f} s"
            text = f"{queue['messages']} messages wait for the {reader}, the oldest for {since}"
            if queue["messages"] == 1:
                text = f"1 message has waited {since} for the {reader}"
            yield Trouble(name, "backlog", ERROR, text)
    spool = seen.queues.get("spool")
    if spool and spool["hits"]:
        text = "1 hit is" if spool["hits"] == 1 else f"{spool['hits']} hits are"
        yield Trouble("spool", "waiting", WARNING, f"{text} safe on the collector's disk")
    dead = seen.queues.get("dead")
    if dead and dead["messages"]:
        letters = "1 dead letter waits" if dead["messages"] == 1 else f"{dead['messages']} dead letters wait"
        yield Trouble("dead", "letters", WARNING, f"{letters} for someone to look")


def _many(count: float, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:.0f} {what}s"


def _faults(seen: Seen) -> Iterator[Trouble]:
    for fault in seen.faults:
        yield Trouble(fault["target"], f"fault {fault['id']}", WARNING, f"rehearsed: {fault['text']}")


class Since:
    """Remembers since when each trouble has been seen."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], float] = {}

    def shown(self, found: list[Trouble], now: float | None = None) -> list[dict[str, Any]]:
        at = time.time() if now is None else now
        self._first = {(one.part, one.rule): self._first.get((one.part, one.rule), at) for one in found}
        return [
            {"part": one.part, "level": one.level, "text": one.text, "since": self._first[one.part, one.rule]}
            for one in found
        ]
