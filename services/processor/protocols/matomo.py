"""Reads requests of Matomo's tracking HTTP API: a query string, a form, or one request of a bulk."""

from __future__ import annotations

import re
from typing import Any

from services.processor.protocols import Unreadable, reading
from services.shared import signals
from services.shared.hit import Hit

NAME = "matomo"
FIELDS: tuple[tuple[str, str], ...] = (
    ("(an id of the request)", "none is sent: event_id is the collector's, so a request sent again counts again"),
    ("cdt", "event_time; without it none is sent"),
    ("cdo", "moves event_time back by so many seconds, and `cdo`"),
    ("uid", "user_id"),
    (
        "cid, _id",
        "anonymous_id, the first of them; where there is neither a user nor one of them, made of the day, the site, "
        "the address and the browser, as the vendor does",
    ),
    ("e_a", "type and properties.action"),
    (
        "ping, ec_id, ec_items, idgoal, download, link, search, c_i, c_n, ca",
        "type without `e_a`: ping, order, cart, goal, download, link, search, content_interaction, "
        "content_impression, action",
    ),
    ("(none of these)", "type is page"),
    ("url, urlref, action_name", "url, referrer, title"),
    ("e_c, e_n, e_v", "properties: category, name, value"),
    ("ec_id, revenue, ec_st, ec_tx, ec_sh, ec_dt", "properties: order_id, revenue, subtotal, tax, shipping, discount"),
    ("ec_items", "properties.items: an array of objects with sku, name, category, price, quantity"),
    ("_pks, _pkn, _pkc, _pkp", "properties: product_sku, product_name, product_category, product_price"),
    ("link, download, search, search_cat, search_count, idgoal", "properties of the same names"),
    ("c_n, c_p, c_t, c_i", "properties: content_name, content_piece, content_target, content_interaction"),
    ("dimension1, dimension2, …; cvar", "properties of the same names"),
    ("uadata", "context.uadata"),
    ("token_auth", "not kept"),
    ("all others: idsite, rec, pv_id, h, m, s, res, lang, ua, pf_…, …", "parameters of the same names"),
)

_PROPERTIES = {
    "e_c": "category",
    "e_a": "action",
    "e_n": "name",
    "ec_id": "order_id",
    "_pks": "product_sku",
    "_pkn": "product_name",
    "c_n": "content_name",
    "c_p": "content_piece",
    "c_t": "content_target",
    "c_i": "content_interaction",
    "link": "link",
    "download": "download",
    "search": "search",
    "search_cat": "search_cat",
}
_NUMBERS = {
    "e_v": "value",
    "revenue": "revenue",
    "ec_st": "subtotal",
    "ec_tx": "tax",
    "ec_sh": "shipping",
    "ec_dt": "discount",
    "_pkp": "product_price",
    "search_count": "search_count",
    "idgoal": "idgoal",
}
_JSON = {"cvar": "cvar", "_pkc": "product_category"}  # the category may be a text of its own as well
_TOKEN = re.compile(r"\s*token[_. ]auth", re.IGNORECASE)
_DIMENSION = re.compile(r"dimension[0-9]{1,4}")
_ITEM = ("sku", "name", "category", "price", "quantity")
# What a request is about, the first that has a value; `e_a` comes before, and a page view is what is left.
_TYPES = (
    ("ec_id", "order"),
    ("ec_items", "cart"),
    ("idgoal", "goal"),
    ("download", "download"),
    ("link", "link"),
    ("search", "search"),
    ("c_i", "content_interaction"),
    ("c_n", "content_impression"),
    ("ca", "action"),
)
_NO_ZONE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}")
_LONGEST_OFFSET = 10**9  # seconds


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one request. Raises Unreadable."""
    item = reading.item(hit) if bytes(hit.body) else reading.fields(signals.query_of(hit.text))
    shared, around = reading.fields(hit.query), reading.envelope(hit)
    for members in (item, shared, around):
        _drop_token(members)
    overridden = {name: value for name, value in shared.items() if item.setdefault(name, value) != value}
    if reading.first(item.get("idsite")) is None:
        raise Unreadable("the request has no `idsite`")
    kind = _type(item)
    properties = _properties(item)
    user, visitor = reading.take(item, "uid"), reading.take(item, "cid", "_id")
    if user is None and visitor is None:  # a site without cookies
        visitor = reading.visitor(hit, item["idsite"])
    found = {
        **_times(hit.at, item),
        "user_id": user,
        "anonymous_id": visitor,
        "type": kind,
        "url": reading.take(item, "url"),
        "referrer": reading.take(item, "urlref"),
        "title": reading.take(item, "action_name"),
        "properties": properties,
        "context": _context(item),
    }
    return reading.event(NAME, found, item, overridden, around)


def _drop_token(members: dict[str, Any]) -> None:
    """PHP takes `token.auth` and ` token_auth` for the same name, and so may who sends it."""
    repeated = reading.take_object(members, reading.REPEATED)
    for found in (members, repeated):
        for name in [name for name in found if _TOKEN.match(name)]:
            del found[name]
    if repeated:
        members[reading.REPEATED] = repeated


def _type(item: dict[str, Any]) -> Any:
    if item.get("ping") in ("1", 1):
        return "ping"
    action = reading.first(item.get("e_a"))
    if action is not None:
        return action
    for name, kind in _TYPES:
        value = item.get(name)
        if name == "idgoal" and value in ("0", 0):
            return "cart"  # a goal of that number is an order, which has an id, or else the cart before it
        if value not in (None, "") and (name != "ca" or value in ("1", 1)):
            return kind
    return "page"


def _properties(item: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in [name for name, value in item.items() if value not in (None, "")]:
        if name in _PROPERTIES:
            found[_PROPERTIES[name]] = item.pop(name)
        elif name in _NUMBERS:
            found[_NUMBERS[name]] = reading.number(item.pop(name))
        elif name in _JSON:
            value = item.pop(name)
            decoded = reading.decoded(value)
            found[_JSON[name]] = decoded if isinstance(decoded, (list, dict)) else value
        elif _DIMENSION.fullmatch(name):
            found[name] = item.pop(name)
    items = reading.decoded(item.get("ec_items"))
    if isinstance(items, list):
        found["items"] = [_bought(one) for one in items]
        del item["ec_items"]
    return found


def _bought(item: Any) -> Any:
    """One item of an order as an object; as it came where it is no list, or a longer one than is documented."""
    if not isinstance(item, list) or len(item) > len(_ITEM):
        return item
    found = {name: value for name, value in zip(_ITEM, item, strict=False) if value not in (None, "")}
    for name in ("price", "quantity"):
        if name in found:
            found[name] = reading.number(found[name])
    return found


def _context(item: dict[str, Any]) -> dict[str, Any]:
    client_hints = reading.decoded(item.get("uadata"))
    if not isinstance(client_hints, dict):
        return {}
    del item["uadata"]
    return {"uadata": client_hints}


def _times(received_us: int, item: dict[str, Any]) -> dict[str, Any]:
    """When it happened: `cdt` is UTC where it names no zone, `cdo` how many seconds before that or before receipt."""
    said = reading.take(item, "cdt")
    if isinstance(said, str) and _NO_ZONE.fullmatch(said.strip()):
        said = said.strip() + "Z"
    before = reading.number(reading.first(item.get("cdo")))
    if isinstance(before, int) and 0 < before <= _LONGEST_OFFSET:
        since = received_us if said is None else reading.moment(said, reading.SECONDS)
        happened = None if since is None else reading.corrected(since, 0, before * reading.SECONDS)
        if happened is not None:
            return {"event_time": reading.iso(happened)}
    return reading.times(received_us, said, unit=reading.SECONDS)
