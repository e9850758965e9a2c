from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.processor.protocols import Unreadable, posthog
from tests.processor.protocols.hits import NOW, hit

ENVELOPE = {"api_key": "phc_1", "sent_at": "2025-11-29T17:59:59.000Z"}
DEVICE, USER = "0199a1f0-3e4b-753c-9d2e-f921edd11c2e", "u-1"
OWN = {"order_id": "o-1", "total": 12.5, "items": [{"sku": "a"}], "title": "Cart 🙂"}
KEPT = {
    "$os": "Linux",
    "$browser": "Chrome",
    "$host": "shop.example",
    "$pathname": "/cart",
    "$lib": "web",
    "$lib_version": "1.449.2",
    "$insert_id": "w3n5b8v0c4d1f7m2",
    "$time": 1764439197.5,
    "$is_identified": False,
    "$process_person_profile": False,
    "$window_id": "w-1",
    "$configured_session_timeout_ms": 1800000,
    "token": "phc_1",
    **OWN,
}
BROWSER = {
    "uuid": "0199a1f0-3e4b-7a11-8c2e-f921edd11c2e",
    "event": "order completed",
    "properties": {
        **KEPT,
        "$current_url": "https://shop.example/cart?x=1",
        "$referrer": "https://www.google.com/",
        "$session_id": "s-1",
        "distinct_id": DEVICE,
        "$device_id": DEVICE,
        "gclid": None,
        "msclkid": None,
        "$search_engine": None,
    },
    "timestamp": "2025-11-29T17:59:57.000Z",
}
COMMON = {
    "event_id": BROWSER["uuid"],
    "event_time": "2025-11-29T17:59:58.000000Z",
    "client_event_time": "2025-11-29T17:59:57.000Z",
    "sent_at": "2025-11-29T17:59:59.000000Z",
    "anonymous_id": DEVICE,
    "session_id": "s-1",
    "type": "order completed",
    "url": "https://shop.example/cart?x=1",
    "referrer": "https://www.google.com/",
    "title": "Cart 🙂",
    "properties": KEPT,
    "api_key": "phc_1",
}
PYTHON = {
    "properties": {**OWN, "$lib": "posthog-python", "$geoip_disable": True, "$is_server": True},
    "timestamp": "2025-11-29T17:59:59.500000+00:00",
    "distinct_id": USER,
    "event": "order completed",
    "uuid": "4a6f5b1e-7c8b-4a39-8f6f-0f8a9d1c2b3a",
    "$groups": {},
}
IDENTIFY = {
    **BROWSER,
    "event": "$identify",
    "properties": {"distinct_id": USER, "$anon_distinct_id": DEVICE, "$device_id": DEVICE, "$is_identified": False},
    "$set": {"plan": "pro"},
    "$set_once": {"$initial_referrer": "$direct"},
}


def _read(item: Any = BROWSER, query: str = "", envelope: Any = ENVELOPE, **properties: Any) -> dict[str, Any]:
    item = {**item, "properties": {**item["properties"], **properties}}
    return posthog.read(hit("posthog", item, query=query, envelope=envelope))


@pytest.mark.parametrize("query", ["", "compression=gzip-js&ip=0&_=1764439199000&ver=1.449.2&retry_count=1"])
def test_an_event_of_the_browser_before_identify(query: str) -> None:
    assert _read(query=query) == COMMON


def test_an_event_in_a_query() -> None:
    one = hit("posthog", BROWSER, query="data=e30&ver=1&_=1", envelope={**ENVELOPE, "compression": "base64"})
    assert posthog.read(msgspec.structs.replace(one, method="GET")) == COMMON


def test_an_event_of_the_browser_after_identify() -> None:
    found = _read(distinct_id=USER, **{"$is_identified": True, "$process_person_profile": True})
    assert (found["user_id"], found["anonymous_id"]) == (USER, DEVICE)


def test_a_batch_of_the_python_library() -> None:
    envelope = {"api_key": "phc_1", "historical_migration": False, "sent_at": "2025-11-29T18:00:00+00:00"}
    assert posthog.read(hit("posthog", PYTHON, envelope=envelope)) == {
        "event_id": PYTHON["uuid"],
        "event_time": "2025-11-29T17:59:59.500000Z",
        "sent_at": NOW,
        "user_id": USER,
        "type": "order completed",
        "title": "Cart 🙂",
        "properties": PYTHON["properties"],
        "$groups": {},
        "api_key": "phc_1",
        "historical_migration": False,
    }


def test_identify_joins_the_former_anonymous_id_and_the_user() -> None:
    found = _read(IDENTIFY)
    assert (found["type"], found["user_id"], found["anonymous_id"]) == ("$identify", USER, DEVICE)
    assert found["properties"] == {
        "$device_id": DEVICE,
        "$is_identified": False,
        "$set": {"plan": "pro"},
        "$set_once": {"$initial_referrer": "$direct"},
    }


@pytest.mark.parametrize(
    ("properties", "user", "anonymous", "left"),
    [
        ({"distinct_id": DEVICE, "$device_id": DEVICE}, None, DEVICE, {}),
        ({"distinct_id": "new", "$device_id": DEVICE, "$is_identified": False}, None, "new", {"$device_id": DEVICE}),
        ({"distinct_id": "made-up", "$device_id": None, "$process_person_profile": False}, None, "made-up", {}),
        ({"distinct_id": USER, "$device_id": DEVICE, "$process_person_profile": False}, USER, DEVICE, {}),
        ({"distinct_id": 7, "$device_id": None}, 7, None, {}),
        ({"distinct_id": None, "$device_id": DEVICE}, None, DEVICE, {}),
        ({"distinct_id": "", "$device_id": ""}, None, None, {}),
        ({"distinct_id": {"a": 1}, "$device_id": [1]}, None, None, {"distinct_id": {"a": 1}, "$device_id": [1]}),
    ],
)
def test_who(properties: dict[str, Any], user: Any, anonymous: Any, left: dict[str, Any]) -> None:
    found = posthog.read(hit("posthog", {"event": "x", "properties": properties}))
    assert (found.get("user_id"), found.get("anonymous_id")) == (user, anonymous)
    ids = {"distinct_id", "$device_id"}
    assert {name: value for name, value in found.get("properties", {}).items() if name in ids} == left


@pytest.mark.parametrize(
    ("fields", "envelope", "time", "raw", "sent"),
    [
        ({"timestamp": None}, ENVELOPE, None, None, "2025-11-29T17:59:59.000000Z"),
        ({"timestamp": None, "offset": 1500}, {}, "2025-11-29T17:59:58.500000Z", None, None),
        ({"timestamp": None, "offset": -1}, {}, None, None, None),
        ({"timestamp": None, "offset": 1e300}, {}, None, None, None),
        ({"timestamp": None, "offset": True}, {}, None, None, None),
        (
            {"sent_at": "2025-11-29T17:59:58Z"},
            {},
            "2025-11-29T17:59:59.000000Z",
            "2025-11-29T17:59:57.000Z",
            "2025-11-29T17:59:58.000000Z",
        ),
        ({"sent_at": "x"}, {}, "2025-11-29T17:59:57.000000Z", None, "x"),
        ({"timestamp": "x"}, ENVELOPE, "x", None, "2025-11-29T17:59:59.000000Z"),
        (
            {"properties": {"$ignore_sent_at": True}},
            ENVELOPE,
            "2025-11-29T17:59:57.000000Z",
            None,
            "2025-11-29T17:59:59.000000Z",
        ),
    ],
)
def test_times(fields: dict[str, Any], envelope: Any, time: Any, raw: Any, sent: Any) -> None:
    found = posthog.read(hit("posthog", {**BROWSER, **fields}, envelope=envelope))
    assert (found.get("event_time"), found.get("client_event_time"), found.get("sent_at")) == (time, raw, sent)


@pytest.mark.parametrize(
    ("item", "left"),
    [
        ({"event": "x", "properties": {"$referrer": "$direct"}}, {"type": "x", "properties": {"$referrer": "$direct"}}),
        ({"event": "x", "properties": [1]}, {"type": "x", "posthog": {"properties": [1]}}),
        ({"event": "x", "properties": {"$set": 1}, "$set": 2}, {"type": "x", "properties": {"$set": 1}, "$set": 2}),
        ({"event": "x", "type": "capture"}, {"type": "x", "posthog": {"type": "capture"}}),
        ({"event": 5, "uuid": None, "$set": None, "properties": None}, {"type": 5}),
        (
            {"event": "x", "distinct_id": "a", "properties": {"distinct_id": "b"}},
            {"type": "x", "user_id": "a", "properties": {"distinct_id": "b"}},
        ),
        ({"event": "x", "properties": {"__proto__": 1, "": 2}}, {"type": "x", "properties": {"__proto__": 1, "": 2}}),
    ],
)
def test_odd_events_are_kept(item: Any, left: dict[str, Any]) -> None:
    assert posthog.read(hit("posthog", item)) == left


@pytest.mark.parametrize(
    "body", [{}, {"event": None}, {"event": ["x"]}, {"properties": {}}, [], "x", 1, b"true", b"{", b"\x1f\x8b"]
)
def test_what_is_no_event_is_unreadable(body: Any) -> None:
    with pytest.raises(Unreadable):
        posthog.read(hit("posthog", body))
