"""A loader in this process, between a real Pub/Sub emulator and a BigQuery of the test's choice."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.loader import service
from services.loader.config import Config
from services.shared import resource_names, rows
from services.shared.resource_names import subscription_path, topic_path
from tests import process
from tests.schemas import SCHEMA_FILE
from tests.topics import Topics
from tests.waiting import until


class RowTopics(Topics):
    """The loader's topics and subscriptions of one project."""

    def __init__(self, project: str) -> None:
        super().__init__(project)
        self.create(resource_names.ROWS_TOPIC, resource_names.ROWS_SUBSCRIPTION)
        self.create(resource_names.DEAD_TOPIC, resource_names.DEAD_SUBSCRIPTION)

    def subscribe(self, topic: str, subscription: str) -> None:
        """As provisioned, what is given back waits: a loader that stops is gone before it comes again."""
        self.subscriber.create_subscription(
            request={
                "name": subscription_path(self.project, subscription),
                "topic": topic_path(self.project, topic),
                "ack_deadline_seconds": 60,
                "retry_policy": {"minimum_backoff": timedelta(seconds=1)},
            }
        )

    def close(self) -> None:
        self.publisher.stop()
        self.subscriber.close()

    def publish_rows(self, batch: pa.RecordBatch, table: str = "events", pack: str | None = None) -> None:
        """Publish one pack and wait until Pub/Sub has it."""
        self.publish(resource_names.ROWS_TOPIC, *rows.pack(batch, table, pack or str(uuid.uuid4())))


@dataclass
class Loader:
    """A running loader and what its admin port says."""

    port: int
    stop: asyncio.Event
    task: asyncio.Task[None]

    async def metrics(self) -> dict[str, float]:
        """Samples without the service's prefix, as `name` or `name{label}`."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}/metrics") as response,
        ):
            text = await response.text()
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(sample.labels.values())
                name = sample.name.removeprefix("pixelpipe_loader_")
                found[f"{name}{{{labels}}}" if labels else name] = sample.value
        return found

    async def metric(self, name: str) -> float:
        return (await self.metrics())[name]

    async def until_metric(self, name: str, value: float) -> None:
        async def reached() -> bool:
            if self.task.done():
                self.task.result()
            return (await self.metrics()).get(name, 0) >= value

        await until(reached, f"{name} to be {value}", 60)

    async def until_acked(self, packs: int) -> None:
        await self.until_metric("messages_acked_total", packs)

    async def readiness(self) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}/readyz") as response,
        ):
            return response.status

    async def end(self) -> None:
        """Stop as SIGTERM does, and wait until everything is left."""
        self.stop.set()
        async with asyncio.timeout(60):
            await self.task


@asynccontextmanager
async def running(project: str, **settings: Any) -> AsyncIterator[Loader]:
    port, stop = process.free_port(), asyncio.Event()
    cfg = Config(
        **{
            "project": project,
            "host": "127.0.0.1",
            "admin_port": port,
            "linger_seconds": 0.02,
            "schema": SCHEMA_FILE,
            **settings,
        }
    )
    loader = Loader(port, stop, asyncio.create_task(service.run(cfg, stop)))

    async def ready() -> bool:
        if loader.task.done():
            loader.task.result()
        try:
            return await loader.readiness() == 200
        except aiohttp.ClientConnectionError:
            return False

    try:
        await until(ready, "the loader to be ready", 60)
        yield loader
    finally:
        await loader.end()


def point(monkeypatch: pytest.MonkeyPatch, pubsub: str, bigquery: str) -> None:
    """Make the Google clients of this process use these addresses."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub)
    monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", bigquery)
