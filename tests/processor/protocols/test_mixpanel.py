from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.processor.protocols import Unreadable, mixpanel
from tests.processor.protocols.hits import hit

DEVICE, USER = "0b9f2f6e-51f3-4a2e-a8d0-1f62ac8f7d11", "u-1"
KEPT = {
    "$os": "Linux",
    "$browser": "Chrome",
    "$browser_version": 156,
    "$screen_height": 720,
    "mp_lib": "web",
    "$lib_version": "2.83.0",
    "$initial_referrer": "$direct",
    "$mp_api_endpoint": "shop.example",
    "current_page_title": "Cart 🙂",
    "order_id": "o-1",
    "total": 12.5,
    "items": [{"sku": "a"}],
}
BROWSER = {
    "event": "Order Completed",
    "properties": {
        **KEPT,
        "$current_url": "https://shop.example/cart?x=1",
        "$referrer": "https://www.google.com/",
        "$insert_id": "w3n5b8v0c4d1f7m2",
        "time": 1764439197.25,
        "distinct_id": f"$device:{DEVICE}",
        "$device_id": DEVICE,
        "token": "token-1",
    },
}
COMMON = {
    "event_id": "w3n5b8v0c4d1f7m2",
    "event_time": "2025-11-29T17:59:57.250000Z",
    "anonymous_id": DEVICE,
    "type": "Order Completed",
    "url": "https://shop.example/cart?x=1",
    "referrer": "https://www.google.com/",
    "title": "Cart 🙂",
    "properties": KEPT,
    "token": "token-1",
}
PYTHON = {
    "event": "Order Completed",
    "properties": {
        "token": "token-1",
        "distinct_id": USER,
        "time": 1764439197,
        "$insert_id": "0b9f2f6e51f34a2ea8d01f62ac8f7d11",
        "mp_lib": "python",
        "$lib_version": "5.4.1",
        "total": 3,
    },
}
PROFILE = {
    "$set": {"plan": "pro"},
    "$token": "token-1",
    "$distinct_id": USER,
    "$device_id": DEVICE,
    "$user_id": USER,
}


def _who(**properties: Any) -> tuple[Any, Any, Any]:
    found = mixpanel.read(hit("mixpanel", {"event": "x", "properties": properties}))
    return found.get("user_id"), found.get("anonymous_id"), found.get("properties")


@pytest.mark.parametrize(
    ("query", "envelope"),
    [
        ("verbose=1&ip=1&_=1764439199000", None),
        ("", {"verbose": "1", "ip": "0", "api_key": "secret", "api_secret": "x"}),
    ],
)
def test_an_event_of_the_browser_before_identify(query: str, envelope: Any) -> None:
    assert mixpanel.read(hit("mixpanel", BROWSER, query=query, envelope=envelope)) == COMMON


def test_an_event_in_a_query() -> None:
    one = hit("mixpanel", BROWSER, query="data=eyJldmVudCI6IngifQ&ip=1&_=1764439199000", envelope={"ip": "1"})
    assert mixpanel.read(msgspec.structs.replace(one, method="GET")) == COMMON


def test_an_event_of_the_python_library() -> None:
    assert mixpanel.read(hit("mixpanel", PYTHON, envelope={"verbose": "1", "ip": "0"})) == {
        "event_id": "0b9f2f6e51f34a2ea8d01f62ac8f7d11",
        "event_time": "2025-11-29T17:59:57.000000Z",
        "user_id": USER,
        "type": "Order Completed",
        "properties": {"mp_lib": "python", "$lib_version": "5.4.1", "total": 3},
        "token": "token-1",
    }


@pytest.mark.parametrize(
    ("sent", "user", "anonymous", "left"),
    [
        ({"distinct_id": USER, "$user_id": USER, "$device_id": DEVICE}, USER, DEVICE, {"distinct_id": USER}),
        ({"distinct_id": f"$device:{DEVICE}"}, None, DEVICE, None),
        (
            {"distinct_id": f"$device:{DEVICE}", "$device_id": "other"},
            None,
            "other",
            {"distinct_id": f"$device:{DEVICE}"},
        ),
        ({"distinct_id": DEVICE, "$device_id": DEVICE}, None, DEVICE, {"distinct_id": DEVICE}),
        ({"distinct_id": USER, "$anon_distinct_id": f"$device:{DEVICE}"}, USER, DEVICE, None),
        ({"distinct_id": USER, "$anon_distinct_id": 5}, USER, 5, None),
        ({"distinct_id": 42}, 42, None, None),
        ({"distinct_id": ""}, None, None, None),
        ({"distinct_id": ["a"]}, None, None, {"distinct_id": ["a"]}),
        ({"distinct_id": "$device:"}, None, None, None),
        ({}, None, None, None),
    ],
)
def test_who(sent: dict[str, Any], user: Any, anonymous: Any, left: Any) -> None:
    found_user, found_anonymous, properties = _who(**sent)
    assert (found_user, found_anonymous) == (user, anonymous)
    assert properties == left


@pytest.mark.parametrize(("via", "kind"), [("mixpanel.engage", "$engage"), ("mixpanel.groups", "$groups")])
def test_an_update_of_a_profile(via: str, kind: str) -> None:
    assert mixpanel.read(hit(via, {**PROFILE, "$time": 1764439197})) == {
        "event_time": "2025-11-29T17:59:57.000000Z",
        "user_id": USER,
        "anonymous_id": DEVICE,
        "type": kind,
        "properties": {"$set": {"plan": "pro"}, "distinct_id": USER},
        "token": "token-1",
    }


@pytest.mark.parametrize(
    ("time", "found"),
    [
        (1764439197, "2025-11-29T17:59:57.000000Z"),
        (1764439197000, "2025-11-29T17:59:57.000000Z"),
        ("1764439197.5", "2025-11-29T17:59:57.500000Z"),
        (60, "1970-01-01T00:01:00.000000Z"),
        ("2025-11-29T17:59:57Z", "2025-11-29T17:59:57.000000Z"),
        ("noon", "noon"),
        (1e300, Decimal("1e300")),
        (None, None),
        ([1], None),
    ],
)
def test_times(time: Any, found: Any) -> None:
    assert mixpanel.read(hit("mixpanel", {"event": "x", "properties": {"time": time}})).get("event_time") == found


@pytest.mark.parametrize(
    ("item", "left"),
    [
        ({"event": "x", "properties": {"$referrer": "$direct"}}, {"type": "x", "properties": {"$referrer": "$direct"}}),
        ({"event": "x", "properties": "y"}, {"type": "x", "mixpanel": {"properties": "y"}}),
        ({"event": "x", "type": "y", "own": 1}, {"type": "x", "mixpanel": {"type": "y"}, "own": 1}),
        ({"event": "x", "properties": {"token": {"a": 1}}}, {"type": "x", "properties": {"token": {"a": 1}}}),
        (
            {"event": "x", "properties": {"type": 1, "__proto__": 2}},
            {"type": "x", "properties": {"type": 1, "__proto__": 2}},
        ),
    ],
)
def test_odd_events_are_kept(item: Any, left: dict[str, Any]) -> None:
    assert mixpanel.read(hit("mixpanel", item)) == left


@pytest.mark.parametrize("body", [{}, {"event": ""}, {"event": {}}, PROFILE, [], "x", 1, b"null", b'{"event"'])
def test_what_is_no_event_is_unreadable(body: Any) -> None:
    with pytest.raises(Unreadable):
        mixpanel.read(hit("mixpanel", body))
