"""Estimates a month's bill at a given rate of hits, and what other designs would cost."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from typing import Any

from services.collector.config import Config
from services.ops import cost_model, designs, option, output, prices


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hits-per-second", type=option.HITS_A_SECOND, required=True, help="on average, day and night")
    parser.add_argument(
        "--event-bytes",
        type=option.number(1),
        default=cost_model.EVENT_BYTES,
        help="a hit with its headers, as JSON (%(default)s)",
    )
    # The setting that decides how large packs are, and so the bill of Pub/Sub.
    parser.add_argument(
        "--linger-seconds",
        type=option.number(0, 1),
        default=Config.linger_seconds,
        help="the collector's PIPE_LINGER_SECONDS (%(default)s)",
    )
    parser.add_argument(
        "--values", choices=cost_model.PODS, default="default", help="the chart's values: its own, or values-small.yaml"
    )
    parser.add_argument(
        "--network-tier",
        choices=prices.INTERNET_GIB,
        default="standard",
        help="of the load balancer: a regional one is of the Standard Tier, a global one Premium (%(default)s)",
    )
    parser.add_argument(
        "--hits-per-request",
        type=option.number(1),
        default=1.0,
        help="events that a request carries, where a tracker posts several (%(default)s)",
    )
    parser.add_argument(
        "--hits-per-connection",
        type=option.number(1),
        default=math.inf,
        help="count a TLS handshake for every so many hits among the replies (none is counted)",
    )
    parser.add_argument("--compare", action="store_true", help="also what other designs would cost")
    output.add_json(parser)


async def run(options: argparse.Namespace) -> int:
    rate = options.hits_per_second
    bill = cost_model.estimate(
        rate,
        options.event_bytes,
        options.linger_seconds,
        values=options.values,
        tier=options.network_tier,
        hits_per_request=options.hits_per_request,
        hits_per_connection=options.hits_per_connection,
    )
    outcome: dict[str, Any] = {
        "hits_per_second": rate,
        "prices_read": prices.READ.isoformat(),
        "pods": {name: one.count(rate) for name, one in cost_model.sized(rate, options.values).items()},
        "usd_a_month": {name: round(value, 2) for name, value in asdict(bill).items()},
        "total": round(bill.total, 2),
        "total_a_million_hits": round(bill.total / (rate * prices.HOURS * 3600) * 1e6, 4),
    }
    if options.compare:
        outcome["other_designs"] = {
            one.name: round(one.total, 2) for one in designs.estimate(rate, options.event_bytes)
        }
    output.show(options, outcome, people=_in_dollars(outcome))
    return 0


def _in_dollars(outcome: dict[str, Any]) -> dict[str, Any]:
    """The same for people, with the total of each design."""
    million = outcome["hits_per_second"] * prices.HOURS * 3600 / 1e6
    totals = {"pixelpipe": outcome["total"], **outcome.get("other_designs", {})}
    return {
        "hits_per_second": outcome["hits_per_second"],
        "prices_read": outcome["prices_read"],
        "pods": outcome["pods"],
        "a_month": {name: f"${value:,.2f}" for name, value in outcome["usd_a_month"].items()},
        "total": [
            {"design": name, "a_month": f"${total:,.2f}", "a_million_hits": f"${total / million:,.4f}"}
            for name, total in totals.items()
        ],
    }
