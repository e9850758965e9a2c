"""Every metric of the loader. A label's values are known here, or names of tables and columns, bounded in number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services import __version__
from services.loader.table_breaker import TableBreaker
from services.shared.schema import TALLIES, Table

REASONS = ("bigquery", "too_large")
MAX_TABLES = 1_000  # counted by name
MAX_REFUSED = 100  # columns shown
CODES = (
    "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNAVAILABLE", "UNKNOWN",
)  # fmt: skip
_APPEND_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_AGE_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 21600, 86400)


class Metrics:
    """`tables` are those of the schema file; packs of another add values of the label `table`, MAX_TABLES at most."""

    def __init__(self, registry: CollectorRegistry, tables: Mapping[str, Table], *, digest: str = "") -> None:
        Info(
            "pixelpipe_build", "What runs here, and the beginning of the SHA-256 of its schema file", registry=registry
        ).info({"service": "loader", "version": __version__, "schema": digest})
        received = {name: table.column_from("hit.received_at") for name, table in tables.items()}
        self._received_at = {name: column.name for name, column in received.items() if column is not None}
        self._newest_us = 0
        self._count_messages(registry)
        self._count_rows(registry, tables)
        self._observe_appends(registry)
        self.held_rows = Gauge("pixelpipe_loader_held_rows", "Rows batched or being written", registry=registry)
        self.held_bytes = Gauge("pixelpipe_loader_held_bytes", "Bytes of the same rows", registry=registry)
        self.troubles = Troubles(registry, tables)

    def _count_messages(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(f"pixelpipe_loader_{name}", text, registry=registry)

        self.received = counter("messages_received_total", "Packs received from Pub/Sub")
        self.message_bytes = counter("message_bytes_total", "Bytes of the packs received")
        self.leases = counter("leases_total", "Times a held pack was leased, first when it was received")
        self.redelivered = counter("messages_redelivered_total", "Packs received that Pub/Sub had delivered before")
        self.duplicates = counter("messages_duplicate_total", "Packs not written again: their rows are there already")
        self.acked = counter(
            "messages_acked_total", "Packs acknowledged: every row is in BigQuery, or the pack is dead-lettered"
        )
        self.nacked = counter("messages_nacked_total", "Packs nacked, to be redelivered")
        self.dead = counter("messages_dead_total", "Packs published to the dead-letter topic")
        self.newer = counter("messages_newer_total", "Packs nacked since their format is newer than this loader")
        self.dead_rows = counter("rows_dead_total", "Rows of dead-lettered packs that are in no table")
        self.duplicate_rows = counter("rows_duplicate_total", "Rows of packs not written again")
        self.bytes = counter("appended_bytes_total", "Bytes of Arrow that BigQuery took")

    def _count_rows(self, registry: CollectorRegistry, tables: Mapping[str, Table]) -> None:
        self._loaded = Counter(
            "pixelpipe_loader_rows_loaded_total", "Rows in BigQuery, by table", ("table",), registry=registry
        )
        self._tables = {name: self._loaded.labels(name) for name in tables}
        rejected = Counter(
            "pixelpipe_loader_rows_rejected_total",
            "Rows that went to `rejects`: refused by BigQuery, or too large for a request",
            ("reason",),
            registry=registry,
        )
        self.rejected = {reason: rejected.labels(reason) for reason in REASONS}

    def _observe_appends(self, registry: CollectorRegistry) -> None:
        retries = Counter(
            "pixelpipe_loader_append_retries_total", "Appends that failed, by gRPC code", ("code",), registry=registry
        )
        self._retries = {code: retries.labels(code) for code in (*CODES, "OTHER")}
        self.append_seconds = Histogram(
            "pixelpipe_loader_append_seconds",
            "Time until BigQuery took an append, its last attempt only",
            buckets=_APPEND_SECONDS,
            registry=registry,
        )
        self.append_rows = Histogram(
            "pixelpipe_loader_append_rows",
            "Rows in an append",
            buckets=(1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000),
            registry=registry,
        )
        self.ages = RowAges(
            registry,
            "pixelpipe_loader_end_to_end_seconds",
            "Time from the collector's receipt of an event until its row is in BigQuery",
            _AGE_SECONDS,
        )
        self.newest = Gauge(
            "pixelpipe_loader_newest_received_timestamp_seconds",
            "When the newest event that is in BigQuery was received, seconds since 1970",
            registry=registry,
        )

    def retried(self, code: str) -> None:
        self._retries[code if code in self._retries else "OTHER"].inc()

    def loaded(self, table: str, rows: pa.RecordBatch, now_us: int) -> None:
        """BigQuery has the rows at `now_us`, microseconds since 1970. Tallies are none."""
        if table == TALLIES:
            return
        self._counter(table).inc(rows.num_rows)
        place = rows.schema.get_field_index(self._received_at.get(table, ""))
        if place >= 0 and pa.types.is_timestamp(rows.schema.types[place]):
            self._visible(rows.column(place), now_us)

    def _counter(self, table: str) -> Counter:
        known = self._tables.get(table)
        if known is None:
            known = self._loaded.labels(table if len(self._tables) < MAX_TABLES else "OTHER")
            if len(self._tables) < MAX_TABLES:
                self._tables[table] = known
        return known

    def _visible(self, received_at: pa.Array, now_us: int) -> None:
        times = received_at.cast(pa.int64())
        self.ages.observe(pc.subtract(pa.scalar(now_us), times))
        newest = pc.max(times).as_py()
        if newest is not None and newest > self._newest_us:
            self._newest_us = newest
            self.newest.set(newest / 1_000_000)


class RowAges(Collector):
    """A histogram that takes a whole column at a time: an `observe()` per row would cost more than writing the row."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self._name, self._text, self._bounds = name, text, bounds
        self._counts = [0] * (len(bounds) + 1)  # cumulative, the last is of all
        self._sum = 0.0
        registry.register(self)

    def observe(self, ages_us: pa.Array) -> None:
        """Ages in microseconds as int64; a clock that runs behind the collector's makes none negative."""
        ages = pc.max_element_wise(ages_us.drop_null(), pa.scalar(0))
        if not len(ages):
            return
        extremes = pc.min_max(ages).as_py()
        for place, bound in enumerate(self._bounds):
            bound_us = int(bound * 1_000_000)
            if extremes["max"] <= bound_us:
                self._counts[place] += len(ages)
            elif extremes["min"] <= bound_us:  # few bounds lie between the ages of one append
                self._counts[place] += pc.sum(pc.less_equal(ages, bound_us)).as_py()
        self._counts[-1] += len(ages)
        self._sum += pc.sum(ages.cast(pa.float64())).as_py() / 1_000_000

    def collect(self) -> Iterator[Metric]:
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        family = HistogramMetricFamily(self._name, self._text)
        family.add_metric([], buckets=list(zip(names, self._counts, strict=True)), sum_value=self._sum)
        yield family


class Troubles(Collector):
    """Reads the table breaker at each scrape, since it forgets what has not failed for a while."""

    def __init__(self, registry: CollectorRegistry, tables: Mapping[str, Table]) -> None:
        self._tables = list(tables)
        self._breaker = TableBreaker()
        self._clock: Callable[[], float] = lambda: 0.0
        registry.register(self)

    def watch(self, breaker: TableBreaker, clock: Callable[[], float]) -> None:
        self._breaker, self._clock = breaker, clock

    def collect(self) -> Iterator[Metric]:
        now = self._clock()
        suspended = self._breaker.suspended(now)
        family = GaugeMetricFamily(
            "pixelpipe_loader_table_suspended",
            "By table: 1 while it needs an operator and others load: its packs wait, or are nacked to make room",
            labels=("table",),
        )
        for table in dict.fromkeys((*self._tables, *sorted(suspended)[:MAX_REFUSED])):
            family.add_metric((table,), table in suspended)
        yield family
        family = GaugeMetricFamily(
            "pixelpipe_loader_column_refused",
            "By table and column: 1 while packs wait, since the table lacks the column or has another type for it",
            labels=("table", "column"),
        )
        for labels in sorted(self._breaker.refused(now))[:MAX_REFUSED]:
            family.add_metric(labels, 1)
        yield family
