"""Fires one pixel and waits for its row: one answer to whether collector, processor, loader and view work together.

The event has an id of its own, the user and type `smoke`, and stays in the table.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from services.ops import deployment, option, output
from services.provision import view
from services.shared import fault, identity, schema_file
from services.shared.schema import REJECTS, Schema

REPLY_SECONDS = 30.0  # the collector may take
_PAUSE = 0.5  # seconds between two looks
_EITHER_SIDE = timedelta(days=1)  # a clock that is wrong, or midnight, puts the event on the day before or after


class SmokeFailure(Exception):
    """`stage` is the first that did not do its part; the text says what it did and where to look next."""

    def __init__(self, stage: str, text: str) -> None:
        super().__init__(text)
        self.stage = stage


@dataclass(frozen=True)
class Found:
    """Where the event is: the table, and the reason if that is `rejects`."""

    table: str
    reason: str | None


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    parser.add_argument("--url", type=option.url, default="http://127.0.0.1:8080", help="the collector (%(default)s)")
    parser.add_argument(
        "--query",
        default=urlencode({"user_id": "smoke", "type": "smoke"}),
        help="the pixel's parameters, which the schema file must accept (%(default)s)",
    )
    parser.add_argument(
        "--wait", type=option.number(0), default=60.0, metavar="SECONDS", help="for the row (%(default)s)"
    )
    output.add_json(parser)


async def run(options: argparse.Namespace) -> int:
    """The result: `failed` and `reason` say which stage failed, if one did. The exit code is 1 then."""
    schema = schema_file.load(options.schema)
    client = deployment.bigquery_client(options.project)  # before the pixel: without credentials there is no point
    now = datetime.now(UTC)
    outcome: dict[str, Any] = {"event_id": identity.uuid7(int(now.timestamp() * 1e6)), "acknowledged": False}
    outcome["visible_after_s"] = None
    try:
        await fire(f"{options.url.rstrip('/')}/pixel.gif?event_id={outcome['event_id']}&{options.query}")
        outcome["acknowledged"] = True
        begin = time.monotonic()
        sql = look(schema, f"{options.project}.{options.dataset}")
        try:
            with output.working("waiting for the row"):
                await _wait_for(client, sql, outcome["event_id"], now.date(), begin + options.wait)
        except SmokeFailure as failure:
            if failure.stage == "row" and any(table.sample is not None for table in schema.tables.values()):
                raise SmokeFailure(
                    "row", f"{failure}; or a `sample` leaves its user out: try another by --query"
                ) from None
            raise
        outcome["visible_after_s"] = round(time.monotonic() - begin, 3)
    except SmokeFailure as failure:
        outcome |= {"failed": failure.stage, "reason": str(failure)}
    output.show(options, outcome)
    return 1 if "failed" in outcome else 0


async def fire(url: str) -> None:
    """Raises SmokeFailure unless the collector says that the event is safe."""
    try:
        timeout = aiohttp.ClientTimeout(total=REPLY_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as reply:
            await reply.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise SmokeFailure("collector", f"no answer: {fault.words(error)}") from error
    if reply.status != 200:
        hint = "; Pub/Sub does not confirm, see the collector's log" if reply.status == 503 else ""
        raise SmokeFailure("collector", f"refused with {reply.status}{hint}")


def look(schema: Schema, dataset: str) -> str:
    """The query that finds an event in the views: table and reason, of @event_id, from @first to @last."""
    parts = []
    for table in schema.tables.values():
        day, event_id = (view.source_column(table, source) for source in ("event.day", "event.id"))
        reason = "CAST(NULL AS STRING)"
        if table.name == REJECTS and (column := table.column_from("reject.reason")):
            reason = f"`{column.name}`"
        parts.append(
            f"SELECT '{table.name}' AS table_name, {reason} AS reason FROM `{dataset}.{table.name}`\n"  # noqa: S608
            f"WHERE `{day}` BETWEEN @first AND @last AND `{event_id}` = @event_id"
        )
    return "\nUNION ALL\n".join(parts)


async def _wait_for(client: Any, sql: str, event_id: str, day: date, end: float) -> None:
    """Until the event is a row. Raises SmokeFailure where it is a reject, or not there at `end`."""
    values = [
        ("event_id", "STRING", event_id),
        ("first", "DATE", day - _EITHER_SIDE),
        ("last", "DATE", day + _EITHER_SIDE),
    ]
    config = bigquery.QueryJobConfig(
        query_parameters=[bigquery.ScalarQueryParameter(*value) for value in values], use_query_cache=False
    )
    while True:
        trouble = None
        try:
            found = await asyncio.to_thread(_ask, client, sql, config)
        except (exceptions.NotFound, exceptions.BadRequest) as error:
            raise SmokeFailure("view", f"cannot be queried: {deployment.one_line(error)}; provision it") from error
        except (exceptions.GoogleAPIError, GoogleAuthError, requests.RequestException, TimeoutError) as error:
            # May pass: a permission granted a moment ago, a metadata server that is not up yet.
            found, trouble = [], error
        if refused := [one for one in found if one.table == REJECTS]:
            raise SmokeFailure(
                "rejects", f"the event was refused: {refused[0].reason}; see the view {REJECTS}, or change --query"
            )
        if found:
            return
        if time.monotonic() > end:
            break
        await asyncio.sleep(_PAUSE)
    if trouble is not None:
        raise SmokeFailure("view", f"cannot be queried: {deployment.one_line(trouble)}") from trouble
    raise SmokeFailure(
        "row",
        "acknowledged, but neither a row nor a reject in time; see `pixelpipe dead list`, `pixelpipe ledger`, and the "
        "logs",
    )


def _ask(client: Any, sql: str, config: bigquery.QueryJobConfig) -> Sequence[Found]:
    # No retries of the client's own: the caller looks again, and knows when to stop.
    rows = client.query_and_wait(
        sql,
        job_config=config,
        api_timeout=deployment.TIMEOUT,
        wait_timeout=deployment.TIMEOUT,
        retry=None,
        job_retry=None,
    )
    return [Found(row["table_name"], row["reason"]) for row in rows]
