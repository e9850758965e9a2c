from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.processor.protocols import Unreadable, ga4
from tests.processor.protocols.hits import hit

QUERY = "measurement_id=G-ABC1234567&api_secret=s3cret&api_secret=s3cret"
CART = [{"item_id": "SKU-1", "item_name": "Shoe 🙂", "price": 49.9, "quantity": 2}]
ENVELOPE = {
    "client_id": "1234567890.1764439000",
    "user_id": "u-1",
    "timestamp_micros": 1764439195123456,
    "non_personalized_ads": False,
    "user_properties": {"plan": {"value": "gold"}, "age": {"value": 7, "set_timestamp_micros": 1}},
    "consent": {"ad_user_data": "GRANTED", "ad_personalization": "DENIED"},
}
BOUGHT = {
    "name": "purchase",
    "params": {
        "transaction_id": "o-1",
        "value": 99.8,
        "currency": "EUR",
        "items": CART,
        "session_id": "1764439000",
        "engagement_time_msec": 100,
        "page_location": "https://shop.example/done",
        "page_referrer": "https://shop.example/cart",
        "page_title": "Done",
    },
}
READ = {
    "event_time": "2025-11-29T17:59:55.123456Z",
    "user_id": "u-1",
    "anonymous_id": "1234567890.1764439000",
    "session_id": "1764439000",
    "type": "purchase",
    "url": "https://shop.example/done",
    "referrer": "https://shop.example/cart",
    "title": "Done",
    "consent": '{"ad_user_data":"GRANTED","ad_personalization":"DENIED"}',
    "properties": {
        "transaction_id": "o-1",
        "value": Decimal("99.8"),
        "currency": "EUR",
        "items": [{**CART[0], "price": Decimal("49.9")}],
        "engagement_time_msec": 100,
    },
    "context": {"user_properties": {"plan": "gold", "age": {"value": 7, "set_timestamp_micros": 1}}},
    "non_personalized_ads": False,
    "measurement_id": "G-ABC1234567",
}


def _read(item: Any, envelope: Any = None, query: str = "") -> dict[str, Any]:
    return ga4.read(hit("ga4", item, query=query, envelope=envelope))


def test_an_order() -> None:
    found = _read(BOUGHT, ENVELOPE, QUERY)
    assert "s3cret" not in repr(found)
    assert found == READ


def test_an_app() -> None:
    found = _read({"name": "login"}, {"app_instance_id": "0123456789abcdef"}, "firebase_app_id=1:2:web:3&api_secret=x")
    assert found == {"anonymous_id": "0123456789abcdef", "type": "login", "firebase_app_id": "1:2:web:3"}


@pytest.mark.parametrize(
    ("own", "shared", "moment"),
    [
        (1764439195000000, 1764439190000000, "2025-11-29T17:59:55.000000Z"),
        ("1764439195000000", None, "2025-11-29T17:59:55.000000Z"),
        (None, "1764439195000000", "2025-11-29T17:59:55.000000Z"),
        (1764439195, None, "2025-11-29T17:59:55.000000Z"),
        ("soon", None, "soon"),
        (None, None, None),
    ],
)
def test_times(own: Any, shared: Any, moment: str | None) -> None:
    found = _read({"name": "a", "timestamp_micros": own}, {"timestamp_micros": shared})
    assert found.get("event_time") == moment


@pytest.mark.parametrize(
    ("item", "envelope", "found"),
    [
        ({"name": "a", "params": "x", "client_id": "c"}, None, {"type": "a", "params": "x", "client_id": "c"}),
        (
            {"name": "a"},
            {"consent": "x", "user_properties": [1]},
            {"type": "a", "ga4": {"consent": "x"}, "user_properties": [1]},
        ),
        ({"name": "a", "event_id": "x"}, {"events": []}, {"type": "a", "ga4": {"event_id": "x"}, "events": []}),
        (
            {"name": "a", "params": {"ga_session_id": 5, "user_id": "x"}},
            None,
            {"type": "a", "session_id": 5, "properties": {"user_id": "x"}},
        ),
    ],
)
def test_what_is_not_as_documented_is_kept(item: Any, envelope: Any, found: dict[str, Any]) -> None:
    assert _read(item, envelope) == found


@pytest.mark.parametrize("item", [{}, {"name": ""}, {"name": None}, {"name": []}, {"params": {}}, [], "a", 5, None])
def test_what_has_no_name_is_refused(item: Any) -> None:
    with pytest.raises(Unreadable):
        _read(item, ENVELOPE)
