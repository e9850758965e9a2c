from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.processor.protocols import Unreadable, plausible
from tests.processor.protocols.hits import hit

PAGE = {"n": "pageview", "u": "https://shop.example/?x=1", "d": "shop.example", "r": None, "v": 24, "h": 0}
LEFT = {**PAGE, "n": "engagement", "e": 5321, "sd": 80, "p": {"plan": "gold"}}
BOUGHT = {
    "n": "Purchase 🙂",
    "u": "https://shop.example/done",
    "d": "shop.example",
    "r": "https://www.google.com/",
    "p": {"order": {"items": [{"sku": "a", "n": 2}]}, "total": 12.5},
    "$": {"amount": "12.50", "currency": "EUR"},
    "i": False,
}
BY_API = {
    "name": "Purchase",
    "url": "app://x/",
    "domain": "app",
    "referrer": "",
    "props": {"a": 1},
    "interactive": True,
    "revenue": {"amount": 5},
}
PLACE = {"url": "https://shop.example/?x=1", "domain": "shop.example", "v": 24, "h": 0}


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (PAGE, {"type": "pageview", **PLACE}),
        (
            LEFT,
            {
                "type": "engagement",
                "properties": {"plan": "gold", "engagement_time": 5321, "scroll_depth": 80},
                **PLACE,
            },
        ),
        (
            BOUGHT,
            {
                "type": "Purchase 🙂",
                "url": "https://shop.example/done",
                "referrer": "https://www.google.com/",
                "properties": {
                    "order": {"items": [{"sku": "a", "n": 2}]},
                    "total": Decimal("12.5"),
                    "revenue": {"amount": Decimal("12.50"), "currency": "EUR"},
                },
                "domain": "shop.example",
                "i": False,
            },
        ),
        (
            BY_API,
            {
                "type": "Purchase",
                "url": "app://x/",
                "properties": {"a": 1, "revenue": {"amount": 5}},
                "domain": "app",
                "interactive": True,
            },
        ),
        (
            {"n": "a", "p": '{"b":1}', "$": '{"amount":"1"}'},
            {"type": "a", "properties": {"b": 1, "revenue": {"amount": 1}}},
        ),
        ({"n": "a", "p": "no JSON", "m": {"c": 2}}, {"type": "a", "p": "no JSON", "properties": {"c": 2}}),
        (
            {"n": "a", "p": {"revenue": 1, "scroll_depth": 2}, "$": {"amount": 3}, "sd": 4},
            {"type": "a", "properties": {"revenue": 1, "scroll_depth": 2}, "$": {"amount": 3}, "sd": 4},
        ),
        ({"n": "a", "name": "b", "d": "c", "domain": "d"}, {"type": "a", "name": "b", "d": "c", "domain": "d"}),
        ({"n": "a", "user_id": "x"}, {"type": "a", "plausible": {"user_id": "x"}}),
        ({"n": "a", "u": ["x"]}, {"type": "a", "u": ["x"]}),
    ],
)
def test_events(item: dict[str, Any], found: dict[str, Any]) -> None:
    assert plausible.read(hit("plausible", item)) == found


def test_a_query_string_is_kept() -> None:
    assert plausible.read(hit("plausible", {"n": "a"}, query="tenant=acme")) == {"type": "a", "tenant": "acme"}


@pytest.mark.parametrize(
    "item", [{}, {"n": None}, {"n": ""}, {"n": ["a"]}, {"u": "https://a.example/"}, [], "a", 1, None]
)
def test_what_has_no_name_is_refused(item: Any) -> None:
    with pytest.raises(Unreadable):
        plausible.read(hit("plausible", item))
