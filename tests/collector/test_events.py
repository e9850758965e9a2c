from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable

import pytest

from services.shared import hit
from tests.collector.conftest import Running, Start
from tests.waiting import until


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # the same bytes at every run


EVENT = {"user_id": "u", "type": "buy", "price": 1.10, "name": "né 🎈"}


def _bodies(hits: list[hit.Hit]) -> list[object]:
    return [json.loads(bytes(one.body)) for one in hits]


@pytest.mark.parametrize(
    ("body", "kind", "events"),
    [
        (json.dumps(EVENT), "application/json", [EVENT]),
        (json.dumps(EVENT, indent=2), "application/json; charset=utf-8", [EVENT]),
        (json.dumps(EVENT), "text/plain;charset=UTF-8", [EVENT]),
        (json.dumps([EVENT, {"b": 2}], indent=1), "application/json", [EVENT, {"b": 2}]),
        ('{"a":1}\n{"a":2}\r\n\n{"a":3}', "application/x-ndjson", [{"a": 1}, {"a": 2}, {"a": 3}]),
        ('{"a":1}\n{"a":2}', "text/plain", [{"a": 1}, {"a": 2}]),
        (' {"a":null} ', "", [{"a": None}]),
    ],
)
async def test_events_are_accepted_as_object_array_and_lines(
    collector: Running, body: str, kind: str, events: list[object]
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    skip = () if kind else ("Content-Type",)
    async with collector.http.post(
        collector.url + "/events?src=x", data=body.encode(), headers=headers, skip_auto_headers=skip
    ) as reply:
        assert (reply.status, await reply.read()) == (204, b"")
    hits = collector.hits(len(events))
    assert _bodies(hits) == events
    assert {(one.method, one.path, one.query) for one in hits} == {("POST", "/events", "src=x")}
    assert len({one.id for one in hits}) == len(events)


async def test_an_event_is_kept_byte_for_byte(collector: Running) -> None:
    body = b'{"n": 1.10, "big": 123456789012345678901234567890, "dup": 1, "dup": 2, "e": "\\u00e9"}'
    async with collector.http.post(collector.url + "/events", data=body):
        pass
    (one,) = collector.hits(1)
    assert bytes(one.body) == body


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", _gzip), ("x-gzip", _gzip), ("GZIP", _gzip), ("deflate", zlib.compress)]
)
async def test_a_compressed_body_is_accepted(
    collector: Running, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = compress(json.dumps([EVENT] * 50).encode())
    async with collector.http.post(
        collector.url + "/events", data=body, headers={"Content-Encoding": encoding, "Content-Type": "application/json"}
    ) as reply:
        assert reply.status == 204
    assert _bodies(collector.hits(50)) == [EVENT] * 50


async def test_encodings_of_several_headers_are_not_overlooked(collector: Running) -> None:
    headers = [("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]
    async with collector.http.post(collector.url + "/events", data=_gzip(_gzip(b"{}")), headers=headers) as reply:
        assert reply.status == 415
        assert "2 content encodings on top of each other" in (await reply.json())["error"]


MB = 1_048_576


@pytest.mark.parametrize(
    ("body", "headers", "status", "error", "where"),
    [
        (b"", {}, 400, "the body is empty", None),
        (b'[{},\n{"a":}]', {}, 400, "not JSON: invalid character", "element 1, line 2, column 6"),
        (b'{\n"a":1,\n"b":}', {}, 400, "not JSON: invalid character", "line 3, column 5"),
        (b'{"a":1}\n7\n', {"Content-Type": "application/x-ndjson"}, 400, "an event is a JSON object", "line 2"),
        (b'{"a":"\xff"}', {}, 400, "the body is not UTF-8", "line 1, column 7"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 400, "nested too deeply", "line 1, column 495"),
        (b"[" + b"{}," * 1000 + b"{}]", {}, 413, "over 1000 events in one request", "element 1000"),
        (b'{"a":"' + b"x" * MB + b'"}', {}, 413, "the body is over 1048576 bytes", None),
        (b"{}", {"Content-Type": "image/png"}, 415, "content type 'image/png' is", "send application"),
        (b"a=1", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "the body cannot be used: it is not", None),
        (b"{}", {"Content-Encoding": "br"}, 415, "content encoding 'br' is not supported", "send gzip"),
        (_gzip(b'{"a":1}')[:-6], {"Content-Encoding": "gzip"}, 400, "gzip body is cut off", "after 21 bytes"),
        (_gzip(bytes(50 * MB)), {"Content-Encoding": "gzip"}, 413, "when decompressed", None),
    ],
)  # fmt: skip
async def test_an_unusable_body_is_refused_with_what_is_wrong_and_where(
    collector: Running, body: bytes, headers: dict[str, str], status: int, error: str, where: str | None
) -> None:
    headers = {"Content-Type": "application/json", **headers}
    async with collector.http.post(collector.url + "/events", data=body, headers=headers) as reply:
        assert (reply.status, reply.headers["Content-Type"]) == (status, "application/json")
        answer = json.loads(await reply.read())
    assert error in answer["error"]
    assert (where or "") in answer.get("where", "")
    assert collector.topics.pull("work") == []


async def test_the_events_of_a_request_are_numbered(collector: Running) -> None:
    """So that an `event_id` in the query string does not make one event of them."""
    for _ in range(2):  # a client that sends again says the same again
        async with collector.http.post(collector.url + "/events?event_id=x", json=[EVENT] * 3) as reply:
            assert reply.status == 204
    hits = collector.hits(6)
    assert sorted((one.query, one.index) for one in hits) == [("event_id=x", index) for index in (0, 0, 1, 1, 2, 2)]
    assert len({one.id for one in hits}) == 6


async def test_half_an_emoji_costs_no_event(collector: Running) -> None:
    """As JavaScript's `slice` leaves it, in the middle of good neighbours."""
    body = rb'[{"n":1},{"title":"cut \ud83d"},{"n":3}]'
    async with collector.http.post(collector.url + "/events", data=body) as reply:
        assert reply.status == 204
    assert _bodies(collector.hits(3)) == [{"n": 1}, {"title": "cut \ufffd"}, {"n": 3}]


HOSTILE = {
    "a megabyte of digits": b'{"n":' + b"9" * 1_000_000 + b"}",
    "an exponent of ten digits": b'{"n":1e9999999999,"m":-1E-9999999999}',
    "a key of a megabyte": b'{"' + b"k" * 1_000_000 + b'":1}',
    "one key, many times": b'{"a":0' + b',"a":1' * 150_000 + b"}",
    "a megabyte of spaces": b'{"a":' + b" " * 1_000_000 + b"1}",
    "a megabyte of line ends": b'{"a":' + b"\r\n" * 500_000 + b"1}",
    "a megabyte of arrays": b'{"a":[' + b"[]," * 340_000 + b"0]}",
    "a megabyte of nests": b'{"a":[' + (b"[" * 488 + b"]" * 488 + b",") * 1_000 + b"0]}",
    "a megabyte of backslashes": b'{"a":"' + b"\\" * 1_000_000 + b'"}',
    "empty everything": b'{"":"","a":{},"b":[],"c":null}',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_what_is_valid_is_taken_however_odd_it_is(collector: Running, body: bytes) -> None:
    async with collector.http.post(collector.url + "/events", data=body) as reply:
        assert (reply.status, await reply.read()) == (204, b"")
    (found,) = collector.hits(1)
    assert bytes(found.body) == body.replace(b"\r\n", b"  ")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a":1}\n' + b"\r\n" * 5_000 + b'{"a":2}', "application/json"),
        (b'\xef\xbb\xbf{"a":1}\r\n{"a":2}\r\n', "application/x-ndjson"),
        (b'\xef\xbb\xbf[{"a":1},{"a":2}]', "text/plain"),
        (b'[{"a":1},{"a":2}]', "application/octet-stream"),
    ],
)
async def test_two_events_are_found_however_they_are_wrapped(collector: Running, body: bytes, kind: str) -> None:
    async with collector.http.post(collector.url + "/events", data=body, headers={"Content-Type": kind}) as reply:
        assert reply.status == 204
    assert _bodies(collector.hits(2)) == [{"a": 1}, {"a": 2}]


async def test_a_chunked_body_over_the_limit_is_refused(start: Start) -> None:
    collector = await start(max_body_bytes=1000)

    async def chunks():  # type: ignore[no-untyped-def]
        for _ in range(100):
            yield b" " * 100

    async with collector.http.post(collector.url + "/events", data=chunks()) as reply:
        assert reply.status == 413


async def test_more_events_than_one_pack_holds_are_all_safe(collector: Running) -> None:
    big = [{"n": number, "x": "y" * 900} for number in range(1000)]
    for _ in range(3):
        async with collector.http.post(collector.url + "/events", json=big) as reply:
            assert reply.status == 204
    assert sorted(one["n"] for one in _bodies(collector.hits(3000))) == sorted(list(range(1000)) * 3)  # type: ignore[index]


async def test_cors_lets_a_beacon_with_credentials_through(collector: Running) -> None:
    asked = {
        "Origin": "https://shop.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    async with collector.http.options(collector.url + "/events", headers=asked) as reply:
        assert reply.status == 204
        allowed = reply.headers
    assert allowed["Access-Control-Allow-Origin"] == "https://shop.example.com"
    assert allowed["Access-Control-Allow-Credentials"] == "true"
    assert "content-type" in allowed["Access-Control-Allow-Headers"].lower()
    assert int(allowed["Access-Control-Max-Age"]) >= 7200
    for body, status in ((b"{}", 204), (b"{", 400)):
        async with collector.http.post(
            collector.url + "/events", data=body, headers={"Origin": "https://shop.example.com"}
        ) as reply:
            assert reply.status == status
            assert reply.headers["Access-Control-Allow-Origin"] == "https://shop.example.com"


async def test_a_hit_pubsub_does_not_confirm_is_answered_503_and_may_be_sent_again(start: Start) -> None:
    collector = await start(hits_topic="no-such-topic")
    for request in (
        collector.http.get(collector.url + "/i"),
        collector.http.post(collector.url + "/events", data=b"{}", headers={"Origin": "https://a"}),
    ):
        async with request as reply:
            assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
            if reply.method == "POST":
                assert reply.headers["Access-Control-Allow-Origin"] == "https://a"
    assert collector.metric('pixelpipe_collector_hits_settled_total{outcome="unconfirmed"}') == 2


async def test_a_client_that_leaves_does_not_take_its_pack_along(start: Start) -> None:
    collector = await start(linger_seconds=1.0)
    leaving = asyncio.create_task(collector.http.get(collector.url + "/i?n=1"))
    await until(lambda: collector.metric('pixelpipe_collector_hits_total{method="GET"}') == 1, "the hit")
    leaving.cancel()
    await asyncio.wait({leaving})
    async with collector.http.get(collector.url + "/i?n=2") as reply:
        assert reply.status == 200
    assert {one.query for one in collector.hits(2)} == {"n=1", "n=2"}
