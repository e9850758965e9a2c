from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.processor.protocols import Unreadable, segment
from tests.processor.protocols.hits import hit

CONTEXT = {
    "page": {
        "path": "/cart",
        "referrer": "https://www.google.com/",
        "search": "?x=1",
        "title": "Cart 🙂",
        "url": "https://shop.example/cart?x=1",
    },
    "campaign": {"source": "mail", "name": "spring"},
    "userAgent": "Mozilla/5.0",
    "locale": "en-GB",
    "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
    "timezone": "Europe/Berlin",
}
BOUGHT = {"order_id": "o-1", "total": 12.5, "products": [{"sku": "a", "n": 2}]}
BROWSER = {
    "timestamp": "2025-11-29T17:59:57.000Z",
    "integrations": {"Segment.io": True},
    "userId": "u-1",
    "anonymousId": "0b9f2f6e-51f3-4a2e-a8d0-1f62ac8f7d11",
    "event": "Order Completed",
    "type": "track",
    "properties": BOUGHT,
    "context": CONTEXT,
    "messageId": "ajs-next-1764439197000-4a6f5b1e-7c8b-4a39-8f6f-0f8a9d1c2b3a",
    "writeKey": "key-1",
    "sentAt": "2025-11-29T17:59:59.000Z",
    "_metadata": {"bundled": ["Segment.io"], "unbundled": []},
}
COMMON = {
    "event_id": BROWSER["messageId"],
    "event_time": "2025-11-29T17:59:58.000000Z",
    "client_event_time": "2025-11-29T17:59:57.000Z",
    "sent_at": "2025-11-29T17:59:59.000000Z",
    "user_id": "u-1",
    "anonymous_id": BROWSER["anonymousId"],
    "type": "Order Completed",
    "url": "https://shop.example/cart?x=1",
    "referrer": "https://www.google.com/",
    "title": "Cart 🙂",
    "properties": BOUGHT,
    "context": CONTEXT,
    "integrations": {"Segment.io": True},
    "writeKey": "key-1",
    "_metadata": BROWSER["_metadata"],
}
PYTHON = {
    "integrations": {},
    "anonymousId": None,
    "properties": {"total": 3, "url": "https://shop.example/p", "title": "P", "referrer": "https://r.example/"},
    "timestamp": "2025-11-29T17:59:57+00:00",
    "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
    "userId": "u-1",
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
}
RUDDERSTACK = {
    "properties": BOUGHT,
    "event": "Order Completed",
    "type": "track",
    "channel": "web",
    "context": {"traits": {}, "sessionId": 1764439000123, "page": {"url": "https://shop.example/"}},
    "originalTimestamp": "2025-11-29T17:59:57.000Z",
    "integrations": {"All": True},
    "messageId": "m-1",
    "userId": "",
    "anonymousId": "a-1",
    "sentAt": "2025-11-29T17:59:58.000Z",
}
JITSU = {
    "type": "page",
    "writeKey": "***",
    "messageId": "1f7m2kq9xw3n5b8v0c4d",
    "anonymousId": "a-1",
    "timestamp": "2025-11-29T18:00:00.000Z",
    "sentAt": "2025-11-29T18:00:00.000Z",
    "name": "Cart",
    "properties": {"name": "Cart", "path": "/cart"},
    "context": CONTEXT,
}


def _read(via: str = "segment", query: str = "", envelope: Any = None, **fields: Any) -> dict[str, Any]:
    return segment.read(hit(via, {**BROWSER, **fields}, query=query, envelope=envelope))


@pytest.mark.parametrize("via", ["segment", "segment.track"])
def test_a_track_call_of_the_browser(via: str) -> None:
    assert _read(via) == COMMON


def test_a_batch_of_the_python_library() -> None:
    envelope = {"writeKey": "key-1", "sentAt": "2025-11-29T17:59:59+00:00"}
    assert segment.read(hit("segment", PYTHON, envelope=envelope)) == {
        "event_id": "m-1",
        "event_time": "2025-11-29T17:59:58.000000Z",
        "client_event_time": "2025-11-29T17:59:57+00:00",
        "sent_at": "2025-11-29T17:59:59.000000Z",
        "user_id": "u-1",
        "type": "Order Completed",
        "url": "https://shop.example/p",
        "referrer": "https://r.example/",
        "title": "P",
        "properties": PYTHON["properties"],
        "context": PYTHON["context"],
        "writeKey": "key-1",
    }


def test_a_beacon_of_rudderstack_before_identify() -> None:
    one = hit("segment", RUDDERSTACK, query="writeKey=key-1", envelope={"sentAt": "2025-11-29T17:59:59.000Z"})
    assert segment.read(one) == {
        "event_id": "m-1",
        "event_time": "2025-11-29T17:59:58.000000Z",
        "client_event_time": "2025-11-29T17:59:57.000Z",
        "sent_at": "2025-11-29T17:59:59.000000Z",
        "anonymous_id": "a-1",
        "session_id": 1764439000123,
        "type": "Order Completed",
        "url": "https://shop.example/",
        "properties": BOUGHT,
        "context": RUDDERSTACK["context"],
        "integrations": {"All": True},
        "channel": "web",
        "writeKey": "key-1",
    }


def test_a_page_of_jitsu() -> None:
    found = segment.read(hit("segment.page", JITSU))
    assert (found["type"], found["properties"], found["event_id"]) == ("page", JITSU["properties"], JITSU["messageId"])
    assert found["writeKey"] == "***" and "name" not in found
    assert found["event_time"] == found["sent_at"] == "2025-11-29T18:00:00.000000Z"


def test_an_image_whose_query_holds_the_message() -> None:
    one = hit("segment.track", BROWSER, query="data=eyJ0eXBlIjoidHJhY2siLCJldmVudCI6Ik9yZGVyIENvbXBsZXRlZCJ9")
    assert segment.read(msgspec.structs.replace(one, method="GET")) == COMMON


@pytest.mark.parametrize(
    ("via", "fields", "kind", "properties"),
    [
        (
            "segment",
            {"type": "page", "name": "Cart", "category": "Shop"},
            "page",
            {**BOUGHT, "name": "Cart", "category": "Shop"},
        ),
        ("segment", {"type": "screen", "name": "Cart", "properties": None}, "screen", {"name": "Cart"}),
        ("segment", {"type": "identify", "traits": {"plan": "pro"}, "properties": None}, "identify", {"plan": "pro"}),
        ("segment", {"type": "identify", "traits": {"plan": "pro"}}, "identify", BOUGHT),
        ("segment", {"type": "group", "groupId": "g-1", "traits": {"n": 5}, "properties": {}}, "group", {"n": 5}),
        ("segment", {"type": "alias", "previousId": "p-1", "properties": None}, "alias", None),
        ("segment", {"type": None}, "Order Completed", BOUGHT),
        ("segment", {"event": ""}, "track", BOUGHT),
        ("segment", {"type": "Track"}, "Track", BOUGHT),
        ("segment.identify", {"type": None, "traits": {"a": 1}, "properties": None}, "identify", {"a": 1}),
        ("segment.track", {"type": "page"}, "page", BOUGHT),
        ("segment.track", {"type": "?"}, "Order Completed", BOUGHT),
        ("segment.batch", {}, "Order Completed", BOUGHT),
    ],
)
def test_each_kind_of_call(via: str, fields: dict[str, Any], kind: str, properties: Any) -> None:
    found = _read(via, **fields)
    assert (found["type"], found.get("properties")) == (kind, properties)


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"type": "group", "groupId": "g-1"}, {"groupId": "g-1"}),
        ({"type": "alias", "previousId": "p-1"}, {"previousId": "p-1"}),
        ({"type": "page", "event": "x"}, {"event": "x"}),
        ({"type": "identify", "traits": {"plan": "pro"}}, {"traits": {"plan": "pro"}}),
        ({"type": "page", "name": "Cart", "properties": {"name": "Basket"}}, {"name": "Cart"}),
        ({"originalTimestamp": "2025-11-29T17:59:57.000Z", "timestamp": "x"}, {"timestamp": "x"}),
        ({"properties": [1], "context": "x", "type": "track"}, {"segment": {"properties": [1], "context": "x"}}),
        ({"url": "x", "user_id": "y"}, {"segment": {"url": "x", "user_id": "y"}}),
        (
            {"messageId": {"a": 1}, "userId": ["u"], "anonymousId": True},
            {"messageId": {"a": 1}, "userId": ["u"], "anonymousId": True},
        ),
    ],
)
def test_what_has_no_canonical_name_is_kept(fields: dict[str, Any], left: dict[str, Any]) -> None:
    found = _read(**fields)
    assert {name: found.get(name) for name in left} == left


def test_traits_of_rudderstack_are_in_the_context() -> None:
    context = {"traits": {"plan": "pro"}}
    found = segment.read(hit("segment.identify", {"type": "identify", "userId": "u-1", "context": context}))
    assert (found["properties"], found["context"]) == ({"plan": "pro"}, context)


def test_the_batch_says_what_its_messages_do_not() -> None:
    envelope = {
        "context": {"locale": "de", "app": {"name": "shop"}},
        "integrations": {"All": False},
        "writeKey": "key-2",
    }
    found = _read(envelope=envelope)
    assert found["context"] == {**CONTEXT, "app": {"name": "shop"}}
    assert found["integrations"] == {"All": False, "Segment.io": True}
    assert (found["writeKey"], found["segment"]) == ("key-1", {"writeKey": "key-2"})


@pytest.mark.parametrize(
    ("fields", "time", "raw"),
    [
        ({"sentAt": None}, "2025-11-29T17:59:57.000000Z", None),
        (
            {"timestamp": "1970-01-01T00:00:01Z", "sentAt": "1970-01-01T00:00:02Z"},
            "2025-11-29T17:59:59.000000Z",
            "1970-01-01T00:00:01Z",
        ),
        ({"timestamp": "yesterday"}, "yesterday", None),
        ({"timestamp": "2025-11-29T17:59:57"}, "2025-11-29T17:59:57", None),
        ({"timestamp": None}, None, None),
        ({"timestamp": "0001-01-01T00:00:00Z", "sentAt": "9999-01-01T00:00:00Z"}, "0001-01-01T00:00:00.000000Z", None),
    ],
)
def test_times(fields: dict[str, Any], time: str | None, raw: str | None) -> None:
    found = _read(**fields)
    assert (found.get("event_time"), found.get("client_event_time")) == (time, raw)


def test_half_a_character_is_repaired() -> None:
    assert _read(event="cut \ud83d")["type"] == "cut \ufffd"


@pytest.mark.parametrize(
    "body", [{}, {"userId": "u-1"}, {"type": {}}, [], "track", 7, b"null", b'{"type":"track"', b"\xff", b"1" * 5000]
)
def test_what_is_no_message_is_unreadable(body: Any) -> None:
    with pytest.raises(Unreadable):
        segment.read(hit("segment", body))


def test_a_text_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        segment.read(hit("segment", text="type=track"))
