"""The processor's service over the real emulator: what comes in, what goes out, and in which order."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.ops import dead_letter
from services.processor import service
from services.processor.config import Config
from services.processor.metrics import Metrics
from services.processor.parse import Parser, Reject, Row
from services.processor.table_batches import HitParser
from services.processor.worker import Topics as Names
from services.processor.worker import Worker
from services.shared import hit, identity, rows, zstd_frame
from services.shared.hit import Hit
from services.shared.publisher import Unconfirmed
from tests.deliveries import Delivery, subscriber
from tests.processor.test_log_entry import ENTRY
from tests.schemas import SCHEMA, SCHEMA_FILE
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
        **{"schema": SCHEMA_FILE, **settings},
    )
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(cfg, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 60)


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
    file.write_text(SCHEMA_FILE.read_text().replace("      params:", columns + "      params:", 1))
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
    assert (table, row["user_id"], row["type"], row["ip"]) == ("events", "507f", "click", "203.0.113.0")
    assert json.loads(row["params"]) == {"note": "café au lait"}


async def test_poison_goes_to_the_dead_letter_topic_with_its_reason_and_good_packs_go_on(topics: Topics) -> None:
    good = [_pack(f"user_id={number}") for number in range(3)]
    poison = [
        (b"random \x00\xff bytes", {"schema": "hit/1", "encoding": "zstd", "count": "1"}),
        (good[0][0], {**good[0][1], "schema": "hits/9", "pack": "x"}),
        (good[0][0][:-5], {**good[0][1], "pack": "y"}),
        (zstd_frame.compress(bytes(70_000_000)), {"schema": "hit/1", "encoding": "zstd", "count": "1", "pack": "z"}),
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


async def test_a_pack_of_a_newer_format_is_given_back_for_a_newer_processor(topics: Topics) -> None:
    data, attributes = _pack("user_id=1")
    async with _running(topics):
        topics.publish("hits", data, {**attributes, "schema": "hit/2", "pack": "newer"})
        topics.publish("hits", *_pack("user_id=2"))
        [(_, row)] = await _rows(topics, 1)
    assert row["user_id"] == "2"
    [kept] = await asyncio.to_thread(topics.pull, "hits-work", 1)
    assert kept.attributes["pack"] == "newer"
    assert topics.pull("dead-seen") == []


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


def _counted(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """What a counter of the processor counted, by the values of its labels."""
    (family,) = (one for one in registry.collect() if one.name == f"pixelpipe_processor_{name}")
    return {
        tuple(one.labels.values()): one.value for one in family.samples if one.name.endswith("_total") and one.value
    }


def _worker(
    log: list[str], failures: int = 0, registry: CollectorRegistry | None = None, parser: HitParser | None = None
) -> Worker:
    publisher: Any = _Publisher(log, failures)
    return Worker(
        SCHEMA,
        publisher,
        Names("rows", "dead"),
        Metrics(registry or CollectorRegistry(), SCHEMA.tables),
        max_bytes=10**7,
        parser=parser,
    )


async def _handled(worker: Worker, log: list[str], data: bytes, attributes: dict[str, str]) -> list[str]:
    log.clear()
    await worker.run(subscriber(Delivery(data, attributes, log.append)))
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

    def settled() -> dict[tuple[str, ...], float]:
        return _counted(registry, "hits_settled")

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


async def test_a_line_that_cannot_be_read_is_a_dead_letter_and_its_neighbours_are_rows(topics: Topics) -> None:
    good = [f"user_id={number}" for number in range(3)]
    now = _now()
    lines = [hit.encode(Hit(identity.uuid7(now), now, "GET", "/i", query)) for query in good]
    bad = [b'{"at": 99999999999999999999}', b"\xff", b"[" * 100_000, lines[0][:-1]]
    data, attributes = hit.pack([lines[0], *bad[:2], lines[1], b"", *bad[2:], lines[2]], identity.uuid7(now))
    async with _running(topics):
        topics.publish("hits", data, {**attributes, "count": "7"})
        found = await _rows(topics, 1)
        dead = await asyncio.to_thread(topics.pull, "dead-seen", len(bad))
        assert sorted(row["user_id"] for _, row in found) == ["0", "1", "2"]
        assert sorted(zstd_frame.decompress(one.data) for one in dead) == sorted(bad)
        for one in dead:
            shown = dead_letter.read(
                dead_letter.DeadLetter(one.message_id, one.publish_time, dict(one.attributes), one.data), 5
            )
            assert (one.attributes["dead_reason"], shown["found"]) == (shown["problem"], 1)
        # Published once more as `pixelpipe dead replay` does, each dies again and is then the very same message.
        originals = [
            dead_letter.DeadLetter("", now, dict(one.attributes), one.data).original_attributes() for one in dead
        ]
        for one, original in zip(dead, originals, strict=True):
            topics.publish("hits", one.data, original)
        again = await asyncio.to_thread(topics.pull, "dead-seen", len(bad))
    assert {(one.data, *sorted(one.attributes.items())) for one in again} == {
        (one.data, *sorted(one.attributes.items())) for one in dead
    }
    assert topics.pull("hits-work") == []


def _torn(*queries: str) -> tuple[bytes, dict[str, str]]:
    """A pack with a line more, which cannot be read."""
    data, attributes = _pack(*queries)
    lines = zstd_frame.decompress(data) + b'\n{"id":'
    return zstd_frame.compress(lines), {**attributes, "count": str(len(queries) + 1)}


async def test_a_pack_is_acked_only_after_the_dead_letters_of_its_lines_too() -> None:
    log: list[str] = []
    registry = CollectorRegistry()
    worker, torn = _worker(log, failures=1, registry=registry), _torn("user_id=1", "x=1")
    first = await _handled(worker, log, *torn)
    assert (sorted(first[:-1]), first[-1]) == (["dead", "rows", "rows failed"], "nack")
    assert _counted(registry, "hits_settled") == {}
    again = await _handled(worker, log, *torn)
    assert (sorted(again[:-1]), again[-1]) == (["dead", "rows", "rows"], "ack")
    assert _counted(registry, "hits_settled") == {("pack", "published"): 2, ("pack", "dead"): 1}
    assert _counted(registry, "dead_hits") == {("unreadable",): 2}
    assert await _handled(worker, log, *torn) == ["ack"]


async def test_a_pack_whose_count_is_wrong_is_loaded_and_counted() -> None:
    log: list[str] = []
    registry = CollectorRegistry()
    worker = _worker(log, registry=registry)
    for count in ("1", "3"):
        data, attributes = _pack("user_id=1", "user_id=2")
        assert await _handled(worker, log, data, {**attributes, "count": count}) == ["rows", "ack"]
    assert _counted(registry, "miscounted") == {(): 2}
    assert _counted(registry, "hits_settled") == {("pack", "published"): 4}


async def test_log_entries_that_are_no_event_are_acknowledged_and_counted() -> None:
    log: list[str] = []
    registry = CollectorRegistry()
    worker = _worker(log, registry=registry)
    for status in (404, 500):
        entry = {**ENTRY, "httpRequest": {**ENTRY["httpRequest"], "status": status}}
        assert await _handled(worker, log, json.dumps(entry).encode(), {"pack": f"one {status}"}) == ["ack"]
        log_entries = [entry, {**ENTRY, "httpRequest": {**ENTRY["httpRequest"], "requestMethod": "PUT"}}, ENTRY, 7]
        data = gzip.compress(json.dumps(log_entries).encode())
        assert sorted(await _handled(worker, log, data, {"pack": f"array {status}"})) == ["ack", "dead", "rows"]
    assert _counted(registry, "log_entries_ignored") == {("status",): 4, ("method",): 2}
    assert _counted(registry, "hits_settled") == {("log_entry", "published"): 2, ("log_entry", "dead"): 2}


async def test_every_entry_of_an_array_counts_where_it_comes_again_or_is_dead() -> None:
    log: list[str] = []
    registry = CollectorRegistry()
    worker = _worker(log, registry=registry)
    missing = {**ENTRY, "httpRequest": {**ENTRY["httpRequest"], "status": 404}}
    array = json.dumps([ENTRY, missing, 7, ENTRY, ENTRY]).encode()
    assert sorted(await _handled(worker, log, array, {"pack": "array"})) == ["ack", "dead", "rows"]
    assert await _handled(worker, log, gzip.compress(array), {"pack": "array"}) == ["ack"]
    for data in (b"[1, 2, 3]", gzip.compress(b"[4, 5]"), json.dumps([ENTRY] * 1001).encode(), b"[6,"):
        assert await _handled(worker, log, data, {}) == ["dead", "ack"]
    settled = {("published",): 3, ("duplicate",): 4, ("dead",): 1 + 3 + 2 + 1001 + 1}
    assert _counted(registry, "hits_settled") == {("log_entry", *key): count for key, count in settled.items()}


class _Unforeseen(Exception):
    pass


class _Faulty:
    """A parser with a bug: what it does to a hit is what the hit's query says."""

    def __init__(self) -> None:
        self._parser = Parser(SCHEMA)

    def parse(self, one: Hit, now: int) -> Row | Reject:
        if "raise" in one.query:
            raise _Unforeseen(one.query)
        if "deep" in one.query:
            return self.parse(one, now)
        found = self._parser.parse(one, now)
        if "misfit" in one.query and isinstance(found, Row):
            return Row(found.table, [object(), *found.values[1:]])
        return found

    def reject_row(self, one: Hit, reject: Reject, now: int) -> Row:
        if "hopeless" in one.query:
            raise _Unforeseen(one.query)
        row = self._parser.reject_row(one, reject, now)
        return Row(row.table, [object(), *row.values[1:]]) if "unfit" in one.query else row


@pytest.mark.parametrize(
    ("query", "outcome"),
    [
        ("user_id=raise", "unexpected"),
        ("user_id=deep", "unexpected"),
        ("user_id=misfit", "unencodable"),
        ("user_id=raise hopeless", None),
        ("user_id=raise unfit", None),
        ("user_id=misfit hopeless", None),
        ("user_id=misfit unfit", None),
        ("x=hopeless", None),
        ("x=unfit", None),
    ],
)
async def test_whatever_a_hit_raises_costs_that_hit_alone(query: str, outcome: str | None) -> None:
    log: list[str] = []
    registry = CollectorRegistry()
    worker = _worker(log, registry=registry, parser=_Faulty())
    with capture_logs() as lines:
        handled = await _handled(worker, log, *_pack("user_id=1", query, "user_id=2", "x=1", query))
    assert handled[-1] == "ack"
    assert Counter(handled[:-1]) == {"rows": 2, **({} if outcome else {"dead": 2})}
    assert _counted(registry, "rows") == {("events",): 2, ("rejects",): 3 if outcome else 1}
    assert _counted(registry, "rejects") == {("missing",): 1, **({(outcome,): 2} if outcome else {})}
    assert _counted(registry, "dead_hits") == ({} if outcome else {("unplaced",): 2})
    assert _counted(registry, "hits_settled") == {
        ("pack", "published"): 5 if outcome else 3,
        **({} if outcome else {("pack", "dead"): 2}),
    }
    said = {line["event"]: line for line in lines}
    assert said.keys() == {"hits met a fault of the processor", *(() if outcome else ("hits dead-lettered",))}
    assert all(line["log_level"] == "warning" and query not in str(line) for line in lines)
    assert " at " in said["hits met a fault of the processor"]["fault"]


async def test_a_pack_of_which_nothing_can_be_made_is_one_dead_letter() -> None:
    log: list[str] = []
    registry = CollectorRegistry()
    worker = _worker(log, registry=registry, parser=_Faulty())
    assert await _handled(worker, log, *_pack("x=hopeless", "y=hopeless")) == ["dead", "ack"]
    assert _counted(registry, "hits_settled") == {("pack", "dead"): 2}


async def test_a_fault_is_told_once_a_minute_however_many_hits_meet_it() -> None:
    log: list[str] = []
    worker = _worker(log, parser=_Faulty())
    with capture_logs() as lines:
        for _ in range(20):
            await _handled(worker, log, *_pack(*["user_id=raise"] * 50, "x=hopeless", "user_id=1"))
    assert [line["event"] for line in lines] == ["hits met a fault of the processor", "hits dead-lettered"]


class _Watching(_Faulty):
    """Notes whether the collector of cycles may run while a hit is parsed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bool] = []

    def parse(self, one: Hit, now: int) -> Row | Reject:
        self.seen.append(gc.isenabled())
        return super().parse(one, now)


async def test_the_collector_of_cycles_waits_for_a_pack_and_goes_on_after_it() -> None:
    log: list[str] = []
    parser = _Watching()
    worker = _worker(log, parser=parser)
    was = gc.isenabled()
    try:
        for enabled, set_it in ((True, gc.enable), (False, gc.disable)):
            set_it()
            await _handled(worker, log, *_pack("user_id=1"))
            await _handled(worker, log, b"?", {})
            assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()
    assert parser.seen == [False, False]
