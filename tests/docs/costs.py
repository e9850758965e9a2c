"""The generated parts of docs/cost.md, by the model of services/ops/cost.py."""

from __future__ import annotations

from dataclasses import asdict

import yaml

from services.ops import cost, prices
from tests.chart.release import CHART
from tests.docs.markers import table

RATES = (10, 100, 1_000)


def parts() -> dict[str, str]:
    """The generated parts by name."""
    return {
        "a month": table(
            ("hits/s", "hits a month", "Pub/Sub", "BigQuery", "load balancer", "replies", "pods", "all"),
            (_month(rate) for rate in RATES),
        ),
        "persistent spool": table(
            ("hits/s", "collectors", "disks", "US dollars a month"), (_disks(rate) for rate in RATES)
        ),
    }


def _month(rate: int) -> tuple[str, ...]:
    bill = cost.estimate(rate)
    shown = {key: round(value) for key, value in asdict(bill).items()}
    return (
        f"{rate:,}",
        f"{rate * prices.HOURS * 3600 / 1e6:,.0f} million",
        str(shown["pubsub"]),
        str(shown["bigquery_write"] + shown["bigquery_storage"]),
        str(shown["load_balancer"]),
        str(shown["replies"]),
        str(shown["pods"] + shown["cluster"]),
        f"**{bill.total:.0f}**",
    )


def disk_gib() -> int:
    """The chart's default size of a collector's spool."""
    size = yaml.safe_load((CHART / "values.yaml").read_text())["collector"]["spool"]["size"]
    return int(size.removesuffix("Gi"))


def _disks(rate: int) -> tuple[str, ...]:
    pods = cost.PODS["collector"].count(rate)
    return f"{rate:,}", str(pods), f"{pods} of {disk_gib()} GiB", f"{pods * disk_gib() * prices.DISK_GIB:.2f}"
