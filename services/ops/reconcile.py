"""Proves the counting: what collectors acknowledged, hour by hour, against what arrived in BigQuery.

It counts the dead letters first, then asks the view `reconciliation`. The exit code is 1 if hits are missing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import aiohttp
from google.cloud import bigquery

from services.ops import dead_letter, dead_letter_queue, dead_tally, deployment, option, output
from services.ops.dead_letter_queue import DeadLetterQueue
from services.ops.dead_tally import DeadTally
from services.ops.deployment import CommandRefused
from services.shared.schema import LOG_SUFFIX, RECONCILIATION, TALLIES

_SECONDS = 600.0  # the query may take
_SINCE = timedelta(hours=48)
_WEBHOOK_SECONDS = 30.0
COUNTS = (
    "acknowledged", "loaded", "rejected", "sampled_out", "dead_lettered", "dropped", "refused", "ingested", "in_flight",
    "difference", "unfinished_collectors",
)  # fmt: skip
_ALWAYS_SHOWN = ("acknowledged", "loaded", "rejected", "difference")


@dataclass(frozen=True)
class Group:
    """A row of the view: an hour and a protocol, None where nobody can tell that of dead letters."""

    hour: datetime
    protocol: str | None
    counts: dict[str, int]

    @property
    def difference(self) -> int:
        return self.counts["difference"]

    def shown(self) -> dict[str, Any]:
        return {"hour": self.hour.isoformat().replace("+00:00", "Z"), "protocol": self.protocol, **self.counts}


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    dead_letter_queue.add_options(parser)
    parser.add_argument("--since", type=option.moment, metavar="TIME", help="from this hour on, UTC (two days ago)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--no-dead", action="store_true", help="count no dead letters; the last count holds")
    parser.add_argument(
        "--webhook",
        type=option.url,
        default=os.environ.get("PIPE_WEBHOOK") or None,
        metavar="URL",
        help="post the report there too, as JSON with a `text`, as Slack takes it (environment PIPE_WEBHOOK)",
    )


async def run(options: argparse.Namespace) -> int:
    """Print the report; the exit code is 1 if something is missing."""
    client = deployment.bigquery_client(options.project)
    now = datetime.now(UTC)
    since = (options.since or now - _SINCE).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    dead = None
    if not options.no_dead:
        with output.working("counting dead letters"):
            dead = await _dead(options)
        await asyncio.to_thread(dead_tally.write, client, options.project, options.dataset, dead, now)
    dataset = f"{options.project}.{options.dataset}"
    with output.working("comparing"):
        groups = await asyncio.to_thread(ask, client, dataset, since)
    lost = missing(groups)
    who = await asyncio.to_thread(_collectors, client, dataset, list(lost)) if lost else {}
    report = _report(groups, since, lost, who, dead)
    print(dead_letter.to_json(report, indent=2) if options.json else _text(groups, report))
    if options.webhook:
        await _post(options.webhook, report)
    return 1 if lost else 0


def missing(groups: Sequence[Group]) -> dict[datetime, int]:
    """How many hits are missing, by hour, where any are.

    A surplus of one protocol does not make up for what another lacks, but dead letters that cannot be read may be of
    any.
    """
    found = {}
    for hour, of_hour in groupby(sorted(groups, key=lambda one: one.hour), lambda one: one.hour):
        own = list(of_hour)
        unknown = sum(-one.difference for one in own if one.protocol is None)
        lacking = sum(max(0, one.difference) for one in own if one.protocol is not None)
        if lacking > unknown:
            found[hour] = lacking - unknown
    return found


def ask(client: Any, dataset: str, since: datetime) -> list[Group]:
    """The rows of the view, in order."""
    names = ", ".join(f"`{name}`" for name in COUNTS)
    sql = (
        f"SELECT `hour`, `protocol`, {names}\nFROM `{dataset}.{RECONCILIATION}`\n"
        "WHERE `day` >= DATE(@since) AND `hour` >= @since\nORDER BY `hour`, `protocol`"
    )
    return [
        Group(row["hour"], row["protocol"], {name: int(row[name]) for name in COUNTS})
        for row in _rows(client, sql, [bigquery.ScalarQueryParameter("since", "TIMESTAMP", since)])
    ]


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
    found = DeadTally()
    async with DeadLetterQueue(options.project, options.subscription, wait=options.wait) as queue:
        async for one in queue.messages():
            await asyncio.to_thread(found.add, one)
        if queue.full:
            print("reconcile: as many dead letters as fit are counted; there may be more", file=sys.stderr)
    return found


def _report(
    groups: Sequence[Group],
    since: datetime,
    lost: dict[datetime, int],
    who: dict[datetime, list[str]],
    dead: DeadTally | None,
) -> dict[str, Any]:
    sums = {name: sum(one.counts[name] for one in groups) for name in COUNTS if name != "unfinished_collectors"}
    found = {
        "since": since.isoformat().replace("+00:00", "Z"),
        "text": "",
        "missing": sum(lost.values()),
        "sums": sums,
        "missing_by_hour": [
            {"hour": hour.isoformat().replace("+00:00", "Z"), "hits": hits, "collectors": who.get(hour, [])}
            for hour, hits in lost.items()
        ],
        "hours": [one.shown() for one in groups],
        "dead_letters": None if dead is None else {"hits": dead.hits, "first_hit_ids": dead.ids},
    }
    verdict = f"{found['missing']} hits are missing" if lost else "nothing is missing"
    named = ", ".join(f"{sums[name]} {name.replace('_', '-')}" for name in COUNTS[:4])
    found["text"] = f"pixelpipe since {found['since']}: {verdict} ({named}, {sums['in_flight']} in flight)"
    return found


def _text(groups: Sequence[Group], report: dict[str, Any]) -> str:
    # A terminal has 80 columns: what is 0 in every line is left out.
    names = [name for name in COUNTS if name in _ALWAYS_SHOWN or any(one.counts[name] for one in groups)]
    lines = [["hour", "protocol", *(name.replace("_", " ") for name in names)]]
    for one in groups:
        lines.append(
            [f"{one.hour:%Y-%m-%d %H:00}", one.protocol or "unknown", *(str(one.counts[name]) for name in names)]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    found = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    for one in report["missing_by_hour"]:
        found.append(f"{one['hour']}: {one['hits']} missing, of collectors {', '.join(one['collectors']) or 'unknown'}")
    if report["dead_letters"] and report["dead_letters"]["hits"]:
        found.append(f"dead letters, see `ops dead list`: {', '.join(report['dead_letters']['first_hit_ids'])}")
    return "\n".join([*found, report["text"]])


async def _post(url: str, report: dict[str, Any]) -> None:
    """Raises CommandRefused, without the address: it may be a secret."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_WEBHOOK_SECONDS)) as session,
            session.post(url, json=report, allow_redirects=False) as reply,
        ):
            status = reply.status
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommandRefused(f"the webhook cannot be reached: {type(error).__name__}; check --webhook") from None
    if status >= 300:
        raise CommandRefused(f"the webhook answers {status}; check --webhook")
