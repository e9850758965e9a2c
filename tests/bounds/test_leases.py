"""BigQuery away for longer than the ack deadline: nothing is lost, and Pub/Sub delivers nothing a second time."""

from __future__ import annotations

import asyncio

import pytest

from services.shared import resource_names, rows
from tests.bounds.rolling import Pipe, pod
from tests.loader import harness
from tests.loader.rows_made import batch, event, numbers
from tests.loader.write_server import WriteServer
from tests.process import wait_for

DEADLINE = 10.0  # seconds, the least Pub/Sub allows
PACKS = 40
URL = "x" * 5_000  # so that half of the packs fill the loader


@pytest.mark.slow
async def test_an_outage_longer_than_the_ack_deadline_redelivers_nothing(
    pubsub_host: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WriteServer() as bigquery:
        harness.point(monkeypatch, pubsub_host, bigquery.address)
        pipe = Pipe(project)
        await bigquery.stop()
        with pod("loader", project, PIPE_MAX_BYTES="1000000") as loader:
            for number in range(PACKS):
                made = batch([event(number * 10 + one, url=URL) for one in range(10)])
                pipe.publish(resource_names.ROWS_TOPIC, *rows.pack(made, "events", f"pack-{number}"))
            await asyncio.to_thread(
                wait_for, lambda: loader.metric("held_bytes") >= 1_000_000, 60, "the packs it holds"
            )
            held = loader.metric("messages_received_total")
            assert held == PACKS / 2
            await asyncio.sleep(DEADLINE * 1.3)
            assert loader.metric("messages_received_total") == held  # pulling has stopped
            await bigquery.start()
            await asyncio.to_thread(wait_for, lambda: loader.metric("messages_acked_total") >= PACKS, 60, "all acks")
            assert loader.metric("messages_redelivered_total") == 0
            assert loader.metric("messages_nacked_total") == 0
    assert numbers(bigquery.rows("events_log")) == list(range(PACKS * 10))
