"""What strangers send to the paths of every protocol: real items, and bodies that are broken, huge or odd."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode

from services.collector.routes import ANSWERED, DROPPED, LINES, QUERY, ROUTES, Route

SECRET = "stranger-5d1c"  # in what is sent, and nowhere else
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}

_SEGMENT = {"type": "track", "event": "Order", "messageId": "m-1", "userId": SECRET,
            "timestamp": "2026-01-02T03:04:05Z", "properties": {"total": 4.5}}  # fmt: skip
# One real event of each protocol.
ITEMS: dict[str, dict[str, Any]] = {
    "amplitude": {"event_type": "Order", "insert_id": "a-1", "user_id": SECRET, "time": 1_764_439_140_000,
                  "event_properties": {"total": 4.5}},
    "cloudevents": {"specversion": "1.0", "id": "1", "source": "/orders", "type": "order", "subject": SECRET,
                    "time": "2026-01-02T03:04:05Z", "data": {"total": 4.5}},
    "ga4": {"name": "purchase", "timestamp_micros": 1_764_439_140_000_000, "params": {"value": 4.5}},
    "gtag": {"v": "2", "en": "purchase", "cid": SECRET, "ep.total": "4.5"},
    "jitsu": _SEGMENT,
    "matomo": {"idsite": "1", "rec": "1", "_id": SECRET, "cdt": "1764439140", "e_c": "shop", "e_a": "Order"},
    "mixpanel": {"event": "Order", "properties": {"token": "t", "time": 1_764_439_140.5, "$insert_id": "i-1",
                                                  "distinct_id": SECRET, "total": 4.5}},
    "plausible": {"n": "Order", "u": "https://shop.example/", "d": "shop.example", "p": {"plan": SECRET}},
    "posthog": {"event": "Order", "uuid": "p-1", "timestamp": "2026-01-02T03:04:05Z",
                "properties": {"distinct_id": SECRET, "total": 4.5}},
    "rudderstack": _SEGMENT,
    "segment": _SEGMENT,
    "snowplow": {"e": "ue", "eid": "s-1", "dtm": "1764439140000", "stm": "1764439141000", "duid": SECRET,
                 "ue_pr": '{"data":{"schema":"iglu:a/order/jsonschema/1-0-0","data":{"total":4.5}}}'},
    "umami": {"type": "event", "payload": {"website": SECRET, "url": "/", "name": "Order", "data": {"total": 4.5}}},
}  # fmt: skip
# Where in it properties of the page's own are, unless in `properties`; and when it happened.
_OWN = {"amplitude": "event_properties", "cloudevents": "data", "ga4": "params", "plausible": "p", "umami": "payload"}
_TIMES = {
    "amplitude": "time", "cloudevents": "time", "ga4": "timestamp_micros", "matomo": "cdt", "snowplow": "dtm",
    "jitsu": "timestamp", "rudderstack": "timestamp", "segment": "timestamp", "posthog": "timestamp",
}  # fmt: skip
FAR = (
    *(0, -1, 1, -(10**18), 10**18, 10**30, -62_135_596_800_000, 253_402_300_799_999, 1.5, 5e-324, 1e308),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0000-00-00T00:00:00Z", "+275760-09-13T00:00:00Z"),
    *("10000-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", "1", "-1", "9" * 400, "now", "", None, True, [], {}),
)
NAMES = ("__proto__", "constructor", "user_id", "anonymous_id", "event_id", "event_time", "type", "properties", "",
         "params", "tenant", "repeated", "\0", "a" * 5_000)  # fmt: skip


class Sent(NamedTuple):
    """A request, and how many events it holds; None where that is the collector's to say."""

    name: str
    body: bytes
    headers: dict[str, str] | None = None
    events: int | None = None


def kept(protocol: str) -> list[Route]:
    """The routes that may keep events of a protocol, also those it shares."""
    return [
        route
        for route in ROUTES
        if route.outcome not in (ANSWERED, DROPPED)
        and protocol in (route.protocol, *(other.protocol for _, other in (*route.unless, *route.rivals)))
    ]


def path(route: Route) -> str:
    return route.path.replace("{vendor}", "com.acme")


def bodies(protocol: str, route: Route) -> Iterator[Sent]:
    """Posts to one route of a protocol."""
    item, shape = ITEMS[protocol], _shape(protocol, route)
    if shape == LINES:
        yield from _lines(item)
    elif shape == QUERY:
        yield from _bulks(item)
    else:
        yield from _batches(protocol, item, _list(protocol, route))
    whole = _batch([item] * 3, _list(protocol, route))
    yield from _broken(whole)
    yield Sent("a form of 10,000 fields", "&".join(f"f{n}=%7B{n}" for n in range(10_000)).encode(), FORM)


def _shape(protocol: str, route: Route) -> str:
    return next((other.shape for _, other in route.unless if other.protocol == protocol), route.shape)


def _list(protocol: str, route: Route) -> str:
    """The member that holds the items; "" for an array that is the whole body."""
    return next((other.items for _, other in route.rivals if other.protocol == protocol), route.items)


def _batch(items: list[Any], name: str) -> bytes:
    around = {"sentAt": "2026-01-02T03:04:06Z", "client_id": SECRET}
    return json.dumps({**around, name: items} if name else items).encode()


def _batches(protocol: str, item: dict[str, Any], name: str) -> Iterator[Sent]:
    kind = {"Content-Type": "application/cloudevents-batch+json"} if protocol == "cloudevents" else JSON

    def batch(what: str, items: list[Any]) -> Sent:
        return Sent(what, _batch(items, name), kind, len(items))

    yield batch("good ones", [item] * 3)
    yield batch("items of every type", [item, SECRET, 1, None, True, [], [item], {}, 1.5e300, "\ud83d", item])
    yield batch("no items", [])
    yield batch("times", [{**item, _TIMES[protocol]: far} for far in FAR] if protocol in _TIMES else [item])
    yield batch("names", [_with(protocol, item, dict.fromkeys(NAMES, SECRET)), {**dict.fromkeys(NAMES, 1), **item}])
    yield batch("10,000 properties", [_with(protocol, item, {f"k{n}": n for n in range(10_000)}), item])
    yield batch("deep", [json.loads("[" * 480 + "]" * 480), item])
    yield Sent("50,000 items", _batch([1] * 50_000, name), kind, 1)
    if name:
        yield Sent("an envelope without items", b'{"writeKey":"%b"}' % SECRET.encode(), kind, 1)
        yield Sent("items that are no list", b'{"%b":{"a":1}}' % name.encode(), kind, 1)
    if kind is JSON:
        text = _batch([item] * 3, name)
        yield Sent("gzip", gzip.compress(text, mtime=0), {"Content-Type": "text/plain"}, 3)
        yield Sent("base64", base64.b64encode(text), {"Content-Type": "text/plain"}, 3)
        yield Sent("a form", b"data=" + quote_plus(base64.b64encode(text)).encode() + b"&verbose=1", FORM)


def _with(protocol: str, item: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    place = _OWN.get(protocol, "properties")
    return {**item, place: {**item.get(place, {}), **properties}}


def _lines(item: dict[str, Any]) -> Iterator[Sent]:
    line = urlencode(item)
    yield Sent("good ones", "\r\n".join([line] * 3).encode(), None, 3)
    yield Sent("lines of every kind", "\n".join([line, "", "null", "{}", "%zz", "=", "&", line]).encode(), None, 7)
    yield Sent("names", "&".join([line, *(f"{quote_plus(name)}={SECRET}" for name in NAMES)]).encode(), None, 1)
    yield Sent("50,000 items", b"a=1\n" * 50_000, None, 1)
    yield Sent("gzip", gzip.compress(line.encode(), mtime=0), None, 1)


def _bulks(item: dict[str, Any]) -> Iterator[Sent]:
    line = "?" + urlencode(item)
    times = ["?" + urlencode({**item, "cdt": far, "cdo": far}) for far in FAR]
    for what, items in {
        "good ones": [line] * 3,
        "items of every type": [line, "", SECRET, 1, None, True, [], {}, item, "%zz", "?" * 99, line],
        "no items": [],
        "times": times,
        "names": [f"{line}&{urlencode(dict.fromkeys(NAMES, SECRET))}", {**dict.fromkeys(NAMES, 1), **item}],
        "10,000 properties": [line + "".join(f"&k{n}={n}" for n in range(10_000))],
    }.items():
        yield Sent(what, json.dumps({"requests": items, "token_auth": "t"}).encode(), FORM, len(items))
    yield Sent("50,000 items", json.dumps({"requests": [line] * 50_000}).encode()[:1_000_000], FORM, 1)
    yield Sent("an envelope without items", b'{"token_auth":"t"}', FORM, 1)


def _broken(whole: bytes) -> Iterator[Sent]:
    """Each way to encode a body, broken off half way, damaged, or done twice."""
    text, packed, encoded = {"Content-Type": "text/plain"}, gzip.compress(whole, mtime=0), base64.b64encode(whole)
    form = b"data=" + quote_plus(encoded).encode()
    emoji = whole[:-20] + b"\xed\xa0\xbd\xed"
    for what, body in {
        "half of JSON": whole[: len(whole) // 2],
        "half of gzip": packed[: len(packed) // 2],
        "half of base64": encoded[: len(encoded) // 2 + 1],
        "half of a form": form[: len(form) // 2],
        "half of an escape": b"data=%7B%",
        "half of CESU-8": emoji,
        "half of JSON in gzip": gzip.compress(whole[: len(whole) // 2], mtime=0),
        "half of JSON in base64 in a form": b"data=" + base64.b64encode(whole[: len(whole) // 2]),
        "half of gzip in base64": base64.b64encode(packed[: len(packed) // 2]),
        "gzip with a damaged end": packed[:-6] + b"\0" * 6,
        "base64 of base64": base64.b64encode(encoded),
        "gzip of gzip": gzip.compress(packed, mtime=0),
        "gzip bomb": gzip.compress(bytes(3_000_000), mtime=0),
        "nothing": b"",
        "spaces": b" \r\n ",
        "zeros": bytes(500),
        "Latin-1": b'{"a":"\xe9' + SECRET.encode(),
        "brackets": b"[" * 5_000,
        "a word": SECRET.encode(),
    }.items():
        yield Sent(what, body, text)
    yield Sent("JSON that says it is gzip", whole, {**JSON, "Content-Encoding": "gzip"})
    yield Sent("gzip that says it is deflate", packed, {**JSON, "Content-Encoding": "deflate"})
    yield Sent("an unknown encoding", whole, {**JSON, "Content-Encoding": "br"})
    yield Sent("a part of multipart", b"--x\r\nContent-Disp", {"Content-Type": "multipart/form-data; boundary=x"})


def queries(protocol: str) -> Iterator[Sent]:
    """GETs of the routes that take them, as query strings, and whether each is an event, good or bad."""
    line = urlencode(
        ITEMS[protocol] if protocol in ("gtag", "matomo", "snowplow") else {"data": json.dumps(ITEMS[protocol])}
    )
    data = base64.b64encode(json.dumps(ITEMS[protocol]).encode())
    for what, query in {
        "a good one": line,
        "base64": "data=" + data.decode().replace("+", " ").rstrip("="),
        "half of base64": "data=" + data[: len(data) // 2].decode(),
        "base64 of base64": "data=" + base64.b64encode(data).decode(),
        "half of an escape": line + "%",
        "names": f"{line}&" + "&".join(f"{quote_plus(name)}={SECRET}" for name in NAMES[:-1]),
        "1,000 fields": line + "".join(f"&k{n}={n}" for n in range(1_000)),
        "times": line + "".join(f"&dtm={quote_plus(str(far))}&cdt={quote_plus(str(far))}" for far in FAR[:9]),
    }.items():
        yield Sent(what, query.replace(" ", "%20").encode(), None, 1)
