"""What a million hits cost, messaging and loading alone: sizes as measured, prices and formulas of `pixelpipe cost`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from services.collector.config import Config
from services.ops import cost_model, prices
from services.shared import rows
from tests.bench import processor, traffic
from tests.bench.figure import Figure

RATES = (10, 100, 1_000, 10_000)  # hits a second
LINGERS = (Config.linger_seconds, 0.01)  # the default, and the one that the README names
_SAMPLE = 64  # packs, at most, and hits, at least, that sizes are taken of
_HITS = 2_000


@dataclass(frozen=True)
class Sizes:
    """Means: hits in a pack, bytes of a message of hits and of one of their rows, Arrow bytes of a row."""

    hits: float
    hits_pack: float
    rows_pack: float
    row: float

    def dollars(self, hits_per_second: float, *, free: bool = True) -> float:
        """A million hits of a month of this rate; `free` takes off what is free each month."""
        month = hits_per_second * prices.HOURS * 3600
        billed = cost_model.billed_bytes(month / self.hits, self.hits_pack, self.rows_pack)
        if free:
            dollars = cost_model.pubsub(billed) + cost_model.bigquery_write(month * self.row)
        else:
            dollars = cost_model.pubsub(billed, free=0) + cost_model.bigquery_write(month * self.row, free=0)
        return dollars / month * 1e6


def measured(metrics: Mapping[str, float]) -> Sizes:
    """Of a run, from the metrics of all three services; everything collected is loaded."""
    packs = metrics["pixelpipe_collector_pack_hits_count"]
    rows_packs = metrics["pixelpipe_loader_messages_received_total"]
    return Sizes(
        metrics["pixelpipe_collector_pack_hits_sum"] / packs,
        metrics["pixelpipe_collector_pack_bytes_total"] / packs + cost_model.HITS_ENVELOPE,
        metrics["pixelpipe_processor_row_bytes_total"] / rows_packs + cost_model.ROWS_ENVELOPE,
        metrics["pixelpipe_loader_appended_bytes_total"] / metrics["pixelpipe_loader_rows_loaded_total"],
    )


def packed(hits: float) -> Sizes:
    """Of packs of so many hits, made here by the code of the services."""
    whole = max(1, round(hits))
    made = traffic.packs(max(_SAMPLE // whole, _HITS // whole, 2), whole)
    typed = processor.typed(made)
    count = len(made)
    return Sizes(
        whole,
        sum(len(data) for data, _ in made) / count + cost_model.HITS_ENVELOPE,
        sum(len(data) for data, _ in typed) / count + cost_model.ROWS_ENVELOPE,
        sum(_arrow(data, attributes).nbytes for data, attributes in typed) / (count * whole),
    )


def _arrow(data: bytes, attributes: Mapping[str, str]) -> pa.RecordBatch:
    return rows.unpack(data, attributes)


def by_rate() -> dict[str, Figure]:
    """Dollars per million at each rate and linger, with as many collectors as the chart keeps: packs by the model."""
    found = {}
    for linger in LINGERS:
        for hits_per_second in RATES:
            pods = cost_model.PODS["default"]["collector"].count(hits_per_second)
            sizes = packed(cost_model.pack_hits(hits_per_second / pods, linger))
            name = f"dollars_per_million_at_{hits_per_second}_linger_{linger * 1000:.0f}_ms"
            found[name] = Figure(sizes.dollars(hits_per_second))
    return found
