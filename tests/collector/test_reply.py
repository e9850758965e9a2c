"""Replies rendered ahead are, byte for byte, what aiohttp makes of the same headers, and wait for a client to read."""

from __future__ import annotations

import asyncio
import re

import pytest
from aiohttp import web

from services.collector import pixel, reply
from tests.collector.conftest import Running

GET = b"GET /%b?n=%d HTTP/1.1\r\nHost: t\r\n\r\n"
_DATE = re.compile(rb"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")


async def _exchange(port: int, request: bytes) -> bytes:
    """All a connection answers to these bytes and an end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request + b"GET /robots.txt HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer[: answer.rindex(b"HTTP/1.1 200 OK")]


@pytest.mark.parametrize("path", [b"pixel.gif", b"pixel.png", b"i"])
async def test_the_bytes_are_those_of_aiohttp(collector: Running, monkeypatch: pytest.MonkeyPatch, path: bytes) -> None:
    ours = await _exchange(collector.port, GET % (path, 1))
    monkeypatch.setattr(reply, "fits", lambda _request: False)
    theirs = await _exchange(collector.port, GET % (path, 2))
    assert _DATE.search(ours)
    assert _DATE.sub(b"\r\n", ours) == _DATE.sub(b"\r\n", theirs)
    collector.hits(2)


def test_the_date_is_of_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    made = reply.Reply(200, {"Server": "t"}, b"x")
    for now, text in ((784111777.9, b"Sun, 06 Nov 1994 08:49:37 GMT"), (784111778.0, b"Sun, 06 Nov 1994 08:49:38 GMT")):
        monkeypatch.setattr(reply.time, "time", lambda now=now: now)
        head = b"HTTP/1.1 200 OK\r\nServer: t\r\nContent-Length: 1\r\nDate: " + text
        assert made.rendered() == head + b"\r\n\r\nx"


@pytest.mark.parametrize(
    ("line", "headers", "body", "closes"),
    [
        (b"HEAD /i HTTP/1.1", b"", b"", False),
        (b"GET /i HTTP/1.1", b"Connection: close\r\n", pixel.GIF, True),
        (b"GET /i HTTP/1.0", b"", pixel.GIF, True),
        (b"GET /i HTTP/1.0", b"Connection: keep-alive\r\n", pixel.GIF, False),
    ],
)
async def test_other_requests_get_a_reply_that_fits_them(
    collector: Running, line: bytes, headers: bytes, body: bytes, closes: bool
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    writer.write(line + b"\r\nHost: t\r\n" + headers + b"\r\n")
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(line[-8:] + b" 200 OK\r\n")
        assert await reader.readexactly(len(body)) == body
        assert (b"Connection: keep-alive" in head) == (b"keep-alive" in headers)
        if closes:
            assert await reader.read() == b""
        else:
            writer.write(GET % (b"i", 2))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()
    collector.hits(1 if closes else 2)


async def test_pipelined_requests_are_answered_in_order(collector: Running) -> None:
    asked = [b"pixel.gif", b"nowhere", b"pixel.png", b"robots.txt", b"i"] * 4
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    writer.write(b"".join(GET % (path, n) for n, path in enumerate(asked)))
    found = []
    async with asyncio.timeout(30):
        for _ in asked:
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = re.findall(rb"Content-Length: (\d+)", head)
            found.append(await reader.readexactly(int(length)))
    writer.close()
    assert found == [pixel.GIF, b"no such path\n", pixel.PNG, b"User-agent: *\nDisallow: /\n", pixel.GIF] * 4
    assert [hit.query for hit in collector.hits(12)] == [f"n={n}" for n in range(20) if n % 5 in (0, 2, 4)]


class _Writer:
    """A writer whose client does not read."""

    def __init__(self) -> None:
        self.output_size = 0
        self.reads = asyncio.Event()

    async def drain(self) -> None:
        await self.reads.wait()


class _Transport:
    def __init__(self, closing: bool = False) -> None:
        self.closing, self.written = closing, b""

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.written += data


class _Request:
    version, keep_alive, method = (1, 1), True, "GET"

    def __init__(self, transport: _Transport | None) -> None:
        self.transport, self.writer = transport, _Writer()


async def test_a_reply_is_done_when_its_client_reads() -> None:
    request = _Request(transport := _Transport())
    made = reply.Reply(200, {}, b"x")
    response = made.to(request)  # type: ignore[arg-type]
    await response.prepare(request)  # type: ignore[arg-type]
    assert transport.written == made.rendered()
    assert request.writer.output_size == len(transport.written)
    ending = asyncio.create_task(response.write_eof())
    await asyncio.sleep(0)
    assert not ending.done()
    request.writer.reads.set()
    await asyncio.wait_for(ending, 10)


@pytest.mark.parametrize("transport", [None, _Transport(closing=True)])
async def test_a_client_that_left_ends_the_connection(transport: _Transport | None) -> None:
    request = _Request(transport)
    response = reply.Reply(200, {}).to(request)  # type: ignore[arg-type]
    with pytest.raises(ConnectionError):
        await response.prepare(request)  # type: ignore[arg-type]
    assert isinstance(response, web.StreamResponse)
