"""What each kind of access log becomes: pure, line by line."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ops import access_log
from services.ops.access_log import Reading
from services.processor import log_entry
from services.shared import hit, identity
from services.shared.hit import Hit
from tests.growth import assert_linear

PIXEL = frozenset({"/i"})
NGINX = (
    b'203.0.113.7 - - [01/Mar/2026:12:00:05 +0100] "GET /i?user_id=ada&type=view HTTP/1.1" 200 43 '
    b'"https://shop.example.com/a?b=\\x22c\\x22" "Mozilla/5.0 (X11; \\xC3\\xA9)"'
)
CLOUDFRONT = b"""#Version: 1.0
#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query x-edge-request-id
2026-03-01\t11:00:05\tFRA2\t300\t203.0.113.7\tGET\td1.cloudfront.net\t/i\t200\thttps://shop.example.com/\tMozilla/5.0%20(X11)\tuser_id=ada&n=%2542\tabc
2026-03-01\t11:00:06\tFRA2\t300\t203.0.113.7\tGET\td1.cloudfront.net\t/i\t200\t-\t-\t-\tdef
"""  # noqa: E501
ENTRY = {
    "insertId": "1",
    "logName": "projects/p/logs/requests",
    "timestamp": "2026-03-01T11:00:05.25Z",
    "httpRequest": {"requestUrl": "https://t.example.com/i?user_id=ada", "requestMethod": "GET", "status": 200},
}
NOON = 1_772_362_805_000_000  # 2026-03-01T11:00:05Z


def _read(data: bytes, format: str | None = None, paths: frozenset[str] = PIXEL) -> list[Hit | str]:
    return list(access_log.read(data.splitlines(keepends=True), Reading(format), paths))


def _hits(data: bytes) -> list[Hit]:
    found = _read(data)
    assert all(isinstance(one, Hit) for one in found), found
    return [one for one in found if isinstance(one, Hit)]


def test_a_line_of_nginx() -> None:
    (one,) = _hits(NGINX)
    assert (one.at, one.method, one.path, one.query, one.ip, one.status) == (
        *(NOON, "GET", "/i", "user_id=ada&type=view", "203.0.113.7", 200),
    )
    assert one.headers == {"referer": 'https://shop.example.com/a?b="c"', "user-agent": "Mozilla/5.0 (X11; é)"}
    assert identity.time_of(one.id) == NOON // 1000


@pytest.mark.parametrize(
    ("line", "query", "agent"),
    [
        (rb'::1 - bob [01/Mar/2026:11:00:05 +0000] "GET /i?a=1 HTTP/2.0" 200 - "-" "a \"b\" c"', "a=1", 'a "b" c'),
        (rb'::1 - bob b [01/Mar/2026:11:00:05 +0000] "GET /i HTTP/1.0" 200 43', "", None),
        (
            rb'::1 - - [01/Mar/2026:11:00:05 +0000] "GET /i?a=b%20c#d HTTP/1.1" 304 0 "-" "-" "more" 0.01',
            "a=b%20c",
            None,
        ),
        (b'::1 - - [01/Mar/2026:11:00:05 +0000] "GET /i HTTP/1.1" 200 0 "-" "\xe9"', "", "é"),
    ],
)
def test_what_servers_write_differently(line: bytes, query: str, agent: str | None) -> None:
    (one,) = _hits(line)
    assert (one.at, one.query, one.headers.get("user-agent")) == (NOON, query, agent)


def test_lines_of_cloudfront() -> None:
    first, second = _hits(CLOUDFRONT)
    assert (first.at, first.query, first.ip) == (NOON, "user_id=ada&n=%2542", "203.0.113.7")
    assert first.headers == {
        "referer": "https://shop.example.com/",
        "user-agent": "Mozilla/5.0 (X11)",
        "host": "d1.cloudfront.net",
    }
    assert (second.query, second.headers) == ("", {"host": "d1.cloudfront.net"})


def test_an_entry_of_a_load_balancer_has_the_id_that_the_processor_gives_it() -> None:
    data = json.dumps(ENTRY).encode()
    (one,) = _hits(data + b"\n")
    (same,) = log_entry.decode(data, "some-message", 7).hits
    assert one == same


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (NGINX.replace(b"GET", b"PUT"), "method"),
        (NGINX.replace(b" 200 ", b" 404 "), "status"),
        (NGINX.replace(b"/i?", b"/index.html?"), "path"),
        (NGINX.replace(b"Mar", b"Mrz"), "unreadable"),
        (NGINX.replace(b" HTTP/1.1", b""), "unreadable"),
        (b"\x16\x03\x01 nonsense", "unreadable"),
        (NGINX + b"x" * access_log.MAX_LINE, "unreadable"),
        (json.dumps({**ENTRY, "httpRequest": {"requestUrl": "/i", "status": 500}}).encode(), "status"),
        (b'{"textPayload":"x"}', "unreadable"),
    ],
)
def test_why_a_line_is_no_hit(line: bytes, reason: str) -> None:
    assert _read(line) == [reason]


def test_the_same_line_twice_is_two_events_and_the_same_two_each_time() -> None:
    once = _hits(NGINX + b"\n" + NGINX + b"\n")
    assert once[0].id != once[1].id
    assert _hits(NGINX + b"\n" + NGINX + b"\n") == once


def test_empty_lines_say_nothing_and_no_paths_take_all() -> None:
    assert _read(b"\n\r\n  \n") == []
    (one,) = _read(NGINX.replace(b"/i?", b"/index.html?"), paths=frozenset())
    assert isinstance(one, Hit)
    assert one.path == "/index.html"


@given(st.lists(st.binary() | st.sampled_from([NGINX, *CLOUDFRONT.splitlines()])), st.sampled_from(access_log.FORMATS))
def test_any_bytes(lines: list[bytes], format: str) -> None:
    found = list(access_log.read(lines, Reading(format), frozenset()))
    assert len(found) <= len(lines)
    for one in found:
        if isinstance(one, Hit):
            hit.encode(one)
    reasons = Counter(one for one in found if isinstance(one, str))
    assert reasons.keys() <= {*log_entry.IGNORED, access_log.PATH, access_log.UNREADABLE}


FRAMES = {
    access_log.LOAD_BALANCER: (b'{"timestamp":"', b'","httpRequest":{"requestUrl":"', b'"}}'),
    access_log.COMBINED: tuple(NGINX.partition(b"/i?")),
    access_log.CLOUDFRONT: (b"#Fields: date ", b" c-ip"),
}


@pytest.mark.slow
@pytest.mark.parametrize("format", access_log.FORMATS)
def test_work_grows_with_the_line(format: str) -> None:
    assert_linear(lambda data: list(access_log.read([data], Reading(format), frozenset())), *FRAMES[format])
