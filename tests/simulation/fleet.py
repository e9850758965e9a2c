"""The services of a run: the real ones, wired to the simulated world as each `service.py` wires them to Google's.

What is killed or stopped starts again a moment later, as on Kubernetes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from services.collector import drainer
from services.collector import metrics as collector_metrics
from services.collector.outbox import Outbox
from services.collector.service import DRAIN_SECONDS
from services.collector.spool import Spool
from services.loader import metrics as loader_metrics
from services.loader import worker as loader_worker
from services.loader.config import Config as LoaderConfig
from services.loader.writer import Writer
from services.processor import metrics as processor_metrics
from services.processor import worker as processor_worker
from services.shared import schema_file
from services.shared.background import Background
from tests.simulation.bigquery import BigQuery, WriteApi
from tests.simulation.disk import Disk, Folder
from tests.simulation.process import Process
from tests.simulation.pubsub import Broker, Publisher, Subscriber
from tests.simulation.world import World, value

SCHEMA = schema_file.load(Path(__file__).with_name("schema.yaml"))

PUBLISH_SECONDS = 5.0
# Bytes: small, so that a burst of hits reaches them.
MAX_PENDING = 8_000
SPOOL_BYTES = 15 * 4096
PROCESSOR_BYTES = 10_000
# The largest there is in a run, decompressed: all that may be pending, and a line end for each hit of over 100 bytes.
# It is taken while there is any room.
ONE_PACK = MAX_PENDING + MAX_PENDING // 100
LOADER_PACKS = 20
LOADER_CONFIG = LoaderConfig(
    project="simulation",
    dataset="simulation",
    dead_topic="dead",
    rows_subscription="rows",
    batch_bytes=100_000,
    max_bytes=30_000,
    append_timeout_seconds=30.0,
)
BOUNDS = {
    "pending bytes": MAX_PENDING,
    "spool bytes": SPOOL_BYTES,
    "held bytes": LOADER_CONFIG.max_bytes + ONE_PACK,
    "pulled bytes": PROCESSOR_BYTES + ONE_PACK,
}


@dataclass
class Parts:
    """What a collector or a loader is made of; a test puts a broken one in the place of a real one."""

    background: Callable[[], Background] = Background
    spool: Callable[..., Spool] = Spool
    outbox: Callable[..., Outbox] = Outbox
    subscriber: Callable[..., Subscriber] = Subscriber


@dataclass
class Collector:
    """A collector that accepts requests."""

    process: Process
    outbox: Outbox
    folder: Folder
    metrics: collector_metrics.Metrics
    requests: set[asyncio.Task[Any]]


class Fleet:
    def __init__(self, world: World, parts: Parts) -> None:
        self.world, self._parts = world, parts
        world.bounds = BOUNDS
        self._spools = world.chance(0.9)  # whether the collectors have a spool
        self.broker = Broker(world)
        self.bigquery = BigQuery(world, SCHEMA)
        self.running: dict[str, Process] = {}
        self.all: list[Process] = []
        self.collectors: list[Collector] = []
        self.folders: dict[str, Folder] = {}

    async def keep(self, name: str, main: Callable[[Process], Awaitable[None]]) -> None:
        """Have a service run, whatever happens to its processes."""
        for number in count(1):
            process = Process(self.world, f"{name}#{number}", main)
            self.running[name] = process
            self.all.append(process)
            await asyncio.wait({process.ended})
            await self.world.pause(5)

    async def disturb(self) -> None:
        """Kill processes, have them stop in order, set their clocks, copy a file of one spool to another."""
        random = self.world.random
        while (left := self.world.until - self.world.loop.time()) > 0:
            await asyncio.sleep(min(left, random.uniform(0, 20)))
            process = random.choice(list(self.running.values()))
            match random.choice(("kill", "kill", "terminate", "terminate", "blackout", "clock", "copy")):
                case "kill":
                    process.kill()
                case "terminate":
                    process.terminate()
                case "blackout":
                    for each in self.running.values():
                        each.kill()
                case "clock":
                    process.skew = random.uniform(-4000, 4000)
                case "copy":
                    self._copy_a_pack()

    def _copy_a_pack(self) -> None:
        """As the runbook says for a pod that does not come back."""
        random, folders = self.world.random, list(self.folders.values())
        source, target = random.choice(folders), random.choice(folders)
        if source.files:
            name = random.choice(list(source.files))
            if name not in target.files:
                target.slip_in(name, source.files[name])

    async def collector(self, process: Process) -> None:
        metrics = collector_metrics.Metrics(process.registry)
        slot = process.name.partition("#")[0]
        folder = self.folders.setdefault(slot, Folder(self.world))
        process.bounded = {
            "pending bytes": lambda: value(metrics.pending_bytes),
            # A write that failed or came too late may have left a file, and someone may have copied one here.
            "spool bytes": lambda: value(metrics.spool_bytes) - folder.unasked,
        }
        now, parts = process.now, self._parts
        async with AsyncExitStack() as stack:
            background = process.background = await stack.enter_async_context(parts.background())
            spool = None
            if self._spools:
                spool = parts.spool(Disk(folder, process), SPOOL_BYTES, metrics, background, now=now)
                await stack.enter_async_context(spool)
            publisher = Publisher(self.broker, process, in_flight=4, timeout=PUBLISH_SECONDS)
            outbox = parts.outbox(
                publisher,
                "hits",
                spool,
                metrics,
                background,
                linger_seconds=0.05,
                in_flight=4,
                max_pending_bytes=MAX_PENDING,
                now=now,
                entropy=self.world.entropy,
            )
            if spool is not None:
                patient = Publisher(self.broker, process, in_flight=drainer.PACKS, timeout=DRAIN_SECONDS)
                breaker, fast = outbox.breaker, PUBLISH_SECONDS
                await stack.enter_async_context(
                    drainer.Drainer(spool, patient, "hits", breaker, background, fast=fast, shutdown_timeout=10.0)
                )
            await stack.enter_async_context(outbox)
            serving = Collector(process, outbox, folder, metrics, set())
            self.collectors.append(serving)
            try:
                await process.stop.wait()
            finally:
                self.collectors.remove(serving)
            if serving.requests:
                await asyncio.wait(serving.requests, timeout=10)

    async def processor(self, process: Process) -> None:
        metrics = processor_metrics.Metrics(process.registry, SCHEMA.tables)
        publisher = Publisher(self.broker, process, in_flight=4, timeout=30.0)
        async with AsyncExitStack() as stack:
            background = process.background = await stack.enter_async_context(Background())
            subscriber = await stack.enter_async_context(
                self._parts.subscriber(self.broker.hits, process, max_messages=16)
            )
            worker = processor_worker.Worker(
                SCHEMA,
                publisher,
                processor_worker.Topics("rows", "dead"),
                metrics,
                max_bytes=PROCESSOR_BYTES,
                now_us=process.now_us,
            )
            work = background.start("processor", worker.run(subscriber), ending=process.stop.is_set)
            await process.stop.wait()
            subscriber.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout(20.0):
                    await work

    async def loader(self, process: Process) -> None:
        metrics = loader_metrics.Metrics(process.registry, SCHEMA.tables)
        process.bounded = {"held bytes": lambda: value(metrics.held_bytes)}
        publisher = Publisher(self.broker, process, in_flight=4, timeout=10.0)
        api = WriteApi(self.bigquery, process, timeout=LOADER_CONFIG.append_timeout_seconds)
        make_writer = partial(Writer, now_us=process.now_us, random=self.world.random.random)
        async with AsyncExitStack() as stack:
            background = process.background = await stack.enter_async_context(Background())
            pulling = self._parts.subscriber(self.broker.rows, process, max_messages=LOADER_PACKS)
            subscriber = await stack.enter_async_context(pulling)
            worker = loader_worker.Worker(
                LOADER_CONFIG,
                SCHEMA,
                api,
                publisher,
                metrics,
                background,
                max_packs=LOADER_PACKS,
                batch_rows=40,
                make_writer=make_writer,
            )
            receiving = background.start("receiving", worker.receive(subscriber), ending=process.stop.is_set)
            await process.stop.wait()
            subscriber.drain()
            worker.end()
            await receiving
            await worker.finish(LOADER_CONFIG.shutdown_timeout_seconds)
