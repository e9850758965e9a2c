"""Reads events of the Measurement Protocol of Google Analytics 4: one event, and what the request says of all."""

from __future__ import annotations

from typing import Any

from services.processor import convert
from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "ga4"
FIELDS: tuple[tuple[str, str], ...] = (
    ("(an id of the event)", "none is sent: event_id is the collector's, so an event sent again counts again"),
    ("timestamp_micros", "event_time: that of the event, else that of the request"),
    ("user_id", "user_id"),
    ("client_id, app_instance_id", "anonymous_id, the first of them"),
    ("params.session_id, params.ga_session_id", "session_id, the first of them"),
    ("name", "type"),
    ("params.page_location, .page_referrer, .page_title", "url, referrer, title"),
    ("params", "properties: all others, items of a cart as the array they are"),
    ("user_properties", "context.user_properties, each as its `value`"),
    ("consent", "consent: its JSON text"),
    ("api_secret", "not kept"),
    ("all others: measurement_id, firebase_app_id, user_data, …", "parameters of the same names"),
)


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one event. Raises Unreadable."""
    item, around, shared = reading.item(hit), reading.envelope(hit), reading.fields(hit.query)
    name = reading.take(item, "name")
    if name is None:
        raise Unreadable("the event has no name")
    repeated = reading.take_object(shared, reading.REPEATED)
    for members in (around, shared, repeated):
        members.pop("api_secret", None)
    if repeated:
        shared[reading.REPEATED] = repeated
    params = reading.take_object(item, "params")
    moment = reading.take(item, "timestamp_micros")
    if moment is None:
        moment = reading.take(around, "timestamp_micros")
    found = {
        **reading.times(hit.at, moment, unit=1),
        "user_id": reading.take(around, "user_id"),
        "anonymous_id": reading.take(around, "client_id", "app_instance_id"),
        "session_id": reading.take(params, "session_id", "ga_session_id"),
        "type": name,
        "url": reading.take(params, "page_location"),
        "referrer": reading.take(params, "page_referrer"),
        "title": reading.take(params, "page_title"),
        "consent": _consent(around),
        "properties": params,
        "context": _context(around),
    }
    return reading.event(NAME, found, item, around, shared)


def _consent(around: dict[str, Any]) -> str | None:
    """Who agreed to what, as JSON: {"ad_user_data":"GRANTED"}."""
    given = reading.take_object(around, "consent")
    return convert.encode_json(given) if given else None


def _context(around: dict[str, Any]) -> dict[str, Any]:
    given = reading.take_object(around, "user_properties")
    properties = {
        name: value["value"] if isinstance(value, dict) and value.keys() == {"value"} else value
        for name, value in given.items()
    }
    return {"user_properties": properties} if properties else {}
