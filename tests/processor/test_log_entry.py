from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor import log_entry
from services.shared import identity
from services.shared.poison import Poison

# As Cloud Logging exports a load balancer's log entry, with fields that do not matter here.
ENTRY: dict[str, Any] = {
    "insertId": "1kq2v3hfb7c9zq",
    "logName": "projects/my-project/logs/requests",
    "timestamp": "2026-11-20T10:15:30.123456Z",
    "receiveTimestamp": "2026-11-20T10:15:30.887654321Z",
    "severity": "INFO",
    "resource": {"type": "http_load_balancer", "labels": {"project_id": "my-project"}},
    "httpRequest": {
        "requestMethod": "GET",
        "requestUrl": "https://track.example.com/pixel.png?user_id=507f&type=click&note=caf%C3%A9%20au%20lait",
        "requestSize": "512",
        "status": 200,
        "userAgent": "Mozilla/5.0 (iPhone)",
        "remoteIp": "203.0.113.77",
        "referer": "https://shop.example.com/cart?step=2",
        "latency": "0.002013s",
    },
    "jsonPayload": {"statusDetails": "response_from_cache"},
}
AT = 1_795_169_730_123_456


def _decode(changes: dict[str, Any] | None = None, **request: Any) -> Any:
    entry = {**ENTRY, "httpRequest": {**ENTRY["httpRequest"], **request}, **(changes or {})}
    return log_entry.decode(json.dumps(entry).encode(), "message-1", 77)


def test_an_entry_is_a_hit() -> None:
    hit = _decode()
    assert (hit.at, hit.method, hit.path, hit.ip) == (AT, "GET", "/pixel.png", "203.0.113.77")
    assert hit.query == "user_id=507f&type=click&note=caf%C3%A9%20au%20lait"
    assert hit.headers == {
        "user-agent": "Mozilla/5.0 (iPhone)",
        "referer": "https://shop.example.com/cart?step=2",
        "host": "track.example.com",
    }


def test_a_redelivered_entry_has_the_same_id_and_another_entry_another() -> None:
    assert _decode().id == _decode().id
    assert identity.time_of(_decode().id) == AT // 1000
    assert len({_decode().id, _decode({"insertId": "other"}).id, _decode({"logName": "other"}).id}) == 3


@pytest.mark.parametrize(
    ("url", "host", "path", "query"),
    [
        ("https://a.example/p?x=1", "a.example", "/p", "x=1"),
        ("http://a.example:8080/p", "a.example:8080", "/p", ""),
        ("https://a.example", "a.example", "/", ""),
        ("/p?x=1", None, "/p", "x=1"),
        ("https://a.example/p?x=http://b/?y#z", "a.example", "/p", "x=http://b/?y#z"),
        ("HTTPS://a.example/p?", "a.example", "/p", ""),
    ],
)
def test_urls_of_every_shape(url: str, host: str | None, path: str, query: str) -> None:
    hit = _decode(requestUrl=url)
    assert (hit.headers.get("host"), hit.path, hit.query) == (host, path, query)


def test_nanoseconds_are_cut_to_microseconds() -> None:
    assert _decode({"timestamp": "2026-11-20T10:15:30.123456789Z"}).at == AT


@pytest.mark.parametrize("timestamp", ["", "yesterday", "2026-11-20T10:15:30"])
def test_an_entry_without_a_usable_time_has_that_of_its_message(timestamp: str) -> None:
    assert _decode({"timestamp": timestamp}).at == 77


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither a pack of hits nor a LogEntry"),
        (b"{}", "missing required field `httpRequest`"),
        (b"[1]", "neither"),
        (b"\xff", "neither"),
        (b'{"httpRequest":{}}', "without httpRequest.requestUrl"),
        (b'{"httpRequest":{"requestUrl":""}}', "without httpRequest.requestUrl"),
        (b'{"httpRequest":{"requestUrl":7}}', "neither"),
        (b'{"httpRequest":{"requestUrl":"ftp://x#y"}}', "is no URL"),
    ],
)
def test_what_is_no_entry_is_poison(data: bytes, words: str) -> None:
    with pytest.raises(Poison) as caught:
        log_entry.decode(data, "m", 1)
    assert words in str(caught.value)


@given(st.binary(max_size=60))
def test_random_bytes_are_poison(data: bytes) -> None:
    with pytest.raises(Poison):
        log_entry.decode(data, "m", 1)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60), st.text(max_size=30))
def test_no_url_or_time_does_more_than_be_poison(url: str, timestamp: str) -> None:
    try:
        hit = _decode({"timestamp": timestamp}, requestUrl=url)
    except Poison:
        return
    assert hit.path
