"""Reads events of Mixpanel's libraries, and updates of profiles and groups."""

from __future__ import annotations

from typing import Any

from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "mixpanel"
FIELDS: tuple[tuple[str, str], ...] = (
    ("event", "type; of an update of a profile `$engage`, of a group `$groups`"),
    ("properties.$insert_id", "event_id"),
    ("properties.time", "event_time"),
    ("properties.$user_id", "user_id, else `distinct_id` unless it is a device's"),
    ("properties.$device_id", "anonymous_id, else the device in `distinct_id` or `$anon_distinct_id`"),
    ("properties.$current_url", "url"),
    ("properties.$referrer", "referrer, unless it is `$direct`"),
    ("properties.current_page_title", "title, and in properties"),
    ("properties", "properties"),
    ("$set, $add, … (of an update)", "properties of the same names; `$distinct_id` and `$time` as in an event"),
    ("verbose, ip, img, redirect, callback, test, _ (of the request)", "not kept"),
    ("properties.token, $token, api_key, api_secret", "not kept"),
    ("all others", "parameters of the same names"),
)

_UPDATES = {"engage": "$engage", "groups": "$groups"}
_NOT_KEPT = ("verbose", "ip", "img", "redirect", "callback", "test", "_", "api_key", "api_secret")
_DEVICE = "$device:"


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one event or update. Raises Unreadable."""
    item = reading.item(hit)
    update = _UPDATES.get(hit.via.partition(".")[2])
    if update:
        name: Any = update
        properties, item = item, {}
        for key in ("distinct_id", "time", "token"):  # an update writes them with a $
            if f"${key}" in properties and key not in properties:
                properties[key] = properties.pop(f"${key}")
    else:
        name = reading.take(item, "event")
        if name is None:
            raise Unreadable("the event has no name")
        properties = reading.take_object(item, "properties")
    user, anonymous = _who(properties)
    found = {
        "event_id": reading.take(properties, "$insert_id"),
        **reading.times(hit.at, reading.take(properties, "time"), unit=reading.SECONDS),
        "user_id": user,
        "anonymous_id": anonymous,
        "type": name,
        "url": reading.take(properties, "$current_url"),
        "referrer": None if properties.get("$referrer") == "$direct" else reading.take(properties, "$referrer"),
        "title": reading.first(properties.get("current_page_title")),
        "properties": properties,
        "token": reading.take(properties, "token"),
    }
    around = {key: value for key, value in reading.envelope(hit).items() if key not in _NOT_KEPT}
    return reading.event(NAME, found, item, around, reading.asked(hit, *_NOT_KEPT))


def _who(properties: dict[str, Any]) -> tuple[Any, Any]:
    """The ids of user and device, taken out."""
    user = reading.take(properties, "$user_id")
    device = reading.take(properties, "$device_id")
    person = properties.get("distinct_id")
    if isinstance(person, str) and person.startswith(_DEVICE):
        of_device = person.removeprefix(_DEVICE)
        if device in (None, of_device):
            device = of_device
            del properties["distinct_id"]
    elif user is None and person != device:
        user = reading.take(properties, "distinct_id")
    if device is None:
        former = reading.take(properties, "$anon_distinct_id")
        device = former.removeprefix(_DEVICE) if isinstance(former, str) else former
    return user, device
