"""The loader's part of traces that began elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pyarrow as pa
import pytest

from services.shared import resource_names, rows
from tests import otlp
from tests.loader import harness
from tests.loader.harness import RowTopics
from tests.loader.rows_made import events
from tests.loader.write_server import Hold, WriteServer
from tests.otlp import Receiver, Span
from tests.waiting import until

TRACES = ["a" * 32, "b" * 32, "c" * 32]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp.traced("loader") as found:
        yield found


def _publish(topics: RowTopics, batch: pa.RecordBatch, trace: str, **more: str) -> None:
    data, attributes = rows.pack(batch, "events", f"pack-{trace[0]}")
    topics.publish(
        resource_names.ROWS_TOPIC, data, {**attributes, "traceparent": f"00-{trace}-00f067aa0ba902b7-01", **more}
    )


async def _spans(receiver: Receiver, trace: str, *wanted: str) -> dict[str, Span]:
    return await asyncio.to_thread(receiver.wait, trace, *wanted)


async def test_an_append_is_the_child_of_its_first_pack_and_linked_to_the_others(
    bigquery: WriteServer, topics: RowTopics, project: str, receiver: Receiver
) -> None:
    for number, trace in enumerate(TRACES):
        _publish(topics, events(number * 5, 5), trace)
    topics.publish_rows(events(100, 5))
    async with harness.running(project, linger_seconds=3.0) as loader:
        await loader.until_acked(4)
    assert [rows for _, rows in bigquery.appends] == [20]
    loads = {trace: (await _spans(receiver, trace, "load"))["load"] for trace in TRACES}
    await until(lambda: "append" in [span.name for span in receiver.spans], "the append's span")
    (append,) = [span for span in receiver.spans if span.name == "append"]
    assert append.parent == loads[append.trace].id
    assert set(append.links) == {load.id for trace, load in loads.items() if trace != append.trace}
    assert (append.attributes["pixelpipe.rows"], append.attributes["pixelpipe.packs"]) == ("20", "4")
    for trace, load in loads.items():
        assert (load.parent, load.attributes["pixelpipe.pack"]) == ("00f067aa0ba902b7", f"pack-{trace[0]}")
        assert not load.failed
    assert len(receiver.spans) == 4  # the pack without a trace began none


async def test_a_dead_pack_says_why_and_keeps_its_trace(topics: RowTopics, project: str, receiver: Receiver) -> None:
    _publish(topics, events(0, 5), TRACES[0], fingerprint="wrong")
    async with harness.running(project) as loader:
        await loader.until_acked(1)
    assert "fingerprint is 'wrong'" in (await _spans(receiver, TRACES[0], "load"))["load"].failed
    (dead,) = topics.pull(resource_names.DEAD_SUBSCRIPTION, 1)
    assert dead.attributes["traceparent"].startswith(f"00-{TRACES[0]}-")


async def test_a_pack_that_is_given_back_says_so(
    bigquery: WriteServer, topics: RowTopics, project: str, receiver: Receiver
) -> None:
    bigquery.script.append(Hold())
    _publish(topics, events(0, 3), TRACES[0])
    async with harness.running(project, shutdown_timeout_seconds=0.0):
        await until(lambda: bigquery.appends, "the append")
    found = await _spans(receiver, TRACES[0], "load", "append")
    assert found["load"].failed == "nacked"
    assert found["append"].failed.startswith("CancelledError")
