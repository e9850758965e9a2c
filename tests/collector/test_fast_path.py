"""A plain GET is parsed as aiohttp parses it, and its connection behaves like any other."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD
from hypothesis import example, given
from hypothesis import strategies as st

from services.collector import pixel, reply
from services.collector.app import App
from services.collector.fast_path import LARGEST, FastParser, encode
from services.collector.privacy import UNTREATED
from services.shared import hit
from tests.collector.conftest import Running, Start
from tests.collector.policies import protection
from tests.waiting import until

NAMES = ("user-agent", "referer", "accept-language", "host")
PROTECTION = protection()
GET = b"GET /i?n=%d HTTP/1.1\r\nHost: t\r\n\r\n"

_TOKEN = st.sampled_from(
    [
        "Host",
        "host",
        "User-Agent",
        "Referer",
        "Accept-Language",
        "X-Forwarded-For",
        "Origin",
        "Connection",
        "Content-Length",
        "TE",
        "Transfer-Encoding",
        "Expect",
        "Upgrade",
        "Accept",
        "X_Y",
        "Cookie",
        "",
        "Bad Name",
        "a:b",
    ]
)
_VALUE = st.sampled_from(
    [b"t", b"", b"https://shop.example", b" keep-alive ", b"close", b"0", b"5", b"chunked", b"h2c", b"1.2.3.4, 5.6.7.8"]
) | (st.binary(max_size=12))
_LINES = st.lists(
    st.builds(
        lambda name, gap, value: name.encode() + gap + value, _TOKEN, st.sampled_from([b": ", b":", b" : "]), _VALUE
    ),
    max_size=6,
)
_TARGET = st.sampled_from([b"/i", b"/", b"/i?a=1&b=%20", b"//x", b"/i#f", b"*", b"http://h/i", b"", b"/i?q=[1]"]) | (
    st.binary(max_size=10).map(lambda tail: b"/i?" + tail)
)
_START = st.sampled_from(
    [b"GET %b HTTP/1.1", b"GET %b HTTP/1.0", b"HEAD %b HTTP/1.1", b"POST %b HTTP/1.1", b"get %b HTTP/1.1"]
)


@given(_START, _TARGET, _LINES, st.sampled_from([b"\r\n\r\n", b"\r\n", b"\n\n", b"\r\n\r\nx"]))
@example(b"GET %b HTTP/1.1", b"/i", [b"Host: t", b"Host: t"], b"\r\n\r\n")
@example(b"GET %b HTTP/1.1", b"/i", [b"Host: t", b"User-Agent: z\xc3\xb6 \xff\t"], b"\r\n\r\n")
@example(b"GET %b HTTP/1.1", b"/i", [b"Host: t", b"X-Forwarded-For: a", b"x-forwarded-for:b"], b"\r\n\r\n")
@example(b"GET %b HTTP/1.1", b"/i", [b"Host: t", b" folded"], b"\r\n\r\n")
def test_aiohttp_parses_the_same_request_to_the_same_values(
    start: bytes, target: bytes, lines: list[bytes], end: bytes
) -> None:
    data = b"\r\n".join([start % target, *lines]) + end
    parsed = FastParser(NAMES, PROTECTION).parse(data)
    if parsed is None:
        return
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, max_line_size=131_072)
        ((message, payload),), upgraded, tail = parser.feed_data(data)
    finally:
        loop.close()
    path, query, kept, forwarded, origin, *_ = parsed
    assert (message.method, message.version) == ("GET", (1, 1))
    assert message.path.partition("?")[::2] == (path.decode(), query.decode())
    assert payload is EMPTY_PAYLOAD and not (
        message.should_close or message.upgrade or message.chunked or upgraded or tail
    )
    assert forwarded == message.headers.get("X-Forwarded-For", "")
    assert origin == reply.origin(message.headers.get("Origin", ""))
    headers = {name: message.headers[name] for name in NAMES if name in message.headers}
    captured = hit.encode(
        PROTECTION.clean(hit.Hit("a", 5, "GET", path.decode(), query.decode(), headers, forwarded), UNTREATED)
    )
    assert _hit(encode("a", 5, path, query, kept, hit.text(forwarded))) == _hit(captured)


def _hit(line: bytes) -> hit.Hit:
    (one,) = hit.unpack(*hit.pack([line], "p"))
    return one


@pytest.mark.parametrize(
    ("data", "unambiguous"),
    [
        (b"GET /i?a=%C3%BC&b=1 HTTP/1.1\r\nHost: t\r\n\r\n", True),
        (b"GET /i HTTP/1.1\r\nhost:t\r\nConnection: Keep-Alive\r\nUser-Agent: \xff\r\n\r\n", True),
        (b"GET /i HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", False),
        (b"GET /i HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: a, b\r\n\r\n", True),
        (b"GET /i HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: a\r\nx-forwarded-for: b\r\n\r\n", False),
        (b"GET /i HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", False),
        (b"GET /i HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (b"GET /i HTTP/1.1\r\nHost: t\r\n\r\nGET", False),
        (b"GET /i HTTP/1.1\r\nHost: t\r\n", False),
        (b"GET /i HTTP/1.1\r\nUser-Agent: t\r\n\r\n", False),
        (b"GET /i HTTP/1.1\r\nHost: t\nX: y\r\n\r\n", False),
        (b"GET /i?" + b"a" * LARGEST + b" HTTP/1.1\r\nHost: t\r\n\r\n", False),
    ],
)
def test_only_unambiguous_requests_take_the_fast_path(data: bytes, unambiguous: bool) -> None:
    assert (FastParser(NAMES, PROTECTION).parse(data) is not None) is unambiguous


def test_a_header_that_others_care_about_is_left_to_them() -> None:
    data = b"GET /i HTTP/1.1\r\nHost: t\r\nTraceparent: 00-1-2-01\r\n\r\n"
    assert FastParser(NAMES, PROTECTION).parse(data) is not None
    assert FastParser(NAMES, PROTECTION, ["traceparent"]).parse(data) is None


async def _reply(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        return int(head.split()[1]), await reader.readexactly(int(length[1]) if length else 0)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Method and path of what aiohttp hands on, in order."""
    found: list[str] = []
    handle = App.handle

    async def watched(self: App, request: web.BaseRequest) -> web.StreamResponse:
        found.append(f"{request.method} {request.raw_path}")
        return await handle(self, request)

    monkeypatch.setattr(App, "handle", watched)
    return found


POST = b'POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n\r\n{"a":1}'


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ([b"GET /robots.txt HTTP/1.1\r\nHost: t\r\n\r\n"], 200),
        ([POST], 204),
        ([POST[:-3], POST[-3:]], 204),
        ([POST.replace(b"7", b"0")[:-7]], 400),
        (["GET /x?n=café HTTP/1.1\r\nHost: t\r\n\r\n".encode()], 404),
    ],
)
async def test_aiohttp_sees_nothing_of_plain_gets(
    collector: Running, seen: list[str], other: list[bytes], status: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    for n in range(6):
        writer.write(GET % n)
        assert await _reply(reader) == (200, pixel.GIF)
        for part in other:  # by aiohttp, on the same connection
            writer.write(part)
            await writer.drain()
        assert (await _reply(reader))[0] == status
    writer.close()
    assert len(seen) == 6
    assert not any(path.startswith("GET /i") for path in seen)
    hits = collector.hits(12 if status == 204 else 6)
    assert [hit.query for hit in hits if hit.method == "GET"] == [f"n={n}" for n in range(6)]


CHUNKED = b'POST /events HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{"a":1}\r\n0\r\n\r\n'


@pytest.mark.parametrize(
    "before", [[CHUNKED], [GET % 8 + GET % 9], [POST + GET % 9], [POST + (GET % 9)[:20], (GET % 9)[20:]]]
)
async def test_where_the_parser_may_be_anywhere_aiohttp_goes_on(
    collector: Running, seen: list[str], before: list[bytes]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    for part in before:
        writer.write(part)
        await writer.drain()
    for n in range(3):
        writer.write(GET % n)
    requests = b"".join(before).count(b"HTTP/1.1") + 3
    for _ in range(requests):
        assert (await _reply(reader))[0] in (200, 204)
    writer.close()
    assert len(seen) == requests
    assert [hit.query for hit in collector.hits(requests)][-3:] == ["n=0", "n=1", "n=2"]


async def test_what_comes_while_a_reply_is_due_is_answered_after_it(start: Start) -> None:
    collector = await start(linger_seconds=0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    writer.write(GET % 0)
    await until(lambda: collector.metric('pixelpipe_collector_hits_total{method="GET"}') == 1, "the hit")
    # More than is kept back: the client is not read until there is room again.
    body = b'{"a": "%b"}' % (b"x" * 500_000)
    writer.write(b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    writer.write(GET % 1)
    assert [await _reply(reader) for _ in range(3)] == [(200, pixel.GIF), (204, b""), (200, pixel.GIF)]
    writer.close()
    assert [hit.query or len(hit.body) for hit in collector.hits(3)] == ["n=0", len(body), "n=1"]


async def test_the_reply_of_a_hit_in_hand_goes_before_the_connection_closes(start: Start) -> None:
    collector = await start(linger_seconds=0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    writer.write(GET % 0)
    await until(lambda: collector.metric('pixelpipe_collector_hits_total{method="GET"}') == 1, "the hit")
    stopping = asyncio.create_task(collector.stop())
    assert await _reply(reader) == (200, pixel.GIF)
    assert await reader.read() == b""
    await stopping
    writer.close()
    collector.hits(1)


async def test_a_connection_is_not_idle_while_a_reply_is_due(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.collector.service.KEEPALIVE_SECONDS", 3.0)
    collector = await start(linger_seconds=1.8)
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    await asyncio.sleep(1.5)  # its time of idleness would end before its reply is due
    writer.write(GET % 0)
    assert await _reply(reader) == (200, pixel.GIF)
    writer.close()
    collector.hits(1)


async def test_a_client_that_leaves_before_its_reply_disturbs_nobody(start: Start) -> None:
    collector = await start(linger_seconds=0.2)
    for n in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", collector.port)
        writer.write(GET % n)
        await writer.drain()
        writer.transport.abort()
    await until(lambda: collector.metric("pixelpipe_collector_connections") == 0, "all to be gone")
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    writer.write(GET % 20)
    assert await _reply(reader) == (200, pixel.GIF)
    writer.close()


async def test_a_client_that_does_not_read_is_not_read(collector: Running) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", collector.port))
    sent = 0
    try:
        while True:
            async with asyncio.timeout(3):
                await loop.sock_sendall(sock, b"".join(GET % n for n in range(sent, sent + 50)))
            sent += 50
    except TimeoutError:  # the kernel's buffers are full of requests, so nobody reads them
        answered = collector.metric('pixelpipe_collector_hits_total{method="GET"}')
    sock.close()
    assert 0 < answered < sent / 2  # as many as the kernel's buffers take replies, and one of the transport's
