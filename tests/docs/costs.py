"""The generated parts of docs/cost.md, by the models of services/ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from services.ops import cost_model, designs, prices
from services.ops.designs import Design
from tests.chart.release import CHART
from tests.docs.markers import table

RATES = (10, 100, 1_000)
MONTH_RATES = (*RATES, 10_000)
SMALL_RATES = (1, 10, 50)
RULES = prices.RULES_HOUR * prices.HOURS
# What changes, and what of the bill another load balancer pays.
CHOICES: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("a regional load balancer, Standard Tier", {}, 0),
    ("a global load balancer, Premium Tier", {"tier": "premium"}, 0),
    ("a path on the global load balancer that your site has", {"tier": "premium"}, RULES),
    ("regional, five events a request, as trackers post them", {"hits_per_request": 5}, 0),
    ("regional, with a full TLS handshake for every five hits", {"hits_per_connection": 5}, 0),
    ("the same, global", {"tier": "premium", "hits_per_connection": 5}, 0),
)


def parts() -> dict[str, str]:
    """The generated parts by name."""
    return {
        "a month": table(
            ("hits/s", "hits a month", "Pub/Sub", "BigQuery", "load balancer", "replies", "pods, metrics", "all"),
            (_month(rate, "default") for rate in MONTH_RATES),
        ),
        "a small month": table(
            ("hits/s", "hits a month", "Pub/Sub", "BigQuery", "load balancer", "replies", "pods, metrics", "all"),
            (_month(rate, "small") for rate in SMALL_RATES),
        ),
        "what moves it": table(("at 1,000 hits/s", "a month", "a million"), (_choice(*one) for one in CHOICES)),
        "other designs": table(
            ("design", "what it is", *(f"{rate:,} hits/s" for rate in RATES)),
            [_here(), *(_design(*found) for found in zip(*(designs.estimate(rate) for rate in RATES), strict=True))],
        ),
        "persistent spool": table(
            ("hits/s", "collectors", "disks", "US dollars a month"), (_disks(rate) for rate in RATES)
        ),
    }


def _month(rate: int, values: str) -> tuple[str, ...]:
    bill = cost_model.estimate(rate, values=values)
    return (
        f"{rate:,}",
        f"{rate * prices.HOURS * 3600 / 1e6:,.0f} million",
        f"{bill.pubsub:.0f}",
        f"{bill.bigquery_write + bill.bigquery_storage:.0f}",
        f"{bill.load_balancer:.0f}",
        f"{bill.replies:.0f}",
        f"{bill.pods + bill.metrics + bill.cluster:.0f}",
        f"**{bill.total:,.0f}**",
    )


def _choice(name: str, choices: Mapping[str, Any], paid: float) -> tuple[str, ...]:
    total = cost_model.estimate(1_000, **choices).total - paid
    return name, f"{total:.0f}", f"{total / (1_000 * prices.HOURS * 3600) * 1e6:.3f}"


def _here() -> tuple[str, ...]:
    small = cost_model.estimate(RATES[0], values="small").total
    made_of = f"this, by the chart's defaults; with `values-small.yaml` {small:.0f} at {RATES[0]} hits/s"
    return "**pixelpipe**", made_of, *(f"{cost_model.estimate(rate).total:,.0f}" for rate in RATES)


def _design(*by_rate: Design) -> tuple[str, ...]:
    return by_rate[0].name, by_rate[0].made_of, *(f"{one.total:,.0f}" for one in by_rate)


def disk_gib() -> int:
    """The chart's default size of a collector's spool."""
    size = yaml.safe_load((CHART / "values.yaml").read_text())["collector"]["spool"]["size"]
    return int(size.removesuffix("Gi"))


def _disks(rate: int) -> tuple[str, ...]:
    pods = cost_model.PODS["default"]["collector"].count(rate)
    return f"{rate:,}", str(pods), f"{pods} of {disk_gib()} GiB", f"{pods * disk_gib() * prices.DISK_GIB:.2f}"
