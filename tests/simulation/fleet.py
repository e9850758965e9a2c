"""The services of a run: the real ones, wired to the simulated world as each `service.py` wires them to Google's.

What is killed or stopped starts again a moment later, as on Kubernetes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from services.collector import metrics as collector_metrics
from services.collector.outbox import Outbox
from services.loader import metrics as loader_metrics
from services.loader import worker as loader_worker
from services.loader.config import Config as LoaderConfig
from services.loader.writer import Writer
from services.processor import metrics as processor_metrics
from services.processor import worker as processor_worker
from services.shared import schema_file
from tests.simulation.bigquery import BigQuery, WriteApi
from tests.simulation.pubsub import Broker, Publisher, Puller
from tests.simulation.world import Process, World

SCHEMA = schema_file.load(Path(__file__).with_name("schema.yaml"))
GRACE_SECONDS = 60.0  # between SIGTERM and SIGKILL

MAX_PENDING = 12_000  # bytes: small, so that a burst of hits reaches it
PROCESSOR_BYTES = 20_000
LOADER_CONFIG = LoaderConfig(
    project="simulation",
    dataset="simulation",
    dead_topic="dead",
    rows_subscription="rows",
    batch_rows=40,
    batch_bytes=100_000,
    max_messages=20,
    max_bytes=200_000,
    append_timeout=30.0,
)
BOUNDS = {"pending bytes": MAX_PENDING}


@dataclass
class Parts:
    """What a collector or a loader is made of; a test puts a broken one in the place of a real one."""

    outbox: Callable[..., Outbox] = Outbox
    puller: Callable[..., Puller] = Puller


@dataclass
class Collector:
    """A collector that accepts requests."""

    process: Process
    outbox: Outbox
    metrics: collector_metrics.Metrics
    requests: set[asyncio.Task[Any]]


class Fleet:
    def __init__(self, world: World, parts: Parts) -> None:
        self.world, self._parts = world, parts
        self.broker = Broker(world)
        self.bigquery = BigQuery(world, SCHEMA)
        self.running: dict[str, Process] = {}
        self.all: list[Process] = []
        self.collectors: list[Collector] = []
        self.most: dict[str, float] = {}  # of each thing that is bounded, the most there ever was

    def saw(self, what: str, value: float) -> None:
        self.most[what] = max(value, self.most.get(what, 0.0))

    async def keep(self, name: str, main: Callable[[Process], Awaitable[None]]) -> None:
        """Have a service run, whatever happens to its processes."""
        for number in count(1):
            process = Process(self.world, f"{name}#{number}", main)
            self.running[name] = process
            self.all.append(process)
            await asyncio.wait({process.ended})
            await self.world.pause(5)

    async def disturb(self, until: float) -> None:
        """Kill processes, or have them stop in order."""
        while (left := until - self.world.loop.time()) > 0:
            await asyncio.sleep(min(left, self.world.random.uniform(0, 30)))
            process = self.running[self.world.random.choice(list(self.running))]
            if self.world.chance(0.05):
                for each in self.running.values():
                    each.kill()
            elif self.world.chance(0.5):
                process.kill()
            elif not process.stop.is_set():
                self.world.note(process.name, "SIGTERM")
                process.stop.set()
                self.world.loop.call_later(GRACE_SECONDS, process.kill)

    async def collector(self, process: Process) -> None:
        metrics = collector_metrics.Metrics(CollectorRegistry())
        async with AsyncExitStack() as stack:
            publisher = Publisher(self.broker, process, in_flight=4, timeout=5.0)
            outbox = await stack.enter_async_context(
                self._parts.outbox(publisher, "hits", None, metrics, linger=0.05, in_flight=4, max_pending=MAX_PENDING)
            )
            serving = Collector(process, outbox, metrics, set())
            self.collectors.append(serving)
            try:
                await process.stop.wait()
            finally:
                self.collectors.remove(serving)
            if serving.requests:
                await asyncio.wait(serving.requests, timeout=10)

    async def processor(self, process: Process) -> None:
        publisher = Publisher(self.broker, process, in_flight=4, timeout=30.0)
        worker = processor_worker.Worker(
            SCHEMA,
            publisher,
            processor_worker.Topics("rows", "dead"),
            processor_metrics.Metrics(CollectorRegistry(), SCHEMA.tables),
            max_bytes=PROCESSOR_BYTES,
            now_us=self.world.now_us,
        )
        async with self._parts.puller(self.broker.hits, process, max_messages=16) as puller:
            work = asyncio.create_task(worker.run(puller))
            await _until(process.stop, work)
            puller.drain()
            await asyncio.wait({work}, timeout=20)

    async def loader(self, process: Process) -> None:
        publisher = Publisher(self.broker, process, in_flight=4, timeout=10.0)
        api = WriteApi(self.bigquery, process, timeout=LOADER_CONFIG.append_timeout)
        metrics = loader_metrics.Metrics(CollectorRegistry(), SCHEMA.tables)
        async with (
            self._parts.puller(self.broker.rows, process, max_messages=LOADER_CONFIG.max_messages) as puller,
            asyncio.TaskGroup() as tasks,
        ):
            make_writer = partial(Writer, now_us=self.world.now_us, uniform=self.world.random.uniform)
            worker = loader_worker.Worker(
                LOADER_CONFIG, SCHEMA, api, None, publisher, metrics, tasks, make_writer=make_writer
            )
            receiving = tasks.create_task(worker.receive(puller))
            await process.stop.wait()
            puller.drain()
            worker.end()
            await receiving
            await worker.finish(LOADER_CONFIG.grace)


async def _until(stop: asyncio.Event, work: asyncio.Task[None]) -> None:
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if work.done():
        await work


def value(gauge: Gauge) -> float:
    """What a gauge without labels shows."""
    return float(next(iter(gauge.collect())).samples[0].value)
