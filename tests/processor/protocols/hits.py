"""Hits as the collector cuts them out of what trackers send, and what strangers make of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st

from services.processor import convert
from services.processor.protocols import CANONICAL, Reader, Unreadable, reading
from services.shared import hit as wire
from services.shared.hit import Hit

AT = 1_764_439_200_000_000  # 2025-11-29T18:00:00Z, the receipt of every hit
NOW = "2025-11-29T18:00:00.000000Z"


def hit(
    via: str,
    body: Any = None,
    query: str = "",
    text: str = "",
    envelope: Any = None,
    headers: Mapping[str, str] | None = None,
    at: int = AT,
) -> Hit:
    """A hit; body and envelope are JSON values, or bytes as they are."""
    method = "GET" if body is None and not text else "POST"
    return Hit(
        id="0199", at=at, method=method, path="/", query=query, headers=dict(headers or {}), via=via, text=text,
        body=_raw(body), envelope=_raw(envelope),
    )  # fmt: skip


def _raw(value: Any) -> msgspec.Raw:
    if value is None:
        return wire.NO_BODY
    return msgspec.Raw(value if isinstance(value, bytes) else json.dumps(value).encode())


def survive(read: Reader, one: Hit) -> dict[str, Any] | None:
    """The parameters, checked for what every reader promises; None where the hit is refused as it may be."""
    try:
        found = read(one)
    except Unreadable:
        return None
    json.loads(msgspec.json.encode(found))
    json.loads(convert.encode_json(found))
    assert all(type(name) is str for name in found)
    for name in CANONICAL:
        assert name not in found or found[name] not in (None, "", {})
    for name in ("properties", "context"):
        assert isinstance(found.get(name, {}), dict)
    for name in set(CANONICAL) - {"properties", "context"}:
        assert not isinstance(found.get(name), (dict, list, bool))
    return found


def texts(value: Any) -> Iterator[str]:
    """The texts in a JSON value."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def marked(item: Any, mark: Iterator[int]) -> Any:
    """The item with a text of its own in the place of every text it holds."""
    if isinstance(item, dict):
        return {name: marked(value, mark) for name, value in item.items()}
    if isinstance(item, list):
        return [marked(value, mark) for value in item]
    return f"marked-{next(mark)}" if isinstance(item, str) else item


TEXT = st.text(max_size=12)  # lone surrogates too, which JSON writes as \ud83d
NAMES = st.sampled_from([*CANONICAL, "", "__proto__", "client_event_time", "schema", reading.REPEATED]) | TEXT
VALUES = st.sampled_from(
    ["", " ", "\ud83d", "{}", "[]", "eyJkYXRhIjpbXX0", "$device:x", "$direct", "iglu:a/b/c/1-0-0", "marked"]
) | st.sampled_from(
    [
        "0",
        "-1",
        "1e999",
        "1764439200",
        "1764439200000",
        "2025-11-29T18:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ]
)
NUMBERS = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([10**400, -(10**18), 1e308, 5e-324])
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | VALUES | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def mutations(draw: st.DrawFn, item: Any) -> Any:
    """A realistic item with one to three of its values replaced, taken away, or joined by another."""
    changed = json.loads(json.dumps(item))
    for _ in range(draw(st.integers(1, 3))):
        objects = list(_objects(changed))
        if not objects:
            return draw(JSON)
        place = draw(st.sampled_from(objects))
        names = st.sampled_from(sorted(place)) if place else NAMES
        if draw(st.booleans()):
            place[draw(names | NAMES)] = draw(JSON)
        else:
            place.pop(draw(names), None)
    return changed


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


QUERIES = st.lists(st.tuples(NAMES, VALUES | TEXT), max_size=6).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)


@st.composite
def hits(draw: st.DrawFn, vias: list[str], items: list[Any]) -> Hit:
    """Whatever can come by these paths: realistic items, mutations of them, any JSON, and what is not JSON."""
    bodies = [mutations(item) for item in items]
    body = draw(st.none() | st.sampled_from(items) | st.one_of(*bodies) | JSON | st.binary(min_size=1, max_size=30))
    if isinstance(body, (dict, list)) and draw(st.integers(0, 9)) == 0:  # broken off half way
        whole = json.dumps(body).encode()
        body = whole[: draw(st.integers(1, len(whole)))]
    envelope = draw(st.none() | st.dictionaries(NAMES, JSON, max_size=3) | JSON | st.binary(min_size=1, max_size=9))
    headers = draw(st.sampled_from([{}, {"sp-anonymous": "*"}]))
    at = draw(st.sampled_from([AT, -62_135_596_800_000_000, 253_402_300_799_999_999]))
    return hit(draw(st.sampled_from(vias)), body, draw(QUERIES | TEXT), draw(QUERIES | TEXT), envelope, headers, at)
