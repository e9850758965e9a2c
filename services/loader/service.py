"""The loader's wiring: entered from the admin port inwards, left in reverse."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from services.loader.config import Config
from services.loader.load_job import LoadJobs
from services.loader.metrics import Metrics
from services.loader.worker import Worker
from services.loader.write_api import WriteApi
from services.shared import log, schema_file
from services.shared.admin import Admin
from services.shared.pubsub import Publisher, Puller

_DEAD_LETTER_SECONDS = 10.0
_PULLED_PART = 4  # packs are zstd: rows take about this many times the bytes that Pub/Sub counts

_log = log.get("loader")


async def run(cfg: Config, stop: asyncio.Event) -> None:
    """Load until `stop`; then pull no more, write what is in hand, give the rest back, close."""
    schema = schema_file.load(cfg.schema)
    registry = CollectorRegistry()
    metrics = Metrics(registry, schema.tables)
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin(cfg.host, cfg.admin_port, registry))
        publisher = await stack.enter_async_context(Publisher(cfg.project, in_flight=4, timeout=_DEAD_LETTER_SECONDS))
        api = await stack.enter_async_context(WriteApi(cfg.project, cfg.dataset, timeout=cfg.append_timeout))
        jobs = None
        if any(table.write != "write_api" for table in schema.tables.values()):
            jobs = await stack.enter_async_context(LoadJobs(cfg.project, cfg.dataset, timeout=cfg.append_timeout))
        puller = await stack.enter_async_context(
            Puller(
                cfg.project,
                cfg.rows_subscription,
                max_messages=cfg.max_messages,
                max_bytes=cfg.max_bytes // _PULLED_PART,
                leased=metrics.leases.inc,
            )
        )
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        worker = Worker(cfg, schema, api, jobs, publisher, metrics, tasks)
        receiving = tasks.create_task(worker.receive(puller))
        admin.ready()
        _log.info("loading", subscription=cfg.rows_subscription, dataset=cfg.dataset, admin_port=admin.port)
        await stop.wait()
        admin.ready(because="draining")
        puller.drain()
        worker.end()
        await receiving
        await worker.finish(cfg.grace)
