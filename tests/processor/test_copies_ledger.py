"""Copies and samples, through the whole processor: acked once all packs are confirmed, and the ledger closes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.processor.metrics import Metrics
from services.processor.worker import Topics as Names
from services.processor.worker import Worker
from services.shared import reconciliation, rows, tally_rows
from services.shared.publisher import Unconfirmed
from services.shared.reconciliation import Reconciliation
from services.shared.schema import TALLIES
from tests.deliveries import handled
from tests.processor.test_tables import kept, schema
from tests.processor.test_worker import _pack

TABLES = schema("sample: 0.5", "sample: 0.25")
OUT = next(f"u{number}" for number in range(99) if not kept(f"u{number}", 0.5))
HALF = next(f"u{number}" for number in range(99) if kept(f"u{number}", 0.5) and not kept(f"u{number}", 0.25))
IN = next(f"u{number}" for number in range(99) if kept(f"u{number}", 0.25))
QUERIES = [
    f"user_id={OUT}&type=order&order_id=1",
    f"user_id={HALF}&type=order&order_id=2",
    f"user_id={IN}&type=order&order_id=3",
    f"user_id={IN}&type=order",  # its copy does not fit
    f"user_id={OUT}&type=view",
    f"user_id={IN}&type=tagged",  # a reject
]


class _Published:
    """Stands in for Pub/Sub: counts the rows it confirms by table; the `failing`th message fails once.

    `tallies` has what samples left out, by pack, and `receipts` the hits that packs of rows say they are of.
    """

    def __init__(self, failing: int = -1) -> None:
        self.rows: Counter[str] = Counter()
        self.tallies: dict[str, int] = {}
        self.receipts: dict[str, int] = {}
        self._left = failing

    async def publish(self, topic: str, data: bytes, attributes: dict[str, str]) -> None:
        self._left -= 1
        if self._left == -1:
            raise Unconfirmed("no answer")
        batch = rows.unpack(data, attributes)
        if attributes["table"] == TALLIES:
            for row in batch.to_pylist():
                assert (row["source"], row["outcome"]) == ("loader", "sampled_out")
                self.tallies[row["tally_id"]] = row["hits"]
            return
        if (origin := tally_rows.origin(batch)) is not None:
            self.receipts[origin.id] = origin.hits
        self.rows[attributes["table"]] += int(attributes["count"])


def _worker(published: Any, registry: CollectorRegistry) -> Worker:
    metrics = Metrics(registry, TABLES.tables)
    return Worker(TABLES, published, Names("rows", "dead"), metrics, max_bytes=10**7)


def _ledger(registry: CollectorRegistry, counts: Counter[str], collected: int) -> Reconciliation:
    """Of this processor, and of a collector and a loader that did what they should."""
    loaded = "".join(
        f'pixelpipe_loader_rows_loaded_total{{table="{name}"}} {count}\n' for name, count in counts.items()
    )
    hits = f'pixelpipe_collector_hits_settled_total{{outcome="published"}} {collected}\n'
    return reconciliation.reconcile({
        "collector": 'pixelpipe_build_info{service="collector"} 1\n' + hits,
        "processor": generate_latest(registry).decode(),
        "loader": 'pixelpipe_build_info{service="loader"} 1\n' + loaded,
    })  # fmt: skip


async def test_the_ledger_closes_with_copies_and_samples() -> None:
    registry, published = CollectorRegistry(), _Published()
    assert await handled(_worker(published, registry), _pack(*QUERIES)) == ["ack"]
    assert published.rows == {"events": 3, "orders": 1, "all_events": 5, "rejects": 1}
    found = _ledger(registry, published.rows, len(QUERIES))
    assert (found.collected, found.copies, found.loaded, found.rejected, found.sampled_out) == (6, 6, 9, 1, 2)
    assert found.in_flight == found.missing == 0 and found.hops == {"spool": 0, "hits": 0, "rows": 0}
    # What `reconciliation` compares: each hit is in one receipt, or left out.
    assert list(published.tallies.values()) == [2] and sorted(published.receipts.values()) == [1, 3]
    text = generate_latest(registry).decode()
    assert 'pixelpipe_processor_sampled_out_total{table="events"} 2.0' in text
    assert 'pixelpipe_processor_sampled_out_total{table="orders"} 2.0' in text
    assert 'pixelpipe_processor_copies_misfit_total{table="orders"} 1.0' in text


@pytest.mark.parametrize("failing", range(5))
async def test_hits_are_acked_only_once_the_rows_of_all_tables_are_confirmed(failing: int) -> None:
    registry, published = CollectorRegistry(), _Published(failing)
    worker, pack = _worker(published, registry), _pack(*QUERIES)
    assert await handled(worker, pack) == ["nack"]
    before = _ledger(registry, Counter(), len(QUERIES))
    assert (before.copies, before.sampled_out, before.hops["hits"]) == (0, 0, 6)
    published.rows.clear()  # the loader drops what comes again
    assert await handled(worker, pack) == ["ack"]
    assert await handled(worker, pack) == ["ack"]
    found = _ledger(registry, published.rows, len(QUERIES))
    assert (found.copies, found.sampled_out, found.missing) == (6, 2, 0)
    assert found.hops == {"spool": 0, "hits": -6, "rows": 0}  # it came again once
    assert list(published.tallies.values()) == [2] and sorted(published.receipts.values()) == [1, 3]


async def test_a_row_that_is_lost_is_missing_whichever_table_it_was_for() -> None:
    registry, published = CollectorRegistry(), _Published()
    await handled(_worker(published, registry), _pack(*QUERIES))
    for table in ("events", "orders", "all_events"):
        assert _ledger(registry, published.rows - Counter({table: 1}), len(QUERIES)).missing == 1


async def test_a_pack_of_which_nothing_is_kept_is_acked() -> None:
    tables = schema("sample: 0.000000001").tables
    only = {name: table for name, table in tables.items() if not table.copy}
    registry, published = CollectorRegistry(), _Published()
    publisher: Any = published
    worker = Worker(type(TABLES)(only), publisher, Names("rows", "dead"), Metrics(registry, only), max_bytes=10**7)
    assert await handled(worker, _pack("user_id=a", "user_id=b")) == ["ack"]
    assert list(published.tallies.values()) == [2] and not published.receipts
    assert not published.rows and _ledger(registry, published.rows, 2).in_flight == 0
