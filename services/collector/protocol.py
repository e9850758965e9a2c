"""The protocol of the public port: a bounded number of connections, and a fast path for pixels.

A pixel's plain GET, alone on a connection on which aiohttp waits for a request, is answered by fast_path.py.
Until it is answered what follows it is kept back, a little of it, so that replies stay in order. A connection of a load
balancer carries requests of many clients, posts and pixels: what aiohttp answers is no obstacle for the next one. All
other requests go to aiohttp by way of framed.py.

This leans on what aiohttp does not promise (`_messages`, `_waiter`, `_paused`, `_next_keepalive_close_time`, and that
connections are ended by `close` and `shutdown`), so the version is bounded in pyproject.toml and tests hold the bytes.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from services.collector import fast_path, head
from services.collector.app import App, unavailable
from services.collector.connections import Connections
from services.collector.framed import FramedHandler
from services.collector.head import MAX_LINE as MAX_LINE
from services.collector.head import Repairer
from services.collector.metrics import Metrics
from services.collector.reply import Reply, cors
from services.shared import address

_FULL = Reply(503, {"Retry-After": "1"}).render(b"Connection: close\r\n")


class Protocol(FramedHandler):
    __slots__ = ("_app", "_began", "_ending", "_no_place", "_origin", "_released", "_remote", "_reply")

    def __init__(
        self,
        manager: web.Server,
        app: App,
        connections: Connections,
        metrics: Metrics,
        repairer: Repairer,
        **options: object,
    ) -> None:
        super().__init__(manager, connections, metrics, repairer, **options)
        self._app = app
        self._no_place = False
        self._remote = ""
        self._ending = False
        self._released: asyncio.Future[None] | None = None  # where somebody waits until nothing is kept back
        self._reply: Reply | None = None  # the one that is due, to a request of that origin that began then
        self._origin = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._connections.opened(self, self._loop.time()):
            self._no_place = self._over = True
            refusing = cast(asyncio.Transport, transport)
            refusing.write(_FULL)
            refusing.close()
            return
        super().connection_made(transport)
        peer = self.peername
        self._remote = address.normalize(peer[0]) if isinstance(peer, tuple) else ""

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._no_place:
            super().connection_lost(exc)
            self._connections.lost(self)

    def data_received(self, data: bytes) -> None:
        if data and self._framer.idle and not (self._holding or self._over):
            if self._quick(data):
                return
            if self._waiter is None:
                # aiohttp has replied and does not wait yet, or it is at work: it is known which in the loop's next
                # round.
                self._holding = True
                self._framer.add(data)
                self._loop.call_soon(self._release)
                return
        elif data and self._holding:
            self._framer.add(data)
            self._account(needs_more=False)
            return
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        return not self._no_place and super().eof_received()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connections.unread(self, self._loop.time())

    def resume_writing(self) -> None:
        self._connections.read(self)
        super().resume_writing()

    def _quick(self, data: bytes) -> bool:
        """Whether this was a request that is answered here: at once, or when its hit is safe."""
        # aiohttp waits for the next request only when it is done with the last one. Where the client does not read its
        # replies, aiohttp is left to wait for it.
        waiter = self._waiter
        if waiter is None or self._messages or self._paused or waiter.done():
            return False
        began = time.perf_counter()
        answer = self._app.quick(data, self._remote, self._safe)
        if answer is None:
            return False
        reply, origin, now = answer
        self._connections.complete(self)
        self._connections.busy(self)
        if now:
            self._answer(reply, origin, began)
        else:
            self._holding = True
            self._reply, self._origin, self._began = reply, origin, began
            # aiohttp, which knows of no request, is not to close the connection meanwhile.
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    def _safe(self, error: Exception | None) -> None:
        """The hit is, or why it is not."""
        self._answer(cast(Reply, self._reply) if error is None else unavailable(error), self._origin, self._began)
        self._release()

    def _answer(self, reply: Reply, origin: bytes, began: float) -> None:
        now = self._loop.time()
        self._app.replied("pixel", reply.status, began)
        self._next_keepalive_close_time = now + self._keepalive_timeout
        if self.transport is not None:
            self.transport.write(reply.render(cors(origin)) if origin else reply.rendered())
            self._connections.idle(self, now)

    def _release(self) -> None:
        """Go on with what was kept back."""
        self._holding = False
        if self._released is not None:
            self._released.set_result(None)
            self._released = None
        if self._ending:
            self.close()
        elif self.transport is not None:
            if 0 < len(self._framer) <= fast_path.LARGEST and self._quick(self._framer.waiting()):
                self._framer.clear()
            if self._eof or self._full or not self._framer.idle:
                self._advance()

    def close(self) -> None:
        """Answer what is in hand, then close."""
        if self._holding:
            self._ending = True
        else:
            super().close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        if self._holding:
            self._released = self._loop.create_future()
            await asyncio.wait({self._released}, timeout=timeout)
        await super().shutdown(timeout)


class Server(web.Server):
    """A low-level aiohttp server whose connections speak the protocol above."""

    def __init__(self, app: App, connections: Connections, metrics: Metrics, **options: object) -> None:
        super().__init__(self._handle)
        self._app, self._places, self._metrics = app, connections, metrics
        self._repairer = Repairer(app.kept)
        # The sizes are bounded before aiohttp sees them; a Cookie that is kept may be as long as all headers.
        self._options = {**options, "max_field_size": head.MAX_FIELDS, "max_headers": head.MAX_COUNT}

    def __call__(self) -> RequestHandler:
        return Protocol(self, self._app, self._places, self._metrics, self._repairer, loop=self._loop, **self._options)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast(Protocol, request.protocol)
        self._places.busy(connection)
        try:
            response = await self._app.handle(request)
            if not response.keep_alive:
                response.then = connection.linger_behind
            return response
        finally:
            self._places.idle(connection, self._loop.time())
            connection.answered()
