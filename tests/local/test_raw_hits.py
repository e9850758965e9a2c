"""The page's own subscription to the raw requests: the latest are kept and found, all are counted, and it goes away."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from local import page, query, raw_hits
from local.raw_hits import RawHits
from local.restart import Restarts
from local.story import Reading
from local.watched import SERVICES, Watched
from services.processor.parse import Parser
from services.shared import hit, identity, resource_names, schema_file
from services.shared.hit import Hit
from services.shared.policy import Policy
from services.shared.schema import DEFAULT_FILE
from services.shared.tally import Tally
from tests.emulators.pubsub_client import Desk
from tests.processor.test_log_entry import ENTRY

SCHEMA = schema_file.load(DEFAULT_FILE)
NOW = time.time_ns() // 1000


@pytest.fixture
def desk(pubsub_host: str, project: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    with Desk(pubsub_host, project) as found:
        found.topic(resource_names.HITS_TOPIC)
        yield found


@pytest.fixture
async def raw(desk: Desk, project: str) -> AsyncIterator[RawHits]:
    reading = Reading(SCHEMA, Parser(SCHEMA), "http://127.0.0.1:1")
    found = RawHits(project, resource_names.HITS_TOPIC, reading, Policy(SCHEMA.privacy["balanced"]), NOW)
    task = asyncio.create_task(found.run())
    await until(lambda: found.made)
    yield found
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await found.leave()


async def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        await asyncio.sleep(0.02)


def hits(count: int, query: str = "user_id=u{n}&event_id=e{n}") -> list[Hit]:
    return [
        Hit(id=identity.uuid7(NOW), at=NOW, method="GET", path="/i", query=query.format(n=number))
        for number in range(count)
    ]


def send(desk: Desk, given: list[Hit], pack: str) -> None:
    data, attributes = hit.pack([hit.encode(one) for one in given], pack)
    desk.publisher.publish(desk.topic_path(resource_names.HITS_TOPIC), data, **attributes).result(60)


async def test_an_event_is_found_by_the_collectors_id_and_by_its_own(desk: Desk, raw: RawHits) -> None:
    given = hits(3)
    odd = Hit(id=identity.uuid7(NOW), at=NOW, method="GET", path="/i", query="user_id=a&event_id=%2Fa%20b")
    send(desk, [*given, odd], "p1")
    await until(lambda: raw.counts.total() == 4)
    assert raw.find(given[1].id, NOW) == given[1]
    assert raw.find("e2", NOW) == given[2]
    assert raw.find("/a b", NOW) == odd
    assert raw.find("u2", NOW) is None  # it is mentioned, and is not the event's id
    assert raw.find("e3", NOW) is None


async def test_the_latest_are_kept_and_all_are_counted_once(desk: Desk, raw: RawHits) -> None:
    first, second, third = (hits(1000) for _ in range(3))
    for pack, given in (("p1", first), ("p2", second), ("p2", second), ("p3", third)):
        send(desk, given, pack)
    await until(lambda: raw.find(third[-1].id, NOW) is not None)
    assert raw.counts == {raw_hits.hour(NOW): 3000}
    assert raw.find(first[-1].id, NOW) is None
    assert raw.find(second[0].id, NOW) == second[0]


async def test_what_comes_during_a_search_does_not_end_it(desk: Desk, project: str) -> None:
    asked, arrived = threading.Event(), threading.Event()

    class Slow(Reading):
        def event_id(self, one: Hit, now: int) -> str:
            asked.set()
            arrived.wait(60)
            return super().event_id(one, now)

    reading = Slow(SCHEMA, Parser(SCHEMA), "http://127.0.0.1:1")
    raw = RawHits(project, resource_names.HITS_TOPIC, reading, Policy(SCHEMA.privacy["balanced"]))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(raw.run())
        await until(lambda: raw.made)
        send(desk, hits(2), "p1")
        await until(lambda: raw.counts.total() == 2)
        found = tasks.create_task(asyncio.to_thread(raw.find, "e", NOW))
        await until(asked.is_set)
        send(desk, hits(1), "p2")
        await until(lambda: raw.counts.total() == 3)
        arrived.set()
        assert await found is None
        running.cancel()
    await raw.leave()


async def test_what_a_collector_counted_is_no_hit(desk: Desk, raw: RawHits) -> None:
    told = Hit(identity.uuid7(NOW), NOW, "GET", "/tally", tally=Tally(identity.uuid7(NOW), "collector"))
    data, attributes = hit.pack([hit.encode(told)], "t1", tally=True)
    desk.publisher.publish(desk.topic_path(resource_names.HITS_TOPIC), data, **attributes).result(60)
    send(desk, hits(1), "p1")
    await until(lambda: raw.counts.total())
    assert (raw.counts.total(), len(raw.kept())) == (1, 1)


async def test_what_was_received_before_this_run_is_told_apart(desk: Desk, raw: RawHits) -> None:
    (late,) = hits(1)
    send(desk, [msgspec.structs.replace(late, at=NOW - 1), *hits(2)], "p1")
    await until(lambda: raw.counts.total() == 3)
    assert raw.earlier.total() == 1


async def test_what_cannot_be_read_is_left_to_the_processor(desk: Desk, raw: RawHits) -> None:
    topic = desk.topic_path(resource_names.HITS_TOPIC)
    desk.publisher.publish(topic, b"no pack", schema="hit/1", count="4", pack="x").result(60)
    desk.publisher.publish(topic, b"no pack", schema="hit/9", count="4", pack="y").result(60)
    desk.publisher.publish(topic, b"no log entry").result(60)
    send(desk, hits(1), "p1")
    await until(lambda: raw.counts.total() == 1)
    assert raw.error is None


async def test_an_entry_of_a_balancers_log_is_protected_as_the_processor_does(desk: Desk, raw: RawHits) -> None:
    entry = {**ENTRY, "httpRequest": {**ENTRY["httpRequest"], "remoteIp": "203.0.113.77"}}
    desk.publisher.publish(desk.topic_path(resource_names.HITS_TOPIC), json.dumps(entry).encode()).result(60)
    await until(raw.kept)
    (kept,) = raw.kept()
    assert kept.ip == "203.0.113.0"
    assert raw.counts.total() == 0  # it came past all collectors


async def test_what_no_collector_acknowledged_or_long_ago_is_not_counted(desk: Desk, raw: RawHits) -> None:
    for name in (hit.INGESTED, hit.REPLAYED):
        data, attributes = hit.pack([hit.encode(one) for one in hits(1)], f"pack {name}")
        topic = desk.topic_path(resource_names.HITS_TOPIC)
        desk.publisher.publish(topic, data, **attributes, **{name: "yes"}).result(60)
    await until(lambda: len(raw.kept()) == 2)
    assert raw.counts.total() == 0


async def test_its_subscription_expires_and_is_deleted_when_the_page_ends(desk: Desk, project: str) -> None:
    reading = Reading(SCHEMA, Parser(SCHEMA), "http://127.0.0.1:1")
    raw = RawHits(project, resource_names.HITS_TOPIC, reading, Policy(SCHEMA.privacy["balanced"]))
    task = asyncio.create_task(raw.run())
    await until(lambda: raw.made)
    made = desk.subscriber.get_subscription(subscription=raw.subscription)
    assert made.expiration_policy.ttl.days == 1
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await raw.leave()
    assert list(desk.subscriber.list_subscriptions(project=f"projects/{project}")) == []


async def test_the_page_is_not_ready_before_it_sees_what_is_sent(project: str, monkeypatch) -> None:
    nobody, at = "http://127.0.0.1:1", "2026-03-01T12:00:00+00:00"
    admin = dict.fromkeys(SERVICES, nobody)
    here = Watched(project, "web", "", at, ready=True, collector=nobody, admin=admin, page_port=1)
    bigquery = query.client(project, nobody)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        app = page.application(lambda: here, SCHEMA, bigquery, Restarts(None), {})
        async with TestClient(TestServer(app)) as client:
            reply = await client.get("/readyz", headers={"Host": "127.0.0.1:1"})
            assert (reply.status, await reply.text()) == (503, "its subscription is not made yet\n")


async def test_without_its_topic_it_says_so_and_tries_again(pubsub_host: str, project: str, monkeypatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    reading = Reading(SCHEMA, Parser(SCHEMA), "http://127.0.0.1:1")
    raw = RawHits(project, resource_names.HITS_TOPIC, reading, Policy(SCHEMA.privacy["balanced"]))
    task = asyncio.create_task(raw.run())
    await until(lambda: raw.error is not None)
    assert "not found" in raw.error.lower()
    with Desk(pubsub_host, project) as desk:
        desk.topic(resource_names.HITS_TOPIC)
        await until(lambda: raw.error is None and raw.made)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await raw.leave()
