"""How fast one processor is, without the network: `python -m tests.bench.processor [SECONDS]` prints one JSON line.

The real worker handles real packs; only Pub/Sub is missing. Counted is CPU time, which neighbours disturb less than
time on the wall: events a CPU second are what one core does when it is given to the processor alone.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import statistics
import sys
import time
from typing import Any
from urllib.parse import quote

from prometheus_client import CollectorRegistry

from services.processor.metrics import Metrics
from services.processor.worker import Topics, Worker
from services.shared import hit, identity, schema, schema_file
from services.shared.hit import Hit
from services.shared.schema import Schema
from tests.bench import unit

PACKS, EVENTS = 8, 1_000
USER_AGENTS = 400  # different ones in the packs
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
PARAMS = "      params:"  # the line of the default file that the columns above go before


def enriched() -> Schema:
    """The default schema with columns of user agent, referrer and campaign."""
    text = schema.DEFAULT_FILE.read_text()
    return schema_file.parse(text.replace(PARAMS, ENRICHED + PARAMS, 1))


def packs(seed: int = 7) -> list[tuple[bytes, dict[str, str]]]:
    """Packs of events as browsers send them: ids at random, user agents of which a few are frequent, some campaigns."""
    chance = random.Random(seed)
    now = time.time_ns() // 1000
    agents = [_agent(chance) for _ in range(USER_AGENTS)]
    weights = [1 / (rank + 1) for rank in range(USER_AGENTS)]
    found = []
    for _ in range(PACKS):
        lines = [hit.encode(_event(chance, now, chance.choices(agents, weights)[0])) for _ in range(EVENTS)]
        found.append(hit.pack(lines, identity.uuid7(now)))
    return found


def _agent(chance: random.Random) -> str:
    version = chance.randint(100, 142)
    engine = "AppleWebKit/537.36 (KHTML, like Gecko)"
    phone = f"SM-{chance.choice('AFGS')}{chance.randint(100, 999)}B"
    return chance.choice(
        [
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {engine} Chrome/{version}.0.0.0 Safari/537.36",
            f"Mozilla/5.0 (Linux; Android {chance.randint(9, 15)}; {phone}) {engine} "
            f"Chrome/{version}.0.0.0 Mobile Safari/537.36",
            f"Mozilla/5.0 (iPhone; CPU iPhone OS {chance.randint(14, 18)}_{chance.randint(0, 7)} like Mac OS X) "
            "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
            f"Mozilla/5.0 (X11; Linux x86_64; rv:{version}.0) Gecko/20100101 Firefox/{version}.0",
        ]
    )


def _event(chance: random.Random, now: int, agent: str) -> Hit:
    at = now - chance.randrange(1_000_000)
    page = f"https://shop.example.com/p/{chance.randrange(5_000)}"
    if chance.random() < 0.2:
        page += f"?utm_source=newsletter&utm_medium=email&utm_campaign=week{chance.randrange(50)}"
    before = chance.choice(["https://www.google.com/", "https://shop.example.com/", "https://t.co/a", ""])
    query = [
        f"user_id={chance.randbytes(12).hex()}",
        f"type={chance.choice(['view', 'view', 'click', 'order'])}",
        f"tenant=shop{chance.randrange(20)}",
        f"url={quote(page, safe='')}",
        f"referrer={quote(before, safe='')}",
        f"ts={at // 1000}",
        f"screen={chance.choice(['1920x1080', '390x844'])}",
        f"n={chance.randrange(1_000)}",
    ]
    return Hit(
        id=identity.uuid7(at, chance.randbytes(10)),
        at=at,
        method="GET",
        path="/pixel.gif",
        query="&".join(query),
        headers={"user-agent": agent, "referer": "https://shop.example.com/"},
        ip=f"203.0.113.{chance.randrange(256)}",
    )


class _Nowhere:
    """Takes what is published."""

    async def publish(self, topic: str, data: bytes, attributes: dict[str, str]) -> str:
        return ""


class _Delivery:
    id, attempt, published_us = "0", 1, 0

    def __init__(self, data: bytes, attributes: dict[str, str], number: int) -> None:
        self.data, self.attributes = data, {**attributes, "pack": f"{attributes['pack']}-{number}"}

    def ack(self) -> None:
        pass

    def nack(self) -> None:
        raise AssertionError("the worker could not handle a pack of the bench")


class _Bench:
    """One worker and how many events it handled each CPU second, sample by sample."""

    def __init__(self, tables: Schema, messages: list[tuple[bytes, dict[str, str]]]) -> None:
        nowhere: Any = _Nowhere()
        self._worker = Worker(tables, nowhere, Topics("rows", "dead"), Metrics(CollectorRegistry(), tables.tables))
        self._loop = asyncio.Runner()
        self._messages, self._number = messages, 0
        self.rates: list[float] = []

    def sample(self) -> None:
        """Handle one pack."""
        data, attributes = self._messages[self._number % len(self._messages)]
        self._number += 1
        delivery: Any = _Delivery(data, attributes, self._number)  # under a new name: a pack done before is skipped
        started = time.process_time()
        self._loop.run(self._worker._handle(delivery, "hits"))
        self.rates.append(int(attributes["count"]) / (time.process_time() - started))


def measure(seconds: float) -> dict[str, float]:
    """Medians of at least `seconds`: events a CPU second with each schema, and the unit, sampled in turn."""
    gc.set_threshold(50_000, 20, 20)  # as services/shared/lifecycle.py does
    messages = packs()
    default, rich = _Bench(schema_file.load(schema.DEFAULT_FILE), messages), _Bench(enriched(), messages)
    for _ in messages:  # caches fill once in the life of a process
        default.sample()
        rich.sample()
    default.rates.clear()
    rich.rates.clear()
    units = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(units) < 10:
        default.sample()
        rich.sample()
        units.append(unit.us())
    return {
        "processor_events_per_s": round(statistics.median(default.rates)),
        "processor_enriched_events_per_s": round(statistics.median(rich.rates)),
        "unit_us": round(statistics.median(units), 3),
    }


if __name__ == "__main__":
    print(json.dumps(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)))
