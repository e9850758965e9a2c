"""The same events as our own clients, Segment's and Snowplow's send them, in batches: bodies of posts, one line each.

An event is an order with an id, two clocks, a user and a device, a page, six properties and a context of the browser:
about 850 bytes as a native one, 850 as Segment's and 1,200 as Snowplow's, which encodes properties and context within.
"""

from __future__ import annotations

import base64
import json
import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from services.collector import capture, cut, encode_batch
from services.collector.routes import Route, Table
from services.shared import hit, identity
from tests.bench import traffic

POSTS = 100  # different ones
HEADERS = {"content-type": "application/json"}


class Event(NamedTuple):
    id: str
    at: float  # seconds since 1970
    user: str
    device: str
    session: str
    url: str
    properties: dict[str, Any]
    agent: str


class Kind(NamedTuple):
    """One way to send events: the path, and what a batch of them is as JSON."""

    path: str
    batch: Callable[[list[Event]], Any]

    @property
    def route(self) -> Route:
        found = Table().at(self.path)
        assert found is not None
        return found[0]

    def bodies(self, events: int, seed: int = 7) -> list[bytes]:
        """Bodies of posts of so many events each."""
        chance = random.Random(seed)
        agents = traffic.agents(chance)
        made = ([_event(chance, chance.choice(agents)) for _ in range(events)] for _ in range(POSTS))
        return [json.dumps(self.batch(batch), separators=(",", ":")).encode() for batch in made]

    def packs(self, events: int, hits: int) -> list[tuple[bytes, dict[str, str]]]:
        """The packs of so many hits that the collector makes of those bodies."""
        now = time.time_ns() // 1000
        lines = [line for body in self.bodies(events) for line in self._lines(body, now)]
        parts = (lines[at : at + hits] for at in range(0, len(lines) - hits + 1, hits))
        return [hit.pack(part, identity.uuid7(now)) for part in parts]

    def _lines(self, body: bytes, now: int) -> list[bytes]:
        found = cut.cut(self.route, body, query="", headers=HEADERS)
        agent = {"user-agent": "shop-server/4.2 (+https://shop.example.com/about) okhttp/4.12.0", "host": "127.0.0.1"}
        like = capture.hit(method="POST", path=self.path, query="", headers=agent, ip="203.0.113.7", now=now, id="")
        like.via = found.route.via
        if found.envelope:
            like.envelope = msgspec.Raw(found.envelope)
        return encode_batch.encode([like] * len(found.items), identity.uuid7s(now, len(found.items)), found.items)


def _event(chance: random.Random, agent: str) -> Event:
    properties = {
        "order_id": chance.randbytes(5).hex(),
        "total": chance.randint(100, 50_000) / 100,
        "currency": "EUR",
        "coupon": "WELCOME10",
        "items": chance.randrange(1, 9),
        "note": "café au lait",
    }
    return Event(
        str(uuid.UUID(bytes=chance.randbytes(16), version=4)),
        time.time() - chance.random() * 10,
        chance.randbytes(12).hex(),
        str(uuid.UUID(bytes=chance.randbytes(16), version=4)),
        str(uuid.UUID(bytes=chance.randbytes(16), version=4)),
        f"https://shop.example.com/p/{chance.randrange(5_000)}",
        properties,
        agent,
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _context(event: Event) -> dict[str, Any]:
    return {
        "userAgent": event.agent,
        "locale": "en-GB",
        "timezone": "Europe/Berlin",
        "library": {"name": "analytics.js", "version": "4.10.1"},
        "screen": {"width": 1920, "height": 1080},
    }


def _native(events: list[Event]) -> Any:
    return [
        {
            "event_id": one.id,
            "event_time": _iso(one.at),
            "sent_at": _iso(one.at + 1),
            "user_id": one.user,
            "anonymous_id": one.device,
            "session_id": one.session,
            "type": "order_completed",
            "url": one.url,
            "referrer": "https://www.google.com/",
            "title": "Order",
            "properties": one.properties,
            "context": _context(one),
        }
        for one in events
    ]


def _segment(events: list[Event]) -> Any:
    return {
        "batch": [
            {
                "type": "track",
                "event": "order_completed",
                "messageId": one.id,
                "timestamp": _iso(one.at),
                "userId": one.user,
                "anonymousId": one.device,
                "properties": one.properties,
                "context": {
                    **_context(one),
                    "sessionId": one.session,
                    "page": {"url": one.url, "referrer": "https://www.google.com/", "title": "Order"},
                },
                "integrations": {},
            }
            for one in events
        ],
        "writeKey": "8f3a0c2b7d",
        "sentAt": _iso(events[0].at + 1),
    }


def _snowplow(events: list[Event]) -> Any:
    return {
        "schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4",
        "data": [
            {
                "e": "ue",
                "eid": one.id,
                "dtm": str(int(one.at * 1000)),
                "stm": str(int(one.at * 1000) + 1_000),
                "uid": one.user,
                "duid": one.device,
                "sid": one.session,
                "url": one.url,
                "refr": "https://www.google.com/",
                "page": "Order",
                "tv": "js-4.10.1",
                "p": "web",
                "aid": "shop",
                "lang": "en-GB",
                "tz": "Europe/Berlin",
                "res": "1920x1080",
                "ue_px": _self_describing(
                    "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0",
                    {"schema": "iglu:com.acme/order_completed/jsonschema/1-0-0", "data": one.properties},
                ),
                "cx": _self_describing(
                    "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1",
                    [{"schema": "iglu:com.acme/browser/jsonschema/1-0-0", "data": _context(one)}],
                ),
            }
            for one in events
        ],
    }


def _self_describing(schema: str, data: Any) -> str:
    text = json.dumps({"schema": schema, "data": data}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


NATIVE = Kind("/events", _native)
SEGMENT = Kind("/v1/batch", _segment)
SNOWPLOW = Kind("/com.snowplowanalytics.snowplow/tp2", _snowplow)
