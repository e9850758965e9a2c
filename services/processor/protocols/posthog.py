"""Reads events of PostHog's browser and server libraries."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "posthog"
FIELDS: tuple[tuple[str, str], ...] = (
    ("uuid", "event_id"),
    ("timestamp", "event_time, corrected by `sent_at` unless `$ignore_sent_at`; as sent in client_event_time"),
    ("offset", "event_time where there is no `timestamp`: that many milliseconds before receipt"),
    ("sent_at", "sent_at"),
    ("event", "type"),
    ("distinct_id, properties.distinct_id", "user_id; of a person who is not identified, anonymous_id"),
    ("properties.$anon_distinct_id, .$device_id", "anonymous_id, the first of them"),
    ("properties.$session_id", "session_id"),
    ("properties.$current_url", "url"),
    ("properties.$referrer", "referrer, unless it is `$direct`"),
    ("properties.title", "title, and in properties"),
    ("$set, $set_once", "properties of the same names"),
    ("properties", "properties, without those that are null"),
    ("compression, ver, ip, _, retry_count (of the request)", "not kept"),
    ("api_key, token", "not kept"),
    ("all others: historical_migration, …", "parameters of the same names"),
)

_TRANSPORT = ("compression", "ver", "ip", "_", "retry_count")
_LONGEST_OFFSET = 10**12  # milliseconds, over thirty years


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one event. Raises Unreadable."""
    item, around = reading.item(hit), reading.envelope(hit)
    name = reading.take(item, "event")
    if name is None:
        raise Unreadable("the event has no name")
    properties = {key: value for key, value in reading.take_object(item, "properties").items() if value is not None}
    for key in ("$set", "$set_once"):
        if item.get(key) is not None and key not in properties:
            properties[key] = item.pop(key)
    times = _times(hit.at, item, around, properties.get("$ignore_sent_at") is True)
    user, anonymous = _who(name, item, properties)
    found = {
        "event_id": reading.take(item, "uuid"),
        **times,
        "user_id": user,
        "anonymous_id": anonymous,
        "session_id": reading.take(properties, "$session_id"),
        "type": name,
        "url": reading.take(properties, "$current_url"),
        "referrer": None if properties.get("$referrer") == "$direct" else reading.take(properties, "$referrer"),
        "title": reading.first(properties.get("title")),
        "properties": properties,
    }
    left = {key: value for key, value in item.items() if value is not None}
    around = {key: value for key, value in around.items() if key not in _TRANSPORT}
    return reading.event(NAME, found, left, around, reading.asked(hit, *_TRANSPORT))


def _times(received_us: int, item: dict[str, Any], around: dict[str, Any], ignore_sent: bool) -> dict[str, Any]:
    sent = reading.take_of((around, item), "sent_at")
    happened = reading.take(item, "timestamp")
    if happened is None:
        found = reading.times(received_us, None, sent)
        offset = item.get("offset")
        if isinstance(offset, (int, Decimal)) and not isinstance(offset, bool) and 0 <= offset < _LONGEST_OFFSET:
            happened_us = reading.corrected(received_us, 0, int(offset * reading.MILLISECONDS))
            if happened_us is not None:
                found["event_time"] = reading.iso(happened_us)
        return found
    if ignore_sent:
        return reading.times(received_us, happened) | reading.times(received_us, None, sent)
    return reading.times(received_us, happened, sent)


def _who(name: Any, item: dict[str, Any], properties: dict[str, Any]) -> tuple[Any, Any]:
    """The ids of the person as user and as anonymous visitor, taken out."""
    person = reading.take_of((item, properties), "distinct_id")
    device = properties.get("$device_id")
    if name != "$identify" and person is not None and _is_anonymous(person, device, properties):
        if person == device:
            del properties["$device_id"]
        return None, person
    return person, reading.take(properties, "$anon_distinct_id", "$device_id")


def _is_anonymous(person: Any, device: Any, properties: dict[str, Any]) -> bool:
    if person == device or properties.get("$is_identified") is False:
        return True
    # Servers that know no device make up an id for an event of nobody, and say that it is no person's.
    return device is None and properties.get("$process_person_profile") is False
