"""Fires one pixel and waits for its row: what `helm test` and a rollout's check run.

It goes the whole way, by the public port, both subscriptions and BigQuery, and touches nothing else's data.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import aiohttp
from google.cloud import bigquery

from services.ops import deployment
from services.provision.view import source_column
from services.shared import identity, schema_file
from services.shared.schema import REJECTS, Schema

_REQUEST_SECONDS = 10.0
_PAUSE_SECONDS = (0.2, 5.0)  # between two looks, growing: each look at BigQuery is billed as 10 MB a table


@dataclass
class Outcome:
    """What became of the pixel; `table` is where its row is, `reason` why that is no success."""

    event_id: str
    status: int | None = None
    table: str | None = None
    reason: str | None = None
    visible_after_s: float | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the collector (%(default)s)")
    parser.add_argument(
        "--parameters",
        default="user_id=smoke&type=smoke",
        help="the pixel's query string, such that the schema file takes it (%(default)s)",
    )
    parser.add_argument("--wait", type=float, default=60.0, help="seconds to wait for the row (%(default)s)")


async def run(options: argparse.Namespace) -> int:
    """Print the outcome as one JSON object. The exit code is 1 unless the row is in a table other than rejects."""
    schema = schema_file.load(options.schema)
    client = deployment.bigquery_client(options.project)
    begin = time.monotonic()
    outcome = Outcome(identity.uuid7(time.time_ns() // 1000))
    day = datetime.now(UTC).date()
    try:
        outcome.status = await _fire(options, outcome.event_id)
    except (aiohttp.ClientError, TimeoutError) as error:
        outcome.reason = f"no answer from {options.url}: {error or type(error).__name__}"
    else:
        if outcome.status == 200:
            await _look(client, options, schema, day, begin + options.wait, outcome)
        else:
            outcome.reason = f"{options.url} answered {outcome.status}"
    if outcome.table is not None:
        outcome.visible_after_s = round(time.monotonic() - begin, 3)
    print(json.dumps(asdict(outcome)))
    if outcome.reason is not None:
        print(f"smoke: {outcome.reason}", file=sys.stderr)
    return 0 if outcome.reason is None else 1


async def _fire(options: argparse.Namespace, event_id: str) -> int:
    """The status of the answer. Raises aiohttp.ClientError or TimeoutError where there is none."""
    parameters = [*parse_qsl(options.parameters, keep_blank_values=True), ("event_id", event_id)]
    timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.get(f"{options.url.rstrip('/')}/pixel.gif?{urlencode(parameters)}") as reply,
    ):
        await reply.read()
        return reply.status


async def _look(
    client: Any, options: argparse.Namespace, schema: Schema, day: date, end: float, outcome: Outcome
) -> None:
    """Ask until the row is there or the time is over; sets `table`, and `reason` where something is wrong."""
    sql = _sql(schema, options.project, options.dataset)
    parameters = [
        bigquery.ScalarQueryParameter("day", "DATE", day),
        bigquery.ScalarQueryParameter("event_id", "STRING", outcome.event_id),
    ]
    pause, longest = _PAUSE_SECONDS
    while True:
        found = await asyncio.to_thread(_rows, client, sql, parameters)
        if found:
            outcome.table = found[0]["found_in"]
            if outcome.table == REJECTS:
                outcome.reason = f"it became a reject, {found[0]['reason']}: choose --parameters your schema file takes"
            return
        if time.monotonic() + pause > end:
            outcome.reason = f"acknowledged, but not in BigQuery after {options.wait:g} s"
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, longest)


def _sql(schema: Schema, project: str, dataset: str) -> str:
    """Which view has the event. The day is that of its id, so each look reads one partition."""
    parts = []
    for table in schema.tables.values():
        reason = table.column_from("reject.reason")
        parts.append(
            f"SELECT '{table.name}' AS found_in, {f'`{reason.name}`' if reason else 'CAST(NULL AS STRING)'} AS reason "  # noqa: S608 - names of the operator's own schema file
            f"FROM `{project}.{dataset}.{table.name}` "
            f"WHERE `{source_column(table, 'event.day')}` = @day AND `{source_column(table, 'event.id')}` = @event_id"
        )
    return "\nUNION ALL\n".join(parts)


def _rows(client: Any, sql: str, parameters: list[Any]) -> list[Mapping[str, Any]]:
    config = bigquery.QueryJobConfig(query_parameters=parameters)
    return list(client.query(sql, job_config=config, timeout=deployment.TIMEOUT).result(timeout=deployment.TIMEOUT))
