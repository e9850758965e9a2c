"""The events that `load` fires: a shop's, as our own clients and other trackers send them. Pure, but for chance.

One event a request; each has an id of its own, by which it is found in BigQuery.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from services.shared import config, identity

_TYPES = ("view", "click", "add_to_cart", "order", "refund")
_JSON = "application/json"
# What the commonest browsers called themselves in autumn 2025: their texts have had no more detail since 2023.
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 "
    "Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 "
    "Edg/141.0.0.0",
)


@dataclass(frozen=True)
class Event:
    """A request: a POST with a body, else a GET. A `bad` one is acknowledged all the same, and becomes a reject."""

    id: str
    protocol: str
    path: str
    query: str = ""
    body: bytes | None = None
    agent: str = AGENTS[0]
    bad: bool = False

    @property
    def headers(self) -> dict[str, str]:
        own = {"User-Agent": self.agent, "Accept-Language": "en-GB,en;q=0.9"}
        return own if self.body is None else {**own, "Content-Type": _JSON}


def mix(text: str) -> dict[str, float]:
    """`native=70,segment=30`, for argparse: shares by protocol, of which not all are 0."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        try:
            found[name] = float(share)
        except ValueError:
            found[name] = -1.0
        if name not in PROTOCOLS or not 0 <= found[name] < 1e9:
            known = ", ".join(PROTOCOLS)
            raise argparse.ArgumentTypeError(
                f"{config.shown(text)}: use shares such as native=70,segment=20,snowplow=10, of {known}"
            )
    if not any(found.values()):
        raise argparse.ArgumentTypeError(f"{config.shown(text)}: one share must be more than 0")
    return found


def make(count: int | None, bad: float, post: float, shares: Mapping[str, float] | None = None) -> Iterator[Event]:
    """So many events, or without end; the share `bad` of them, rounded and spread evenly, names nobody.

    Of native ones the share `post` is posted. `shares` has a weight for each protocol; none of Snowplow's is bad.
    """
    shares = shares or {"native": 1.0}
    names, weights = list(shares), list(shares.values())
    # An event of Snowplow's that says nobody is named by its address and browser: it is never refused.
    refusable = {name: share for name, share in shares.items() if name != "snowplow" and share}
    for number in range(count) if count is not None else itertools.count():
        spoiled = bool(refusable) and int((number + 1) * bad + 0.5) > int(number * bad + 0.5)
        (name,) = random.choices(names, weights)  # noqa: S311 - load, not secrets
        if spoiled and name not in refusable:
            (name,) = random.choices(list(refusable), list(refusable.values()))  # noqa: S311
        yield _event(number, name, spoiled, random.random() < post)  # noqa: S311


def _event(number: int, protocol: str, bad: bool, post: bool) -> Event:
    now = datetime.now(UTC)
    values = {
        "event_id": identity.uuid7(int(now.timestamp() * 1e6)),
        "tenant": f"shop-{number % 7}",
        "user_id": "" if bad else f"user-{random.randrange(100_000)}",  # noqa: S311
        "type": random.choice(_TYPES),  # noqa: S311
        "url": f"https://shop.example.com/products/{random.randrange(10_000)}?from=mail",  # noqa: S311
        "note": "café au lait",
    }
    path, query, data = PROTOCOLS[protocol](values, now, post)
    body = None if data is None else json.dumps(data, separators=(",", ":")).encode()
    agent = random.choice(AGENTS)  # noqa: S311
    return Event(values["event_id"], protocol, path, query, body, agent, bad)


Built = tuple[str, str, Any]  # path, query, and what is posted as JSON, None for a GET


def _native(values: dict[str, str], _: datetime, post: bool) -> Built:
    return ("/events", "", values) if post else ("/pixel.gif", urlencode(values), None)


def _segment(values: dict[str, str], now: datetime, _: bool) -> Built:
    """As Segment's library for servers posts one `track`."""
    at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message = {
        "type": "track",
        "event": values["type"],
        "messageId": values["event_id"],
        "timestamp": at,
        "userId": values["user_id"],
        "properties": {"tenant": values["tenant"], "note": values["note"], "total": 12.5, "currency": "EUR"},
        "context": {
            "page": {"url": values["url"], "title": "Product", "referrer": "https://www.google.com/"},
            "library": {"name": "analytics-node", "version": "2.3.0"},
            "locale": "en-GB",
        },
        "integrations": {},
    }
    return "/v1/batch", "", {"batch": [message], "sentAt": at, "writeKey": "load"}


def _snowplow(values: dict[str, str], now: datetime, _: bool) -> Built:
    """As Snowplow's tracker for browsers posts one self-describing event."""
    inner = {"schema": f"iglu:com.acme/{values['type']}/jsonschema/1-0-0", "data": {"note": values["note"]}}
    outer = {"schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0", "data": inner}
    at = str(int(now.timestamp() * 1000))
    item = {
        "e": "ue",
        "eid": values["event_id"],
        "dtm": at,
        "stm": at,
        "uid": values["user_id"],
        "url": values["url"],
        "page": "Product",
        "refr": "https://www.google.com/",
        "tv": "js-4.6.6",
        "p": "web",
        "aid": values["tenant"],
        "lang": "en-GB",
        "res": "1920x1080",
        "ue_px": base64.urlsafe_b64encode(json.dumps(outer).encode()).decode().rstrip("="),
    }
    payload = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
    return "/com.snowplowanalytics.snowplow/tp2", "", {"schema": payload, "data": [item]}


PROTOCOLS: dict[str, Callable[[dict[str, str], datetime, bool], Built]] = {
    "native": _native,
    "segment": _segment,
    "snowplow": _snowplow,
}
