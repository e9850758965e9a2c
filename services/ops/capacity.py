"""Says how to size a release for so many hits a second: the chart's values, and the quota that is met first."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from typing import Any

from services.collector.config import Config
from services.ops import capacity_model, option
from services.ops.capacity_model import Plan

_MOST_ON_A_NODE = 9.5 * 2**30  # bytes: Autopilot lets a pod have 10 GiB of its node's disk, logs and /tmp included


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hits-per-second", type=option.HITS_A_SECOND, required=True, help="on average, day and night")
    parser.add_argument(
        "--peak", type=option.number(1, 1000), default=5.0, help="the highest rate, in averages (%(default)s)"
    )
    parser.add_argument(
        "--outage-minutes",
        type=option.number(1, 100_000),
        default=60.0,
        help="how long the spool must hold while Pub/Sub is away (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


async def run(options: argparse.Namespace) -> int:
    plan = capacity_model.plan(options.hits_per_second, options.peak, options.outage_minutes * 60)
    print(json.dumps(_object(plan)) if options.json else "\n".join(_text(plan)))
    return 0


def values(plan: Plan) -> dict[str, Any]:
    """The chart's values, as `--set` takes them."""
    found: dict[str, Any] = {}
    for name, service in plan.services.items():
        found[f"{name}.resources.requests.cpu"] = f"{service.pods.cpu * 1000:.0f}m"
        found[f"{name}.resources.requests.memory"] = f"{service.pods.gib * 1024:.0f}Mi"
        found[f"{name}.autoscaling.min"] = service.fewest
        found[f"{name}.autoscaling.max"] = service.most
    if plan.spool_bytes > Config.spool_max_bytes:
        found["collector.settings.spoolMaxBytes"] = plan.spool_bytes
        # The disk holds a quarter more than the spool may.
        size = plan.spool_bytes * 1.25
        found["collector.spool.size"] = f"{math.ceil(size / 2**20)}Mi"
        if size > _MOST_ON_A_NODE:
            found["collector.kind"], found["collector.spool.storage"] = "StatefulSet", "persistent"
    return found


def _object(plan: Plan) -> dict[str, Any]:
    pods = {name: service.on_average for name, service in plan.services.items()}
    quotas = {name: round(share, 4) for name, share in plan.quotas.items()}
    return {"pods": pods, "quotas": quotas, "met_first": plan.nearest, "values": values(plan)}


def _text(plan: Plan) -> Iterator[str]:
    for name, service in plan.services.items():
        yield f"{name:<10} {service.on_average} pods on average, {service.fewest} to {service.most}"
    yield ""
    for name, share in plan.quotas.items():
        over = ": ask Google for more, or spread over projects" if share > 0.8 else ""
        yield f"{name:<16} {share:6.1%} of a small region's quota at the peak{over}"
    yield ""
    yield " \\\n".join(f"--set {key}={value}" for key, value in values(plan).items())
