"""Fires events at a collector, remembers every one that was acknowledged, and looks for each of them in BigQuery."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services.ops import cost_model, deployment, load_events, load_fire, option, output, prices
from services.ops.deployment import CommandRefused
from services.ops.load_fire import Fired
from services.shared import resource_names
from services.shared.config import ConfigError

_HITS = 20_000  # where nothing is said
_SHOWN_EVERY = 0.1  # seconds
_PAUSE = 0.2  # seconds between two looks


@dataclass
class LoadReport:
    """What was sent and what became of it; `lost` and `duplicated` are 0 in a pipeline that keeps its promises.

    `latency_ms` is of all replies, refusals too. `behind_s` is by how much an event was sent too late at most: above 0
    with a rate, add --connections.
    """

    acknowledged: int = 0
    refused: int = 0
    seconds: float = 0.0
    hits_per_s: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    behind_s: float = 0.0
    event_bytes: int = 0
    usd_a_million: float = 0.0
    rows: int = 0
    rejects: int = 0
    lost: int = 0
    duplicated: int = 0
    visible_after_s: float = 0.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", type=option.url, default="http://127.0.0.1:8080", help="the collector (%(default)s)")
    parser.add_argument(
        "--hits", type=option.whole(1), help=f"how many at most ({_HITS:,}, or as many as fit in --seconds)"
    )
    parser.add_argument("--seconds", type=option.number(0.1, 86_400), help="for how long at most")
    parser.add_argument(
        "--rate",
        type=option.number(0.1, 1e6),
        metavar="N",
        help="events a second, whatever the collector answers; without it each connection waits for its reply",
    )
    parser.add_argument(
        "--ramp", type=option.number(0, 86_400), metavar="SECONDS", help="until --rate is reached (at once)"
    )
    parser.add_argument(
        "--mix",
        type=load_events.mix,
        default={"native": 1.0},
        help=f"shares by protocol, such as native=70,segment=20,snowplow=10, of {', '.join(load_events.PROTOCOLS)} "
        "(native)",
    )
    parser.add_argument(
        "--bad", type=option.number(0, 100), default=1.0, help="per cent that cannot become rows (%(default)s)"
    )
    parser.add_argument(
        "--post",
        type=option.number(0, 100),
        default=30.0,
        help="per cent of native ones that are posted, not pixels (%(default)s)",
    )
    parser.add_argument("--connections", type=option.whole(1), default=64, help="at a time (%(default)s)")
    parser.add_argument(
        "--project",
        type=option.name("project"),
        default=os.environ.get("PIPE_PROJECT") or "local",
        help="where the dataset is (%(default)s; environment PIPE_PROJECT)",
    )
    parser.add_argument(
        "--dataset",
        type=option.name("dataset"),
        default=os.environ.get("PIPE_DATASET") or resource_names.DATASET,
        help="the dataset with `events` and `rejects` (%(default)s; environment PIPE_DATASET)",
    )
    parser.add_argument(
        "--bigquery", type=option.url, help="address of a BigQuery emulator, such as http://127.0.0.1:9050"
    )
    parser.add_argument(
        "--wait", type=option.number(0), default=60.0, help="seconds to wait for the rows (%(default)s)"
    )
    output.add_json(parser)


async def run(options: argparse.Namespace) -> int:
    """The exit code is 1 if a hit was lost or counted twice, or none was acknowledged."""
    if options.ramp is not None and options.rate is None:
        raise ConfigError("--ramp goes with --rate")
    client = deployment.bigquery_client(options.project, options.bigquery)
    started = time.time()
    # Before the load: without credentials, project or views there is no point.
    await asyncio.to_thread(_ids, client, options, "events", started)
    fired = await _fire(options)
    if not fired.acknowledged:
        raise CommandRefused(f"{options.url} acknowledged none of {fired.refused}: {fired.failure}")
    report = _report(fired)
    with output.working("waiting for the rows"):
        await _look(client, options, started, fired.acknowledged, report)
    output.show(options, asdict(report))
    return 1 if report.lost or report.duplicated else 0


async def _fire(options: argparse.Namespace) -> Fired:
    hits = options.hits or (_HITS if options.seconds is None else None)
    seconds = math.inf if options.seconds is None else options.seconds
    due = None
    if options.rate is not None:
        due = itertools.islice(load_fire.schedule(options.rate, options.ramp or 0.0, seconds), hits)
    events = load_events.make(hits, options.bad / 100, options.post / 100, options.mix)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with output.progress(*columns) as bar:
        task = bar.add_task("firing", total=hits or options.seconds)
        shown = 0.0

        def progress(fired: Fired, elapsed: float) -> None:
            nonlocal shown
            if elapsed - shown >= _SHOWN_EVERY:
                shown = elapsed
                said = f"{len(fired.acknowledged):,} acknowledged, {fired.refused:,} refused"
                bar.update(task, completed=fired.sent if hits else elapsed, description=said)

        return await load_fire.fire(options.url, events, options.connections, due, seconds, progress)


def _report(fired: Fired) -> LoadReport:
    rate = len(fired.acknowledged) / fired.seconds
    bill = cost_model.estimate(rate, fired.event_bytes)
    return LoadReport(
        acknowledged=len(fired.acknowledged),
        refused=fired.refused,
        seconds=round(fired.seconds, 3),
        hits_per_s=round(rate),
        latency_ms=fired.latencies.milliseconds(),
        behind_s=round(fired.behind, 3),
        event_bytes=round(fired.event_bytes),
        usd_a_million=round(bill.total / (rate * prices.HOURS * 3600) * 1e6, 4),
    )


def _is_final(error: Exception) -> bool:
    """Whether asking again will not help: a table that is not there, a role that is missing."""
    return isinstance(error, exceptions.ClientError) and error.code not in (408, 429)


async def _look(
    client: Any, options: argparse.Namespace, started: float, acknowledged: set[str], outcome: LoadReport
) -> None:
    """Ask both views until every acknowledged id is there, or the wait is over.

    Raises CommandRefused where BigQuery does not answer then.
    """
    begin = time.monotonic()
    while True:
        try:
            rows = await asyncio.to_thread(_ids, client, options, "events", started)
            rejects = await asyncio.to_thread(_ids, client, options, "rejects", started)
        except (exceptions.GoogleAPIError, GoogleAuthError, requests.RequestException, TimeoutError) as error:
            if _is_final(error) or time.monotonic() - begin > options.wait:
                raise CommandRefused(
                    f"{len(acknowledged)} were acknowledged, and BigQuery cannot be asked for them: "
                    f"{deployment.one_line(error)}"
                ) from error
            await asyncio.sleep(_PAUSE)
            continue
        found = Counter(one for one in [*rows, *rejects] if one in acknowledged)
        outcome.rows, outcome.rejects = (sum(one in acknowledged for one in ids) for ids in (rows, rejects))
        outcome.lost = len(acknowledged) - len(found)
        outcome.duplicated = sum(found.values()) - len(found)
        outcome.visible_after_s = round(time.monotonic() - begin, 3)
        if not outcome.lost or outcome.visible_after_s > options.wait:
            return
        await asyncio.sleep(_PAUSE)


def _ids(client: Any, options: argparse.Namespace, view: str, started: float) -> list[str]:
    since = datetime.fromtimestamp(started - 1, UTC)
    sql = f"""SELECT event_id FROM `{options.project}.{options.dataset}.{view}`
        WHERE day >= @day AND received_at >= @since"""  # noqa: S608 - names of the operator's own
    parameters = [
        bigquery.ScalarQueryParameter("day", "DATE", since.date()),
        bigquery.ScalarQueryParameter("since", "TIMESTAMP", since),
    ]
    # No retries of the client's own: the caller looks again, and knows when to stop.
    rows = client.query_and_wait(
        sql,
        job_config=bigquery.QueryJobConfig(query_parameters=parameters),
        api_timeout=deployment.TIMEOUT,
        wait_timeout=deployment.TIMEOUT,
        retry=None,
        job_retry=None,
    )
    return [row["event_id"] for row in rows]
