"""Every metric of the collector. A label's values are known here; none comes from a request."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from services import __version__
from services.collector.fast_counter import FastCounter
from services.collector.fast_histogram import FastHistogram

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    def __init__(self, registry: CollectorRegistry, *, digest: str = "") -> None:
        Info(
            "pixelpipe_build", "What runs here, and the beginning of the SHA-256 of its schema file", registry=registry
        ).info({"service": "collector", "version": __version__, "schema": digest})
        self._count_requests(registry)
        self._count_privacy(registry)
        self._count_tenants(registry)
        self._count_hits(registry)
        self._count_spool(registry)
        self._count_malformed(registry)
        self._count_packs(registry)
        self._count_connections(registry)

    def _count_requests(self, registry: CollectorRegistry) -> None:
        self.responses = FastCounter(
            "pixelpipe_collector_http_responses_total",
            "Replies by kind of request and status",
            ("kind", "status"),
            registry=registry,
        )
        self.request_seconds = FastHistogram(registry)
        self.hits = FastCounter(
            "pixelpipe_collector_hits_total", "Hits captured, by method", ("method",), registry=registry
        )
        for method in ("GET", "HEAD", "POST"):
            self.hits.by_labels[method,] = 0

        self.items = Counter(
            "pixelpipe_collector_tracker_items_total",
            "Items that other trackers sent, by protocol: captured; bodies kept whole as uncut, which become rejects;"
            " requests answered and dropped, such as session replays",
            ("protocol", "outcome"),
            registry=registry,
        )

        self.hook_requests = Counter(
            "pixelpipe_collector_hook_requests_total",
            "Webhooks by source: captured; unsigned, with a signature that is missing, wrong or old; malformed;"
            " refused, of no tenant or over its rate; unsafe, which are answered 503",
            ("hook", "outcome"),
            registry=registry,
        )

    def _count_privacy(self, registry: CollectorRegistry) -> None:
        self.opt_outs = FastCounter(
            "pixelpipe_collector_opt_outs_total",
            "Hits whose sender opted out of tracking, by signal, and what became of them: recorded with the signal,"
            " anonymized, or dropped",
            ("signal", "action"),
            registry=registry,
        )
        self.values_removed = FastCounter(
            "pixelpipe_collector_values_removed_total",
            "Secrets removed from hits, by the name in the list of secrets that their own name matched",
            ("name",),
            registry=registry,
        )

    def _count_tenants(self, registry: CollectorRegistry) -> None:
        self.tenant_hits = FastCounter(
            "pixelpipe_collector_tenant_hits_total",
            "Hits by tenant of the schema file: admitted; over its rate, and limited, which become rejects, dropped, or"
            " refused with 429",
            ("tenant", "outcome"),
            registry=registry,
        )
        self.unknown_tenant_hits = FastCounter(
            "pixelpipe_collector_unknown_tenant_hits_total",
            "Hits of no tenant of the schema file: admitted, which become rejects, or refused with 401",
            ("outcome",),
            registry=registry,
        )

    def _count_hits(self, registry: CollectorRegistry) -> None:
        outcomes = Counter(
            "pixelpipe_collector_hits_settled_total",
            "Hits whose fate is known: published, spooled, or refused with 503 as unconfirmed or shed",
            ("outcome",),
            registry=registry,
        )
        self.published = outcomes.labels("published")
        self.spooled = outcomes.labels("spooled")
        self.unconfirmed = outcomes.labels("unconfirmed")
        self.shed = outcomes.labels("shed")
        self.breaker = Gauge(
            "pixelpipe_collector_breaker_state", "0 closed: Pub/Sub answers; 1 half open; 2 open", registry=registry
        )

    def _count_spool(self, registry: CollectorRegistry) -> None:
        self.drained = Counter(
            "pixelpipe_collector_spool_drained_hits_total", "Hits published from the spool", registry=registry
        )
        self.spool_packs = Gauge("pixelpipe_collector_spool_packs", "Packs in the spool", registry=registry)
        self.spool_hits = Gauge("pixelpipe_collector_spool_hits", "Hits in the spool", registry=registry)
        self.spool_found = Gauge(
            "pixelpipe_collector_spool_found_hits",
            "Hits of packs found in the spool: left by an earlier process, or copied there",
            registry=registry,
        )
        self.spool_bytes = Gauge(
            "pixelpipe_collector_spool_bytes",
            "Bytes the files of the spool take on disk, those set aside as well",
            registry=registry,
        )
        self.spool_limit = Gauge(
            "pixelpipe_collector_spool_limit_bytes",
            "Bytes the files of the spool may take, 0 without one",
            registry=registry,
        )
        self.spool_oldest = Gauge(
            "pixelpipe_collector_spool_oldest_timestamp_seconds",
            "When the oldest pack of the spool was written, 0 for none",
            registry=registry,
        )
        self.spool_errors = Counter(
            "pixelpipe_collector_spool_errors_total", "Times the spool's disk failed", registry=registry
        )
        self.spool_corrupt = Counter(
            "pixelpipe_collector_spool_corrupt_total",
            "Packs in the spool whose file could not be read and was set aside",
            registry=registry,
        )

    def _count_malformed(self, registry: CollectorRegistry) -> None:
        self.malformed = Counter(
            "pixelpipe_collector_malformed_requests_total",
            "Requests refused as malformed HTTP, answered 400, 405, 414, 431 or 505",
            registry=registry,
        )
        self.unfinished = Counter(
            "pixelpipe_collector_unfinished_requests_total",
            "Requests whose client ended the connection within their header or body",
            registry=registry,
        )
        self.repaired = Counter(
            "pixelpipe_collector_repaired_requests_total",
            "Requests whose target held raw bytes that were percent-encoded to keep the hit",
            registry=registry,
        )

    def _count_packs(self, registry: CollectorRegistry) -> None:
        self.pack_hits = Histogram(
            "pixelpipe_collector_pack_hits",
            "Hits in a pack",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=registry,
        )
        self.pack_bytes = Counter("pixelpipe_collector_pack_bytes_total", "Bytes published", registry=registry)
        self.hit_bytes = Counter(
            "pixelpipe_collector_hit_bytes_total", "Bytes of the same hits before compression", registry=registry
        )
        self.publish_seconds = Histogram(
            "pixelpipe_collector_publish_seconds",
            "Time until Pub/Sub confirmed a pack",
            buckets=_SECONDS,
            registry=registry,
        )
        self.publish_failures = Counter(
            "pixelpipe_collector_publish_failures_total", "Packs Pub/Sub did not confirm in time", registry=registry
        )
        self.pending_bytes = Gauge(
            "pixelpipe_collector_pending_bytes", "Bytes of hits that wait for Pub/Sub", registry=registry
        )

    def _count_connections(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge("pixelpipe_collector_connections", "Connections that are open", registry=registry)
        self.connections_refused = Counter(
            "pixelpipe_collector_connections_refused_total",
            "Connections answered 503: `max_connections` were open and none idle",
            registry=registry,
        )
        closed = Counter(
            "pixelpipe_collector_connections_closed_total",
            "Connections closed by us: idle, to make room for others; slow to send a header; with replies unread",
            ("reason",),
            registry=registry,
        )
        self.connections_closed = {reason: closed.labels(reason) for reason in ("idle", "slow", "unread")}
