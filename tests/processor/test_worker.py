"""The processor's service over the real emulator: what comes in, what goes out, and in which order."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry

from services.processor import service
from services.processor.config import Config
from services.processor.metrics import Metrics
from services.processor.worker import Topics as Names
from services.processor.worker import Worker
from services.shared import frame, hit, identity, rows, schema, schema_file
from services.shared.hit import Hit
from services.shared.pubsub import Unconfirmed
from tests.processor.test_log_entry import ENTRY
from tests.topics import Topics


@asynccontextmanager
async def _running(topics: Topics, **settings: Any) -> AsyncIterator[None]:
    cfg = Config(
        project=topics.project,
        hits_subscription="hits-work",
        rows_topic="rows",
        dead_topic=settings.pop("dead_topic", "dead"),
        host="127.0.0.1",
        admin_port=0,
        **settings,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(cfg, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 30)


def _pack(*queries: str) -> tuple[bytes, dict[str, str]]:
    now = _now()
    hits = [Hit(id=identity.uuid7(now), at=now, method="GET", path="/i", query=query) for query in queries]
    return hit.pack([hit.encode(one) for one in hits], identity.uuid7(now))


def _now() -> int:
    return time.time_ns() // 1000


async def _rows(topics: Topics, messages: int) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for message in await asyncio.to_thread(topics.pull, "rows-seen", messages):
        batch = rows.unpack(message.data, dict(message.attributes))
        found += [(message.attributes["table"], row) for row in batch.to_pylist()]
    return found


async def test_a_pack_becomes_rows_and_rejects(topics: Topics) -> None:
    async with _running(topics):
        topics.publish("hits", *_pack("user_id=1&type=a", "type=b", "user_id=3"))
        found = await _rows(topics, 2)
    assert Counter(table for table, _ in found) == {"events": 2, "rejects": 1}
    assert [row["user_id"] for table, row in found if table == "events"] == ["1", "3"]
    (rejected,) = [row for table, row in found if table == "rejects"]
    assert (rejected["reason"], rejected["column"]) == ("missing", "user_id")
    assert json.loads(rejected["hit"])["query"] == "type=b"
    assert topics.pull("hits-work") == []


async def test_a_hit_is_enriched_as_the_schema_file_says(topics: Topics, tmp_path: Path) -> None:
    columns = """\
      device:   {type: STRING, from: agent.device}
      is_bot:   {type: BOOL, from: agent.is_bot}
      medium:   {type: STRING, from: referrer.medium}
      campaign: {type: STRING, from: utm.campaign}
      region:   {type: STRING, from: geo.region}
"""
    file = tmp_path / "schema.yaml"
    file.write_text(schema.DEFAULT_FILE.read_text().replace("      params:", columns + "      params:", 1))
    now, good = _now(), {"user-agent": ENTRY["httpRequest"]["userAgent"], "x-client-geo-location": "US,USCA,Fresno"}
    page = "url=https%3A%2F%2Fshop.example.com%2F%3Futm_campaign%3Dspring"
    hits = [
        Hit(identity.uuid7(now), now, "GET", "/i", f"user_id=1&referrer=https://t.co/x&{page}", good),
        Hit(identity.uuid7(now), now, "GET", "/i", "user_id=2", {"user-agent": "Android 1;" * 10_000}),
        Hit(identity.uuid7(now), now, "GET", "/i", "user_id=3&referrer=%ff", {"x-client-geo-location": ",,\0,"}),
    ]
    async with _running(topics, schema=file):
        topics.publish("hits", *hit.pack([hit.encode(one) for one in hits], identity.uuid7(now)))
        found = await _rows(topics, 1)
    names = ("user_id", "device", "is_bot", "medium", "campaign", "region")
    assert [tuple(row[name] for name in names) for _, row in found] == [
        ("1", "mobile", False, "social", "spring", "US-CA"),
        ("2", "tablet", False, None, None, None),
        ("3", None, None, None, None, None),
    ]


async def test_a_log_entry_becomes_a_row(topics: Topics) -> None:
    async with _running(topics):
        topics.publish("hits", json.dumps(ENTRY).encode(), {"logging.googleapis.com/timestamp": "2026-11-20T10:15:30Z"})
        ((table, row),) = await _rows(topics, 1)
    assert (table, row["user_id"], row["type"], row["ip"]) == ("events", "507f", "click", "203.0.113.77")
    assert json.loads(row["params"]) == {"note": "café au lait"}


async def test_poison_goes_to_the_dead_letter_topic_with_its_reason_and_good_packs_go_on(topics: Topics) -> None:
    good = [_pack(f"user_id={number}") for number in range(3)]
    poison = [
        (b"random \x00\xff bytes", {"schema": "hit/1", "encoding": "zstd", "count": "1"}),
        (good[0][0], {**good[0][1], "schema": "hit/9", "pack": "x"}),
        (good[0][0][:-5], {**good[0][1], "pack": "y"}),
        (frame.compress(bytes(70_000_000)), {"schema": "hit/1", "encoding": "zstd", "count": "1", "pack": "z"}),
        (b'{"httpRequest":{}}', {}),
    ]
    async with _running(topics):
        for message in (poison[0], good[0], *poison[1:3], good[1], *poison[3:], good[2]):
            topics.publish("hits", *message)
        found = await _rows(topics, 3)
        dead = await asyncio.to_thread(topics.pull, "dead-seen", len(poison))
    assert sorted(row["user_id"] for _, row in found) == ["0", "1", "2"]
    assert sorted(message.data for message in dead) == sorted(data for data, _ in poison)
    assert all(message.attributes["dead_reason"] and message.attributes["dead_source"] for message in dead)
    assert topics.pull("hits-work") == []


async def test_a_pack_delivered_twice_gives_rows_packs_of_the_same_id(topics: Topics) -> None:
    data, attributes = _pack("user_id=1", "nothing=1")
    seen = []
    for _ in range(2):
        async with _running(topics):  # each a processor of its own, which remembers nothing
            topics.publish("hits", data, attributes)
            messages = await asyncio.to_thread(topics.pull, "rows-seen", 2)
            seen.append({(one.attributes["table"], one.attributes["pack"]) for one in messages})
    assert seen[0] == seen[1]
    assert len({pack for _, pack in seen[0]}) == 2


async def test_a_large_pack_is_split_below_pubsubs_limits(topics: Topics) -> None:
    async with _running(topics):
        topics.publish("hits", *_pack(*(f"user_id={number}&x={'y' * 9000}" for number in range(900))))
        found: list[Any] = []
        while len(found) < 900:
            found += await _rows(topics, 1)
    assert sorted(int(row["user_id"]) for _, row in found) == list(range(900))


class _Publisher:
    """Says when it was asked and fails as often as told."""

    def __init__(self, log: list[str], failures: int = 0) -> None:
        self.log, self.failures = log, failures

    async def publish(self, topic: str, data: bytes, attributes: dict[str, str]) -> str:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            self.log.append(f"{topic} failed")
            raise Unconfirmed("down")
        self.log.append(topic)
        return "1"


class _Delivery:
    def __init__(self, log: list[str], data: bytes, attributes: dict[str, str]) -> None:
        self.log, self.data, self.attributes = log, data, attributes
        self.id, self.attempt, self.published_us = "m", 1, 1
        self.count = int(attributes.get("count", 1))

    def ack(self) -> None:
        self.log.append("ack")

    def nack(self) -> None:
        self.log.append("nack")


class _Puller:
    subscription = "hits"

    def __init__(self, *deliveries: _Delivery) -> None:
        self._left = list(deliveries)

    def __aiter__(self) -> _Puller:
        return self

    async def __anext__(self) -> _Delivery:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


def _worker(log: list[str], failures: int = 0, registry: CollectorRegistry | None = None) -> Worker:
    tables = schema_file.load(schema.DEFAULT_FILE)
    publisher: Any = _Publisher(log, failures)
    return Worker(
        tables,
        publisher,
        Names("rows", "dead"),
        Metrics(registry or CollectorRegistry(), tables.tables),
        max_bytes=10**7,
    )


async def _handled(worker: Worker, log: list[str], data: bytes, attributes: dict[str, str]) -> list[str]:
    log.clear()
    puller: Any = _Puller(_Delivery(log, data, attributes))
    await worker.run(puller)
    return list(log)


async def test_ack_follows_publish() -> None:
    log: list[str] = []
    assert await _handled(_worker(log), log, *_pack("user_id=1", "x=1")) == ["rows", "rows", "ack"]


async def test_rows_that_are_not_confirmed_are_nacked_and_done_again() -> None:
    log: list[str] = []
    worker, pack = _worker(log, failures=1), _pack("user_id=1")
    assert await _handled(worker, log, *pack) == ["rows failed", "nack"]
    assert await _handled(worker, log, *pack) == ["rows", "ack"]


async def test_a_pack_done_before_is_acked_without_publishing() -> None:
    log: list[str] = []
    worker, pack = _worker(log), _pack("user_id=1")
    assert await _handled(worker, log, *pack) == ["rows", "ack"]
    assert await _handled(worker, log, *pack) == ["ack"]


async def test_a_dead_letter_that_is_not_confirmed_is_nacked() -> None:
    log: list[str] = []
    worker = _worker(log, failures=1)
    assert await _handled(worker, log, b"?", {}) == ["dead failed", "nack"]
    assert await _handled(worker, log, b"?", {}) == ["dead", "ack"]


async def test_hits_are_settled_once_however_often_their_pack_is_tried() -> None:
    log: list[str] = []
    registry = CollectorRegistry()
    worker, pack = _worker(log, failures=1, registry=registry), _pack("user_id=1", "user_id=2", "x=1")

    def settled() -> dict[tuple[str, str], float]:
        (family,) = (one for one in registry.collect() if one.name == "pixelpipe_processor_hits_settled")
        return {(one.labels["kind"], one.labels["outcome"]): one.value for one in family.samples if one.value}

    await _handled(worker, log, *pack)
    assert (log[-1], settled()) == ("nack", {})
    await _handled(worker, log, *pack)
    assert (log[-1], settled()) == ("ack", {("pack", "published"): 3})
    await _handled(worker, log, *pack)
    await _handled(worker, log, b"?", {**pack[1], "pack": "another"})
    await _handled(worker, log, b"?", {})
    await _handled(worker, log, json.dumps(ENTRY).encode(), {})
    assert settled() == {
        ("pack", "published"): 3,
        ("pack", "duplicate"): 3,
        ("pack", "dead"): 3,
        ("log_entry", "dead"): 1,
        ("log_entry", "published"): 1,
    }


async def test_a_value_arrow_does_not_take_costs_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    worker = _worker(log)
    whole = worker._batch

    def picky(name: str, values: list[list[object]]) -> pa.RecordBatch:
        if name == "events" and any("2" in row for row in values):
            raise pa.ArrowInvalid("no room for 2")
        return whole(name, values)

    monkeypatch.setattr(worker, "_batch", picky)
    batches = worker._parse(hit.unpack(*_pack("user_id=1", "user_id=2", "user_id=3")), _now())
    assert batches["events"].column("user_id").to_pylist() == ["1", "3"]
    assert batches["rejects"].column("reason").to_pylist() == ["unencodable"]
