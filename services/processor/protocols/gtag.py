"""Reads what gtag.js sends to `/g/collect`: one event a line, with parameters shared by all in the query string."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from services.processor.protocols import Unreadable, reading
from services.shared.hit import Hit

NAME = "gtag"
FIELDS: tuple[tuple[str, str], ...] = (
    ("(an id and a time of the event)", "none is sent: an event sent again counts again"),
    ("uid", "user_id"),
    ("cid", "anonymous_id"),
    ("sid", "session_id"),
    ("en", "type"),
    ("dl, dr, dt", "url, referrer, title"),
    ("ep.NAME", "properties.NAME, a text"),
    ("epn.NAME", "properties.NAME, a number"),
    ("cu", "properties.currency"),
    ("_et", "properties.engagement_time_msec"),
    ("pr1, pr2, …", "properties.items: an array of objects with item_id, item_name, price, quantity, …"),
    ("up.NAME, upn.NAME", "context.user_properties.NAME, a text or a number"),
    ("gcs, gcd", "consent, the first of them, as it is; the other under its own name"),
    ("uafvl, uap, uapv, uam, uamb, uaa, uab, uaw", "context.userAgentData: client hints, which `agent.*` reads"),
    ("all others: v, tid, gtm, _p, _s, sct, seg, sr, ul, …", "parameters of the same names"),
)

# What the two letters before each value of an item stand for; others keep their letters.
_ITEM = {
    "id": "item_id",
    "nm": "item_name",
    "br": "item_brand",
    "ca": "item_category",
    "c2": "item_category2",
    "c3": "item_category3",
    "c4": "item_category4",
    "c5": "item_category5",
    "va": "item_variant",
    "pr": "price",
    "qt": "quantity",
    "ds": "discount",
    "cp": "coupon",
    "ln": "item_list_name",
    "li": "item_list_id",
    "lp": "index",
    "af": "affiliation",
    "lo": "location_id",
    "pi": "promotion_id",
    "pn": "promotion_name",
    "cn": "creative_name",
    "cs": "creative_slot",
}
# The client hints: gtag.js asks the browser for them.
_HINTS = {"uap": "platform", "uapv": "platformVersion", "uam": "model", "uaa": "architecture", "uab": "bitness"}
_FLAGS = {"uamb": "mobile", "uaw": "wow64"}
_BRAND = re.compile(r"([^|]{1,64});([0-9.]{1,32})", re.DOTALL)
_MOST_BRANDS = 10  # browsers send three
_NUMBERS = frozenset({"price", "quantity", "discount", "index"})
_PRODUCT = re.compile(r"pr[0-9]{1,3}")
_OWN = re.compile(r"k([0-9]{1,2})(.+)", re.DOTALL)
_TILDE = "\udc00"  # half a character, which no text that was sent can hold


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one event; those of its line come before the shared ones. Raises Unreadable."""
    if bytes(hit.body):  # what the collector makes of such a line; the query string alone may look like an event
        raise Unreadable("the line is too large")
    item, shared = reading.fields(hit.text.strip()), reading.fields(hit.query)
    overridden = {name: value for name, value in shared.items() if item.setdefault(name, value) != value}
    name = reading.take(item, "en")
    if name is None:
        raise Unreadable("the event has no name: `en`")
    user_properties = _typed(item, "up.", "upn.")
    found = {
        "user_id": reading.take(item, "uid"),
        "anonymous_id": reading.take(item, "cid"),
        "session_id": reading.take(item, "sid"),
        "type": name,
        "url": reading.take(item, "dl"),
        "referrer": reading.take(item, "dr"),
        "title": reading.take(item, "dt"),
        "consent": reading.take(item, "gcs", "gcd"),
        "properties": _properties(item),
        "context": {
            **({"user_properties": user_properties} if user_properties else {}),
            **({"userAgentData": hints} if (hints := _hints(item)) else {}),
        },
    }
    return reading.event(NAME, found, item, overridden, reading.envelope(hit))


def _hints(item: dict[str, Any]) -> dict[str, Any]:
    """What the browser says of itself, as `navigator.userAgentData` has it; what is not of its form stays."""
    found: dict[str, Any] = {}
    brands = [_BRAND.fullmatch(unquote(one)) for one in item.get("uafvl", "").split("|", _MOST_BRANDS)]
    if brands and all(brands):
        found["fullVersionList"] = [{"brand": one[1], "version": one[2]} for one in brands if one]
        del item["uafvl"]
    for short, name in _HINTS.items():
        if value := reading.take(item, short):
            found[name] = value
    for short, name in _FLAGS.items():
        if item.get(short) in ("0", "1"):
            found[name] = item.pop(short) == "1"
    return found


def _properties(item: dict[str, Any]) -> dict[str, Any]:
    found = _typed(item, "ep.", "epn.")
    for name, long in (("cu", "currency"), ("_et", "engagement_time_msec")):
        if long not in found and (value := reading.take(item, name)) is not None:
            found[long] = reading.number(value)
    products = sorted((name for name in item if _PRODUCT.fullmatch(name)), key=lambda name: (int(name[2:]), name))
    if products and "items" not in found:
        found["items"] = [_product(item.pop(name)) for name in products]
    return found


def _typed(item: dict[str, Any], texts: str, numbers: str) -> dict[str, Any]:
    """What begins with one of the two, without that; of two that would have one name the second stays in the item."""
    found: dict[str, Any] = {}
    for name in [name for name in item if name.startswith((texts, numbers))]:
        prefix = numbers if name.startswith(numbers) else texts
        short = name[len(prefix) :]
        if short not in found:
            value = item.pop(name)
            found[short] = reading.number(value) if prefix == numbers else value
    return found


def _product(text: str) -> dict[str, Any]:
    """An item such as `idSKU-1~nmShoe~pr29.9~qt2~k0size~v042`; a `~` within a value is doubled.

    A name of the page's own (`k0`) stands before its value (`v0`). What cannot be read is kept in the list `more`.
    """
    found: dict[str, Any] = {}
    more: list[str] = []
    own: re.Match[str] | None = None  # the part before, if it was such a name
    for part in text.replace("~~", _TILDE).split("~"):
        part = part.replace(_TILDE, "~")
        if own and part.startswith("v" + own[1]):
            name, value, part = own[2], part[1 + len(own[1]) :], f"{own[0]}~{part}"
            own = None
        else:
            if own:
                more.append(own[0])
            if own := _OWN.fullmatch(part):
                continue
            name, value = _ITEM.get(part[:2], part[:2]), part[2:]
        if len(part) < 2 or name in found:
            more += [part] if part else []
        else:
            found[name] = reading.number(value) if name in _NUMBERS else value
    if own:
        more.append(own[0])
    if more:
        found["more"] = more
    return found
