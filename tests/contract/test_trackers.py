"""Whatever is posted to a tracker's path ends as rows and rejects: through collector, Pub/Sub and processor."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.collector.routes import PROTOCOLS, Route
from services.processor.metrics import Metrics
from services.processor.worker import Topics, Worker
from services.shared import rows
from tests.collector.conftest import Running, Start
from tests.contract import strange
from tests.contract.strange import SECRET, Sent
from tests.deliveries import handled
from tests.processor.test_protocols import SCHEMA

MANY_PATHS = ("segment", "jitsu", "posthog")
SETTLED = "pixelpipe_collector_hits_settled_total"


class _Rows:
    """Takes the place of Pub/Sub behind the processor; what it is given must be what BigQuery takes."""

    def __init__(self) -> None:
        self.tables: Counter[str] = Counter()

    async def publish(self, topic: str, data: bytes, attributes: dict[str, str]) -> str:
        batch: pa.RecordBatch = rows.unpack(data, attributes)
        batch.validate(full=True)
        self.tables[attributes["table"] if topic == "rows" else topic] += batch.num_rows
        return ""


async def _processed(collector: Running, hits: int) -> Counter[str]:
    """Rows by table of so many hits that the collector has published, once the processor is done with them."""
    packs: list[tuple[bytes, dict[str, str]]] = []
    while sum(int(attributes["count"]) for _, attributes in packs) < hits:
        messages = await asyncio.to_thread(collector.topics.pull, "work", 1)
        packs += ((message.data, dict(message.attributes)) for message in messages)
    publisher: Any = (kept := _Rows())
    registry = CollectorRegistry()
    worker = Worker(SCHEMA, publisher, Topics("rows", "dead"), Metrics(registry, SCHEMA.tables), max_bytes=10**9)
    assert await handled(worker, *packs) == ["ack"] * len(packs)
    published = {"kind": "pack", "outcome": "published"}
    assert registry.get_sample_value("pixelpipe_processor_hits_settled_total", published) == hits
    return kept.tables


def _published(collector: Running) -> int:
    (counter,) = collector.registry.restricted_registry([SETTLED]).collect()  # without collecting all the others
    settled = {one.labels["outcome"]: int(one.value) for one in counter.samples if one.name == SETTLED}
    assert not any(value for outcome, value in settled.items() if outcome != "published"), settled
    return settled["published"]


async def _post(collector: Running, target: str, sent: Sent) -> int:
    async with collector.http.post(collector.url + target, data=sent.body, headers=sent.headers) as reply:
        await reply.read()
        return reply.status


def _may_be(route: Route, sent: Sent, status: int) -> bool:
    """Other people's clients get 2xx, or 413 where they then send less; on our own path a developer gets errors."""
    splits = route.splits or any(other.splits for _, other in route.rivals)
    return 200 <= status < 300 or (status == 413 and (splits or route.own)) or (route.own and status in (400, 415))


@pytest.mark.parametrize(
    "protocol", [pytest.param(one, marks=pytest.mark.slow if one in MANY_PATHS else ()) for one in PROTOCOLS]
)
async def test_every_item_that_is_accepted_is_a_row_or_a_reject(start: Start, protocol: str) -> None:
    collector = await start()
    with capture_logs() as logs:
        for route in strange.kept(protocol):
            if "POST" not in route.methods:
                continue
            for sent in strange.bodies(protocol, route):
                before = _published(collector)
                status = await _post(collector, strange.path(route), sent)
                assert _may_be(route, sent, status), f"{route.path}: {sent.name}: {status}"
                hits = _published(collector) - before
                if status < 300:
                    assert hits == sent.events if sent.events is not None else hits > 0, (
                        f"{route.path}: {sent.name}: {hits}"
                    )
                else:
                    assert hits == 0, f"{route.path}: {sent.name}: refused and kept"
        tables = await _processed(collector, _published(collector))
    assert tables.total() == _published(collector)
    assert tables["dead"] == 0
    assert tables["events"] >= 3 * len(strange.kept(protocol))  # the good ones
    assert SECRET not in repr(logs)
    assert [line for line in logs if line["log_level"] != "info"] == []


@pytest.mark.parametrize("protocol", ["gtag", "matomo", "mixpanel", "posthog", "snowplow"])
async def test_every_query_that_is_accepted_is_a_row_or_a_reject(start: Start, protocol: str) -> None:
    collector = await start()
    wanted = 0
    for route in strange.kept(protocol):
        if "GET" in route.methods:
            for sent in strange.queries(protocol):
                async with collector.http.get(f"{collector.url}{strange.path(route)}?{sent.body.decode()}") as reply:
                    assert 200 <= reply.status < 300, f"{route.path}: {sent.name}"
                wanted += 1
    assert _published(collector) == wanted
    tables = await _processed(collector, wanted)
    assert tables.total() == wanted
    assert tables["events"] >= wanted // 8


async def test_a_body_there_is_no_memory_for_is_asked_for_again_and_holds_up_nothing(start: Start) -> None:
    collector = await start(max_pending_bytes=150_000)
    for route in (route for protocol in PROTOCOLS for route in strange.kept(protocol) if "POST" in route.methods):
        large = Sent("large", b'{"a":"' + b"x" * 200_000 + b'"}', strange.JSON)
        async with collector.http.post(
            collector.url + strange.path(route), data=large.body, headers=large.headers
        ) as reply:
            assert (reply.status, reply.headers["Retry-After"]) == (503, "1"), route.path
        assert await _post(collector, strange.path(route), Sent("small", b'{"a":1}', strange.JSON)) < 300, route.path
        assert collector.metric("pixelpipe_collector_pending_bytes") == 0
