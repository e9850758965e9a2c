"""aiohttp's HTTP protocol, fed with whole heads and bodies instead of whatever arrives.

The bytes are cut first (framing.py), and each head is repaired (head.py): raw UTF-8, Latin-1, spaces and control bytes
in a target, as old e-mail clients and hand-built links send them, are percent-encoded. That loses nothing: the
processor decodes them. A malformed request is answered last, after all good ones before it. A client that half-closes
its connection still gets its replies.

This relies on internals of aiohttp (`data_received`, `eof_received`, `handle_error`, `_ErrInfo`, `_messages`,
`_max_msg_queue_size`, `_request_count`, `_waiter`, `_reading_paused`), so its version is bounded in pyproject.toml, and
tests pin the behaviour.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice

from aiohttp import hdrs, web
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from services.collector import head
from services.collector.connections import Connections
from services.collector.framing import Framer
from services.collector.head import MalformedRequest, Repairer
from services.collector.metrics import Metrics
from services.collector.reply import FRESH, TEXT, Reply, Silence, origin
from services.shared import log

MAX_BUFFERED = 65_536  # bytes buffered behind an unanswered request; above this, reading is paused
LINGER_SECONDS = 2.0  # how long a client may take to read its last reply before the connection is closed

_FAILED = Reply(500, TEXT, b"failed\n")
_REFUSED = {
    400: Reply(400, TEXT, b"not a request this server can read\n"),
    405: Reply(405, {**TEXT, **FRESH, "Allow": "GET, HEAD, POST, OPTIONS"}, b"method not allowed\n"),
    414: Reply(414, {**TEXT, **FRESH}, b"the request line is too long\n"),
    431: Reply(431, TEXT, b"the headers are too long\n"),
    505: Reply(505, TEXT, b"this server speaks HTTP/1.1\n"),
}

_log = log.get("collector.protocol")


class _BrokenOff(web.RequestPayloadError, TimeoutError):
    """A body that will never be complete.

    Also a TimeoutError: aiohttp reads on in the body of an answered request, and logs any other error.
    """


class _Ended(Exception):
    """There is nothing left to answer on this connection."""


class FramedHandler(RequestHandler):
    __slots__ = (
        "_buffer_full",
        "_client_gone",
        "_connections",
        "_eof",
        "_feed_paused",
        "_finished",
        "_framer",
        "_metrics",
        "_next_round",
        "_parser_paused",
        "_payload",
        "_refused_origin",
        "_repairer",
    )  # fmt: skip

    def __init__(
        self, manager: web.Server, connections: Connections, metrics: Metrics, repairer: Repairer, **options: object
    ) -> None:
        super().__init__(manager, **options)  # type: ignore[arg-type]
        self._connections, self._metrics, self._repairer = connections, metrics, repairer
        self._framer = Framer()
        self._payload: StreamReader = EMPTY_PAYLOAD  # the body of the last request given to aiohttp
        self._feed_paused = False  # a reply of the fast path is pending: aiohttp gets nothing
        self._buffer_full = False  # reading is paused because so much is buffered
        self._next_round: asyncio.Handle | None = None
        self._parser_paused = False
        self._eof = False  # the client has half-closed
        self._finished = False  # whatever else arrives is ignored
        self._refused_origin = b""
        self._client_gone: asyncio.Future[None] | None = None  # set while lingering

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._finished and (self._framer.in_body or len(self._framer)):
            self._metrics.unfinished.inc()
        self._finished = True
        self._framer.clear()
        self._set_client_gone()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not data:  # aiohttp has room again; this is its call for each chunk that a handler reads
            if self._parser_paused:
                self._parser_paused = False
                self._feed_aiohttp(data)
            if self._eof or not self._framer.idle:
                self._advance_soon()
            return
        if self._finished:
            return
        if not self._reading_paused and self._framer.take(data):
            self._feed_aiohttp(data)
        else:
            self._framer.add(data)
            self._advance()

    def pause_reading(self) -> None:
        self._parser_paused = True  # it may still hold a part of what it was given
        super().pause_reading()

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Whether the connection stays open because replies are pending."""
        self._set_client_gone()
        if not self._eof:
            self._eof = True
            self._advance()
        return not self._parser_idle()

    def _parser_idle(self) -> bool:
        """Whether aiohttp is waiting for a request and none is pending."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and not self._messages and not self._feed_paused

    def _advance_soon(self) -> None:
        """Advance in the event loop's next round."""
        if self._next_round is None:
            self._next_round = self._loop.call_soon(self._advance)

    def _advance(self) -> None:
        """Feed aiohttp as much of the buffer as it takes."""
        self._next_round = None
        needs_more = False  # from the client
        while not (needs_more or self._finished or self._feed_paused or self._reading_paused):
            if self._framer.in_body:
                needs_more = not self._next_body()
                if self._framer.in_chunks and not needs_more:
                    self._advance_soon()  # other connections first: chunks may be tiny
                    break
            elif len(self._messages) < self._max_msg_queue_size and self._queued_body_bytes() < MAX_BUFFERED:
                needs_more = not self._next_request()
            else:
                break
        self._account(needs_more)
        if needs_more and self._eof:
            self._end()

    def answered(self) -> None:
        """Called when aiohttp has handled a request: continue with those behind it."""
        if self._eof or len(self._framer) or self._messages:
            self._advance()

    def _queued_body_bytes(self) -> int:
        """Bytes of bodies in aiohttp's queue, of requests that wait for earlier ones."""
        if not self._messages:
            return 0
        next_one = self._waiter is not None
        return sum(payload.total_bytes for _, payload in islice(self._messages, int(next_one), None))

    def _account(self, needs_more: bool) -> None:
        """Report what is buffered, waiting for the client or for room here; pause reading if it is a lot."""
        size = len(self._framer)
        if size and needs_more:
            self._connections.incomplete(self, size, self._loop.time())
        elif waiting := size + self._queued_body_bytes():
            self._connections.incomplete(self, waiting, None)
        else:
            self._connections.complete(self)
        if size >= MAX_BUFFERED and not needs_more:
            self._buffer_full = True
            self._pause_transport_reading()  # every time, since aiohttp may have resumed it
        elif self._buffer_full:
            self._buffer_full = False
            if not (self._reading_paused or self._buffer_paused):
                self._resume_transport_reading()

    def _next_body(self) -> bool:
        try:
            data = self._framer.body()
        except MalformedRequest:
            self._break_off()
            return True
        if data:
            self._feed_aiohttp(data)
        return bool(data)

    def _feed_aiohttp(self, data: bytes) -> None:
        """Feed aiohttp a part of a body."""
        before = self._request_count
        super().data_received(data)
        for _ in range(self._request_count - before):  # the parser rejected a body, not a request
            self._messages.pop()
        if self._request_count != before or (self._framer.in_body and self._payload.is_eof()):
            self._break_off()

    def _next_request(self) -> bool:
        data = b""
        try:
            if (found := self._framer.head()) is None:
                return False
            data = found
            data, raw = self._repairer.repair(found)
        except MalformedRequest as error:
            self._refuse(error.status, head.origin(data or self._framer.waiting()))
            return True
        if not self._payload.is_eof():  # the parser disagrees about where the last body ends
            self._break_off()
            return True
        if raw:
            self._metrics.repaired.inc()
        before = self._request_count
        super().data_received(data)
        self._connections.complete(self)
        if self._request_count == before:  # aiohttp is closing the connection
            self._refuse(400, head.origin(data))
            return True
        message, payload = self._messages[-1]
        if isinstance(message, _ErrInfo):
            self._messages.pop()
            self._refuse(400, head.origin(data))
            return True
        self._payload = payload
        if payload is not EMPTY_PAYLOAD:
            self._framer.expect(None if message.chunked else int(message.headers[hdrs.CONTENT_LENGTH]))
        return True

    def _refuse(self, status: int, origin: bytes) -> None:
        """Answer with this status after all good requests before it, then close the connection."""
        self._refused_origin = origin
        self._queue_last(_ErrInfo(status, MalformedRequest(status), ""))

    def _break_off(self) -> None:
        """The current body will never be complete: its request is answered, and nothing after it."""
        if not self._payload.is_eof():
            self._payload.set_exception(_BrokenOff("it breaks off"))
            self._payload.feed_eof()
        if not self._finished:
            self._queue_last(_ErrInfo(400, _Ended(), ""))

    def _end(self) -> None:
        """The client has half-closed."""
        if self._framer.in_body or len(self._framer):
            self._metrics.unfinished.inc()
        if self._framer.in_body:
            self._break_off()
        elif self._parser_idle():
            self._finished = True
            if self.transport is not None:
                self.transport.close()
        else:
            self._queue_last(_ErrInfo(400, _Ended(), ""))

    def _queue_last(self, message: _ErrInfo) -> None:
        self._finished = True
        self._framer.clear()
        self._connections.complete(self)
        self._request_count += 1
        self._messages.append((message, EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Malformed requests are answered and counted, without a traceback in the log."""
        if isinstance(exc, _Ended):
            return Silence(self._linger)
        if isinstance(exc, MalformedRequest):
            self._metrics.malformed.inc()
            return _REFUSED[exc.status].last(self._refused_origin, self._linger)
        if self.transport is None and isinstance(exc, ConnectionError | RuntimeError):  # by aiohttp's body reader
            raise ConnectionError("the client left")
        _log.error("request failed", status=status, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the reply has begun; the connection can only be closed")
        return _FAILED.last(origin(request.headers.get(hdrs.ORIGIN, "")), self._linger)

    def drop(self) -> None:
        """Close the connection now, discarding what the client has not read."""
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    async def _linger(self) -> None:
        """Let the client read its last reply. Closing while it still sends would reset the connection and lose it."""
        if self._eof or self.transport is None or self.transport.is_closing():
            return
        self._client_gone = self._loop.create_future()
        with suppress(OSError):  # the client is gone
            self.transport.write_eof()
        await asyncio.wait({self._client_gone}, timeout=LINGER_SECONDS)

    async def linger_behind(self) -> None:
        """Linger after the last request of a connection, if the client sent more behind it."""
        if self._messages or len(self._framer):
            await self._linger()

    def _set_client_gone(self) -> None:
        if self._client_gone is not None and not self._client_gone.done():
            self._client_gone.set_result(None)
