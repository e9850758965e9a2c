"""Proves the counting: what collectors acknowledged, hour by hour, against what arrived in BigQuery.

It counts the dead letters first, then asks the view `reconciliation`. The exit code is 1 if hits are missing, if
nobody can tell, since collectors are silent, or if the report could not be delivered.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from google.cloud import bigquery

from services.ops import (
    dead_letter_queue,
    dead_tally,
    deployment,
    option,
    output,
    reconcile_metrics,
    reconcile_report,
    report_delivery,
)
from services.ops.dead_letter import to_json
from services.ops.dead_letter_queue import DeadLetterQueue
from services.ops.dead_tally import DeadTally
from services.ops.deployment import CommandRefused
from services.ops.reconcile_report import COUNTS, Group, Told
from services.provision.reconciliation import OPEN_MINUTES
from services.shared.schema import LOG_SUFFIX, RECONCILIATION, TALLIES

_SECONDS = 600.0  # the query may take
_SINCE = timedelta(hours=48)
_AHEAD = timedelta(minutes=1)  # of BigQuery's clock, a collector's may be


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    dead_letter_queue.add_options(parser)
    parser.add_argument("--since", type=option.moment, metavar="TIME", help="from this hour on, UTC (two days ago)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--no-dead", action="store_true", help="count no dead letters; the last count holds")
    report_delivery.add_options(parser)
    parser.add_argument(
        "--metrics",
        type=option.host_and_port,
        metavar="HOST:PORT",
        help="then serve the numbers there, at /metrics, for --metrics-seconds",
    )
    parser.add_argument(
        "--metrics-seconds",
        type=option.number(0, 3_600),
        default=75.0,
        metavar="SECONDS",
        help="a little over two of your Prometheus' scrape intervals (%(default)g)",
    )


async def run(options: argparse.Namespace) -> int:
    """Print the report, send it, serve its numbers; the exit code is 1 unless nothing is missing.

    Raises CommandRefused at the end if it could not be sent.
    """
    to = report_delivery.destinations(options)
    report = await _reconciled(options)
    text = reconcile_report.text(report)
    print(to_json(report, indent=2) if options.json else text, flush=True)
    refused = await report_delivery.deliver(to, report, text)
    if options.metrics is not None:
        try:
            await reconcile_metrics.serve(reconcile_metrics.registry(report), options.metrics, options.metrics_seconds)
        except CommandRefused as error:
            refused.append(str(error))
    if refused:
        raise CommandRefused("; ".join(refused))
    return 1 if report["missing"] or report["stale"] else 0


async def _reconciled(options: argparse.Namespace) -> dict[str, Any]:
    client = deployment.bigquery_client(options.project)
    now = await asyncio.to_thread(deployment.now, client)
    since = (options.since or now - _SINCE).replace(minute=0, second=0, microsecond=0)
    dead, before = None, 0
    if not options.no_dead:
        with output.working("counting dead letters"):
            dead = await _dead(options)
            before = await asyncio.to_thread(dead_tally.last, client, options.project, options.dataset)
        await asyncio.to_thread(dead_tally.write, client, options.project, options.dataset, dead)
    dataset = f"{options.project}.{options.dataset}"
    with output.working("comparing"):
        groups = await asyncio.to_thread(ask, client, dataset, since)
        told = await asyncio.to_thread(_told, client, dataset, since, now)
    lost = reconcile_report.missing(groups)
    collectors = await asyncio.to_thread(_collectors, client, dataset, list(lost)) if lost else {}
    return reconcile_report.report(dataset, groups, since, told, lost, collectors, dead, before)


def ask(
    client: Any, dataset: str, since: datetime, rows: Callable[[Any, str, list[Any]], Any] | None = None
) -> list[Group]:
    """The rows of the view, in order; `rows` asks in place of what waits for as long as a query may take."""
    names = ", ".join(f"`{name}`" for name in COUNTS)
    sql = (
        f"SELECT `hour`, `protocol`, {names}\nFROM `{dataset}.{RECONCILIATION}`\n"
        "WHERE `day` >= DATE(@since) AND `hour` >= @since\nORDER BY `hour`, `protocol`"
    )
    return [
        Group(row["hour"], row["protocol"], {name: int(row[name]) for name in COUNTS})
        for row in (rows or _rows)(client, sql, [bigquery.ScalarQueryParameter("since", "TIMESTAMP", since)])
    ]


def _told(client: Any, dataset: str, since: datetime, now: datetime) -> Told | None:
    """When a collector last told its counts; one whose clock is ahead would seem to tell them for hours to come."""
    sql = (
        f"SELECT `received_at`, `final`\nFROM `{dataset}.{TALLIES}{LOG_SUFFIX}`\n"
        "WHERE `source` = 'collector' AND `day` >= DATE(@since) AND `received_at` BETWEEN @since AND @until\n"
        "ORDER BY `received_at` DESC, `final`\nLIMIT 1"
    )
    span = {"since": since, "until": now + _AHEAD}
    for row in _rows(client, sql, [bigquery.ScalarQueryParameter(name, "TIMESTAMP", at) for name, at in span.items()]):
        age = now - row["received_at"]
        return Told(row["received_at"], stale=not row["final"] and age > timedelta(minutes=OPEN_MINUTES))
    return None


def _collectors(client: Any, dataset: str, hours: Sequence[datetime]) -> dict[datetime, list[str]]:
    """The collectors that acknowledged hits in these hours."""
    sql = (
        f"SELECT DISTINCT `hour`, `tally_id`\nFROM `{dataset}.{TALLIES}{LOG_SUFFIX}`\n"
        "WHERE `source` = 'collector' AND `outcome` = 'acknowledged' AND `hour` IN UNNEST(@hours)\nORDER BY 1, 2"
    )
    found: dict[datetime, list[str]] = {}
    for row in _rows(client, sql, [bigquery.ArrayQueryParameter("hours", "TIMESTAMP", list(hours))]):
        found.setdefault(row["hour"], []).append(row["tally_id"])
    return found


def _rows(client: Any, sql: str, parameters: list[Any]) -> Any:
    config = bigquery.QueryJobConfig(use_query_cache=False, query_parameters=parameters)
    return client.query(sql, job_config=config, timeout=deployment.TIMEOUT).result(timeout=_SECONDS)


async def _dead(options: argparse.Namespace) -> DeadTally:
    async with DeadLetterQueue(options.project, options.subscription, wait=options.wait) as queue:
        found = await dead_tally.counted(queue, options.schema)
        if queue.full:
            print("reconcile: as many dead letters as fit are counted; there may be more", file=sys.stderr)
    return found
