"""Replies that are the same each time: rendered once a second, written to the connection as they are.

`web.Response` renders its headers for each request: a fifth to two fifths of a pixel's CPU, in runs that varied as
much. Such a reply fits one kind of request only, see `fits`; any other is answered by `web.Response`, with the same
headers.

This leans on what aiohttp does not promise: of a response it uses `prepare`, `write_eof` and `keep_alive`, and nothing
is between it and the transport. The version is bounded in pyproject.toml, and tests compare the bytes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

from aiohttp import ClientConnectionResetError, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter


class Reply:
    """Status, headers and body of a reply, to be sent any number of times."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.status, self._headers, self._body = status, headers, body
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {headers[name]}" for name in headers)]
        if status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {len(body)}")
        self._head = "\r\n".join([*lines, "Date: "]).encode()
        self._second = 0
        self._rendered = b""

    def to(self, request: web.BaseRequest) -> web.StreamResponse:
        """What a handler returns, once for each request."""
        if fits(request):
            return _Rendered(self)
        return web.Response(status=self.status, headers=self._headers, body=self._body or None)

    def rendered(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._rendered = b"%b%b\r\n\r\n%b" % (self._head, formatdate(now, usegmt=True).encode(), self._body)
        return self._rendered


def fits(request: web.BaseRequest) -> bool:
    """Whether the reply has a body and says nothing about the connection, which stays open."""
    return request.version == HttpVersion11 and request.keep_alive and request.method != "HEAD"


class _Rendered(web.StreamResponse):
    """One sending of a reply. It has nothing of what aiohttp's own keeps of a reply."""

    _keep_alive = True

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._status = reply.status

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        writer, transport = request.writer, request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        data = self._reply.rendered()
        writer.output_size += len(data)
        transport.write(data)
        self._payload_writer = writer
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        # A client that does not read stops here, so that what it has asked for does not fill memory.
        await cast(AbstractStreamWriter, self._payload_writer).drain()
