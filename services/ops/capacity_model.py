"""How a release is sized for a rate of hits: pods, limits of the autoscalers, spool, and the nearest quota. Pure.

What a hit takes is as services/ops/cost_model.py has it, measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from services.collector.config import Config
from services.ops import cost_model
from services.ops.cost_model import Pods

# Of a project and region, in bytes a second; larger regions start higher, and all can be raised.
QUOTAS = {"Pub/Sub publish": 200e6, "Pub/Sub pull": 200e6, "BigQuery append": 300e6}


@dataclass(frozen=True)
class Service:
    """One service: `pods` as asked for, and the autoscaler's range."""

    pods: Pods
    fewest: int
    most: int
    on_average: int


@dataclass(frozen=True)
class Plan:
    """`quotas` has the share of each that is used at the peak; `spool_bytes` is for each collector."""

    services: Mapping[str, Service]
    spool_bytes: int
    quotas: Mapping[str, float]

    @property
    def nearest(self) -> str:
        """The quota that is met first."""
        return max(self.quotas, key=lambda name: self.quotas[name])


def plan(hits_per_second: float, peak: float = 5.0, outage_seconds: float = 3600.0) -> Plan:
    """For a rate on average, a peak of so many times that, and Pub/Sub away for so long at the average rate."""
    services = {
        name: _service(name, pods, hits_per_second, peak) for name, pods in cost_model.sized(hits_per_second).items()
    }
    collectors = services["collector"].on_average
    size = cost_model.pack_hits(hits_per_second / collectors, Config.linger_seconds)
    hit_bytes = cost_model.hits_pack_bytes(size, cost_model.EVENT_BYTES) / size
    return Plan(
        services,
        math.ceil(hits_per_second / collectors * hit_bytes * outage_seconds),
        _quotas(services, peak * hits_per_second),
    )


def _service(name: str, pods: Pods, rate: float, peak: float) -> Service:
    average = pods.count(rate)
    # Collectors for the average are there at night too: what a sudden peak brings before more have started is answered
    # 503. For the others it waits in Pub/Sub.
    fewest = average if name == "collector" else math.ceil(average / 4)
    return Service(pods, max(pods.fewest, fewest), math.ceil(1.25 * pods.count(rate * peak)), average)


def _quotas(services: Mapping[str, Service], rate: float) -> dict[str, float]:
    collectors = services["collector"].pods.count(rate)
    size = cost_model.pack_hits(rate / collectors, Config.linger_seconds)
    carried = cost_model.hits_pack_bytes(size, cost_model.EVENT_BYTES)
    carried += cost_model.rows_pack_bytes(size, cost_model.EVENT_BYTES)
    used = {
        "Pub/Sub publish": rate / size * carried,
        "Pub/Sub pull": rate / size * carried,
        "BigQuery append": rate * cost_model.EVENT_BYTES * cost_model.STORED,
    }
    return {name: used[name] / QUOTAS[name] for name in QUOTAS}
