"""The protocol of the public port: a bounded number of connections, and a fast path for pixels.

A plain pixel GET, alone on a connection on which aiohttp is waiting for a request, takes the fast path (fast_path.py).
Until it is answered, what follows is buffered, so that replies stay in order. Connections of a load balancer mix the
requests of many clients: after a request that aiohttp answered, the next one may take the fast path again. All other
requests go to aiohttp through framed.py.

This relies on internals of aiohttp (`_messages`, `_waiter`, `_paused`, `_next_keepalive_close_time`, and that
connections are ended by `close` and `shutdown`), so its version is bounded in pyproject.toml, and tests pin the bytes.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from services.collector import fast_path, head
from services.collector.app import App
from services.collector.connections import Connections
from services.collector.framed import FramedHandler
from services.collector.head import MAX_LINE as MAX_LINE
from services.collector.head import Repairer
from services.collector.metrics import Metrics
from services.collector.refusals import unavailable
from services.collector.reply import Reply, cors
from services.shared import address

_NO_ROOM = Reply(503, {"Retry-After": "1"}).render(b"Connection: close\r\n")


class Protocol(FramedHandler):
    __slots__ = ("_app", "_began", "_close_requested", "_origin", "_rejected", "_remote", "_reply", "_resumed")

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
        self._rejected = False
        self._remote = ""
        self._close_requested = False
        self._resumed: asyncio.Future[None] | None = None  # set while `shutdown` waits for the fast path
        self._reply: Reply | None = None  # the pending reply of the fast path, its Origin, and when its request came
        self._origin = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._connections.opened(self, self._loop.time()):
            self._rejected = self._finished = True
            refusing = cast(asyncio.Transport, transport)
            refusing.write(_NO_ROOM)
            refusing.close()
            return
        super().connection_made(transport)
        peer = self.peername
        self._remote = address.normalize(peer[0]) if isinstance(peer, tuple) else ""

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._rejected:
            super().connection_lost(exc)
            self._connections.lost(self)

    def data_received(self, data: bytes) -> None:
        if data and self._framer.idle and not (self._feed_paused or self._finished):
            if self._try_fast(data):
                return
            if self._waiter is None:
                # aiohttp has replied but is not waiting yet, or it is busy; the loop's next round will show which.
                self._feed_paused = True
                self._framer.add(data)
                self._loop.call_soon(self._resume_feed)
                return
        elif data and self._feed_paused:
            self._framer.add(data)
            self._account(needs_more=False)
            return
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        return not self._rejected and super().eof_received()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connections.unread(self, self._loop.time())

    def resume_writing(self) -> None:
        self._connections.read(self)
        super().resume_writing()

    def _try_fast(self, data: bytes) -> bool:
        """Whether the fast path takes this request: it is answered at once, or when its hit is safe."""
        # aiohttp waits for the next request only once it is done with the last one. If the client does not read its
        # replies, aiohttp does the waiting for it.
        waiter = self._waiter
        if waiter is None or self._messages or self._paused or waiter.done():
            return False
        began = time.perf_counter()
        answer = self._app.handle_fast(data, self._remote, self._on_settled)
        if answer is None:
            return False
        reply, origin, now = answer
        self._connections.complete(self)
        self._connections.busy(self)
        if now:
            self._answer(reply, origin, began)
        else:
            self._feed_paused = True
            self._reply, self._origin, self._began = reply, origin, began
            # aiohttp does not know of this request; it must not close the connection as idle.
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    def _on_settled(self, error: Exception | None) -> None:
        """Answer the pending request: its hit is safe, or `error` says why not."""
        self._answer(cast(Reply, self._reply) if error is None else unavailable(error), self._origin, self._began)
        self._resume_feed()

    def _answer(self, reply: Reply, origin: bytes, began: float) -> None:
        now = self._loop.time()
        self._app.replied("pixel", reply.status, began)
        self._next_keepalive_close_time = now + self._keepalive_timeout
        if self.transport is not None:
            self.transport.write(reply.render(cors(origin)) if origin else reply.rendered())
            self._connections.idle(self, now)

    def _resume_feed(self) -> None:
        """Continue with what was buffered meanwhile."""
        self._feed_paused = False
        if self._resumed is not None:
            self._resumed.set_result(None)
            self._resumed = None
        if self._close_requested:
            self.close()
        elif self.transport is not None:
            if 0 < len(self._framer) <= fast_path.LARGEST and self._try_fast(self._framer.waiting()):
                self._framer.clear()
            if self._eof or self._buffer_full or not self._framer.idle:
                self._advance()

    def close(self) -> None:
        """Answer the pending request, then close."""
        if self._feed_paused:
            self._close_requested = True
        else:
            super().close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        if self._feed_paused:
            self._resumed = self._loop.create_future()
            await asyncio.wait({self._resumed}, timeout=timeout)
        await super().shutdown(timeout)


class Server(web.Server):
    """A low-level aiohttp server whose connections speak the protocol above."""

    def __init__(self, app: App, connections: Connections, metrics: Metrics, **options: object) -> None:
        super().__init__(self._handle)
        self._app, self._places, self._metrics = app, connections, metrics
        self._repairer = Repairer(app.needed)
        # Sizes are checked before aiohttp sees them; a needed Cookie may be as long as all headers together.
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
