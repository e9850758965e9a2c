"""Bytes on the wire that no client library sends."""

from __future__ import annotations

import asyncio

import pytest

from services.processor import query
from tests.collector.conftest import Running


async def _send(collector: Running, request: bytes) -> int:
    """The status of the reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    try:
        async with asyncio.timeout(10):
            writer.write(request)
            await writer.drain()
            return int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
    finally:
        writer.close()


def _get(target: bytes, headers: bytes = b"") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n"


@pytest.mark.parametrize(
    "text",
    ["a=%zz&b=%", "a=%E9&b=%C3%A9", "a&&b=&=c&a=2", "a=1;b=2", "?=?&/=/", "a=%00", "=", "&", "a=\"<>{}|\\^`'[]"],
)
async def test_a_malformed_query_is_captured_byte_for_byte(collector: Running, text: str) -> None:
    assert await _send(collector, _get(b"/i?" + text.encode())) == 200
    (hit,) = collector.hits(1)
    assert hit.query == text


async def test_every_printable_byte_is_kept_as_it_is(collector: Running) -> None:
    text = bytes(range(0x21, 0x7F))
    assert await _send(collector, _get(b"/i?" + text)) == 200
    (hit,) = collector.hits(1)
    assert hit.query.encode() == text


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        ("n=café".encode(), "café"),
        ("n=café".encode("latin-1"), "café"),
        (b"n=two words", "two words"),
        (b"n=tab\there", "tab\there"),
        (b"n=nul\0here", "nul\0here"),
        (b"n=del\x7f", "del\x7f"),
        ("n=🎈".encode(), "🎈"),
    ],
)
async def test_raw_bytes_in_the_query_are_percent_encoded_and_kept(
    collector: Running, raw: bytes, decoded: str
) -> None:
    assert await _send(collector, _get(b"/i?" + raw)) == 200
    (hit,) = collector.hits(1)
    assert hit.query.isascii()
    assert query.pairs(hit.query) == [("n", decoded)]
    assert collector.metric("pixelpipe_collector_repaired_requests_total") == 1


async def test_a_raw_request_line_that_arrives_in_pieces_is_kept(collector: Running) -> None:
    line = _get("/i?n=café au lait".encode())
    cut = line.index(b"\xa9")
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    for part in (line[:cut], line[cut : cut + 5], line[cut + 5 :]):
        writer.write(part)
        await writer.drain()
        # Let the server read this piece before the next is sent: it answers others meanwhile.
        async with collector.http.get(collector.url + "/robots.txt"):
            pass
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    (hit,) = collector.hits(1)
    assert query.pairs(hit.query) == [("n", "café au lait")]


async def test_a_user_agent_that_is_not_utf8_is_kept(collector: Running) -> None:
    assert await _send(collector, _get(b"/i", b"User-Agent: Caf\xe9/1.0\r\n")) == 200
    (hit,) = collector.hits(1)
    assert hit.headers["user-agent"] == "Café/1.0"


async def test_a_query_of_100_kb_is_captured_and_a_longer_one_refused(collector: Running) -> None:
    assert await _send(collector, _get(b"/i?a=" + b"x" * 100_000)) == 200
    (hit,) = collector.hits(1)
    assert len(hit.query) == 100_002
    assert await _send(collector, _get(b"/i?a=" + b"x" * 200_000)) == 414
    assert await _send(collector, _get(b"/i?a=" + b"\xe9" * 43_000)) == 200
    (hit,) = collector.hits(1)
    assert hit.query == "a=" + "%E9" * 43_000
    assert await _send(collector, _get(b"/i?a=" + b"\xe9" * 44_000)) == 414


async def test_http_1_0_is_answered(collector: Running) -> None:
    assert await _send(collector, b"GET /i?a=1 HTTP/1.0\r\n\r\n") == 200
    assert len(collector.hits(1)) == 1
