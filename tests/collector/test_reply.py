"""Every reply, byte for byte: what clients need and nothing else, whoever answers, and for pages of any origin."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import pytest
from aiohttp import web

from services.collector import pixel, reply
from tests.collector.conftest import Running, Start
from tests.collector.wire import exchange, get, post, read

GET = b"GET /%b?n=%d HTTP/1.1\r\nHost: t\r\n\r\n"
_DATE = re.compile(rb"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")
ORIGIN = "https://shop.example.com"


async def _bytes(port: int, request: bytes) -> bytes:
    """All a connection answers to a request and the end of its client's side, without the date."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert len(_DATE.findall(answer)) == 1
    return _DATE.sub(b"\r\n", answer)


IMAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: image/%b\r\nCross-Origin-Resource-Policy: cross-origin\r\n"
    b"Cache-Control: no-store\r\nContent-Length: %d\r\n%b\r\n%b"
)
CORS = (
    b"Access-Control-Allow-Origin: https://shop.example.com\r\nAccess-Control-Allow-Credentials: true\r\n"
    b"Vary: Origin\r\n"
)


@pytest.mark.parametrize(
    ("path", "kind", "image"),
    [(b"/pixel.gif", b"gif", pixel.GIF), (b"/pixel.png", b"png", pixel.PNG), (b"/i", b"gif", pixel.GIF)],
)
async def test_a_pixels_reply_has_what_clients_need_and_no_more(
    collector: Running, path: bytes, kind: bytes, image: bytes
) -> None:
    origin = b"Origin: https://shop.example.com"
    for slow in ([], [b"TE: trailers"]):  # by the fast path and by aiohttp
        assert await _bytes(collector.port, get(path, *slow)) == IMAGE % (kind, len(image), b"", image)
        assert await _bytes(collector.port, get(path, origin, *slow)) == IMAGE % (kind, len(image), CORS, image)
    collector.hits(4)


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (post(b"{}"), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (
            post(b""),
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n"
            b'{"error":"the body is empty"}',
        ),
        (
            get(b"/nowhere"),
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n"
            b"Content-Length: 13\r\n\r\nno such path\n",
        ),
        (
            get(b"/events"),
            b"HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n"
            b"Allow: POST, OPTIONS\r\nContent-Length: 19\r\n\r\nmethod not allowed\n",
        ),
        (
            get(b"/robots.txt"),
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 26\r\n\r\nUser-agent: *\nDisallow: /\n",
        ),
        (
            b"nonsense\r\n",
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 35\r\nConnection: close\r\n"
            b"\r\nnot a request this server can read\n",
        ),
    ],
)
async def test_other_replies_are_as_short(collector: Running, request_bytes: bytes, answer: bytes) -> None:
    found = await _bytes(collector.port, request_bytes)
    assert found == answer
    collector.hits(1 if b" 204 " in answer else 0)


PAGE = b"Origin: " + ORIGIN.encode()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get(b"/i", PAGE), 200),
        (get(b"/i?n=\xe9", PAGE), 200),
        (get(b"/robots.txt", PAGE), 200),
        (post(b"{}", PAGE), 204),
        (get(b"/nowhere", PAGE), 404),
        (get(b"/events", PAGE), 405),
        (post(b"{", PAGE), 400),
        (post(b"[" + b"{}," * 2_000 + b"{}]", PAGE), 413),
        (post(b'{"a": "' + b"x" * 1_100_000 + b'"}', PAGE), 413),
        (post(b"{}", PAGE, b"Content-Type: image/png"), 415),
        (post(b"{}", PAGE, b"Content-Encoding: br"), 415),
        (get(b"/i", PAGE, b"Host: u"), 400),
        (get(b"/i", PAGE, b"no header"), 400),
        (get(b"/i", PAGE, b"X: " + b"y" * 20_000), 431),
        (get(b"/i", PAGE, b"Cookie: " + b"y" * 100_000), 431),
        (b"GET /i HTTP/2.0\r\nHost: t\r\n" + PAGE + b"\r\n\r\n", 505),
        (b"OPTIONS /events HTTP/1.1\r\nHost: t\r\n" + PAGE + b"\r\n\r\n", 204),
        (b"HEAD /i HTTP/1.1\r\nHost: t\r\n" + PAGE + b"\r\n\r\n", 200),
        (b"GET /i HTTP/1.0\r\n" + PAGE + b"\r\n\r\n", 200),
    ],
)
async def test_a_page_may_read_every_reply(collector: Running, request_bytes: bytes, status: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    writer.write(request_bytes)
    answer = await asyncio.wait_for(read(reader, request_bytes), 20)
    writer.close()
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"
    assert "server" not in answer.headers


async def test_a_page_may_read_that_its_hit_is_not_safe(start: Start) -> None:
    collector = await start(hits_topic="no-such-topic")
    for request in (get(b"/i", PAGE), get(b"/i", PAGE, b"TE: x"), post(b"{}", PAGE)):
        (answer,) = await exchange(collector.port, request, replies=1)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("value", [b"", b"a b", b"\xff", b"x" * 513, b"caf\xc3\xa9"])
async def test_what_no_browser_sends_as_origin_is_not_echoed(collector: Running, value: bytes) -> None:
    for slow in ([], [b"TE: trailers"]):
        (answer,) = await exchange(collector.port, get(b"/i", b"Origin: " + value, *slow), replies=1)
        assert answer.status == 200
        assert "access-control-allow-origin" not in answer.headers
    collector.hits(2)


async def test_each_page_gets_its_own_origin(collector: Running) -> None:
    pages = [b"https://a.example", b"null", b"http://localhost:8080", b"app://-"]
    replies = await exchange(collector.port, *[get(b"/i", b"Origin: " + page) for page in pages], replies=4)
    assert [answer.headers["access-control-allow-origin"].encode() for answer in replies] == pages
    collector.hits(4)


@pytest.mark.parametrize("target", [b"/events", b"/i", b"/pixel.gif", b"/robots.txt", b"/nowhere", b"/a/b?c", b"*"])
async def test_a_preflight_is_answered_on_every_path(collector: Running, target: bytes) -> None:
    asked = [PAGE, b"Access-Control-Request-Method: PUT", b"Access-Control-Request-Headers: x-write-key,sentat"]
    request = get(target, *asked).replace(b"GET", b"OPTIONS", 1)
    (answer,) = await exchange(collector.port, request, replies=1)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-methods"] == "PUT"
    assert answer.headers["access-control-allow-headers"] == "x-write-key,sentat"
    assert int(answer.headers["access-control-max-age"]) >= 7200


@pytest.mark.parametrize(
    "asked",
    [
        [],
        [b"Access-Control-Request-Method: G\xc3\x89T", b"Access-Control-Request-Headers: x\xff"],
        [b"Access-Control-Request-Method: " + b"A" * 25, b"Access-Control-Request-Headers: " + b"a" * 1_025],
        [b"Access-Control-Request-Method: A B", b'Access-Control-Request-Headers: "x"; y'],
    ],
)
async def test_what_a_preflight_asks_is_reflected_within_bounds(collector: Running, asked: list[bytes]) -> None:
    (answer,) = await exchange(collector.port, get(b"/i", *asked).replace(b"GET", b"OPTIONS", 1), replies=1)
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    assert answer.headers["access-control-allow-headers"] == "Content-Type, Content-Encoding"


def test_the_date_is_of_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    made = reply.Reply(200, {"X": "t"}, b"x")
    for now, text in ((784111777.9, b"Sun, 06 Nov 1994 08:49:37 GMT"), (784111778.0, b"Sun, 06 Nov 1994 08:49:38 GMT")):
        monkeypatch.setattr(reply.time, "time", lambda now=now: now)
        head = b"HTTP/1.1 200 OK\r\nX: t\r\nContent-Length: 1\r\nDate: " + text
        assert made.rendered() == made.render() == head + b"\r\n\r\nx"


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
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert await reader.readexactly(len(body)) == body
        assert (b"Connection: keep-alive" in head) == (b"keep-alive" in headers)
        assert (b"Connection: close" in head) == closes
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
    headers: Mapping[str, str] = {}

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
