"""The processor's wiring: entered from the admin port inwards, left in reverse."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from services.processor.config import Config
from services.processor.metrics import Metrics
from services.processor.worker import Topics, Worker
from services.shared import lifecycle, log, schema_file
from services.shared.admin import Admin
from services.shared.pubsub import Publisher, Puller

_log = log.get("processor")


async def run(cfg: Config, stop: asyncio.Event) -> None:
    """Process until `stop`; then stop pulling, finish the packs in hand within `grace`, flush acks, close."""
    schema = schema_file.load(cfg.schema)
    registry = CollectorRegistry()
    metrics = Metrics(registry, schema.tables)
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin(cfg.host, cfg.admin_port, registry))
        publisher = await stack.enter_async_context(
            Publisher(cfg.project, in_flight=cfg.in_flight, timeout=cfg.publish_timeout)
        )
        puller = await stack.enter_async_context(
            Puller(
                cfg.project,
                cfg.hits_subscription,
                max_messages=cfg.max_messages,
                max_bytes=cfg.max_bytes,
                leased=metrics.leases.inc,
            )
        )
        worker = Worker(schema, publisher, Topics(cfg.rows_topic, cfg.dead_topic), metrics, max_bytes=cfg.max_bytes)
        work = asyncio.create_task(worker.run(puller), name="processor")
        admin.ready()
        _log.info("listening", admin_port=admin.port, subscription=cfg.hits_subscription)
        await lifecycle.until(stop, work)
        admin.ready(because="draining")
        puller.drain()
        try:
            async with asyncio.timeout(cfg.grace):
                await work
        except TimeoutError:
            _log.warning("grace is over; the packs in hand will be delivered again")
