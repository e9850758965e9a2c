"""The loader's wiring: entered from the admin port inwards, left in reverse."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from services.loader.config import Config
from services.loader.metrics import Metrics
from services.loader.worker import Worker
from services.loader.write_api import STORAGE_EMULATOR, WriteApi
from services.shared import log, schema_file
from services.shared.admin import Admin
from services.shared.background import Background
from services.shared.credentials import PUBSUB_EMULATOR, Account
from services.shared.publisher import Publisher
from services.shared.subscriber import Subscriber

MAX_PACKS = 1_000  # held at a time: full packs reach `max_bytes` first, this bounds the overhead of many small ones
_DEAD_LETTER_SECONDS = 10.0
_COMPRESSION = 4  # packs are zstd: rows take about this many times the bytes that Pub/Sub counts

_log = log.get("loader")


async def run(cfg: Config, stop: asyncio.Event) -> None:
    """Load until `stop`; then stop pulling, write what is held, nack the rest, close."""
    schema = schema_file.load(cfg.schema)
    registry = CollectorRegistry()
    metrics = Metrics(registry, schema.tables, digest=schema.digest)
    async with AsyncExitStack() as stack:
        background = await stack.enter_async_context(Background())
        admin = await stack.enter_async_context(Admin(cfg.host, cfg.admin_port, registry, background))
        account = await stack.enter_async_context(Account(background, PUBSUB_EMULATOR, STORAGE_EMULATOR))
        if account.missing:
            admin.ready(because=account.missing)
        if not await account.found(stop):
            return
        credentials = account.credentials()
        publisher = await stack.enter_async_context(
            Publisher(cfg.project, in_flight=4, timeout=_DEAD_LETTER_SECONDS, credentials=account.credentials)
        )
        api = await stack.enter_async_context(
            WriteApi(cfg.project, cfg.dataset, timeout=cfg.append_timeout_seconds, credentials=credentials)
        )
        subscriber = await stack.enter_async_context(
            Subscriber(
                cfg.project,
                cfg.rows_subscription,
                background,
                max_messages=MAX_PACKS,
                max_bytes=cfg.max_bytes // _COMPRESSION,
                credentials=credentials,
                leased=metrics.leases.inc,
            )
        )
        worker = Worker(cfg, schema, api, publisher, metrics, background, max_packs=MAX_PACKS)
        receiving = background.start("receiving", worker.receive(subscriber), ending=stop.is_set)
        admin.ready()
        _log.info("loading", subscription=cfg.rows_subscription, dataset=cfg.dataset, admin_port=admin.port)
        await stop.wait()
        admin.ready(because="draining")
        subscriber.drain()
        worker.end()
        await receiving
        await worker.finish(cfg.shutdown_timeout_seconds)
