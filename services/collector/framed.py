"""aiohttp's HTTP protocol, given whole heads and bodies instead of whatever arrives.

What arrives is cut first (framing.py), and each head is repaired (head.py): raw UTF-8, Latin-1, spaces and control
bytes in a target, as old e-mail clients and hand-built links send, are percent-encoded, which loses nothing: the
processor decodes them again. A request that cannot be read is answered last, after all good ones before it. A client
that ends its side gets its replies first.

This leans on what aiohttp does not promise (`data_received`, `eof_received`, `handle_error`, `_ErrInfo`, `_messages`,
`_max_msg_queue_size`, `_request_count`, `_waiter`, `_reading_paused`), so the version is bounded in pyproject.toml and
tests hold the behaviour.
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
from services.collector.head import Refused, Repairer
from services.collector.metrics import Metrics
from services.collector.reply import FRESH, TEXT, Reply, Silence, origin
from services.shared import log

MAX_BACK = 65_536  # bytes buffered behind a request that is not answered yet; above it, reading is paused
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
    """A body that will not be complete.

    Also a TimeoutError: where the request is already answered, aiohttp still reads its body, and logs anything else.
    """


class _Ended(Exception):
    """There is nothing more to answer on this connection."""


class FramedHandler(RequestHandler):
    __slots__ = (
        "_connections", "_eof", "_framer", "_full", "_gone", "_holding", "_metrics", "_next_round",
        "_over", "_parser_paused", "_payload", "_refused_origin", "_repairer",
    )  # fmt: skip

    def __init__(
        self, manager: web.Server, connections: Connections, metrics: Metrics, repairer: Repairer, **options: object
    ) -> None:
        super().__init__(manager, **options)  # type: ignore[arg-type]
        self._connections, self._metrics, self._repairer = connections, metrics, repairer
        self._framer = Framer()
        self._payload: StreamReader = EMPTY_PAYLOAD  # the body of the last request that aiohttp was given
        self._holding = False  # aiohttp gets nothing for now
        self._full = False  # so much is buffered that reading is paused
        self._next_round: asyncio.Handle | None = None
        self._parser_paused = False
        self._eof = False  # the client has ended its side
        self._over = False  # whatever else arrives is ignored
        self._refused_origin = b""
        self._gone: asyncio.Future[None] | None = None  # while the last reply waits for the client to end its side

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._over and (self._framer.in_body or len(self._framer)):
            self._metrics.unfinished.inc()
        self._over = True
        self._framer.clear()
        self._set_gone()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not data:  # aiohttp has room again; it says so for each chunk that a handler reads
            if self._parser_paused:
                self._parser_paused = False
                self._feed(data)
            if self._eof or not self._framer.idle:
                self._advance_soon()
            return
        if self._over:
            return
        if not self._reading_paused and self._framer.take(data):
            self._feed(data)
        else:
            self._framer.add(data)
            self._advance()

    def pause_reading(self) -> None:
        self._parser_paused = True  # and may keep a part of what it was given
        super().pause_reading()

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Whether the connection stays open, for replies that are due."""
        self._set_gone()
        if not self._eof:
            self._eof = True
            self._advance()
        return not self._idle()

    def _idle(self) -> bool:
        """Whether aiohttp is waiting for a request and none is pending."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and not self._messages and not self._holding

    def _advance_soon(self) -> None:
        """Advance in the event loop's next round."""
        if self._next_round is None:
            self._next_round = self._loop.call_soon(self._advance)

    def _advance(self) -> None:
        """Give aiohttp as much of what is buffered as it takes."""
        self._next_round = None
        needs_more = False  # from the client
        while not (needs_more or self._over or self._holding or self._reading_paused):
            if self._framer.in_body:
                needs_more = not self._next_body()
                if self._framer.in_chunks and not needs_more:
                    self._advance_soon()  # other connections first: chunks may be tiny
                    break
            elif len(self._messages) < self._max_msg_queue_size and self._behind() < MAX_BACK:
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

    def _behind(self) -> int:
        """Bytes of bodies in aiohttp's queue whose requests wait for earlier ones."""
        if not self._messages:
            return 0
        next_one = self._waiter is not None
        return sum(payload.total_bytes for _, payload in islice(self._messages, int(next_one), None))

    def _account(self, needs_more: bool) -> None:
        """Report what is buffered, for want of more from the client or of room here; pause reading if it is a lot."""
        size = len(self._framer)
        if size and needs_more:
            self._connections.incomplete(self, size, self._loop.time())
        elif waiting := size + self._behind():
            self._connections.incomplete(self, waiting, None)
        else:
            self._connections.complete(self)
        if size >= MAX_BACK and not needs_more:
            self._full = True
            self._pause_transport_reading()  # every time, since aiohttp may have resumed it
        elif self._full:
            self._full = False
            if not (self._reading_paused or self._buffer_paused):
                self._resume_transport_reading()

    def _next_body(self) -> bool:
        try:
            data = self._framer.body()
        except Refused:
            self._break_off()
            return True
        if data:
            self._feed(data)
        return bool(data)

    def _feed(self, data: bytes) -> None:
        """Give aiohttp part of a body."""
        before = self._request_count
        super().data_received(data)
        for _ in range(self._request_count - before):  # what its parser refused is a body, not a request
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
        except Refused as error:
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
        """Answer this after all good requests before it, then close the connection."""
        self._refused_origin = origin
        self._last(_ErrInfo(status, Refused(status), ""))

    def _break_off(self) -> None:
        """The current body will not be complete: its request is answered, and nothing after it."""
        if not self._payload.is_eof():
            self._payload.set_exception(_BrokenOff("it breaks off"))
            self._payload.feed_eof()
        if not self._over:
            self._last(_ErrInfo(400, _Ended(), ""))

    def _end(self) -> None:
        """The client has ended its side."""
        if self._framer.in_body or len(self._framer):
            self._metrics.unfinished.inc()
        if self._framer.in_body:
            self._break_off()
        elif self._idle():
            self._over = True
            if self.transport is not None:
                self.transport.close()
        else:
            self._last(_ErrInfo(400, _Ended(), ""))

    def _last(self, message: _ErrInfo) -> None:
        self._over = True
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
        """Requests that are not HTTP are answered and counted, without a traceback in the log."""
        if isinstance(exc, _Ended):
            return Silence(self._linger)
        if isinstance(exc, Refused):
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
        self._gone = self._loop.create_future()
        with suppress(OSError):  # the client has left
            self.transport.write_eof()
        await asyncio.wait({self._gone}, timeout=LINGER_SECONDS)

    async def linger_behind(self) -> None:
        """The same after a request that ends the connection, if the client sent more behind it."""
        if self._messages or len(self._framer):
            await self._linger()

    def _set_gone(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
