"""What other ways from a pixel to BigQuery would cost, at the same rate of hits and by the same list prices. Pure.

Each is taken at its cheapest that still answers in production: what it does not do, such as counting an event once or
keeping what does not fit, is not priced. One event is one message there, since none of them packs. All reply by the
Premium Tier: Cloud Run has no other, and a log sink needs a bucket behind a global load balancer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from services.ops import cost_model, prices
from services.ops.prices import GIB, HOURS, TIB

LOG_ENTRY_BYTES = 1_500  # of a load balancer's log, as JSON
_FUNCTION_CPU_MS = 5.0  # of one vCPU, for an event's function; other languages take less
_COLLECTOR_CPU_MS = 1.0  # of a web server's request on Cloud Run
_RUN_TARGET = 0.6  # of an instance's one vCPU that Cloud Run's autoscaler aims for
_TAG_SERVER_RATE = 100.0  # requests a second that a tag server with one vCPU takes
_TAG_SERVERS = 3  # so many keep running
_DATAFLOW_CPU, _DATAFLOW_GIB, _DATAFLOW_RATE = 2.0, 7.5, 5_000.0  # a worker, and events a second that it takes
# A pod of the Kubernetes operator's own example, for the job manager and each task manager; a core takes as many events
# as Dataflow's. The operator's pod and the bucket of checkpoints are left out.
_FLINK_CPU, _FLINK_GIB, _FLINK_RATE = 1.0, 2.0, 2_500.0


class Design(NamedTuple):
    """A design, what it is made of, and US dollars a month for each part."""

    name: str
    made_of: str
    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def estimate(hits_per_second: float, event_bytes: float = cost_model.EVENT_BYTES) -> list[Design]:
    """All designs, for a steady rate of hits of so many bytes."""
    return [design(hits_per_second, event_bytes) for design in _DESIGNS]


def _log_sink(rate: float, event_bytes: float) -> Design:
    hits = _hits(rate)
    entries = hits * max(prices.PUBSUB_REQUEST, LOG_ENTRY_BYTES)
    balancer, replies = cost_model.front(hits, "premium")
    return Design(
        "log sink and function",
        "the load balancer's log, a sink to Pub/Sub, a function for each event that inserts a row",
        {
            "load balancer": balancer,
            "replies": replies,
            "Pub/Sub": cost_model.pubsub(2 * entries),
            "function": _cloud_run(hits, hits * _FUNCTION_CPU_MS / 1000, 0.25),
            "insertAll": hits * max(prices.INSERT_ROW, event_bytes * cost_model.STORED) / GIB * prices.INSERT_GIB,
            "storage": _storage(hits, event_bytes),
        },
    )


def _subscription(rate: float, event_bytes: float) -> Design:
    hits = _hits(rate)
    carried = hits * max(prices.PUBSUB_REQUEST, event_bytes)
    return Design(
        "BigQuery subscription with a UDF",
        "a small service on Cloud Run that publishes, a function in Pub/Sub that shapes, no code after it",
        {
            **_cloud_run_front(hits),
            "Pub/Sub": max(0.0, carried - prices.PUBSUB_FREE) / TIB * prices.PUBSUB_TIB
            + carried / TIB * (prices.PUBSUB_BIGQUERY_TIB + prices.PUBSUB_UDF_TIB),
            "storage": _storage(hits, event_bytes),
        },
    )


def _dataflow(rate: float, event_bytes: float) -> Design:
    hits = _hits(rate)
    carried = hits * max(prices.PUBSUB_REQUEST, event_bytes)
    workers = max(1, math.ceil(rate / _DATAFLOW_RATE))
    hour = _DATAFLOW_CPU * prices.DATAFLOW_CPU_HOUR + _DATAFLOW_GIB * prices.DATAFLOW_GIB_HOUR
    return Design(
        "Dataflow template",
        "a small service on Cloud Run that publishes, and Google's template from Pub/Sub to BigQuery",
        {
            **_cloud_run_front(hits),
            "Pub/Sub": cost_model.pubsub(2 * carried),
            "workers": workers * hour * HOURS,
            "Storage Write API": cost_model.bigquery_write(hits * event_bytes * cost_model.STORED),
            "storage": _storage(hits, event_bytes),
        },
    )


def _flink(rate: float, event_bytes: float) -> Design:
    hits = _hits(rate)
    carried = hits * max(prices.PUBSUB_REQUEST, event_bytes)
    pods = 1 + max(1, math.ceil(rate / _FLINK_RATE))
    return Design(
        "Flink on GKE",
        "a small service on Cloud Run that publishes, and a Flink job on Autopilot with both connectors",
        {
            **_cloud_run_front(hits),
            "Pub/Sub": cost_model.pubsub(2 * carried),
            "pods": pods * (_FLINK_CPU * prices.POD_CPU_HOUR + _FLINK_GIB * prices.POD_GIB_HOUR) * HOURS,
            "Storage Write API": cost_model.bigquery_write(hits * event_bytes * cost_model.STORED),
            "storage": _storage(hits, event_bytes),
        },
    )


def _tag_server(rate: float, event_bytes: float) -> Design:
    hits = _hits(rate)
    servers = max(_TAG_SERVERS, math.ceil(rate / _TAG_SERVER_RATE))
    _, replies = cost_model.front(hits, "premium")
    return Design(
        "server-side Tag Manager",
        "tag servers on Cloud Run with a tag that inserts a row",
        {
            "servers": _instances(servers, 0.5),
            "replies": replies,
            "insertAll": hits * max(prices.INSERT_ROW, event_bytes * cost_model.STORED) / GIB * prices.INSERT_GIB,
            "storage": _storage(hits, event_bytes),
        },
    )


def _cloud_run_services(rate: float, event_bytes: float) -> Design:
    """This project's images there. No target of it is in the repository."""
    hits = _hits(rate)
    pods = cost_model.PODS["default"]
    size = cost_model.pack_hits(rate, 0.05)
    carried = cost_model.billed_bytes(
        hits / size, cost_model.hits_pack_bytes(size, event_bytes), cost_model.rows_pack_bytes(size, event_bytes)
    )
    pullers = sum(max(1, math.ceil(rate * pods[name].cpu_ms / 1000 / 0.7)) for name in ("processor", "loader"))
    return Design(
        "these services on Cloud Run",
        "the collector as a service, processor and loader as worker pools of at least one vCPU and 512 MiB",
        {
            **_cloud_run_front(hits),
            "worker pools": _instances(pullers, 0.5),
            "Pub/Sub": cost_model.pubsub(carried),
            "Storage Write API": cost_model.bigquery_write(hits * event_bytes * cost_model.STORED),
            "storage": _storage(hits, event_bytes),
        },
    )


_DESIGNS: tuple[Callable[[float, float], Design], ...] = (
    _log_sink,
    _subscription,
    _dataflow,
    _flink,
    _tag_server,
    _cloud_run_services,
)


def _hits(rate: float) -> float:
    return rate * HOURS * 3600


def _storage(hits: float, event_bytes: float) -> float:
    return cost_model.bigquery_storage(hits * event_bytes * cost_model.STORED)


def _cloud_run_front(hits: float) -> dict[str, float]:
    """A collector there needs no balancer of its own; it answers under a domain mapping."""
    _, replies = cost_model.front(hits, "premium")
    return {"collector": _cloud_run(hits, hits * _COLLECTOR_CPU_MS / 1000, 0.5), "replies": replies}


def _cloud_run(requests: float, cpu_seconds: float, gib: float) -> float:
    """Billed by the request or by the instance, whichever is cheaper."""
    return min(
        max(0.0, requests - prices.RUN_FREE_REQUESTS) / 1e6 * prices.RUN_MILLION_REQUESTS
        + max(0.0, cpu_seconds - prices.RUN_FREE_CPU_SECONDS) * prices.RUN_CPU_SECOND
        + max(0.0, cpu_seconds * gib - prices.RUN_FREE_GIB_SECONDS) * prices.RUN_GIB_SECOND,
        _instances(math.ceil(cpu_seconds / (HOURS * 3600) / _RUN_TARGET), gib),
    )


def _instances(count: int, gib: float) -> float:
    """So many of one vCPU, all month."""
    seconds = count * HOURS * 3600
    return (
        max(0.0, seconds - prices.RUN_INSTANCE_FREE_CPU_SECONDS) * prices.RUN_INSTANCE_CPU_SECOND
        + max(0.0, seconds * gib - prices.RUN_INSTANCE_FREE_GIB_SECONDS) * prices.RUN_INSTANCE_GIB_SECOND
    )
