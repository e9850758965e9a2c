"""A pack's receipt: in `tallies` after its rows and before its ack, and never in their way."""

from __future__ import annotations

import pyarrow as pa
import pytest
from grpc import StatusCode

from services.shared import tally_rows
from tests.loader import harness
from tests.loader.harness import RowTopics
from tests.loader.rows_made import events
from tests.loader.write_server import Error, Hold, RowErrors, WriteServer
from tests.waiting import until


def marked(count: int, *, collected: bool = True) -> pa.RecordBatch:
    labels = [(480_000, "native")] * (count - 1) + [(480_001, "segment")]
    return tally_rows.mark(events(0, count), labels, "mine", collected=collected)


def told(bigquery: WriteServer) -> set[tuple[object, ...]]:
    return {
        (row["tally_id"], row["source"], row["protocol"], row["outcome"], row["hits"])
        for row in bigquery.rows("tallies_log")
    }


async def test_the_ack_waits_for_the_receipt_and_that_for_the_rows(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    hold = Hold()
    bigquery.by_table["tallies_log"] = hold
    topics.publish_rows(marked(3))
    async with harness.running(project) as loader:
        await until(lambda: [table for table, _ in bigquery.appends] == ["events_log", "tallies_log"], "both appends")
        assert await loader.metric("messages_acked_total") == 0
        hold.until.set()
        await loader.until_acked(1)
        assert await loader.metric("rows_loaded_total{events}") == 3
        assert "rows_loaded_total{tallies}" not in await loader.metrics()  # a tally is no hit
    assert told(bigquery) == {("mine", "loader", "native", "loaded", 2), ("mine", "loader", "segment", "loaded", 1)}


async def test_rows_that_bigquery_refuses_are_rejected_in_the_receipt(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    bigquery.by_table["events_log"] = RowErrors(lambda row: row["event_id"] == "event-000001")
    topics.publish_rows(marked(3))
    async with harness.running(project) as loader:
        await loader.until_acked(1)
    assert len(bigquery.rows("rejects_log")) == 1
    assert {(protocol, outcome, hits) for _, _, protocol, outcome, hits in told(bigquery)} == {
        ("native", "loaded", 1),
        ("native", "rejected", 1),
        ("segment", "loaded", 1),
    }


async def test_what_no_collector_counted_is_ingested_and_what_says_nothing_has_no_receipt(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    topics.publish_rows(marked(2, collected=False))
    topics.publish_rows(events(5, 1))
    async with harness.running(project) as loader:
        await loader.until_acked(2)
    assert {outcome for _, _, _, outcome, _ in told(bigquery)} == {"ingested"}
    assert len(bigquery.rows("events_log")) == 3


async def test_a_table_of_tallies_that_takes_nothing_keeps_no_pack(
    bigquery: WriteServer, topics: RowTopics, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.loader.writer.LONGEST_WAIT", 0.02)
    monkeypatch.setattr("services.loader.table_breaker.SECONDS", 0.0)
    monkeypatch.setattr("services.loader.table_breaker.CROWDED", 0.0)
    bigquery.by_table["tallies_log"] = Error(StatusCode.NOT_FOUND)
    topics.publish_rows(marked(3))
    async with harness.running(project) as loader:
        await loader.until_metric("append_retries_total{NOT_FOUND}", 1)
        topics.publish_rows(events(5, 1))  # the events work while the tallies do not
        await loader.until_acked(2)
        assert await loader.metric("messages_nacked_total") == 0
    assert not bigquery.rows("tallies_log")
    assert len(bigquery.rows("events_log")) == 4
