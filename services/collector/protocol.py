"""aiohttp's HTTP protocol with two changes that keep hits and quiet logs.

A request target with raw UTF-8, Latin-1, spaces or control bytes, as old e-mail clients and hand-built links send, is
refused by the HTTP parser (400). Here such bytes are percent-encoded before the parser sees them, which loses nothing:
the processor decodes them again. Only the first request of a read is mended; one pipelined behind another is not.

This leans on what aiohttp does not promise (`data_received`, `handle_error`, `_current_request`, `_messages`), so the
version is bounded in pyproject.toml and tests hold the bytes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from services.collector.connections import Connections
from services.collector.metrics import Metrics
from services.shared import log

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
    __slots__ = ("_connections", "_held", "_metrics", "_refused")

    def __init__(self, manager: web.Server, connections: Connections, metrics: Metrics, **options: object) -> None:
        super().__init__(manager, **options)  # type: ignore[arg-type]
        self._connections, self._metrics = connections, metrics
        self._held = b""
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._connections.opened(self, self._loop.time()):
            self._refused = True
            refusing = cast(asyncio.Transport, transport)
            refusing.write(_FULL)
            refusing.close()
            return
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._refused:
            self._connections.lost(self)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        requests = self._request_count
        self._receive(data)
        if self._request_count != requests:
            self._connections.complete(self)
        elif self._current_request is None or self._current_request.content.is_eof():
            self._connections.incomplete(self, len(data), self._loop.time())

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
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        connections: Connections,
        metrics: Metrics,
        **options: object,
    ) -> None:
        super().__init__(self._handle)
        self._handler, self._places, self._metrics, self._options = handler, connections, metrics, options

    def __call__(self) -> RequestHandler:
        return Protocol(self, self._places, self._metrics, loop=self._loop, **self._options)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        self._places.busy(connection)
        try:
            return await self._handler(request)
        finally:
            self._places.idle(connection, self._loop.time())
