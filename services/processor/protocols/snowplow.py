"""Reads Snowplow's tracker protocol v2: an item of a `tp2` post, or the query of a GET of `/i`."""

from __future__ import annotations

from typing import Any

from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "snowplow"
FIELDS: tuple[tuple[str, str], ...] = (
    ("eid", "event_id"),
    ("dtm", "event_time, corrected by `stm`; as sent in client_event_time"),
    ("ttm", "event_time as it is, instead of `dtm`"),
    ("stm", "sent_at"),
    ("uid", "user_id"),
    ("duid, nuid, tnuid", "anonymous_id, the first of them; else `userId` of the entity client_session"),
    (
        "(no user and none of these)",
        "anonymous_id: the session, else the `id` of the entity web_page; else the event's id where the visitor asks "
        "for anonymity, or one made of the day, `aid`, the address and the browser",
    ),
    ("sid", "session_id, else `sessionId` of the entity client_session"),
    ("e", "type: page_view, page_ping, transaction, transaction_item; kept as `e` too"),
    ("ue_pr, ue_px", "type is the name in the inner schema, properties the inner data, `schema` the inner schema"),
    ("se_ac", "type and properties.action"),
    ("se_ca, se_la, se_pr, se_va", "properties: category, label, property, value"),
    ("pp_…, tr_…, ti_…", "properties under the same names, numbers as numbers"),
    ("co, cx", "context: a list of data under the name of each schema"),
    ("url, refr, page", "url, referrer, title"),
    ("SP-Anonymous (header)", '`sp_anonymous` is "true", and the address is not kept'),
    ("schema (of the payload)", "not kept"),
    ("all others: aid, p, tv, vid, res, vp, lang, tz, …", "parameters of the same names"),
)

_TYPES = {
    "pv": "page_view",
    "pp": "page_ping",
    "tr": "transaction",
    "ti": "transaction_item",
    "se": "struct",
    "ue": "unstruct",
}
_STRUCTURED = {
    "se_ca": "category",
    "se_ac": "action",
    "se_la": "label",
    "se_pr": "property",
    "se_va": "value",
}
_WITH_FIELDS = ("se", "pp", "tr", "ti")  # kinds of event that have fields of their own, named se_ca and the like
_ANONYMOUS = "sp-anonymous"  # the header of a visitor who asks that neither address nor cookie be kept
_NO_SCHEMA = "entities"  # the key in the context of entities that name no schema


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one event. What cannot be decoded stays as it came. Raises Unreadable."""
    posted = bool(hit.text or bytes(hit.body))
    item = reading.item(hit) if posted else reading.fields(hit.query)
    code = reading.first(item.get("e"))
    if code is None:
        raise Unreadable("the item has no `e`, which says what kind of event it is")
    kind = _TYPES.get(code, code) if isinstance(code, str) else code
    of_kind = f"{code}_" if code in _WITH_FIELDS else None
    names = [name for name in item if name.startswith(of_kind)] if of_kind else []
    properties = {_STRUCTURED.get(name, name): reading.number(item.pop(name)) for name in names}
    found: dict[str, Any] = {}
    if code == "se":
        kind = reading.first(properties.get("action"), kind)
    elif code == "ue" and (described := _self_describing(item)) is not None:
        found["schema"], data = described
        kind = _name(found["schema"]) or kind
        properties = data if isinstance(data, dict) else {"data": data}
    context = _entities(item)
    event_id = reading.take(item, "eid")
    found |= {
        "event_id": event_id,
        **_times(hit.at, item),
        **_who(hit, item, context, event_id),
        "type": kind,
        "url": reading.take(item, "url"),
        "referrer": reading.take(item, "refr"),
        "title": reading.take(item, "page"),
        "properties": properties,
        "context": context,
    }
    if _ANONYMOUS in hit.headers:
        found["sp_anonymous"] = "true"
    around = reading.envelope(hit)
    around.pop("schema", None)
    return reading.event(NAME, found, item, around, reading.asked(hit) if posted else {})


def _who(hit: Hit, item: dict[str, Any], context: dict[str, Any], event_id: Any) -> dict[str, Any]:
    session, page = (_first_object(context.get(name)) for name in ("client_session", "web_page"))
    user = reading.take(item, "uid")
    visitor = reading.first(reading.take(item, "duid", "nuid", "tnuid"), session.get("userId"))
    visit = reading.first(reading.take(item, "sid"), session.get("sessionId"))
    if (
        user is None and visitor is None and not hit.anonymized
    ):  # anonymous tracking: it says nothing of who it is, and still counts
        visitor = reading.first(visit, page.get("id"))
        if visitor is None:
            visitor = event_id if _ANONYMOUS in hit.headers else reading.visitor(hit, item.get("aid"))
    return {"user_id": user, "anonymous_id": visitor, "session_id": visit}


def _times(received_us: int, item: dict[str, Any]) -> dict[str, Any]:
    sent = reading.take(item, "stm")
    true = reading.take(item, "ttm")  # set on purpose, so the client's clock says nothing about it
    if true is not None:
        return reading.times(received_us, true) | reading.times(received_us, None, sent)
    return reading.times(received_us, reading.take(item, "dtm"), sent)


def _self_describing(item: dict[str, Any]) -> tuple[str, Any] | None:
    """Schema and data of the inner event, taken out of the item; None where there is none that can be read."""
    for name, decode in (("ue_pr", reading.from_json), ("ue_px", reading.from_base64)):
        outer = reading.decoded(item.get(name), decode)
        described = outer.get("data") if isinstance(outer, dict) else None
        if isinstance(described, dict):
            schema = reading.first(described.get("schema"))
            if isinstance(schema, str):
                del item[name]
                return schema, described.get("data", {})
    return None


def _entities(item: dict[str, Any]) -> dict[str, Any]:
    """The data of the entities by the names of their schemas; what cannot be read stays in the item."""
    found: dict[str, Any] = {}
    for name, decode in (("co", reading.from_json), ("cx", reading.from_base64)):
        outer = reading.decoded(item.get(name), decode)
        entities = outer.get("data") if isinstance(outer, dict) else None
        if isinstance(entities, list):
            del item[name]
            for entity in entities:
                schema = entity.get("schema") if isinstance(entity, dict) else None
                if isinstance(schema, str) and schema:
                    found.setdefault(_name(schema) or schema, []).append(entity.get("data"))
                else:
                    found.setdefault(_NO_SCHEMA, []).append(entity)
    return found


def _name(schema: str) -> str | None:
    """order_completed of iglu:com.acme/order_completed/jsonschema/1-0-0."""
    parts = schema.split("/", 4)
    return (parts[1] or None) if len(parts) == 4 else None


def _first_object(entities: Any) -> dict[str, Any]:
    return entities[0] if isinstance(entities, list) and entities and isinstance(entities[0], dict) else {}
