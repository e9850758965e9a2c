"""The loader between the two emulators: what it loads can be queried with the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from google.cloud import bigquery

from tests.conftest import BigQueryAddress
from tests.loader import harness
from tests.loader.dataset import Dataset
from tests.loader.rows_made import EVENTS, REJECTS, batch, event, events


@pytest.fixture
def dataset(
    monkeypatch: pytest.MonkeyPatch, pubsub_host: str, bigquery_host: BigQueryAddress, project: str
) -> Iterator[Dataset]:
    harness.point(monkeypatch, pubsub_host, bigquery_host.grpc)
    made = Dataset(project, bigquery_host.rest)
    yield made
    made.client.close()


@pytest.fixture
def topics(dataset: Dataset, project: str) -> Iterator[harness.RowTopics]:
    made = harness.RowTopics(project)
    yield made
    made.close()


async def test_packs_become_typed_rows(dataset: Dataset, topics: harness.RowTopics, project: str) -> None:
    dataset.table(EVENTS)
    dataset.table(REJECTS)
    for first in range(0, 1_000, 100):
        topics.publish_rows(events(first, 100))
    async with harness.running(project) as loader:
        await loader.until_acked(10)
    [(count, users, total)] = dataset.query(
        "SELECT COUNT(DISTINCT event_id), COUNT(DISTINCT user_id), SUM(CAST(JSON_VALUE(params, '$.n') AS INT64))"
        " FROM pixelpipe.events_log"
    )
    assert (count, users, total) == (1_000, 7, sum(range(1_000)))


async def test_rows_bigquery_refuses_are_rejects_with_its_reason(
    dataset: Dataset, topics: harness.RowTopics, project: str
) -> None:
    dataset.table(EVENTS)
    dataset.table(REJECTS)
    topics.publish_rows(batch([event(0), event(1, params="{not json"), event(2)]))
    topics.publish_rows(batch([event(3, params="["), event(4)]))
    async with harness.running(project, linger_seconds=0.3) as loader:
        await loader.until_acked(2)
    assert dataset.query("SELECT event_id FROM pixelpipe.events_log ORDER BY event_id") == [
        ("event-000000",),
        ("event-000002",),
        ("event-000004",),
    ]
    rejects = dataset.query(
        "SELECT event_id, stage, reason, detail, JSON_VALUE(hit, '$.params') FROM pixelpipe.rejects_log"
        " ORDER BY event_id"
    )
    assert [(row[0], row[1], row[2], row[4]) for row in rejects] == [
        ("event-000001", "loader", "bigquery", "{not json"),
        ("event-000003", "loader", "bigquery", "["),
    ]
    assert all("params" in str(row[3]) for row in rejects)


async def test_a_table_made_later_gets_the_rows_that_waited(
    dataset: Dataset, topics: harness.RowTopics, project: str
) -> None:
    topics.publish_rows(events(0, 3))
    async with harness.running(project) as loader:
        await loader.until_metric("append_retries_total{NOT_FOUND}", 1)
        await asyncio.to_thread(dataset.table, EVENTS)
        await loader.until_acked(1)
    assert dataset.query("SELECT COUNT(*) FROM pixelpipe.events_log") == [(3,)]


async def test_a_column_added_later_gets_its_values(dataset: Dataset, topics: harness.RowTopics, project: str) -> None:
    table = await asyncio.to_thread(dataset.table, EVENTS, without="params")
    topics.publish_rows(events(0, 3))
    async with harness.running(project) as loader:
        await loader.until_metric("append_retries_total{INVALID_ARGUMENT}", 1)
        table.schema = [*table.schema, bigquery.SchemaField("params", "JSON")]
        await asyncio.to_thread(dataset.client.update_table, table, ["schema"])
        await loader.until_acked(1)
    found = dataset.query("SELECT DISTINCT JSON_VALUE(params, '$.n') FROM pixelpipe.events_log ORDER BY 1")
    assert [json.loads(str(value)) for (value,) in found] == [0, 1, 2]
