"""The processor's wiring: entered from the admin port inwards, left in reverse order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from services.processor.config import Config
from services.processor.metrics import Metrics
from services.processor.mounted import Mounted
from services.processor.parse import Parser
from services.processor.worker import Topics, Worker
from services.shared import hash_keys, log, schema_file
from services.shared.admin import Admin
from services.shared.background import Background
from services.shared.credentials import PUBSUB_EMULATOR, Account
from services.shared.policy import Policy
from services.shared.publisher import Publisher
from services.shared.subscriber import Subscriber

# Far beyond the time limits of a message's rows and of its dead letter: even in an outage messages are nacked in time.
_STUCK_SECONDS = 600.0
_MAX_MESSAGES = 64  # held at a time: `max_bytes` is reached first, unless packs are small; then 64 keep a core busy
_IN_FLIGHT = 16  # packs of rows being published: at 50 ms each, several times what one core can make

_log = log.get("processor")


async def run(cfg: Config, stop: asyncio.Event) -> None:
    """Process until `stop`; then stop pulling, finish the packs in hand in time, flush acks, close."""
    schema = schema_file.load(cfg.schema)
    privacy = schema.privacy[cfg.privacy]
    policy = Policy(privacy, hash_keys.of_setting(privacy, cfg.hash_key_file), schema.tenants)
    mounted = Mounted(cfg, schema, privacy)
    registry = CollectorRegistry()
    metrics = Metrics(registry, schema.tables, digest=schema.digest)
    async with AsyncExitStack() as stack:
        background = await stack.enter_async_context(Background())
        admin = await stack.enter_async_context(Admin(cfg.host, cfg.admin_port, registry, background))
        account = await stack.enter_async_context(Account(background, PUBSUB_EMULATOR))
        if account.missing:
            admin.ready(because=account.missing)
        if not await account.found(stop):
            return
        publisher = await stack.enter_async_context(
            Publisher(
                cfg.project,
                in_flight=_IN_FLIGHT,
                timeout=cfg.publish_timeout_seconds,
                credentials=account.credentials,
            )
        )
        subscriber = await stack.enter_async_context(
            Subscriber(
                cfg.project,
                cfg.hits_subscription,
                background,
                max_messages=_MAX_MESSAGES,
                max_bytes=cfg.max_bytes,
                credentials=account.credentials(),
                leased=metrics.leases.inc,
                answer_seconds=_STUCK_SECONDS + 2 * cfg.publish_timeout_seconds,
            )
        )
        worker = Worker(
            schema,
            publisher,
            Topics(cfg.rows_topic, cfg.dead_topic),
            metrics,
            max_bytes=cfg.max_bytes,
            policy=policy,
            watch=mounted.watch,
            parser=Parser(schema, mounted.lookups),
        )
        for fresh in mounted.keep_fresh(background, metrics):
            stack.callback(fresh.cancel)
        work = background.start("processor", worker.run(subscriber), ending=stop.is_set)
        admin.ready()
        _log.info("listening", admin_port=admin.port, subscription=cfg.hits_subscription)
        await stop.wait()
        admin.ready(because="draining")
        subscriber.drain()
        try:
            async with asyncio.timeout(cfg.shutdown_timeout_seconds):
                await work
        except TimeoutError:
            _log.warning("shutdown timed out; the packs in hand will be redelivered")
