"""aiohttp's HTTP protocol with three changes: two that keep hits and quiet logs, one for speed.

A request target with raw UTF-8, Latin-1, spaces or control bytes, as old e-mail clients and hand-built links send, is
refused by the HTTP parser (400). Here such bytes are percent-encoded before the parser sees them, which loses nothing:
the processor decodes them again. Only the first request of a read is mended; one pipelined behind another is not.

A pixel's plain GET, alone on a connection on which aiohttp waits for a request, is answered without aiohttp (quick.py).
Until it is answered what follows it is kept back, a little of it, so that replies stay in order. What aiohttp answers
is no obstacle for the next one, as long as it is known where its parser stands: a connection of a load balancer carries
requests of many clients, posts and pixels.

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
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
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
        "_app", "_back", "_began", "_clean", "_connections", "_ending", "_fed", "_head", "_held", "_holding",
        "_metrics", "_payload", "_refused", "_released", "_remote", "_reply", "_seen"
    )  # fmt: skip

    def __init__(
        self, manager: web.Server, app: App, connections: Connections, metrics: Metrics, **options: object
    ) -> None:
        super().__init__(manager, **options)  # type: ignore[arg-type]
        self._app, self._connections, self._metrics = app, connections, metrics
        self._held = b""
        self._refused = False
        self._remote = ""
        # aiohttp's parser is at the beginning of a request. Until it is there again: what it had seen then, the bytes
        # fed to it since, those of the head among them, and the body that is on its way.
        self._clean = True
        self._seen = self._fed = self._head = 0
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._holding = False  # what comes is kept back
        self._back = b""
        self._ending = False
        self._released: asyncio.Future[None] | None = None  # where somebody waits until nothing is kept back
        self._reply: Reply | None = None  # the one that is due, to a request that began then
        self._began = 0.0

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
        if self._holding:
            self._keep_back(data)
        elif self._refused:
            return
        elif not self._clean:
            self._pass(data)
        elif self._waiter is None:
            # aiohttp has replied and does not wait yet, or it is at work: it is known which in the loop's next round.
            self._holding = True
            self._back = data
            self._loop.call_soon(self._release)
        elif not self._quick(data):
            self._pass(data)

    def _quick(self, data: bytes) -> bool:
        """Whether this was a request that is answered here: at once, or when its hit is safe."""
        # aiohttp waits for the next request only when it is done with the last one. Where the client does not read its
        # replies, aiohttp is left to wait for it.
        waiter = self._waiter
        if waiter is None or self._messages or self._held or self._paused or waiter.done():
            return False
        began = time.perf_counter()
        answer = self._app.quick(data, self._remote, self._safe)
        if answer is None:
            return False
        reply, now = answer
        self._connections.complete(self)
        self._connections.busy(self)
        if now:
            self._answer(reply, began)
        else:
            self._holding = True
            self._reply, self._began = reply, began
        return True

    def _safe(self, error: Exception | None) -> None:
        """The hit is, or why it is not."""
        self._answer(cast(Reply, self._reply) if error is None else unavailable(error), self._began)
        self._release()

    def _answer(self, reply: Reply, began: float) -> None:
        now = self._loop.time()
        self._app.replied("pixel", reply.status, began)
        self._next_keepalive_close_time = now + self._keepalive_timeout
        if self.transport is not None:
            self.transport.write(reply.rendered())
            self._connections.idle(self, now)

    def _keep_back(self, data: bytes) -> None:
        paused = len(self._back) >= MAX_BACK
        self._back += data
        if not paused and len(self._back) >= MAX_BACK and self.transport is not None:
            self.transport.pause_reading()

    def _release(self) -> None:
        """Go on with what was kept back."""
        self._holding = False
        if self._released is not None:
            self._released.set_result(None)
            self._released = None
        back, self._back = self._back, b""
        if self._ending:
            self.close()
        elif back and self.transport is not None:
            if len(back) >= MAX_BACK:
                self.transport.resume_reading()
            if not (self._clean and self._quick(back)):
                self._pass(back)

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

    def _pass(self, data: bytes) -> None:
        """Have aiohttp read it, and find out whether its parser is at the beginning of a request then."""
        before = self._request_count
        if self._clean:
            self._seen, self._fed, self._head = before, 0, data.find(b"\r\n\r\n") + 4
        self._fed += len(data)
        self._receive(data)
        if self._request_count != before:
            self._payload = self._messages[-1][1]
            self._connections.complete(self)
        elif self._current_request is None or self._current_request.content.is_eof():
            self._connections.incomplete(self, len(data), self._loop.time())
        # What is left of a request that the parser has seen in part is not known, so all must be known to be seen.
        self._clean = (
            self._request_count == self._seen + 1
            and self._payload.is_eof()
            and self._fed == self._head + self._payload.total_bytes
        )

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
