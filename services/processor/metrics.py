"""Every metric of the processor. Labels are names in the schema file and reasons from a fixed set."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from services import __version__
from services.processor.log_entry import IGNORED
from services.processor.parse import REASONS
from services.shared.schema import Table

KINDS = ("pack", "log_entry")
OUTCOMES = ("published", "duplicate", "dead", "sampled_out")
UNREADABLE, UNPLACED = "unreadable", "unplaced"  # why a single hit is dead-lettered
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """`tables` are those of the schema file; their names are the only values the label `table` takes."""

    def __init__(self, registry: CollectorRegistry, tables: Mapping[str, Table], *, digest: str = "") -> None:
        def counter(name: str, text: str, label: tuple[str, ...] = ()) -> Counter:
            return Counter(f"pixelpipe_processor_{name}_total", text, label, registry=registry)

        Info(
            "pixelpipe_build", "What runs here, and the beginning of the SHA-256 of its schema file", registry=registry
        ).info({"service": "processor", "version": __version__, "schema": digest})
        messages = counter("messages", "Messages received, by what they are", ("kind",))
        self.packs, self.log_entries = messages.labels("pack"), messages.labels("log_entry")
        self.message_bytes = counter("message_bytes", "Bytes received")
        self.leases = counter("leases", "Leases of messages in hand: one at receipt, then one per extension")
        self.redelivered = counter("messages_redelivered", "Messages Pub/Sub delivered before, as it counts them")
        self.duplicates = counter("messages_duplicate", "Packs dropped since this pod has published their rows already")
        self.hits = counter("hits", "Hits decoded")
        self._settled = counter(
            "hits_settled",
            "Hits of acked messages, by kind of message: now rows, known already, dead, or left out by a sample",
            ("kind", "outcome"),
        )
        for kind in KINDS:
            for outcome in OUTCOMES:
                self._settled.labels(kind, outcome)
        rows = counter("rows", "Rows published, by table", ("table",))
        self.rows = {name: rows.labels(name) for name in tables}
        self.copies = counter("copies", "Rows of tables with `copy` that were published, beside those of their hits")
        self.copies_misfit = counter("copies_misfit", "Copies that did not fit their table, by table", ("table",))
        self.sampled_out = counter("sampled_out", "Rows that a table's `sample` left out, by table", ("table",))
        for name, table in tables.items():
            if table.copy:
                self.copies_misfit.labels(name)
            if table.sample is not None:
                self.sampled_out.labels(name)
        rejects = counter("rejects", "Hits that became a row of rejects, by reason", ("reason",))
        self.rejects = {reason: rejects.labels(reason) for reason in REASONS}
        self.problems = counter(
            "problems",
            "Values that did not fit an optional column, by table, column and reason: the row has NULL and says why",
            ("table", "column", "reason"),
        )
        dead_hits = counter("dead_hits", "Hits sent to the dead-letter topic each as a message of its own", ("reason",))
        self.dead_hits = {reason: dead_hits.labels(reason) for reason in (UNREADABLE, UNPLACED)}
        self.miscounted = counter("miscounted", "Packs that hold more or fewer hits than they say")
        ignored = counter("log_entries_ignored", "Log entries that are not events, by reason", ("reason",))
        self.ignored = {reason: ignored.labels(reason) for reason in IGNORED}
        databases = counter("geo_databases", "Files of PIPE_GEO_DATABASE after the first, by outcome", ("outcome",))
        self.geo_taken, self.geo_refused = databases.labels("taken"), databases.labels("refused")
        # The label `lookup` takes the names in the schema file.
        self.lookup_files = counter(
            "lookup_files", "Files of the schema file's lookups after the first, by outcome", ("lookup", "outcome")
        )
        self.lookup_modified = Gauge(
            "pixelpipe_processor_lookup_modified_timestamp_seconds",
            "When the file of a lookup that is in use was last changed",
            ("lookup",),
            registry=registry,
        )
        self.row_bytes = counter("row_bytes", "Bytes of rows published")
        self.acked = counter("messages_acked", "Messages acknowledged")
        self.nacked = counter("messages_nacked", "Messages nacked, to be redelivered")
        self.newer = counter("messages_newer", "Messages nacked since their format is newer than this processor")
        self.dead = counter("messages_dead", "Messages sent to the dead-letter topic")
        self.parse_seconds = Histogram(
            "pixelpipe_processor_parse_seconds", "Time to parse one message", buckets=_SECONDS, registry=registry
        )
        self.publish_seconds = Histogram(
            "pixelpipe_processor_publish_seconds",
            "Time until Pub/Sub confirmed one pack of rows",
            buckets=_SECONDS,
            registry=registry,
        )

    def settled(self, kind: str, outcome: str, hits: int) -> None:
        self._settled.labels(kind, outcome).inc(hits)
