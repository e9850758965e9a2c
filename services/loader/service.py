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

_DEAD_LETTER_SECONDS = 10.0
_PULLED_PART = 4  # packs are zstd: rows take about this many times the bytes that Pub/Sub counts

_log = log.get("loader")


async def run(cfg: Config, stop: asyncio.Event) -> None:
    """Load until `stop`; then pull no more, write what is in hand, give the rest back, close."""
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
        puller = await stack.enter_async_context(
            Subscriber(
                cfg.project,
                cfg.rows_subscription,
                background,
                max_messages=cfg.max_messages,
                max_bytes=cfg.max_bytes // _PULLED_PART,
                credentials=credentials,
                leased=metrics.leases.inc,
            )
        )
        worker = Worker(cfg, schema, api, publisher, metrics, background)
        receiving = background.start("receiving", worker.receive(puller), ending=stop.is_set)
        admin.ready()
        _log.info("loading", subscription=cfg.rows_subscription, dataset=cfg.dataset, admin_port=admin.port)
        await stop.wait()
        admin.ready(because="draining")
        puller.drain()
        worker.end()
        await receiving
        await worker.finish(cfg.shutdown_timeout_seconds)
