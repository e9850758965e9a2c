from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor import log_entry
from services.processor.log_entry import Entries
from services.shared import identity
from services.shared.errors import Poison
from services.shared.policy import Policy
from services.shared.privacy import BY_PRESET

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


def _entry(changes: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
    return {**ENTRY, "httpRequest": {**ENTRY["httpRequest"], **request}, **(changes or {})}


def _read(*entries: Any, one: bool = False) -> Entries:
    return log_entry.decode(json.dumps(entries[0] if one else entries).encode(), "message-1", 77)


def _decode(changes: dict[str, Any] | None = None, **request: Any) -> Any:
    (hit,) = _read(_entry(changes, **request), one=True).hits
    return hit


def test_an_entry_is_a_hit() -> None:
    hit = _decode()
    assert (hit.at, hit.method, hit.path, hit.ip) == (AT, "GET", "/pixel.png", "203.0.113.77")
    assert hit.status == 200
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
        ("https://a.example/p#?x=1", "a.example", "/p", "x=1"),
        ("ftp://x#y", "x", "/", ""),
        ("/p://q?x=1", None, "/p://q", "x=1"),
        ("?x=1", None, "/", "x=1"),
        ("\ud83d\ude00?x=\ud83d\ude00", None, "\U0001f600", "x=\U0001f600"),
    ],
)
def test_urls_of_every_shape(url: str, host: str | None, path: str, query: str) -> None:
    hit = _decode(requestUrl=url)
    assert (hit.headers.get("host"), hit.path, hit.query) == (host, path, query)


def test_nanoseconds_are_cut_to_microseconds() -> None:
    assert _decode({"timestamp": "2026-11-20T10:15:30.123456789Z"}).at == AT


@pytest.mark.parametrize(
    ("given", "ip"),
    [
        ("203.0.113.77:55012", "203.0.113.77"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:203.0.113.77", "203.0.113.77"),
        ("-", ""),
        ("unknown", ""),
        ("", ""),
    ],
)
def test_the_remote_ip_is_an_address_or_nothing(given: str, ip: str) -> None:
    assert _decode(remoteIp=given).ip == ip


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("status", [0, 200, 204, 302, 399])
def test_what_was_answered_is_an_event(method: str, status: int) -> None:
    hit = _decode(requestMethod=method, status=status)
    assert (hit.method, hit.status) == (method, status)


@pytest.mark.parametrize(
    ("method", "status", "reason"),
    [("GET", 400, "status"), ("POST", 404, "status"), ("GET", 502, "status")]
    + [(method, status, "method") for method in ("OPTIONS", "PUT", "get", "") for status in (200, 404)],
)
def test_what_is_no_event_is_counted_by_reason(method: str, status: int, reason: str) -> None:
    assert _read(_entry(requestMethod=method, status=status), one=True) == ([], {reason: 1}, [])


def test_an_array_holds_several_hits_whose_ids_are_the_same_each_time() -> None:
    entries = [_entry(), _entry({"insertId": "2"}), _entry({"insertId": ""}), _entry({"insertId": ""})]
    first, again = _read(*entries), _read(*entries)
    assert [one.at for one in first.hits] == [AT] * 4
    assert [one.id for one in first.hits] == [one.id for one in again.hits]
    assert len({one.id for one in first.hits}) == 4
    assert first.hits[0].id == _decode().id


def test_one_entry_of_an_array_costs_none_of_its_neighbours() -> None:
    found = _read(
        _entry(), 7, _entry(status=404), {"httpRequest": {}}, _entry(remoteIp=None), _entry({"insertId": "2"})
    )
    assert (len(found.hits), found.ignored) == (2, {"status": 1})
    assert [json.loads(one.data) for one in found.unreadable] == [7, {"httpRequest": {}}, _entry(remoteIp=None)]
    assert all(one.reason for one in found.unreadable)


def test_an_empty_array_is_nothing() -> None:
    assert _read() == ([], {}, [])


@pytest.mark.parametrize("data", [json.dumps(ENTRY), json.dumps([ENTRY, ENTRY])], ids=["one", "array"])
def test_gzip_is_read(data: str) -> None:
    plain = log_entry.decode(data.encode(), "m", 1)
    assert log_entry.decode(gzip.compress(data.encode()), "m", 1).hits == plain.hits != []


@pytest.mark.parametrize("cut", [1, 90, 200])
def test_gzip_of_several_members_is_read(cut: int) -> None:
    data = json.dumps([ENTRY, ENTRY]).encode()
    members = gzip.compress(data[:cut]) + gzip.compress(b"") + gzip.compress(data[cut:])
    assert log_entry.decode(members, "m", 1) == log_entry.decode(data, "m", 1)


@pytest.mark.parametrize("timestamp", ["", "yesterday", "2026-11-20T10:15:30", "10013-01-01T00:00:00Z"])
def test_an_entry_without_a_usable_time_has_that_of_its_message(timestamp: str) -> None:
    assert _decode({"timestamp": timestamp}).at == 77


NO_ENTRIES = [
    (b"", "neither a pack of hits nor a LogEntry"),
    (b"{}", "missing required field `httpRequest`"),
    (b"[1]", "neither"),
    (b"\xff", "neither"),
    (b'{"httpRequest":{}}', "no httpRequest.requestUrl"),
    (b'{"httpRequest":{"requestUrl":""}}', "no httpRequest.requestUrl"),
    (b'{"httpRequest":{"requestUrl":7}}', "neither"),
    (b'{"httpRequest":{"requestUrl":"/","status":1000}}', "neither"),
    (b'{"httpRequest":{"requestUrl":"/","status":' + b"9" * 5000 + b"}}", "neither"),
    (b'{"httpRequest":{"requestUrl":"/\\ud83d"}}', "neither"),
    (b'{"httpRequest":' + b"[" * 100_000, "neither"),
    (b"[" * 100_000, "neither"),
    (b"[{},{}]", "missing required field `httpRequest`"),
    (b"[{}" + b",{}" * 1000 + b"]", "an array of 1001 log entries"),
    (b"[" + b" " * log_entry.MAX_BYTES + b"]", "an array of over 4194304 bytes"),
    (gzip.compress(b"{}"), "missing required field `httpRequest`"),
    (gzip.compress(json.dumps(ENTRY).encode())[:-9], "gzip: truncated"),
    (gzip.compress(json.dumps(ENTRY).encode()) + b"more", "gzip: trailing data"),
    (gzip.compress(json.dumps(ENTRY).encode()) + gzip.compress(b"{}"), "neither"),
    (gzip.compress(json.dumps(ENTRY).encode()) + gzip.compress(b"")[:-1], "gzip: truncated"),
    (gzip.compress(b"") * 1001, "over 1000 members"),
    (gzip.compress(bytes(log_entry.MAX_BYTES)) + gzip.compress(b" "), "gzip: over 4194304 bytes"),
    (gzip.compress(bytes(log_entry.MAX_BYTES + 1)), "gzip: over 4194304 bytes"),
    (b"\x1f\x8bno gzip", "gzip: "),
]


@pytest.mark.parametrize(("data", "words"), NO_ENTRIES, ids=range(len(NO_ENTRIES)))
def test_what_is_no_entry_is_poison(data: bytes, words: str) -> None:
    with pytest.raises(Poison) as caught:
        log_entry.decode(data, "m", 1)
    assert words in str(caught.value)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(b"\x1f\x8b\x08".__add__))
def test_random_bytes_hold_no_hit(data: bytes) -> None:
    try:
        found = log_entry.decode(data, "m", 1)
    except Poison:
        return
    assert found == ([], {}, [])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(max_size=30), st.text(max_size=30))
def test_whatever_the_texts_are_an_entry_is_a_hit(url: str, timestamp: str, ip: str) -> None:
    hit = _decode({"timestamp": timestamp}, requestUrl=url, remoteIp=ip)
    assert hit.path


URL = "https://me:s3cret@track.example.com/pixel.png?user_id=507f&token=s3cret&gclid=1&ip=203.0.113.99"


@pytest.mark.parametrize(
    ("preset", "signal", "expected"),
    [
        ("off", "", ("user_id=507f&gclid=1&ip=203.0.113.99", "203.0.113.77", "", False)),
        ("balanced", "", ("user_id=507f&gclid=1&ip=203.0.113.0", "203.0.113.0", "", False)),
        ("strict", "", ("user_id=507f&gclid=1", "", "", False)),
        ("off", "&consent=denied", ("user_id=507f&gclid=1&ip=203.0.113.99", "203.0.113.77", "consent", False)),
        ("balanced", "&consent=denied", ("", "", "consent", True)),
        ("balanced", "&gcs=G100", ("", "", "google_consent", True)),
        ("strict", "&consent=denied", None),
    ],
    ids=["off", "balanced", "strict", "off denied", "balanced denied", "balanced google", "strict denied"],
)
def test_the_privacy_policy_is_applied_to_entries(
    preset: str, signal: str, expected: tuple[str, str, str, bool] | None
) -> None:
    entry = _entry(requestUrl=URL + signal, referer="https://x.example/?password=s3cret&a=1")
    found = log_entry.protected(_read(entry, one=True), Policy(BY_PRESET[preset]))
    if expected is None:
        assert (found.hits, found.ignored) == ([], {log_entry.OPT_OUT: 1})
        return
    (hit,) = found.hits
    query, ip, opt_out, anonymized = expected
    assert (hit.query, hit.ip, hit.opt_out, hit.anonymized) == ((query + signal).lstrip("&"), ip, opt_out, anonymized)
    assert hit.id == _decode(requestUrl=URL + signal).id
    assert hit.headers["referer"] == "https://x.example/?a=1"
    assert hit.headers["user-agent"] == ("mobile" if anonymized else "Mozilla/5.0 (iPhone)")
    assert "s3cret" not in repr(msgspec.to_builtins(hit))
