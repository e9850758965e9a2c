"""What clients send as a request's head, and what aiohttp's parser is given for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from services.collector.capture import client_ip, plain_path
from services.collector.fast_path import FastParser
from services.collector.head import (
    MAX_COUNT,
    MAX_FIELD,
    MAX_FIELDS,
    MAX_LINE,
    MalformedRequest,
    Repairer,
    may_begin,
    origin,
    request_line,
)
from services.processor import query
from tests.collector.policies import protection
from tests.growth import assert_linear


def _parsed(head: bytes) -> Any:
    """The request that aiohttp's parser sees; raises what it raises."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(
            BaseProtocol(loop), loop, 2**16, max_line_size=MAX_LINE, max_field_size=MAX_FIELDS, max_headers=MAX_COUNT
        )
        ((message, _payload),), _, tail = parser.feed_data(head)
    finally:
        loop.close()
    assert not tail
    return message


def _repair(head: bytes) -> tuple[bytes, bool]:
    return Repairer(["user-agent"]).repair(head)


@pytest.mark.parametrize(
    ("line", "repaired"),
    [
        (b"GET /i?a=1 HTTP/1.1", b"GET /i?a=1 HTTP/1.1"),
        (b"GET /i HTTP/1.0", b"GET /i HTTP/1.0"),
        (b"OPTIONS * HTTP/1.1", b"OPTIONS * HTTP/1.1"),
        (b"GET   /i   HTTP/1.1", b"GET /i HTTP/1.1"),
        (b"GET /i?n=two words HTTP/1.1", b"GET /i?n=two%20words HTTP/1.1"),
        (b"GET /i?n=\xc3\xa9\xff\t\0\x7f HTTP/1.1", b"GET /i?n=%C3%A9%FF%09%00%7F HTTP/1.1"),
        (b"GET /i? HTTP/1.1 HTTP/1.1", b"GET /i?%20HTTP/1.1 HTTP/1.1"),
        (b"POST /events?x=\xe9 HTTP/1.1", b"POST /events?x=%E9 HTTP/1.1"),
        (b"GET http://shop.example/i?a=1 HTTP/1.1", b"GET /i?a=1 HTTP/1.1"),
        (b"GET HTTPS://shop.example:443/i HTTP/1.1", b"GET /i HTTP/1.1"),
        (b"GET http://shop.example HTTP/1.1", b"GET / HTTP/1.1"),
        (b"GET http://shop.example?a=1 HTTP/1.1", b"GET /?a=1 HTTP/1.1"),
        (b"GET http://[nonsense/i?\xe9 HTTP/1.1", b"GET /i?%E9 HTTP/1.1"),
        (b"GET //pixel.gif HTTP/1.1", b"GET //pixel.gif HTTP/1.1"),
    ],
)
def test_a_request_line_is_repaired(line: bytes, repaired: bytes) -> None:
    assert request_line(line)[0] == repaired
    assert _parsed(repaired + b"\r\nHost: t\r\n\r\n").method.encode() == line.partition(b" ")[0]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"", 400),
        (b"GET", 400),
        (b"GET /", 400),
        (b"GET /" + b" " * 130_000, 400),
        (b"GET HTTP/1.1", 400),
        (b"GET  HTTP/1.1", 400),
        (b" /i HTTP/1.1", 400),
        (b"get /i HTTP/1.1", 400),
        (b"GE\xc3\x89T /i HTTP/1.1", 400),
        (b"GET /i http/1.1", 400),
        (b"GET /i HTTP/1.1 ", 400),
        (b"GET /i HTTP/1.10", 400),
        (b"GET /i HTTP/1.1\nHost: t\n\nGET /i HTTP/1.1", 400),
        (b"GET /i?\r HTTP/1.1", 400),
        (b"GET /i HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET /i HTTP/1.2", 505),
        (b"GET /i HTTP/0.9", 505),
        (b"GET /i HTTP/9.9", 505),
        (b"CONNECT shop.example:443 HTTP/1.1", 405),
        (b"CONNECT / HTTP/1.1", 405),
        (b"GET /i?" + b"x" * MAX_LINE + b" HTTP/1.1", 414),
        (b"GET /i?" + b"\xe9" * (MAX_LINE // 3) + b" HTTP/1.1", 414),  # three bytes each, as it goes to the parser
    ],
)
def test_a_line_that_is_not_a_request_of_ours_has_its_status(line: bytes, status: int) -> None:
    with pytest.raises(MalformedRequest) as refused:
        request_line(line)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ([b"Host: t", b"User-Agent: a", b"User-Agent: b"], [b"Host: t", b"User-Agent: a"]),
        ([b"USER-AGENT: a", b"Host: t", b"user-agent: b", b"User-Agent: c"], [b"USER-AGENT: a", b"Host: t"]),
        ([b"Host: t", b"Content-Type: a", b"Content-Type: b"], [b"Host: t", b"Content-Type: a"]),
        ([b"Host: t", b"ETag: a", b"Server: a", b"ETag: b", b"Server: b"], [b"Host: t", b"ETag: a", b"Server: a"]),
        ([b"Host: t", b"Accept: a", b"Accept: b"], [b"Host: t", b"Accept: a", b"Accept: b"]),
        ([b"Host: t", b"Cookie: " + b"c" * (MAX_FIELDS - 100)], [b"Host: t"]),
        ([b"Host: t", b"cookie:a", b"Connection: upgrade", b"Upgrade: h2c"], [b"Host: t", b"Connection: upgrade"]),
        ([b"Host: t", b"X: " + b"x" * (MAX_FIELD - 3)], [b"Host: t", b"X: " + b"x" * (MAX_FIELD - 3)]),
        ([b"Host: t", *[b"X: y"] * (MAX_COUNT - 1)], [b"Host: t", *[b"X: y"] * (MAX_COUNT - 1)]),
    ],
)
def test_headers_that_nobody_needs_cost_nothing(fields: list[bytes], kept: list[bytes]) -> None:
    data, _ = _repair(b"\r\n".join([b"GET /i HTTP/1.1", *fields, b"", b""]))
    assert data == b"\r\n".join([b"GET /i HTTP/1.1", *kept, b"", b""])
    assert [b": ".join(pair) for pair in _parsed(data).raw_headers] == kept


def test_a_cookie_that_is_kept_may_be_as_long_as_all_headers() -> None:
    head = b"GET /i HTTP/1.1\r\nHost: t\r\nCookie: " + b"c" * (MAX_FIELDS - 100) + b"\r\n\r\n"
    data, _ = Repairer(["cookie"]).repair(head)
    assert data == head
    assert len(_parsed(data).headers["Cookie"]) == MAX_FIELDS - 100


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([b"X: " + b"x" * (MAX_FIELD - 2)], 431),
        ([b"User-Agent: " + b"x" * MAX_FIELD], 431),
        ([b"X: y"] * (MAX_COUNT + 1), 431),
        ([b"Cookie: a", b" folded: b"], 400),
        ([b"X: a", b"\tb"], 400),
        ([b"X: a\nb"], 400),
        ([b"X: a\nCookie: b"], 400),
    ],
)
def test_headers_that_cannot_be_read_have_their_status(fields: list[bytes], status: int) -> None:
    with pytest.raises(MalformedRequest) as refused:
        _repair(b"\r\n".join([b"GET /i HTTP/1.1", b"Host: t", *fields, b"", b""]))
    assert refused.value.status == status


@pytest.mark.parametrize(
    "fields",
    [
        [b"Host: a", b"Host: b"],
        [b"Content-Length: 1", b"Content-Length: 2"],
        [b"Content-Length: 1", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Content-Length: -1"],
        [b"Content-Length : 1"],
        [b"X: a\rb"],
        [b"no colon"],
        [b""],
    ],
)
def test_what_decides_where_a_request_ends_is_left_to_a_strict_parser(fields: list[bytes]) -> None:
    data, _ = _repair(b"\r\n".join([b"POST /i HTTP/1.1", *fields, b"", b""]))
    assert all(field in data for field in fields)
    with pytest.raises(HttpProcessingError):
        _parsed(data)


@given(st.binary(max_size=60))
def test_any_target_reaches_the_parser_and_means_the_same(text: bytes) -> None:
    raw = bytes(byte for byte in text if byte not in b"\r\n")
    line, repaired = request_line(b"GET /i?n=" + raw + b" HTTP/1.1")
    message = _parsed(line + b"\r\nHost: t\r\n\r\n")
    assert repaired is bool([byte for byte in raw.rstrip(b" ") if not 0x21 <= byte <= 0x7E])
    sent = raw.rstrip(b" ").decode("latin-1")
    plain = "".join(one if "!" <= one <= "~" else f"%{ord(one):02X}" for one in sent)
    assert message.path == "/i?n=" + plain
    query.pairs(message.path)


@pytest.mark.parametrize(
    ("start", "may"),
    [
        (b"G", True),
        (b"GET", True),
        (b"GET ", True),
        (b"M-SEARCH * HTTP/1.1", True),
        (b"g", False),
        (b" ", False),
        (b"\x16\x03\x01", False),
        (b"\xff", False),
        (b"A" * 25, False),
    ],
)
def test_the_first_bytes_say_whether_it_may_be_http(start: bytes, may: bool) -> None:
    assert may_begin(start) is may


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"GET /i HTTP/1.1\r\nOrigin: https://a.example\r\n\r\n", b"https://a.example"),
        (b"GET /i HTTP/1.1\r\nHost: t\r\norigin:null\r\nX: y", b"null"),
        (b"GET /i HTTP/1.1\r\nHost: t\r\nOrigin: https://a.example", b"https://a.example"),
        (b"GET /i HTTP/1.1\r\nHost: t\r\n\r\nGET /\r\nOrigin: https://b.example\r\n", b""),
        (b"GET /i HTTP/1.1\r\nOrigin: a b\r\n\r\n", b""),
        (b"GET /i HTTP/1.1\r\nOrigin: \xff\r\n\r\n", b""),
        (b"GET /i HTTP/1.1\r\nOrigin: " + b"a" * 513 + b"\r\n\r\n", b""),
        (b"", b""),
    ],
)
def test_the_origin_of_a_request_that_cannot_be_read(head: bytes, found: bytes) -> None:
    assert origin(head) == found


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/i", "/i"),
        ("/i/", "/i"),
        ("//i", "/i"),
        ("///o//x//", "/o/x"),
        ("/pixel%2egif", "/pixel.gif"),
        ("/pixel%2Egif", "/pixel.gif"),
        ("%2Fi", "/i"),
        ("/i#top", "/i"),
        ("/%ff", "/�"),
        ("/%", "/%"),
        ("*", "/*"),
        ("", "/"),
        ("/../i", "/../i"),
    ],
)
def test_spellings_of_a_path_are_one(path: str, plain: str) -> None:
    assert plain_path(path) == plain


@pytest.mark.parametrize(
    ("forwarded", "trusted", "ip"),
    [
        ("6.6.6.6, 203.0.113.77, 35.191.0.1", 0, "192.0.2.9"),
        ("6.6.6.6, 203.0.113.77, 35.191.0.1", 1, "35.191.0.1"),
        ("6.6.6.6, 203.0.113.77, 35.191.0.1", 2, "203.0.113.77"),
        ("6.6.6.6, 203.0.113.77, 35.191.0.1", 4, "192.0.2.9"),
        ("", 1, "192.0.2.9"),
        (" , ,", 1, "192.0.2.9"),
        (",203.0.113.77,35.191.0.1", 2, "203.0.113.77"),
        ("203.0.113.77,, 35.191.0.1", 2, "203.0.113.77"),
        ("203.0.113.77, ,\t, 35.191.0.1", 2, "203.0.113.77"),
        ("203.0.113.77, 35.191.0.1,", 2, "203.0.113.77"),
        ("203.0.113.77:4711, 35.191.0.1:80", 2, "203.0.113.77"),
        ("[2001:DB8::1%eth0]:4711, 35.191.0.1", 2, "2001:db8::1"),
        ("::ffff:203.0.113.77, 35.191.0.1", 2, "203.0.113.77"),
        ("6.6.6.6, unknown, 35.191.0.1", 2, ""),
        ("6.6.6.6, -, 35.191.0.1", 2, ""),
        ("6.6.6.6, _hidden, 35.191.0.1", 2, ""),
        ("6.6.6.6, " + "x" * 8_000, 1, ""),
    ],
)
def test_the_position_of_the_client_is_counted_from_the_right(forwarded: str, trusted: int, ip: str) -> None:
    assert client_ip("192.0.2.9", forwarded, trusted) == ip


def test_a_request_line_is_read_in_linear_time() -> None:
    for end in (b" HTTP/1.1", b"", b" HTTP/"):
        assert_linear(request_line, b"GET /i?n=", end, refused=MalformedRequest)
    assert_linear(request_line, b"GET http://t", b"/i", b" HTTP/1.1", refused=MalformedRequest)


def test_header_lines_are_read_in_linear_time() -> None:
    lines = (b"GET /i HTTP/1.1\r\nHost: t\r\nOrigin: ", b"a\r\nCookie: ", b"\r\nX-")
    for last in (b": y\r\n\r\n", b""):
        assert_linear(_repair, *lines, last, refused=MalformedRequest)
        assert_linear(origin, *lines, last)


def test_aiohttps_parser_reads_what_it_is_given_in_linear_time() -> None:
    def read(head: bytes) -> None:
        _parsed(_repair(head)[0])

    refused = (MalformedRequest, HttpProcessingError, ValueError)
    frame = (b"GET /i?n=", b"x HTTP/1.1\r\nHost: t\r\nUser-Agent: ", b"\r\n\r\n")
    assert_linear(read, *frame, size=MAX_LINE // 4, refused=refused)


def test_a_plain_get_is_read_in_linear_time() -> None:
    parser = FastParser(["user-agent"], protection())
    for last in (b": y\r\n\r\n", b""):
        assert_linear(parser.parse, b"GET /i?n=", b" HTTP/1.1\r\nHost: t\r\nUser-Agent: ", b"\r\nX-", last)


def test_paths_and_addresses_are_read_in_linear_time() -> None:
    assert_linear(plain_path, "/pixel", ".gif")
    assert_linear(lambda forwarded: client_ip("", forwarded, 2), "6.6.6.6, ", "203.0.113.77, ", "35.191.0.1")
