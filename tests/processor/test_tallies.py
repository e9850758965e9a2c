"""A collector's tally becomes rows and no hit; every pack of rows says which hits it was made of."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.processor.metrics import Metrics
from services.processor.worker import Topics, Worker
from services.shared import hit, identity, rows, tally_rows
from services.shared.hit import Hit
from services.shared.tally import COLLECTOR, HOUR_US, Count, Tally
from tests import deliveries
from tests.processor.test_log_entry import ENTRY
from tests.schemas import SCHEMA

HOUR = time.time_ns() // 1000 // HOUR_US


class Published:
    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.packs: dict[str, Any] = {}

    async def publish(self, _topic: str, data: bytes, attributes: dict[str, str]) -> str:
        self.rows[attributes["table"]] = self.packs[attributes["pack"]] = rows.unpack(data, attributes)
        return "1"


async def handled(
    data: bytes, attributes: dict[str, str], *, times: int = 1, published: Published | None = None
) -> tuple[dict[str, Any], str]:
    """The batches that were published, by table, and the metrics."""
    sent: Any = (published := published or Published())
    registry = CollectorRegistry()
    worker = Worker(SCHEMA, sent, Topics("rows", "dead"), Metrics(registry, SCHEMA.tables), max_bytes=10**7)
    for _ in range(times):
        assert await deliveries.handled(worker, (data, attributes)) == ["ack"]
    return published.rows, generate_latest(registry).decode()


def line(query: str, at: int = HOUR * HOUR_US, **more: Any) -> bytes:
    return hit.encode(Hit(identity.uuid7(at), at, "GET", "/i", query, **more))


async def test_a_tally_becomes_rows_and_counts_nowhere_as_a_hit() -> None:
    counts = (Count(HOUR, "native", "", "acknowledged", 7), Count(HOUR - 1, "segment", "shop", "refused", 2))
    tally = Tally("boot", COLLECTOR, 3, True, counts)
    found, metrics = await handled(*hit.pack([line("", tally=tally)], "p", tally=True), times=2)
    assert list(found) == ["tallies"]
    shown = ("tally_id", "source", "sequence", "final", "protocol", "tenant", "outcome", "hits")
    assert [tuple(row[name] for name in shown) for row in found["tallies"].to_pylist()] == [
        ("boot", "collector", 3, True, "native", None, "acknowledged", 7),
        ("boot", "collector", 3, True, "segment", "shop", "refused", 2),
    ]
    counted = [one for one in metrics.splitlines() if one.startswith("pixelpipe_processor_hits")]
    assert counted and all(one.endswith(" 0.0") for one in counted if "_total" in one)


async def test_a_tally_of_many_tenants_fits_messages() -> None:
    counts = tuple(Count(HOUR, "native", f"tenant-{number}", "acknowledged", 1) for number in range(60_000))
    data, attributes = hit.pack([line("", tally=Tally("boot", COLLECTOR, counts=counts))], "p", tally=True)
    published = Published()
    await handled(data, attributes, published=published)
    packs = published.packs.values()
    assert sum(one.num_rows for one in packs) == len(counts)
    assert max(one.nbytes for one in packs) <= rows.MAX_BATCH_BYTES


async def test_what_looks_like_a_tally_in_a_request_is_a_parameter() -> None:
    found, _ = await handled(*hit.pack([line("user_id=u&tally=%7B%22id%22%3A%22x%22%7D")], "p"))
    assert list(found) == ["events"]
    assert json.loads(found["events"].to_pylist()[0]["params"]) == {"tally": '{"id":"x"}'}


@pytest.mark.parametrize(
    ("more", "collected"),
    [
        ({}, True),
        ({hit.REPLAYED: "dead"}, True),
        ({hit.REPLAYED: "archive", hit.ORIGINAL: "first"}, True),
        ({hit.REPLAYED: hit.FROM_REJECTS}, False),
        ({hit.INGESTED: "access log"}, False),
    ],
)
async def test_rows_say_which_hits_they_were(more: dict[str, str], collected: bool) -> None:
    lines = [line("user_id=1"), line("user_id=2", (HOUR - 1) * HOUR_US), line("nobody=1"), line("user_id=3")]
    data, attributes = hit.pack(lines, "new")
    found, _ = await handled(data, attributes | more)
    events, rejects = tally_rows.origin(found["events"]), tally_rows.origin(found["rejects"])
    assert events is not None and rejects is not None
    assert set(events.counts) == {(HOUR, "native", 2), (HOUR - 1, "native", 1)}
    assert rejects.counts == ((HOUR, "native", 1),)
    assert events.collected is rejects.collected is collected
    pack = more.get(hit.ORIGINAL, "new")  # an archived pack that was loaded counts once
    assert events.id == rows.pack_id(pack, "events", 0) != rejects.id


async def test_log_entries_are_counted_by_no_collector() -> None:
    found, _ = await handled(json.dumps(ENTRY).encode(), {})
    ((origin),) = [tally_rows.origin(batch) for batch in found.values()]
    assert origin is not None and not origin.collected and origin.hits == 1
