"""Reads messages of Segment's HTTP API, which RudderStack and Jitsu speak too."""

from __future__ import annotations

from typing import Any

from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "segment"
FIELDS: tuple[tuple[str, str], ...] = (
    ("messageId", "event_id"),
    (
        "originalTimestamp, timestamp",
        "event_time, the first of them, corrected by `sentAt`; as sent in client_event_time",
    ),
    ("sentAt", "sent_at: that of the batch, else that of the message"),
    ("userId", "user_id"),
    ("anonymousId", "anonymous_id"),
    ("context.sessionId", "session_id, and in context"),
    ("event", "type of a track call"),
    ("type", "type of all other calls: page, screen, identify, group, alias"),
    ("name, category", "properties of the same names, for page and screen"),
    ("context.page.url, .referrer, .title", "url, referrer, title, and in context; else `properties` of those names"),
    ("properties", "properties"),
    ("traits, context.traits", "properties of identify and group"),
    ("context", "context, over that of the batch"),
    ("integrations", "`integrations`, likewise"),
    ("writeKey, X-Write-Key (header of Jitsu)", "not kept"),
    ("all others: groupId, previousId, channel, …", "parameters of the same names"),
)

_KINDS = frozenset({"track", "page", "screen", "identify", "group", "alias"})


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one message. Raises Unreadable."""
    item, around = reading.item(hit), reading.envelope(hit)
    kind = _kind(item, hit.via.partition(".")[2])
    context = reading.take_object(around, "context") | reading.take_object(item, "context")
    integrations = reading.take_object(around, "integrations") | reading.take_object(item, "integrations")
    properties = _properties(kind, item, context)
    page = reading.inner(context, "page")
    sent = reading.take_of((around, item), "sentAt")  # the batch knows better than a message that waited
    reading.take(item, "sentAt")  # the other one differs each time that a message is sent
    found = {
        "event_id": reading.take(item, "messageId"),
        **reading.times(hit.at, reading.take(item, "originalTimestamp", "timestamp"), sent),
        "user_id": reading.take(item, "userId"),
        "anonymous_id": reading.take(item, "anonymousId"),
        "session_id": reading.first(context.get("sessionId")),
        "type": reading.first(reading.take(item, "event") if kind == "track" else None, kind),
        "url": reading.first(page.get("url"), properties.get("url")),
        "referrer": reading.first(page.get("referrer"), properties.get("referrer")),
        "title": reading.first(page.get("title"), properties.get("title")),
        "properties": properties,
        "context": context,
        "integrations": integrations,
    }
    return reading.event(NAME, found, item, around, reading.asked(hit))


def _kind(item: dict[str, Any], of_path: str) -> Any:
    """The call's kind: as the message says, else as the path says, else whatever the message has there."""
    said = item.get("type")
    if isinstance(said, str) and said in _KINDS:
        return item.pop("type")
    if of_path in _KINDS:
        return of_path
    kind = reading.take(item, "type")
    if kind is None and reading.first(item.get("event")) is not None:
        return "track"
    if kind is None:
        raise Unreadable("the message has neither a type nor an event")
    return kind


def _properties(kind: Any, item: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    properties = reading.take_object(item, "properties")
    if kind in ("identify", "group") and not properties:
        return reading.take_object(item, "traits") or reading.inner(context, "traits")
    if kind in ("page", "screen"):
        for name in ("name", "category"):
            value = reading.take(item, name)
            if value is not None and properties.setdefault(name, value) != value:
                item[name] = value
    return properties
