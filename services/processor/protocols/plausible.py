"""Reads events as Plausible's tracker and its events API send them: short names of the one, long ones of the other."""

from __future__ import annotations

from typing import Any

from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "plausible"
FIELDS: tuple[tuple[str, str], ...] = (
    ("(an id, a time)", "none is sent: an event sent again counts again"),
    ("(a visitor)", "anonymous_id: made of the day, the domain, the address and the browser, as the vendor does"),
    ("n, name", "type, such as pageview, engagement, or a name of yours"),
    ("u, url", "url"),
    ("r, referrer", "referrer"),
    ("p, props, m, meta", "properties, the first of them; a text that holds a JSON object too"),
    ("$, revenue", "properties.revenue: amount (a number) and currency"),
    ("e", "properties.engagement_time, in milliseconds"),
    ("sd", "properties.scroll_depth, in percent"),
    ("d, domain", "`domain`"),
    ("all others: h, i, v, w, …", "parameters of the same names"),
)

_PROPERTIES = ("p", "props", "m", "meta")
_LONG = (("e", "engagement_time"), ("sd", "scroll_depth"))


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one event. Raises Unreadable."""
    item = {name: value for name, value in reading.item(hit).items() if value is not None}
    name = reading.take(item, "n", "name")
    if name is None:
        raise Unreadable("the event has no name: neither `n` nor `name`")
    properties = _properties(item)
    found = {
        "anonymous_id": reading.visitor(hit, item.get("d", item.get("domain"))),
        "type": name,
        "url": reading.take(item, "u", "url"),
        "referrer": reading.take(item, "r", "referrer"),
        "properties": properties,
    }
    if "domain" not in item and (domain := reading.take(item, "d")) is not None:
        item["domain"] = domain
    return reading.event(NAME, found, item, reading.fields(hit.query))


def _properties(item: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _PROPERTIES:
        given = reading.decoded(item.get(name))
        if isinstance(given, dict):
            del item[name]
            found = given
            break
    for name in ("$", "revenue"):
        revenue = reading.decoded(item.get(name))
        if isinstance(revenue, dict) and "revenue" not in found:
            del item[name]
            if "amount" in revenue:
                revenue["amount"] = reading.number(revenue["amount"])
            found["revenue"] = revenue
    for name, long in _LONG:
        if long not in found and (value := reading.take(item, name)) is not None:
            found[long] = reading.number(value)
    return found
