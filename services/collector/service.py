"""The collector's wiring: entered from the admin port inwards, left in reverse."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from services.collector import drainer
from services.collector.app import App
from services.collector.config import IMMEDIATE, Config
from services.collector.connections import Connections
from services.collector.disk import Folder
from services.collector.metrics import Metrics
from services.collector.outbox import Outbox
from services.collector.protocol import MAX_LINE, Server
from services.collector.spool import Spool
from services.collector.tally_counter import TallySender
from services.shared import listen, log, schema_file
from services.shared.admin import Admin
from services.shared.background import Background
from services.shared.credentials import PUBSUB_EMULATOR, Account
from services.shared.publisher import Publisher

# Google's load balancer keeps connections for 600 s, and must be the side that closes them.
KEEPALIVE_SECONDS = 620
READINESS_SECONDS = 1.0
SWEEP_SECONDS = 1.0
OTHER_FILES = 256  # the spool, Pub/Sub, the admin port, Python's own
# At 50 ms a publish, 8 packs of 1,000 hits are 160,000 hits/s, more than one process can take; more slots would only
# make packs smaller.
PACKS_IN_FLIGHT = 8
DRAIN_SECONDS = 15.0  # a spooled pack is safe, so publishing it may take as long as a slow Pub/Sub needs

_log = log.get("collector")


async def run(cfg: Config, stop: asyncio.Event, *, reuse_port: bool = False) -> None:
    """Serve until `stop`; then keep serving for the drain delay, stop accepting, finish requests, flush, close.

    With `reuse_port`, other processes that do the same may listen on the public port too; the benchmark does.
    """
    schema = schema_file.load(cfg.schema)
    registry = CollectorRegistry()
    metrics = Metrics(registry, digest=schema.digest)
    async with Background() as background, AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin(cfg.host, cfg.admin_port, registry, background))
        account = await stack.enter_async_context(Account(background, PUBSUB_EMULATOR))
        publisher = await stack.enter_async_context(
            Publisher(
                cfg.project,
                in_flight=PACKS_IN_FLIGHT,
                timeout=cfg.publish_timeout_seconds,
                credentials=account.credentials,
            )
        )
        outbox = await stack.enter_async_context(
            outgoing(cfg, publisher, metrics, background, account.credentials, tallied=True)
        )
        app = App(cfg, schema, outbox, metrics)
        port = await stack.enter_async_context(serving(cfg, app, metrics, background, reuse_port=reuse_port))
        _log.info("listening", port=port, admin_port=admin.port)
        while not stop.is_set():
            # Hits that have a spool are safe without credentials.
            admin.ready(because=outbox.unsafe or (None if cfg.spool else account.missing))
            with suppress(TimeoutError):
                async with asyncio.timeout(READINESS_SECONDS):
                    await stop.wait()
        admin.ready(because="draining")
        await asyncio.sleep(cfg.drain_delay_seconds)


@asynccontextmanager
async def outgoing(
    cfg: Config,
    publisher: Publisher,
    metrics: Metrics,
    background: Background,
    credentials: Callable[[], Any] = lambda: None,
    *,
    tallied: bool = False,
) -> AsyncIterator[Outbox]:
    """The outbox, with spool and drainer if a folder is set; leaving it flushes. `tallied` if it sends its tallies."""
    async with AsyncExitStack() as stack:
        spool = None
        if cfg.spool:
            folder = Folder(Path(cfg.spool))
            spool = await stack.enter_async_context(Spool(folder, cfg.spool_max_bytes, metrics, background))
        outbox = Outbox(
            publisher,
            cfg.hits_topic,
            spool,
            metrics,
            background,
            linger_seconds=cfg.linger_seconds,
            in_flight=PACKS_IN_FLIGHT,
            max_pending_bytes=cfg.max_pending_bytes,
            immediate=cfg.ack == IMMEDIATE,
        )
        if spool is not None:
            patient = await stack.enter_async_context(
                Publisher(cfg.project, in_flight=drainer.PACKS, timeout=DRAIN_SECONDS, credentials=credentials)
            )
            await stack.enter_async_context(
                drainer.Drainer(
                    spool,
                    patient,
                    cfg.hits_topic,
                    outbox.breaker,
                    background,
                    fast=cfg.publish_timeout_seconds,
                    shutdown_timeout=cfg.shutdown_timeout_seconds,
                )
            )
        if tallied:
            await stack.enter_async_context(TallySender(outbox.tallies, outbox.send_tally, background))
        yield await stack.enter_async_context(outbox)


@asynccontextmanager
async def serving(
    cfg: Config, app: App, metrics: Metrics, background: Background, *, reuse_port: bool = False
) -> AsyncIterator[int]:
    """The public port, accepting; yields its number. Leaving it waits for the requests in progress."""
    connections = Connections(_allowed(cfg.max_connections), metrics)
    server = Server(
        app,
        connections,
        metrics,
        access_log=None,
        auto_decompress=False,  # content_encoding.py limits the decompressed bytes
        keepalive_timeout=KEEPALIVE_SECONDS,
        max_line_size=MAX_LINE,
    )
    runner = web.ServerRunner(server, shutdown_timeout=cfg.shutdown_timeout_seconds)
    await runner.setup()
    sweeping = background.start("sweep", _sweep(connections))
    try:
        site = web.TCPSite(runner, cfg.host, cfg.port, backlog=1024, reuse_port=reuse_port or None)
        await listen.start(site, cfg.host, cfg.port, "PIPE_PORT")
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
        sweeping.cancel()


async def _sweep(connections: Connections) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        connections.sweep(asyncio.get_running_loop().time())


def _allowed(wanted: int) -> int:
    """As many connections as the limit of open files allows; it is raised as far as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < needed:
            _log.warning("fewer connections than wanted: the limit of open files is low", wanted=wanted, files=soft)
            return max(1, soft - OTHER_FILES)
    return wanted
