"""Reads what Umami's tracker sends: a type, and a payload of that type."""

from __future__ import annotations

from typing import Any

from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "umami"
FIELDS: tuple[tuple[str, str], ...] = (
    ("(an id of the event)", "none is sent: event_id is the collector's, so an event sent again counts again"),
    ("payload.timestamp", "event_time; browsers send none"),
    ("payload.id", "user_id: what the page gave to `identify`"),
    ("payload.vid", "anonymous_id; where there is none, made of the day, the website, the address and the browser"),
    ("payload.name", "type of an event; page where it has none"),
    ("type", "type of all others, such as identify, performance"),
    ("payload.url", "url; a path becomes an address by payload.hostname, with https"),
    ("payload.referrer, payload.title", "referrer, title"),
    ("payload.data", "properties: of an event its data, of `identify` the traits"),
    ("all others of the payload: website, hostname, screen, language, tag, …", "parameters of the same names"),
)


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one event. Raises Unreadable."""
    item = reading.item(hit)
    payload = reading.take_object(item, "payload")
    if not payload:
        raise Unreadable("the event has no payload")
    kind = reading.take(item, "type")
    if kind in (None, "event"):
        kind = reading.first(reading.take(payload, "name"), "page")
    found = {
        **reading.times(hit.at, reading.take(payload, "timestamp"), unit=reading.SECONDS),
        "user_id": reading.take(payload, "id"),
        "anonymous_id": reading.first(reading.take(payload, "vid"), reading.visitor(hit, payload.get("website"))),
        "type": kind,
        "url": _address(reading.take(payload, "url"), payload.get("hostname")),
        "referrer": reading.take(payload, "referrer"),
        "title": reading.take(payload, "title"),
        "properties": reading.take_object(payload, "data"),
    }
    return reading.event(NAME, found, payload, item, reading.fields(hit.query))


def _address(url: Any, host: Any) -> Any:
    """Older trackers send the path alone."""
    if isinstance(url, str) and url.startswith("/") and not url.startswith("//") and isinstance(host, str) and host:
        return f"https://{host}{url}"
    return url
