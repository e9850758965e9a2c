"""Reads CloudEvents over HTTP: structured, one of a batch, or binary, whose attributes are headers."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes

from services.processor import query
from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "cloudevents"
FIELDS: tuple[tuple[str, str], ...] = (
    (
        "source, id",
        "event_id: `{source}#{id}`, since an id is unique only within its source; `%` and `#` of the id are written "
        "`%25` and `%23`, so that no other pair makes the same text; both also under their own names",
    ),
    ("time", "event_time"),
    ("subject", "user_id, which is a convention only"),
    ("source", "anonymous_id of an event without a subject: then it is the system that did it"),
    ("type", "type"),
    ("source", "url, if it is an http or https address"),
    ("data", "properties; anything but an object is properties.data"),
    ("data_base64", "the JSON in it as `data`; anything else is properties.data_base64"),
    ("specversion, datacontenttype, dataschema", "parameters of the same names"),
    ("all others, which are extensions: traceparent, …", "context"),
    ("ce-… (headers of the binary mode)", "as above, percent-decoded"),
)

_HEADER = "ce-"
_STRUCTURED = "application/cloudevents"
_CORE = frozenset({"specversion", "datacontenttype", "dataschema"})
_WEB = re.compile(r"https?://", re.IGNORECASE)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one event. Raises Unreadable, also for an event without one of the required attributes."""
    event, around = (_binary(hit), {}) if _is_binary(hit) else (reading.item(hit), reading.envelope(hit))
    properties = _properties(event)
    source, id, kind = (_required(event, name) for name in ("source", "id", "type"))
    subject = reading.take(event, "subject")
    others = {"source": source, "id": id}
    others |= {name: event.pop(name) for name in _CORE if name in event}
    found = {
        "event_id": f"{source}#{str(id).replace('%', '%25').replace('#', '%23')}",
        **reading.times(hit.at, reading.take(event, "time")),
        "user_id": subject,
        "anonymous_id": source if subject is None else None,
        "type": kind,
        "url": source if isinstance(source, str) and _WEB.match(source) else None,
        "properties": properties,
        "context": {name: value for name, value in event.items() if value is not None},
    }
    return reading.event(NAME, found, others, around, reading.fields(hit.query))


def _is_binary(hit: Hit) -> bool:
    if hit.headers.get("content-type", "").lower().startswith(_STRUCTURED):
        return False
    return any(name.startswith(_HEADER) for name in hit.headers)


def _binary(hit: Hit) -> dict[str, Any]:
    """The event as the structured mode would write it."""
    event: dict[str, Any] = {
        _whole(name[len(_HEADER) :]): _decoded(value) for name, value in hit.headers.items() if name.startswith(_HEADER)
    }
    if "content-type" in hit.headers:
        event["datacontenttype"] = _whole(hit.headers["content-type"])
    if body := bytes(hit.body):
        return event | {"data": reading.from_json(body)}
    return event | {"data": _whole(hit.text)} if hit.text else reading.envelope(hit) | event


def _decoded(value: str) -> str:
    """A header's value without quotes around it and with its percent-encoding undone, once."""
    value = _whole(value.strip())
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    return query.text(unquote_to_bytes(value)) if "%" in value else value


def _whole(text: str) -> str:
    """The text with `?` for each half of a character, which nothing after this could encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _required(event: dict[str, Any], name: str) -> Any:
    value = reading.take(event, name)
    if value is None:
        raise Unreadable(f"the event has no `{name}`")
    return value


def _properties(event: dict[str, Any]) -> dict[str, Any]:
    data, encoded = event.pop("data", None), event.pop("data_base64", None)
    if data is None and isinstance(encoded, str) and encoded:
        with suppress(Unreadable):  # or else bytes of the sender's own
            data, encoded = reading.from_base64(encoded), None
    properties = data if isinstance(data, dict) else {} if data is None else {"data": data}
    return properties if encoded in (None, "") else properties | {"data_base64": encoded}
