"""The admin port, separate from the public one: liveness, readiness and metrics, for the cluster alone."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from services.shared import listen, log
from services.shared.background import Background

LAG_SECONDS = 0.5  # between two measurements of the event loop's lag

disable_created_metrics()  # type: ignore[no-untyped-call]  # a third more series that no query of ours reads


class Admin:
    """An aiohttp server for `/livez`, `/readyz` and `/metrics`.

    Liveness is that the event loop answers and that no step of `background` is stuck; readiness is `ready()`. The text
    of a 503 says why. Neither asks Pub/Sub or BigQuery anything: an outage there must not take pods away.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, background: Background) -> None:
        self._host, self._wanted, self._registry, self._background = host, port, registry, background
        ProcessCollector(registry=registry)  # process_*: since when it counts, its memory, its CPU seconds
        self._lag = Histogram(
            "pixelpipe_event_loop_lag_seconds",
            "How late the event loop wakes a task: what every request waits besides its own work",
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2),
            registry=registry,
        )
        self._unready: str | None = "starting"
        self.port = port

    def ready(self, *, because: str | None = None) -> None:
        """Ready, or not ready with the reason."""
        if because != self._unready:
            log.get("admin").info("readiness changed", ready=because is None, reason=because)
        self._unready = because

    async def __aenter__(self) -> Admin:
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._wanted)
        await listen.start(site, self._host, self._wanted, "PIPE_ADMIN_PORT")
        self.port = self._runner.addresses[0][1]
        self._watching = self._background.start("event loop lag", self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        await self._runner.cleanup()

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self._lag.observe(max(0.0, clock() - due))

    async def _livez(self, _request: web.Request) -> web.Response:
        if (stuck := self._background.stuck) is not None:
            return web.Response(text=stuck + "\n", status=503)
        return web.Response(text="alive\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self._unready is None:
            return web.Response(text="ready\n")
        return web.Response(text=self._unready + "\n", status=503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
