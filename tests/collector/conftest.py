from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.collector.app import App
from services.collector.config import Config
from services.collector.metrics import Metrics
from services.collector.service import PACKS_IN_FLIGHT, outgoing, serving
from services.shared import schema_file
from services.shared.background import Background
from services.shared.hit import Hit
from services.shared.publisher import Publisher
from tests.topics import Topics


@dataclass
class Running:
    """A collector's public port, without a process of its own, publishing to the real emulator."""

    port: int
    registry: CollectorRegistry
    topics: Topics
    http: aiohttp.ClientSession
    stop: Callable[[], Awaitable[None]]  # the public port, as SIGTERM does

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hits(self, wanted: int) -> list[Hit]:
        return self.topics.hits(wanted)

    def metric(self, name: str) -> float:
        for line in generate_latest(self.registry).decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"there is no metric {name}")


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(pubsub_host: str, project: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts a collector with the settings given; all are closed after the test."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    async with AsyncExitStack() as stack:
        background = await stack.enter_async_context(Background())
        topics = Topics(project)
        topics.create("hits", "work")

        async def go(**settings: object) -> Running:
            # A busy machine is not an outage: half a second can pass until the emulator has its turn.
            usual = {
                "project": project,
                "hits_topic": "hits",
                "host": "127.0.0.1",
                "port": 0,
                "publish_timeout_seconds": 20,
                "linger_seconds": 0.005,  # aiohttp answers the requests of a connection one after the other
            }
            cfg = Config(**{**usual, **settings})  # type: ignore[arg-type]
            registry = CollectorRegistry()
            schema = schema_file.load(cfg.schema)
            metrics = Metrics(registry, digest=schema.digest)
            publisher = await stack.enter_async_context(
                Publisher(cfg.project, in_flight=PACKS_IN_FLIGHT, timeout=cfg.publish_timeout_seconds)
            )
            outbox = await stack.enter_async_context(outgoing(cfg, publisher, metrics, background))
            public = await stack.enter_async_context(AsyncExitStack())
            app = App(cfg, schema, outbox, metrics)
            port = await public.enter_async_context(serving(cfg, app, metrics, background))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            return Running(port, registry, topics, http, public.aclose)

        yield go


@pytest.fixture
async def collector(start: Start) -> Running:
    return await start()
