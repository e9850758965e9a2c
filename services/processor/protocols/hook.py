"""Reads webhooks of services that know nothing of this one: any JSON, or a form."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "hook"
FIELDS: tuple[tuple[str, str], ...] = (
    ("(the whole body)", "properties; of JSON that is no object properties.data"),
    ("type, event", "type, the first that is a text; else hook.NAME after the path"),
    ("id", "event_id as NAME#id if it is a text or a number, else the collector's"),
    ("payload (of a form)", "the JSON in it is the body"),
    ("(the query string)", "not kept: senders put secrets there"),
)


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one call. Raises Unreadable for an empty body and for one that is not JSON, nor text."""
    source = hit.via.partition(".")[2]
    body = _body(hit)
    properties = body if isinstance(body, dict) else {"data": body}
    said = (properties.get(name) for name in ("type", "event"))
    id = reading.first(properties.get("id"))
    found = {
        "event_id": None if id is None else f"{source}#{id}",
        "type": next((value for value in said if value and isinstance(value, str)), hit.via or NAME),
        "properties": properties,
    }
    return reading.event(NAME, found, reading.envelope(hit))


def _body(hit: Hit) -> Any:
    if body := bytes(hit.body):
        return reading.from_json(body)
    if not hit.text.strip():
        raise Unreadable("there is no body")
    if "=" not in hit.text:
        return hit.text.encode("utf-8", "replace").decode()  # half a character is nothing that could be encoded
    form = reading.fields(hit.text)
    if form.keys() == {"payload"}:
        with suppress(Unreadable):
            return reading.from_json(form["payload"])
    return form
