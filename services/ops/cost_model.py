"""What a month costs at a steady rate of hits, by the list prices in services/ops/prices.py. Pure.

Not included: queries (compaction's too), logs, TLS handshakes unless connections are counted, and discounts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from services.collector.config import Config
from services.ops import prices
from services.ops.prices import GIB, HOURS, TIB

EVENT_BYTES = 564  # a hit of `load` with a browser's headers, as JSON

# Compressed sizes, measured on packs of 1 to 1,000 such hits; tests/ops/test_cost.py measures them again.
_FIRST_HIT, _NEXT_HIT = 0.74, 0.09  # of event bytes: what the first hit of a pack takes, and each further one
_ROWS_PACK, _ROW = 700, 0.12  # bytes of a pack of rows without any, and of event bytes: what each row takes
HITS_ENVELOPE, ROWS_ENVELOPE = 110, 135  # attributes, time and id of a message
STORED = 0.6  # of event bytes: a row as BigQuery counts it

# A browser's request with all its headers; the image, its headers and what the balancer adds, over HTTP/2 and TLS on a
# connection that is there: 233 bytes, measured through nginx. As it leaves the collector, over HTTP/1.1, it has 212.
REQUEST_BYTES, REPLY_BYTES = 1_000, 235
# What each side sends for a new connection before the first request: TLS 1.3 with a chain of three RSA certificates, as
# Google's authority gives them out, measured with OpenSSL. A resumed session takes 505 and 660.
HELLO_BYTES, HANDSHAKE_BYTES = 600, 5_100


@dataclass(frozen=True)
class Pods:
    """One service as the chart sizes it; `cpu_ms` is what a hit takes of it, measured with 64 connections."""

    cpu: float
    gib: float
    fewest: int
    target: float
    cpu_ms: float

    def count(self, hits_per_second: float) -> int:
        """How many pods the autoscaler keeps."""
        return max(self.fewest, math.ceil(hits_per_second * self.cpu_ms / 1000 / (self.cpu * self.target)))

    @property
    def dollars(self) -> float:
        """A month of one."""
        gib = max(self.gib, self.cpu * prices.POD_GIB_A_CPU)
        return HOURS * (self.cpu * prices.POD_CPU_HOUR + gib * prices.POD_GIB_HOUR)


PODS = {  # by values file: the chart's own values.yaml, and values-small.yaml over it
    "default": {
        "collector": Pods(0.2, 192 / 1024, 2, 0.60, 0.21),
        "processor": Pods(0.32, 256 / 1024, 1, 0.70, 0.22),
        "loader": Pods(0.18, 256 / 1024, 1, 0.70, 0.12),
    },
    "small": {
        "collector": Pods(0.05, 128 / 1024, 2, 0.60, 0.21),
        "processor": Pods(0.05, 192 / 1024, 1, 0.70, 0.22),
        "loader": Pods(0.05, 192 / 1024, 1, 0.70, 0.12),
    },
}
# Beyond so many pods of that size, pods of a core each: one process uses no more, and packs are larger where fewer
# collectors fill them. Their memory is what the chart's limits allow.
_MOST_OF_A_SIZE = 10
_CORE = {"collector": (1.0, 0.5), "processor": (1.0, 0.75), "loader": (1.0, 1.0)}  # CPUs, and GiB
# Series of a pod's /metrics, at most; tests/ops/test_cost.py counts them.
SERIES = {"collector": 160, "processor": 100, "loader": 100}


@dataclass(frozen=True)
class Bill:
    """US dollars a month."""

    pubsub: float
    bigquery_write: float
    bigquery_storage: float
    load_balancer: float
    replies: float
    pods: float
    metrics: float
    cluster: float

    @property
    def total(self) -> float:
        return sum(float(one) for one in asdict(self).values())


def estimate(
    hits_per_second: float,
    event_bytes: float = EVENT_BYTES,
    linger_seconds: float = Config.linger_seconds,
    *,
    values: str = "default",
    tier: str = "standard",
    hits_per_request: float = 1.0,
    hits_per_connection: float = math.inf,
) -> Bill:
    """The bill of a steady rate, with the chart's values behind a load balancer on Autopilot.

    With `hits_per_connection`, the replies include a TLS handshake for every so many hits.
    """
    pods = sized(hits_per_second, values)
    counts = {name: one.count(hits_per_second) for name, one in pods.items()}
    hits = hits_per_second * HOURS * 3600
    size = pack_hits(hits_per_second / counts["collector"], linger_seconds)
    carried = billed_bytes(hits / size, hits_pack_bytes(size, event_bytes), rows_pack_bytes(size, event_bytes))
    rows = hits * event_bytes * STORED
    balancer, replies = front(hits, tier, hits_per_request, hits_per_connection)
    return Bill(
        pubsub=pubsub(carried),
        bigquery_write=bigquery_write(rows),
        bigquery_storage=bigquery_storage(rows),
        load_balancer=balancer,
        replies=replies,
        pods=sum(counts[name] * one.dollars for name, one in pods.items()),
        metrics=metrics(counts),
        cluster=max(0.0, prices.CLUSTER_HOUR * HOURS - prices.CLUSTER_CREDIT),
    )


def sized(hits_per_second: float, values: str = "default") -> dict[str, Pods]:
    """The pods of each service for a rate on average, as `capacity` names them."""
    return {name: _sized(name, one, hits_per_second) for name, one in PODS[values].items()}


def _sized(name: str, pods: Pods, hits_per_second: float) -> Pods:
    if pods.count(hits_per_second) <= _MOST_OF_A_SIZE:
        return pods
    cpu, gib = _CORE[name]
    return replace(pods, cpu=cpu, gib=gib)


def metrics(pods: Mapping[str, float]) -> float:
    """Dollars a month for reading the metrics of so many pods of each service."""
    series = sum(count * SERIES[name] for name, count in pods.items())
    return series * HOURS * 3600 / prices.SCRAPE_SECONDS / 1e6 * prices.METRICS_MILLION


def front(
    hits: float, tier: str, hits_per_request: float = 1.0, hits_per_connection: float = math.inf
) -> tuple[float, float]:
    """Dollars a month for so many hits a month: the load balancer, and the replies' way to the internet."""
    requests, connections = hits / hits_per_request, hits / hits_per_connection
    # What a batch adds to its first hit is text of the body, about half of what an event has as JSON.
    received = requests * REQUEST_BYTES + (hits - requests) * EVENT_BYTES / 2 + connections * HELLO_BYTES
    sent = requests * REPLY_BYTES + connections * HANDSHAKE_BYTES
    billed = max(0.0, sent / GIB - prices.INTERNET_FREE_GIB[tier])
    balancer = prices.RULES_HOUR * HOURS + (received + sent) / GIB * prices.BALANCER_GIB
    return balancer, billed * prices.INTERNET_GIB[tier]


def billed_bytes(packs: float, hits_pack: float, rows_pack: float) -> float:
    """What Pub/Sub bills for so many packs of these sizes: each is published once and delivered once, both kinds."""
    return packs * sum(2 * max(prices.PUBSUB_REQUEST, one) for one in (hits_pack, rows_pack))


def pubsub(billed: float, free: float = prices.PUBSUB_FREE) -> float:
    """Dollars a month for so many bytes a month, of which some are free."""
    return max(0.0, billed - free) / TIB * prices.PUBSUB_TIB


def bigquery_write(rows: float, free: float = prices.WRITE_FREE) -> float:
    """Dollars a month for so many bytes of rows appended a month, of which some are free."""
    return max(0.0, rows - free) / GIB * prices.WRITE_GIB


def bigquery_storage(rows: float) -> float:
    """Dollars a month for so many bytes of rows that stay for it, of which some are free."""
    return max(0.0, rows - prices.STORAGE_FREE) / GIB * prices.STORAGE_GIB


def pack_hits(hits_per_second: float, linger_seconds: float) -> float:
    """Hits in a pack of one collector: the one that opens it, and those that arrive within its linger."""
    return min(1_000.0, 1 + hits_per_second * linger_seconds)


def hits_pack_bytes(hits: float, event_bytes: float) -> float:
    """One message of hits."""
    return event_bytes * (_FIRST_HIT + (hits - 1) * _NEXT_HIT) + HITS_ENVELOPE


def rows_pack_bytes(hits: float, event_bytes: float) -> float:
    """One message of their rows."""
    return _ROWS_PACK + hits * event_bytes * _ROW + ROWS_ENVELOPE
