"""Replies as raw bytes, with only the headers that clients need.

Each reply has its own few headers, `Content-Length`, `Date`, which HTTP requires of a server with a clock, and for a
page of another origin the three of CORS. What all requests share is rendered once a second. `web.Response` adds a
`Server` header and renders for each request, which takes a fifth to two fifths of a pixel's CPU.

This relies on internals of aiohttp: it uses only `prepare`, `write_eof` and `keep_alive` of a response, and writes
straight to the transport. Its version is bounded in pyproject.toml, and tests pin the bytes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import cast

from aiohttp import ClientConnectionResetError, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

TEXT = {"Content-Type": "text/plain"}
FRESH = {"Cache-Control": "no-store"}  # for replies a cache might keep: to a GET, with 200, 404, 405 and 414

_ORIGIN = re.compile(r"[!-~]{1,512}")
_VARY = b"Vary: Origin\r\n"
_CLOSE, _KEEP = b"Connection: close\r\n", b"Connection: keep-alive\r\n"


class Reply:
    """A reply's status, headers and body, which can be sent any number of times.

    `cached`: caches keep it, and must know that it differs by Origin even where they see it without one.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"", *, cached: bool = False) -> None:
        self.status, self._headers, self._body, self._without_origin = status, headers, body, _VARY if cached else b""
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {headers[name]}" for name in headers)]
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            lines.append(f"Content-Length: {len(body)}")
        self._head = "\r\n".join([*lines, ""]).encode()
        self._second = 0
        self._rendered = b""

    def with_cookie(self, set_cookie: str) -> Reply:
        """The same reply, with this value of Set-Cookie if it is not "". Caches must not keep it."""
        if not set_cookie:
            return self
        return Reply(self.status, {**self._headers, "Set-Cookie": set_cookie}, self._body)

    def to(self, request: web.BaseRequest) -> Sending:
        """What a handler returns for this request."""
        extra = cors(origin(request.headers.get("Origin", ""))) or self._without_origin
        if not request.keep_alive:
            return Sending(self.status, self.render(extra + _CLOSE, body=request.method != "HEAD"), keep_alive=False)
        if request.version != HttpVersion11:
            extra += _KEEP
        if extra or request.method == "HEAD":
            return Sending(self.status, self.render(extra, body=request.method != "HEAD"))
        return Sending(self.status, self.rendered())

    def last(self, origin: bytes, then: Callable[[], Awaitable[None]]) -> Sending:
        """What a handler returns for a connection's last request. `then` is awaited before the connection closes."""
        return Sending(self.status, self.render(cors(origin) + _CLOSE), keep_alive=False, then=then)

    def rendered(self) -> bytes:
        """The bytes for an HTTP/1.1 request without an Origin that keeps the connection open."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._rendered = self.render()
        return self._rendered

    def render(self, extra: bytes = b"", *, body: bool = True) -> bytes:
        """The bytes with `extra` header lines, each including its line end."""
        return b"%b%b%b\r\n%b" % (self._head, _date(int(time.time())), extra, self._body if body else b"")


@lru_cache(2)
def _date(now: int) -> bytes:
    return b"Date: %b\r\n" % formatdate(now, usegmt=True).encode()


def origin(value: str) -> bytes:
    """The value of an Origin header, safe to echo; empty for none, and for values no browser sends."""
    return value.encode() if _ORIGIN.fullmatch(value) else b""


def cors(origin: bytes) -> bytes:
    """The header lines that let a page of `origin` read the reply; none without an origin.

    Trackers send credentials, which a browser allows only with the page's own origin, never with `*`.
    """
    if not origin:
        return b""
    return b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Allow-Credentials: true\r\n%b" % (origin, _VARY)


class Silence(web.StreamResponse):
    """No reply, when nothing is left to answer on a connection: `then` is awaited before it closes."""

    _keep_alive = False

    def __init__(self, then: Callable[[], Awaitable[None]]) -> None:
        self._status, self._then = HTTPStatus.NO_CONTENT, then

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        await self._then()


class Sending(web.StreamResponse):
    """A reply being sent once, without the state that aiohttp's own responses have.

    `then` is awaited after it was sent.
    """

    def __init__(
        self,
        status: int,
        data: bytes,
        *,
        keep_alive: bool = True,
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._status, self._data, self._keep_alive, self.then = status, data, keep_alive, then

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        writer, transport = request.writer, request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        writer.output_size += len(self._data)
        transport.write(self._data)
        self._payload_writer = writer
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        # A client that does not read is held here, so that its replies do not fill memory.
        await cast(AbstractStreamWriter, self._payload_writer).drain()
        if self.then is not None:
            await self.then()
