"""aiohttp's HTTP protocol with three changes: two that keep hits and quiet logs, one for speed.

A request target with raw UTF-8, Latin-1, spaces or control bytes, as old e-mail clients and hand-built links send, is
refused by the HTTP parser (400). Here such bytes are percent-encoded before the parser sees them, which loses nothing:
the processor decodes them again. Only the first request of a read is mended; one pipelined behind another is not.

A pixel's plain GET, alone on a connection on which aiohttp waits for a request, is answered without aiohttp (quick.py).
Until it is answered what follows it is kept back, a little of it, so that replies stay in order.

This leans on what aiohttp does not promise (`data_received`, `handle_error`, `_current_request`, `_messages`,
`_waiter`, `_next_keepalive_close_time`, and that connections are ended by `close` and `shutdown`), so the version is
bounded in pyproject.toml and tests hold the bytes.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import cast

from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from services.collector.app import App, unavailable
from services.collector.connections import Connections
from services.collector.metrics import Metrics
from services.collector.reply import Reply
from services.shared import log

MAX_BACK = 65_536  # bytes kept back while a reply is due; then the client is not read
MAX_LINE = 131_072  # bytes of a request line; long enough for a pixel URL of 100 kB

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nServer: pixelpipe\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
_PLAIN = re.compile(rb"[A-Z]+ [!-~]+ HTTP/1\.[01]\r\n")
_LINE = re.compile(rb"(GET|HEAD) +(/[^\r\n]*?) +(HTTP/1\.[01]\r?\n)")
_START = re.compile(rb"(GET|HEAD) +/[^\n]*")
_RAW = re.compile(rb"[^!-~]")

_log = log.get("collector.protocol")


class Protocol(RequestHandler):
    __slots__ = (
        "_app", "_back", "_clean", "_connections", "_due", "_ending", "_held", "_metrics", "_refused", "_remote"
    )  # fmt: skip

    def __init__(
        self, manager: web.Server, app: App, connections: Connections, metrics: Metrics, **options: object
    ) -> None:
        super().__init__(manager, **options)  # type: ignore[arg-type]
        self._app, self._connections, self._metrics = app, connections, metrics
        self._held = b""
        self._refused = False
        self._remote = ""
        self._clean = True  # aiohttp's parser has seen whole requests only, or none
        self._due: asyncio.Future[None] | None = None  # done when the quick request in hand is answered
        self._back = b""  # what came since
        self._ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._connections.opened(self, self._loop.time()):
            self._refused = True
            refusing = cast(asyncio.Transport, transport)
            refusing.write(_FULL)
            refusing.close()
            return
        super().connection_made(transport)
        peer = self.peername
        self._remote = peer[0] if isinstance(peer, tuple) else str(peer or "")

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._refused:
            self._connections.lost(self)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._due is not None:
            self._keep_back(data)
            return
        if self._clean and self._quick(data):
            return
        requests = self._request_count
        whole = self._clean and data.find(b"\r\n\r\n") == len(data) - 4
        self._receive(data)
        self._clean = whole and self._request_count == requests + 1 and self._messages[-1][1] is EMPTY_PAYLOAD
        if self._request_count != requests:
            self._connections.complete(self)
        elif self._current_request is None or self._current_request.content.is_eof():
            self._connections.incomplete(self, len(data), self._loop.time())

    def _quick(self, data: bytes) -> bool:
        """Whether this was a request that is answered here: at once, or when its hit is safe."""
        # aiohttp waits for the next request only when it is done with the last one. Where the client does not read its
        # replies, aiohttp is left to wait for it.
        if self._waiter is None or self._waiter.done() or self._messages or self._held or self._paused:
            return False
        began = time.perf_counter()
        answer = self._app.quick(data, self._remote)
        if answer is None:
            return False
        reply, waiter = answer
        self._connections.complete(self)
        self._connections.busy(self)
        if waiter is None:
            self._answer(reply, began)
            return True
        self._due = self._loop.create_future()

        def safe(waiter: asyncio.Future[Exception | None]) -> None:
            error = waiter.result()
            self._answer(reply if error is None else unavailable(error), began)

        waiter.add_done_callback(safe)
        return True

    def _answer(self, reply: Reply, began: float) -> None:
        now = self._loop.time()
        self._app.replied("pixel", reply.status, began)
        self._next_keepalive_close_time = now + self._keepalive_timeout
        if self.transport is not None:
            self.transport.write(reply.rendered())
            self._connections.idle(self, now)
        if self._due is None:
            return
        self._due.set_result(None)
        self._due = None
        back, self._back = self._back, b""
        if self._ending:
            self.close()
        elif back and self.transport is not None:
            if len(back) >= MAX_BACK:
                self.transport.resume_reading()
            self.data_received(back)

    def _keep_back(self, data: bytes) -> None:
        paused = len(self._back) >= MAX_BACK
        self._back += data
        if not paused and len(self._back) >= MAX_BACK and self.transport is not None:
            self.transport.pause_reading()

    def close(self) -> None:
        """Answer what is in hand, then close."""
        if self._due is not None:
            self._ending = True
        else:
            super().close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        if self._due is not None:
            await asyncio.wait({self._due}, timeout=timeout)
        await super().shutdown(timeout)

    def _receive(self, data: bytes) -> None:
        # Between two requests the next bytes are a request line; inside a body they are the client's.
        if self._current_request is None and not self._messages and not _PLAIN.match(data):
            data = self._mend(self._held + data)
            if not data:
                return
        super().data_received(data)

    def _mend(self, data: bytes) -> bytes:
        """The same bytes with a clean request target; nothing yet while the request line is not complete."""
        self._held = b""
        if _START.fullmatch(data) and len(data) <= MAX_LINE:
            self._held = data
            return b""
        match = _LINE.match(data)
        if match is None or not _RAW.search(match[2]):
            return data
        self._metrics.repaired.inc()
        target = _RAW.sub(lambda byte: b"%%%02X" % byte[0][0], match[2])
        return b"%b %b %b" % (match[1], target, match[3]) + data[match.end() :]

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """One counted reply instead of a traceback in the log for each request that is not HTTP."""
        if status >= 500:
            _log.error("request failed", status=status, exc_info=exc)
        else:
            self._metrics.malformed.inc()
        if request.writer.output_size > 0:
            raise ConnectionError("the reply has begun; the connection can only be closed")
        response = web.Response(
            status=status, text="not a request this server can read\n" if status < 500 else "failed\n"
        )
        response.force_close()
        return response


class Server(web.Server):
    """A low-level aiohttp server whose connections speak the protocol above."""

    def __init__(
        self,
        app: App,
        connections: Connections,
        metrics: Metrics,
        **options: object,
    ) -> None:
        super().__init__(self._handle)
        self._app, self._places, self._metrics, self._options = app, connections, metrics, options

    def __call__(self) -> RequestHandler:
        return Protocol(self, self._app, self._places, self._metrics, loop=self._loop, **self._options)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        self._places.busy(connection)
        try:
            return await self._app.handle(request)
        finally:
            self._places.idle(connection, self._loop.time())
