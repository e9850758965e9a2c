"""Reads events of Amplitude's HTTP API V2."""

from __future__ import annotations

from typing import Any

from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "amplitude"
FIELDS: tuple[tuple[str, str], ...] = (
    ("insert_id", "event_id"),
    ("time", "event_time, corrected by `client_upload_time`; as sent in client_event_time"),
    ("client_upload_time", "sent_at"),
    ("user_id", "user_id"),
    ("device_id", "anonymous_id"),
    ("session_id", "session_id, unless it is -1"),
    ("event_type", "type"),
    ("event_properties", "properties"),
    ("price, quantity, revenue, productId, revenueType, currency", "properties of the same names"),
    ("event_properties.[Amplitude] Page Location, … Page URL", "url, the first of them"),
    ("event_properties.[Amplitude] Page Title", "title"),
    ("event_properties.referrer", "referrer, and in properties"),
    ("user_properties, groups, group_properties", "parameters of the same names"),
    ("all others: event_id (a counter), platform, language, library, …", "context"),
    ("options (of the batch)", "parameter of the same name"),
    ("api_key", "not kept"),
    ("request_metadata (of the batch)", "not kept: what the library measured of itself, another each time it sends"),
)

_OF_PROPERTIES = ("price", "quantity", "revenue", "productId", "revenueType", "currency")
_OF_THEIR_OWN = ("user_properties", "groups", "group_properties")
_PAGE = "[Amplitude] Page "


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one event. Raises Unreadable."""
    item, around = reading.item(hit), reading.envelope(hit)
    around.pop("request_metadata", None)
    name = reading.take(item, "event_type")
    if name is None:
        raise Unreadable("the event has no type")
    properties = reading.take_object(item, "event_properties")
    for key in _OF_PROPERTIES:
        if item.get(key) is not None and key not in properties:
            properties[key] = item.pop(key)
    own = {key: value for key in _OF_THEIR_OWN if (value := item.pop(key, None)) is not None}
    found = {
        "event_id": reading.take(item, "insert_id"),
        **reading.times(hit.at, reading.take(item, "time"), reading.take(around, "client_upload_time")),
        "user_id": reading.take(item, "user_id"),
        "anonymous_id": reading.take(item, "device_id"),
        "session_id": None if item.get("session_id") == -1 else reading.take(item, "session_id"),
        "type": name,
        "url": reading.take(properties, _PAGE + "Location", _PAGE + "URL"),
        "referrer": reading.first(properties.get("referrer")),
        "title": reading.take(properties, _PAGE + "Title"),
        "properties": properties,
        "context": {key: value for key, value in item.items() if value is not None},
    }
    return reading.event(NAME, found, own, around, reading.asked(hit))
