"""Sends one request to a collector of our own, in this process and on a loopback port, and keeps what it would publish.

It is the collector itself, with the settings it has in the environment: nothing leaves this machine.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import aiohttp
from multidict import CIMultiDict
from prometheus_client import CollectorRegistry
from yarl import URL

from services.collector import service
from services.collector.app import App
from services.collector.config import DURABLE, Config
from services.collector.metrics import Metrics
from services.collector.routes import KEPT, Table
from services.ops.deployment import CommandRefused
from services.shared import config, hit
from services.shared.background import Background
from services.shared.hit import Hit
from services.shared.privacy import FULL, RECORD, SIGNALS, Privacy
from services.shared.publisher import Publisher
from services.shared.schema import Schema

CLIENT = "192.0.2.1"  # the address the sample comes from, of those reserved for documentation
HOST, MEDIA = "localhost", "application/json"  # where nothing else is said
MOST_BYTES = 16_777_216  # of a sample's body; the collector takes a sixteenth of that
_CLOUD_EVENTS = "application/cloudevents+json"
SECONDS = 30.0  # until the collector must have answered, which waits half as long for a body that does not come
_SHOWN = 1_000  # characters of a reply
# The settings of a collector by which the same request becomes another hit.
_SETTINGS = (
    "paths", "protocols", "scripts", "redirect_hosts", "redirect_key_file", "hooks", "headers", "trusted_proxies",
    "max_body_bytes",
)  # fmt: skip
_SILENT = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # what aiohttp would add of its own


@dataclass(frozen=True)
class Request:
    """A request as it is sent: `target` is path and query, percent-encoded; None of a body is a GET."""

    target: str
    host: str = HOST
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = MEDIA  # of the body, where no header says another


@dataclass(frozen=True)
class Captured:
    """The reply, the hits, by which entries of its lists the guard removed secrets and how often, and the opt-outs."""

    status: int
    media: str
    reply: str
    hits: list[Hit]
    removed: dict[str, int]
    opt_outs: dict[str, str]


def settings(environ: Mapping[str, str], privacy: str, hash_key_file: str) -> Config:
    """The collector's, from the environment as far as they matter here. Raises ConfigError."""
    names = [config.PREFIX + name.upper() for name in _SETTINGS]
    given = {name: environ[name] for name in names if name in environ}
    found = config.read(Config, {**given, "PIPE_PROJECT": "check"})
    return dataclasses.replace(
        found,
        privacy=privacy,
        hash_key_file=hash_key_file,
        host="127.0.0.1",
        port=0,
        ack=DURABLE,
        linger_seconds=0.0,
        max_connections=16,
        trusted_proxies=1,
        shutdown_timeout_seconds=1.0,
    )


def request(url: str | None, protocol: str | None, body: bytes | None, headers: Mapping[str, str]) -> Request:
    """What `--url`, `--protocol` and the rest describe. Raises CommandRefused."""
    if url is not None:
        try:
            place = urlsplit(url)
            host = place.netloc.rpartition("@")[2] or HOST
            host.encode("ascii")
        except ValueError:
            raise CommandRefused(f"--url {config.shown(url)}: it cannot be read as a URL") from None
        path = place.path or "/i"
        if not path.startswith("/") or (place.scheme and place.scheme not in ("http", "https")):
            raise CommandRefused(f"--url {config.shown(url)}: use one such as https://t.example.com/i?a=1, or ?a=1")
        # As browsers write what may not stand in a URL; `%` is left as it was.
        target = quote(path + (f"?{place.query}" if place.query else ""), safe=string.punctuation)
        return Request(target, host, body, headers)
    media = _CLOUD_EVENTS if protocol == "cloudevents" else MEDIA
    return Request(_path(protocol or "events"), HOST, body, headers, media)


def _path(protocol: str) -> str:
    name = "events" if protocol == hit.NATIVE else protocol
    known = protocols()
    if name not in known:
        listed = ", ".join(sorted({hit.NATIVE, *known} - {"events"}))
        raise CommandRefused(f"--protocol {config.shown(protocol)}: use one of {listed}, or --url for another path")
    return known[name]


def protocols() -> dict[str, str]:
    """A path for each protocol, and for each of its kinds of call, that is kept."""
    found: dict[str, str] = {}
    for route in Table():
        if route.outcome == KEPT and "{" not in route.path and "POST" in route.methods:
            found.setdefault(route.name, route.path)
            # Of a protocol with kinds of call the batch takes them all.
            if route.name == f"{route.protocol}.batch":
                found.setdefault(route.protocol, route.path)
    # These share another's path, and are known by what is sent there.
    return found | {"mixpanel": "/track", "cloudevents": "/events"}


async def send(cfg: Config, schema: Schema, asked: Request) -> Captured:
    """Raises ConfigError for settings that no collector would start with."""
    metrics, kept = Metrics(CollectorRegistry()), _Kept()
    async with Background() as background, service.outgoing(cfg, kept, metrics, background) as outbox:
        app = App(cfg, schema, outbox, metrics)
        async with service.serving(cfg, app, metrics, background) as port:
            status, media, data = await _ask(port, asked)
    text = data[: 4 * _SHOWN].decode("utf-8", "replace")[:_SHOWN] if "image/" not in media else ""
    return Captured(
        status=status,
        media=media,
        reply="".join(char if char.isprintable() else " " for char in text).strip(),
        hits=sorted(kept.hits, key=lambda one: (one.at, one.index)),
        removed={name: count for (name,), count in metrics.values_removed.by_labels.items() if count},
        opt_outs={signal: action for (signal, action), count in metrics.opt_outs.by_labels.items() if count},
    )


def unprotected(schema: Schema) -> Schema:
    """The schema file as if nobody needed protection, to see what `privacy` changes; secrets go all the same."""
    nothing = Privacy(ip=FULL, signals=dict.fromkeys(SIGNALS, RECORD))
    return dataclasses.replace(schema, privacy=dict.fromkeys(schema.privacy, nothing))


class _Kept(Publisher):
    """Keeps the hits that Pub/Sub would have been given; it is never connected."""

    def __init__(self) -> None:
        super().__init__("check", in_flight=1, timeout=1.0)
        self.hits: list[Hit] = []

    async def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        self.hits += hit.unpack(data, attributes)
        return ""


async def _ask(port: int, asked: Request) -> tuple[int, str, bytes]:
    headers = CIMultiDict({"Host": asked.host, "X-Forwarded-For": CLIENT})
    if asked.body is not None:
        headers["Content-Type"] = asked.media
    headers.update(asked.headers)
    url = URL(f"http://127.0.0.1:{port}{asked.target}", encoded=True)
    method = "GET" if asked.body is None else "POST"
    limit = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(
        timeout=limit, skip_auto_headers=_SILENT, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        try:
            async with session.request(method, url, headers=headers, data=asked.body, allow_redirects=False) as reply:
                return reply.status, reply.content_type, await reply.read()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise CommandRefused(f"the sample cannot be sent: {' '.join(str(error).split())[:200]}") from None
