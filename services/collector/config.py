"""Every setting of the collector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.collector.routes import PROTOCOLS
from services.shared import log, privacy, resource_names
from services.shared.config import setting
from services.shared.schema import DEFAULT_FILE

DURABLE, IMMEDIATE = "durable", "immediate"


@dataclass(frozen=True)
class Config:
    project: str = setting(help="the Google Cloud project that holds the topic")
    hits_topic: str = setting(resource_names.HITS_TOPIC, "topic the packs of hits are published to")
    schema: Path = setting(DEFAULT_FILE, "path of the schema file, whose `privacy` and `tenants` are applied to hits")
    privacy: str = setting(
        privacy.BALANCED,
        "what protects people where the schema file's `privacy` says nothing: `strict`, `balanced` or `off`",
        choices=privacy.PRESETS,
    )
    hash_key_file: str = setting(
        "",
        "file of one or two keys that the parameters of `privacy.hash` are hashed with, as `ID:KEY` a line, the key in"
        " use first; no other user may read it",
    )
    host: str = setting("0.0.0.0", "address both ports listen on")  # noqa: S104 - a pod serves the whole cluster
    port: int = setting(8080, "public port: pixels and events", minimum=0, maximum=65535)
    admin_port: int = setting(9101, "port of /livez, /readyz and /metrics, never public", minimum=0, maximum=65535)
    paths: tuple[str, ...] = setting(
        (),
        "more paths, comma-separated: `/open.gif` serves the pixel, `/x/a=snowplow` a tracker's protocol,"
        " `/x/p.js=script` our tracker",
    )
    protocols: tuple[str, ...] = setting(PROTOCOLS, "protocols of other trackers that are spoken, comma-separated")
    scripts: str = setting(
        "",
        "folder of files for pages, such as another tracker's script: `/NAME` serves each, `/x/a.js=script.NAME` too",
    )
    redirect_hosts: tuple[str, ...] = setting(
        (),
        "hosts that `/r?to=` redirects to, comma-separated; `*.example.com` is all below it",
    )
    redirect_key_file: str = setting(
        "", "file of keys, one a line, that sign addresses `/r?to=&sig=` redirects to; no other user may read it"
    )
    hooks: tuple[str, ...] = setting(
        (),
        "webhook sources of `POST /hook/NAME`, comma-separated: `NAME`, or `NAME=SCHEME:KEY_FILE` with github, stripe"
        " or shopify; then `;type=FIELD` and `;id=FIELD`",
    )
    headers: tuple[str, ...] = setting(
        (
            "user-agent",
            "referer",
            "accept-language",
            "host",
            "sec-ch-ua",
            "sec-ch-ua-mobile",
            "sec-ch-ua-platform",
            "sec-purpose",
            "signature-agent",
            "x-client-geo-location",
        ),
        "request headers kept with a hit, comma-separated",
    )
    trusted_proxies: int = setting(
        0,
        "proxies in front that add to X-Forwarded-For: 0 takes the peer's address, 2 fits Google's load balancer",
        minimum=0,
        maximum=10,
    )
    max_body_bytes: int = setting(
        1_048_576, "bytes a POST may have, before and after decompression", minimum=1, maximum=2**20
    )
    ack: str = setting(
        DURABLE,
        "when the reply goes: `durable`, once Pub/Sub or the spool has the hit; `immediate`, at once, and a crash"
        " loses hits that were acknowledged",
        choices=(DURABLE, IMMEDIATE),
    )
    max_connections: int = setting(
        8_192, "connections at a time; one more closes the longest idle one, or is answered 503", minimum=1
    )
    linger_seconds: float = setting(
        0.05, "seconds hits are batched for, and their replies held, at most", minimum=0, maximum=1
    )
    publish_timeout_seconds: float = setting(
        0.5, "seconds until Pub/Sub must have confirmed a pack; then it is spooled", minimum=0.1, maximum=60
    )
    spool: str = setting("", "folder for packs Pub/Sub has not confirmed; without one their hits are answered 503")
    spool_max_bytes: int = setting(
        1_073_741_824, "bytes of packs the spool may hold; its disk needs a quarter more", minimum=2**20, maximum=2**40
    )
    max_pending_bytes: int = setting(
        67_108_864, "bytes of hits that may wait for Pub/Sub; more are answered 503", minimum=2**22, maximum=2**30
    )
    drain_delay_seconds: float = setting(
        5.0, "seconds to keep serving after SIGTERM, while load balancers stop routing to it", minimum=0, maximum=600
    )
    shutdown_timeout_seconds: float = setting(
        10.0, "seconds that requests in progress may take after that", minimum=0, maximum=600
    )
    trace_requests: bool = setting(
        False,
        "trace the pack of a request with a sampled `traceparent`; then anyone who sends that header can start traces",
    )
    log_level: str = setting("info", "least severity that is logged", choices=log.LEVELS)
