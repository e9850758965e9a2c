from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.processor.protocols import Unreadable, umami
from tests.processor.protocols.hits import hit

PAYLOAD = {
    "website": "5f1c1e0e-6d0a-4c55-9f5d-0e8d0b9f4a11",
    "screen": "1280x720",
    "language": "en-GB",
    "title": "Cart 🙂",
    "hostname": "shop.example",
    "url": "https://shop.example/cart?x=1",
    "referrer": "https://www.google.com/",
    "tag": "b",
}
PAGE = {"type": "event", "payload": PAYLOAD}
BOUGHT = {
    "type": "event",
    "payload": {**PAYLOAD, "id": "u-1", "name": "Purchase", "data": {"total": 12.5, "order": {"items": [{"n": 2}]}}},
}
KNOWN = {"type": "identify", "payload": {**PAYLOAD, "id": "u-1", "data": {"plan": "gold"}}}
READ = {
    "url": "https://shop.example/cart?x=1",
    "referrer": "https://www.google.com/",
    "title": "Cart 🙂",
    **{name: PAYLOAD[name] for name in ("website", "screen", "language", "hostname", "tag")},
}


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (PAGE, {"type": "page", **READ}),
        (
            BOUGHT,
            {
                "type": "Purchase",
                "user_id": "u-1",
                "properties": {"total": Decimal("12.5"), "order": {"items": [{"n": 2}]}},
                **READ,
            },
        ),
        (KNOWN, {"type": "identify", "user_id": "u-1", "properties": {"plan": "gold"}, **READ}),
        (
            {"type": "performance", "payload": {"website": "w", "vid": "v-1", "lcp": 120, "name": "x"}},
            {"type": "performance", "anonymous_id": "v-1", "website": "w", "lcp": 120, "name": "x"},
        ),
        (
            {"payload": {"website": "w", "timestamp": 1764331201, "url": "/a?b", "hostname": "h.example", "data": [1]}},
            {
                "type": "page",
                "event_time": "2025-11-28T12:00:01.000000Z",
                "url": "https://h.example/a?b",
                "website": "w",
                "hostname": "h.example",
                "data": [1],
            },
        ),
        ({"payload": {"url": "/a", "hostname": ""}}, {"type": "page", "url": "/a", "hostname": ""}),
        ({"payload": {"url": "//a", "hostname": "h"}}, {"type": "page", "url": "//a", "hostname": "h"}),
        (
            {"type": "event", "payload": {"name": "a", "type": "x", "event_id": "y", "umami": 1}, "website": "z"},
            {"type": "a", "website": "z", "umami": {"type": "x", "event_id": "y", "umami": 1}},
        ),
    ],
)
def test_events(item: dict[str, Any], found: dict[str, Any]) -> None:
    assert umami.read(hit("umami", item)) == found


@pytest.mark.parametrize(
    "item", [{}, {"type": "event"}, {"payload": {}}, {"payload": []}, {"payload": "x"}, [], "a", None]
)
def test_what_has_no_payload_is_refused(item: Any) -> None:
    with pytest.raises(Unreadable):
        umami.read(hit("umami", item))
