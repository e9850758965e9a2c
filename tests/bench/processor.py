"""How fast one processor is: `python -m tests.bench.processor [--quick]` prints one JSON line.

`processor_events_per_s`, with user agent, referrer and campaign `processor_enriched_events_per_s`, and of posted orders
with nested columns and transformations `processor_nested_events_per_s` are without the network: the real worker handles
real packs, only Pub/Sub is missing. Counted is CPU time, which neighbours disturb less than time on the wall: events a
CPU second are what one core does when it is given to the processor alone.
`processor_process_events_per_s` and `rss_processor_mb` are of the whole process, with the client of Pub/Sub in it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from contextlib import ExitStack
from typing import Any

from google.cloud import pubsub_v1
from prometheus_client import CollectorRegistry

from services.processor.config import Config
from services.processor.metrics import Metrics
from services.processor.worker import Topics, Worker
from services.shared import resource_names, schema, schema_file
from services.shared.schema import Schema
from tests.bench import emulators, traffic, unit
from tests.bench.backlog import Backlog
from tests.bench.emulators import Emulators
from tests.bench.figure import Figure, median, rate
from tests.bounds.soak import memory

PACKS, EVENTS = 8, 1_000
SECONDS, QUICK_SECONDS = 15.0, 5.0
PROCESS_PACKS, PROCESS_ROUNDS = 80, 5
ENRICHED = """\
      browser:         {type: STRING, from: agent.browser}
      browser_version: {type: STRING, from: agent.browser_version}
      os:              {type: STRING, from: agent.os}
      device:          {type: STRING, from: agent.device}
      is_bot:          {type: BOOL, from: agent.is_bot}
      referrer_host:   {type: STRING, from: referrer.host}
      referrer_medium: {type: STRING, from: referrer.medium}
      referrer_source: {type: STRING, from: referrer.source}
      utm_source:      {type: STRING, from: utm.source}
      utm_medium:      {type: STRING, from: utm.medium}
      utm_campaign:    {type: STRING, from: utm.campaign}
      click_id:        {type: STRING, from: utm.click_id}
"""
NESTED = """\
      cart:
        type: STRUCT
        mode: REPEATED
        from: param.properties.products
        fields:
          sku:      {type: STRING, from: [product_id, sku]}
          quantity: {type: INT64}
          price:    {type: NUMERIC, transform: [{round: 2}]}
      shipping:
        type: STRUCT
        from: param.properties.shipping
        fields:
          method: {type: STRING}
          cost:   {type: NUMERIC}
      coupons:      {type: STRING, mode: REPEATED, from: param.properties.coupons}
      site:         {type: STRING, from: param.url, transform: url.host}
      email:        {type: STRING, from: param.properties.email, transform: [trim, lower]}
      revenue:      {type: NUMERIC, from: param.properties.total, transform: [{min: 0}]}
"""
PARAMS = "      params:"  # the line of the default file that the columns above go before


def with_columns(columns: str) -> Schema:
    """The default schema with more columns of `events`."""
    text = schema.DEFAULT_FILE.read_text()
    return schema_file.parse(text.replace(PARAMS, columns + PARAMS, 1))


def enriched() -> Schema:
    """With columns of user agent, referrer and campaign."""
    return with_columns(ENRICHED)


class _Nowhere:
    """Takes what is published, and keeps the last of it."""

    last: tuple[bytes, dict[str, str]]

    async def publish(self, topic: str, data: bytes, attributes: dict[str, str]) -> str:
        self.last = data, attributes
        return ""


class _Delivery:
    id, attempt, published_us = "0", 1, 0

    def __init__(self, data: bytes, attributes: dict[str, str], number: int) -> None:
        self.data, self.attributes = data, {**attributes, "pack": f"{attributes['pack']}-{number}"}
        self.count = int(attributes["count"])

    def ack(self) -> None:
        pass

    def nack(self) -> None:
        raise AssertionError("the worker could not handle a pack of the bench")


class WorkerBench:
    """One worker and how many events it handled each CPU second, sample by sample."""

    def __init__(self, tables: Schema, messages: list[tuple[bytes, dict[str, str]]]) -> None:
        nowhere: Any = _Nowhere()
        self.published: _Nowhere = nowhere
        self._worker = Worker(
            tables,
            nowhere,
            Topics("rows", "dead"),
            Metrics(CollectorRegistry(), tables.tables),
            max_bytes=Config.max_bytes,
        )
        self._loop = asyncio.Runner()
        self._messages, self._number = messages, 0
        self.rates: list[float] = []

    def close(self) -> None:
        self._loop.close()

    def sample(self) -> None:
        """Handle one pack."""
        data, attributes = self._messages[self._number % len(self._messages)]
        self._number += 1
        delivery: Any = _Delivery(data, attributes, self._number)  # under a new name: a pack done before is skipped
        started = time.process_time()
        self._loop.run(self._worker._hold(delivery, "hits", 0))
        self.rates.append(int(attributes["count"]) / (time.process_time() - started))


def typed(messages: list[tuple[bytes, dict[str, str]]]) -> list[tuple[bytes, dict[str, str]]]:
    """The packs of rows that the default schema makes of packs of hits, one each."""
    bench = WorkerBench(schema_file.load(schema.DEFAULT_FILE), messages)
    found = []
    for _ in messages:
        bench.sample()
        found.append(bench.published.last)
    bench.close()
    return found


def measure(quick: bool = False) -> dict[str, Figure]:
    """Events a CPU second with each schema, and the unit, sampled in turn."""
    gc.set_threshold(50_000, 20, 20)  # as services/shared/lifecycle.py does
    messages = traffic.packs(PACKS, EVENTS)
    default, rich = WorkerBench(schema_file.load(schema.DEFAULT_FILE), messages), WorkerBench(enriched(), messages)
    nested = WorkerBench(with_columns(NESTED), traffic.orders(PACKS, EVENTS))
    all_of_them = (default, rich, nested)
    for _ in messages:  # caches fill once in the life of a process
        for bench in all_of_them:
            bench.sample()
    for bench in all_of_them:
        bench.rates.clear()
    units = []
    until = time.monotonic() + (QUICK_SECONDS if quick else SECONDS)
    while time.monotonic() < until or len(units) < 10:
        default.sample()
        units.append(unit.us())
        rich.sample()
        nested.sample()
    for bench in all_of_them:
        bench.close()
    figures = {
        "processor_events_per_s": rate(default.rates, units),
        "processor_enriched_events_per_s": rate(rich.rates, units),
        "processor_nested_events_per_s": rate(nested.rates, units),
        "unit_us": median(units),
    }
    return figures if quick else {**figures, **_process(messages)}


def _process(messages: list[tuple[bytes, dict[str, str]]]) -> dict[str, Figure]:
    """The whole process with a backlog in the Pub/Sub emulator: events per CPU second, and the memory it took."""
    with ExitStack() as stack:
        Emulators(stack)
        publisher = pubsub_v1.PublisherClient()
        stack.callback(publisher.stop)
        backlog = Backlog(
            publisher, resource_names.HITS_TOPIC, messages, EVENTS, "pixelpipe_processor_messages_acked_total"
        )
        with emulators.service("processor") as process:
            rounds = backlog.rounds(*process, PROCESS_PACKS, PROCESS_ROUNDS)
            most = memory(process[0].process.pid, "VmHWM")
    return {
        "processor_process_events_per_s": rate(rounds.per_cpu_s, rounds.units),
        "rss_processor_mb": Figure(most),
    }


if __name__ == "__main__":
    print(json.dumps({name: figure.value for name, figure in measure(quick="--quick" in sys.argv).items()}))
