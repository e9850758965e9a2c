"""The cost meter: dollars per million events at the bytes measured here, and for a month like this. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from local.scrape import Scrape
from services.collector.config import Config
from services.ops import cost_model, prices

EXAMPLE_RATE = 100.0  # events a second, where nothing is said
LEAST, MOST = 0.01, 1_000_000.0  # a second
_NAMES = {
    "pubsub": "Pub/Sub",
    "bigquery_write": "BigQuery: writing",
    "bigquery_storage": "BigQuery: storage, for each month",
    "load_balancer": "Load balancer",
    "replies": "Replies to browsers (egress)",
    "pods": "Pods on GKE",
    "metrics": "Metrics of the pods",
    "cluster": "GKE cluster",
}


def measured(collector: Scrape | None, seconds: float) -> dict[str, Any]:
    """What the collector has counted in its `seconds` of life; nulls before the first event."""
    nothing = dict.fromkeys(("bytes_per_event", "events_per_pack", "packed_bytes_per_event", "events_per_second"))
    events = collector.value("pixelpipe_collector_pack_hits_sum") if collector else 0.0
    if collector is None or not events:
        return {"events": 0, **nothing, "over_seconds": round(seconds, 1)}
    packs = collector.value("pixelpipe_collector_pack_hits_count")
    return {
        "events": int(events),
        "bytes_per_event": round(collector.value("pixelpipe_collector_hit_bytes_total") / events, 1),
        "events_per_pack": round(events / packs, 2) if packs else None,
        "packed_bytes_per_event": round(collector.value("pixelpipe_collector_pack_bytes_total") / events, 1),
        "events_per_second": round(events / max(1.0, seconds), 3),
        "over_seconds": round(seconds, 1),
    }


def meter(found: Mapping[str, Any], rate: float | None) -> dict[str, Any]:
    """The bill at `rate` events a second, day and night; without one at an example's, since here nobody visits."""
    size = found["bytes_per_event"] or cost_model.EVENT_BYTES
    per_second = rate or EXAMPLE_RATE
    bill = cost_model.estimate(per_second, size)
    millions = per_second * prices.HOURS * 3600 / 1e6
    per_million = bill.total / millions
    said = f"${per_million:.2f} a million events" if per_million >= 0.1 else f"${per_million:.3f} a million events"
    assumptions = [
        f"{per_second:g} events a second, day and night" + ("" if rate else ": an example, choose your own"),
        f"{size:.0f} bytes an event, " + ("as measured here" if found["bytes_per_event"] else "as of a sample event"),
        "the chart's default settings behind a regional load balancer, "
        f"packs of {Config.linger_seconds * 1000:.0f} ms, list prices read on {prices.READ.isoformat()}",
        "without queries, logs, TLS handshakes and discounts",
    ]
    return {
        "per_million": round(per_million, 4),
        "total_month": round(bill.total, 2),
        "month": {
            "events_per_second": per_second,
            "dollars": round(bill.total, 2),
            "million_events": round(millions, 1),
        },
        "parts": [
            {
                "name": _NAMES[name],
                "dollars_per_million": round(dollars / millions, 4),
                "dollars_a_month": round(dollars, 2),
            }
            for name, dollars in asdict(bill).items()
        ],
        "measured": dict(found),
        "assumptions": assumptions,
        "prices_read": prices.READ.isoformat(),
        "text": f"{said}, ${bill.total:,.0f} for a month like this.",
    }
