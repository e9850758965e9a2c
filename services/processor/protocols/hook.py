"""Reads webhooks of services that know nothing of this one: any JSON, or a form."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "hook"
FIELDS: tuple[tuple[str, str], ...] = (
    ("(the whole body)", "properties; JSON that is not an object becomes properties.data"),
    ("(the field configured as the type)", "type, if it is a text; else hook.NAME after the path"),
    (
        "(the field configured as the id)",
        "event_id as NAME#id, if it is text or a number; else the collector's",
    ),
    ("(the source)", "anonymous_id, as hook.NAME"),
    ("payload (of a form)", "the JSON in it is the body"),
    ("(the query string)", "not kept: senders put secrets there"),
)


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one call. Raises Unreadable for an empty body and for one that is not JSON nor text.

    The envelope says which fields are the type and the id, as `body.NAME` with dots, or `header.NAME`.
    """
    around, body = reading.envelope(hit), _body(hit)
    source = hit.via.partition(".")[2]
    kind, id = (_field(hit, body, around.get(f"{name}_from")) for name in ("type", "id"))
    found = {
        "event_id": None if id is None else f"{source}#{id}",
        "anonymous_id": hit.via,
        "type": kind if isinstance(kind, str) else hit.via,
        "properties": body if isinstance(body, dict) else {"data": body},
    }
    return reading.event(NAME, found)


def _field(hit: Hit, body: Any, field: Any) -> Any:
    """The text or number at a field, else None."""
    place, _, name = field.partition(".") if isinstance(field, str) else ("", "", "")
    if place == "header":
        return hit.headers.get(name) or None
    for part in name.split("."):
        body = body.get(part) if isinstance(body, dict) else None
    return reading.first(body)


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
