from __future__ import annotations

from typing import Any

import pytest

from services.processor.protocols import Unreadable, amplitude
from tests.processor.protocols.hits import NOW, hit

ENVELOPE = {"api_key": "key-1", "options": {}, "client_upload_time": "2025-11-29T17:59:59.000Z"}
OF_CONTEXT = {
    "event_id": 17,
    "ip": "$remote",
    "language": "en-GB",
    "platform": "Web",
    "library": "amplitude-ts/2.48.1",
    "user_agent": "Mozilla/5.0",
}
BROWSER = {
    **OF_CONTEXT,
    "device_id": "0b9f2f6e-51f3-4a2e-a8d0-1f62ac8f7d11",
    "session_id": 1764439000123,
    "time": 1764439197000,
    "user_id": "u-1",
    "insert_id": "4a6f5b1e-7c8b-4a39-8f6f-0f8a9d1c2b3a",
    "event_type": "Order Completed",
    "event_properties": {"order_id": "o-1", "total": 12.5, "items": [{"sku": "a"}], "note": "🙂"},
}
COMMON = {
    "event_id": BROWSER["insert_id"],
    "event_time": "2025-11-29T17:59:58.000000Z",
    "client_event_time": 1764439197000,
    "sent_at": "2025-11-29T17:59:59.000000Z",
    "user_id": "u-1",
    "anonymous_id": BROWSER["device_id"],
    "session_id": 1764439000123,
    "type": "Order Completed",
    "properties": BROWSER["event_properties"],
    "context": OF_CONTEXT,
    "api_key": "key-1",
    "options": {},
}
PAGE = {
    **BROWSER,
    "event_type": "[Amplitude] Page Viewed",
    "event_properties": {
        "referrer": "https://www.google.com/",
        "referring_domain": "www.google.com",
        "[Amplitude] Page Counter": 1,
        "[Amplitude] Page Domain": "shop.example",
        "[Amplitude] Page Location": "https://shop.example/cart?x=1",
        "[Amplitude] Page Path": "/cart",
        "[Amplitude] Page Title": "Cart 🙂",
        "[Amplitude] Page URL": "https://shop.example/cart",
    },
}
IDENTIFY = {
    **BROWSER,
    "event_type": "$identify",
    "event_properties": None,
    "user_properties": {"$set": {"plan": "pro"}, "$unset": {"trial": "-"}},
}
PYTHON = {
    "user_id": "u-1",
    "time": 1764439199500,
    "insert_id": "e-1",
    "library": "amplitude-python/1.3.0",
    "event_type": "Order Completed",
    "event_properties": {"total": 3},
    "groups": {"team": ["a"]},
    "price": 9.5,
    "quantity": 2,
    "session_id": -1,
}


def _read(**fields: Any) -> dict[str, Any]:
    return amplitude.read(hit("amplitude", {**BROWSER, **fields}, envelope=ENVELOPE))


def test_an_event_of_the_browser() -> None:
    assert _read() == COMMON


def test_the_counter_is_not_the_id() -> None:
    found = _read(insert_id=None)
    assert "event_id" not in found and found["context"]["event_id"] == 17


def test_a_page_view() -> None:
    found = _read(**PAGE)
    assert (found["type"], found["url"], found["referrer"], found["title"]) == (
        "[Amplitude] Page Viewed",
        "https://shop.example/cart?x=1",
        "https://www.google.com/",
        "Cart 🙂",
    )
    assert found["properties"] == {
        "referrer": "https://www.google.com/",
        "referring_domain": "www.google.com",
        "[Amplitude] Page Counter": 1,
        "[Amplitude] Page Domain": "shop.example",
        "[Amplitude] Page Path": "/cart",
        "[Amplitude] Page URL": "https://shop.example/cart",
    }
    without = _read(event_properties={"[Amplitude] Page URL": "https://shop.example/cart"})
    assert without["url"] == "https://shop.example/cart" and "properties" not in without


def test_identify() -> None:
    found = _read(**IDENTIFY)
    assert (found["type"], found["user_properties"]) == (
        "$identify",
        {"$set": {"plan": "pro"}, "$unset": {"trial": "-"}},
    )
    assert "properties" not in found


def test_an_event_of_the_python_library() -> None:
    envelope = {"api_key": "key-1", "client_upload_time": "2025-11-29T18:00:00.000Z", "request_metadata": {"sdk": {}}}
    assert amplitude.read(hit("amplitude", PYTHON, envelope=envelope)) == {
        "event_id": "e-1",
        "event_time": "2025-11-29T17:59:59.500000Z",
        "sent_at": NOW,
        "user_id": "u-1",
        "type": "Order Completed",
        "properties": {"total": 3, "price": 9.5, "quantity": 2},
        "context": {"library": "amplitude-python/1.3.0", "session_id": -1},
        "groups": {"team": ["a"]},
        "api_key": "key-1",
    }


@pytest.mark.parametrize(
    ("time", "found", "raw"),
    [
        (None, None, None),
        (1764439197, "2025-11-29T17:59:58.000000Z", 1764439197),
        ("1764439197000", "2025-11-29T17:59:58.000000Z", "1764439197000"),
        ("2025-11-29T17:59:57Z", "2025-11-29T17:59:58.000000Z", "2025-11-29T17:59:57Z"),
        (1000, "1970-01-01T00:00:02.000000Z", 1000),
        ("noon", "noon", None),
        (10**300, 10**300, None),
        ({}, None, None),
    ],
)
def test_times(time: Any, found: Any, raw: Any) -> None:
    event = _read(time=time)
    assert (event.get("event_time"), event.get("client_event_time")) == (found, raw)


@pytest.mark.parametrize(
    ("item", "left"),
    [
        ({"event_type": "x", "event_properties": [1]}, {"type": "x", "context": {"event_properties": [1]}}),
        (
            {"event_type": "x", "price": 1, "event_properties": {"price": 2}},
            {"type": "x", "context": {"price": 1}, "properties": {"price": 2}},
        ),
        ({"event_type": "x", "user_id": {}, "device_id": ""}, {"type": "x", "context": {"user_id": {}}}),
        ({"event_type": "x", "time": [1], "type": "y"}, {"type": "x", "context": {"time": [1], "type": "y"}}),
        ({"event_type": 5, "user_properties": "x"}, {"type": 5, "user_properties": "x"}),
    ],
)
def test_odd_events_are_kept(item: Any, left: dict[str, Any]) -> None:
    assert amplitude.read(hit("amplitude", item)) == left


@pytest.mark.parametrize(
    "body", [{}, {"event_type": ""}, {"event_type": []}, {"event": "x"}, [], "x", 1, b"null", b'{"event_type"']
)
def test_what_is_no_event_is_unreadable(body: Any) -> None:
    with pytest.raises(Unreadable):
        amplitude.read(hit("amplitude", body))
