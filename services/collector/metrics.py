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
        self._registry = registry
        self._count_requests()
        self._count_privacy()
        self._count_tenants()
        self._count_hits()
        self._count_spool()
        self._count_malformed()
        self._count_packs()
        self._count_connections()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"pixelpipe_collector_{name}", text, labels, registry=self._registry)

    def _fast_counter(self, name: str, text: str, *labels: str) -> FastCounter:
        return FastCounter(f"pixelpipe_collector_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"pixelpipe_collector_{name}", text, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"pixelpipe_collector_{name}", text, buckets=buckets, registry=self._registry)

    def _count_requests(self) -> None:
        self.responses = self._fast_counter(
            "http_responses_total", "Replies by kind of request and status", "kind", "status"
        )
        self.request_seconds = FastHistogram(self._registry)
        self.hits = self._fast_counter("hits_total", "Hits captured, by method", "method")
        for method in ("GET", "HEAD", "POST"):
            self.hits.by_labels[method,] = 0

        self.items = self._counter(
            "tracker_items_total",
            "Items that other trackers sent, by protocol: captured; bodies kept whole as uncut, which become rejects;"
            " requests answered and dropped, such as session replays",
            "protocol",
            "outcome",
        )

        self.hook_requests = self._counter(
            "hook_requests_total",
            "Webhooks by source: captured; unsigned, with a signature that is missing, wrong or old; malformed;"
            " refused, of no tenant or over its rate; unsafe, which are answered 503",
            "hook",
            "outcome",
        )

    def _count_privacy(self) -> None:
        self.opt_outs = self._fast_counter(
            "opt_outs_total",
            "Hits whose sender opted out of tracking, by signal, and what became of them: recorded with the signal,"
            " anonymized, or dropped",
            "signal",
            "action",
        )
        self.values_removed = self._fast_counter(
            "values_removed_total",
            "Secrets removed from hits, by the name in the list of secrets that their own name matched",
            "name",
        )

    def _count_tenants(self) -> None:
        self.tenant_hits = self._fast_counter(
            "tenant_hits_total",
            "Hits by tenant of the schema file: admitted; over its rate, and limited, which become rejects, dropped, or"
            " refused with 429",
            "tenant",
            "outcome",
        )
        self.unknown_tenant_hits = self._fast_counter(
            "unknown_tenant_hits_total",
            "Hits of no tenant of the schema file: admitted, which become rejects, or refused with 401",
            "outcome",
        )

    def _count_hits(self) -> None:
        outcomes = self._counter(
            "hits_settled_total",
            "Hits whose fate is known: published, spooled, or refused with 503 as unconfirmed or shed",
            "outcome",
        )
        self.published = outcomes.labels("published")
        self.spooled = outcomes.labels("spooled")
        self.unconfirmed = outcomes.labels("unconfirmed")
        self.shed = outcomes.labels("shed")
        self.breaker = self._gauge("breaker_state", "0 closed: Pub/Sub answers; 1 half open; 2 open")

    def _count_spool(self) -> None:
        self.drained = self._counter("spool_drained_hits_total", "Hits published from the spool")
        self.spool_packs = self._gauge("spool_packs", "Packs in the spool")
        self.spool_hits = self._gauge("spool_hits", "Hits in the spool")
        self.spool_found = self._gauge(
            "spool_found_hits", "Hits of packs found in the spool: left by an earlier process, or copied there"
        )
        self.spool_bytes = self._gauge(
            "spool_bytes", "Bytes the files of the spool take on disk, those set aside as well"
        )
        self.spool_limit = self._gauge("spool_limit_bytes", "Bytes the files of the spool may take, 0 without one")
        self.spool_oldest = self._gauge(
            "spool_oldest_timestamp_seconds", "When the oldest pack of the spool was written, 0 for none"
        )
        self.spool_errors = self._counter("spool_errors_total", "Times the spool's disk failed")
        self.spool_corrupt = self._counter(
            "spool_corrupt_total", "Packs in the spool whose file could not be read and was set aside"
        )

    def _count_malformed(self) -> None:
        self.malformed = self._counter(
            "malformed_requests_total", "Requests refused as malformed HTTP, answered 400, 405, 414, 431 or 505"
        )
        self.unfinished = self._counter(
            "unfinished_requests_total", "Requests whose client ended the connection within their header or body"
        )
        self.repaired = self._counter(
            "repaired_requests_total", "Requests whose target held raw bytes that were percent-encoded to keep the hit"
        )

    def _count_packs(self) -> None:
        self.pack_hits = self._histogram(
            "pack_hits", "Hits in a pack", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
        )
        self.pack_bytes = self._counter("pack_bytes_total", "Bytes published")
        self.hit_bytes = self._counter("hit_bytes_total", "Bytes of the same hits before compression")
        self.publish_seconds = self._histogram(
            "publish_seconds", "Time until Pub/Sub confirmed a pack", buckets=_SECONDS
        )
        self.publish_failures = self._counter("publish_failures_total", "Packs Pub/Sub did not confirm in time")
        self.pending_bytes = self._gauge("pending_bytes", "Bytes of hits that wait for Pub/Sub")

    def _count_connections(self) -> None:
        self.connections = self._gauge("connections", "Connections that are open")
        self.connections_refused = self._counter(
            "connections_refused_total", "Connections answered 503: `max_connections` were open and none idle"
        )
        closed = self._counter(
            "connections_closed_total",
            "Connections closed by us: idle, to make room for others; slow to send a header; with replies unread",
            "reason",
        )
        self.connections_closed = {reason: closed.labels(reason) for reason in ("idle", "slow", "unread")}
