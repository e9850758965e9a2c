"""Fires hits at a collector, remembers every one that was acknowledged, and looks for each of them in BigQuery."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

import aiohttp
from google.cloud import bigquery
from rich.console import Console

from services.ops import deployment, option, output
from services.shared import identity, resource_names

_TYPES = ("view", "click", "add_to_cart", "order", "refund")
_BAD = ({"user_id": ""}, {"event_time": "2026-01-01T00:00:00"}, {"event_time": "soon"})  # refused by the default schema


@dataclass(frozen=True)
class Event:
    """One event: sent as a pixel or posted; `bad` ones are captured all the same and become rejects."""

    id: str
    parameters: dict[str, str]
    post: bool
    bad: bool


@dataclass
class LoadReport:
    """What was sent and what became of it; `lost` and `duplicated` are 0 in a pipeline that keeps its promises."""

    acknowledged: int = 0
    refused: int = 0
    seconds: float = 0.0
    hits_per_s: int = 0
    rows: int = 0
    rejects: int = 0
    lost: int = 0
    duplicated: int = 0
    visible_after_s: float = 0.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", type=option.url, default="http://127.0.0.1:8080", help="the collector (%(default)s)")
    parser.add_argument("--hits", type=option.whole(1), default=20_000, help="how many (%(default)s)")
    parser.add_argument(
        "--bad", type=option.number(0, 100), default=1.0, help="per cent that cannot become rows (%(default)s)"
    )
    parser.add_argument(
        "--post", type=option.number(0, 100), default=30.0, help="per cent that are posted, not pixels (%(default)s)"
    )
    parser.add_argument("--connections", type=option.whole(1), default=64, help="at a time (%(default)s)")
    parser.add_argument(
        "--project", type=option.name("project"), default="local", help="where the dataset is (%(default)s)"
    )
    parser.add_argument(
        "--dataset",
        type=option.name("dataset"),
        default=resource_names.DATASET,
        help="the dataset with `events` and `rejects` (%(default)s)",
    )
    parser.add_argument(
        "--bigquery", type=option.url, help="address of a BigQuery emulator, such as http://127.0.0.1:9050"
    )
    parser.add_argument(
        "--wait", type=option.number(0), default=60.0, help="seconds to wait for the rows (%(default)s)"
    )
    output.add_json(parser)


async def run(options: argparse.Namespace) -> int:
    """The exit code is 1 if a hit was lost or counted twice."""
    console = Console(stderr=True)
    started = time.time()
    events = list(make(options.hits, options.bad / 100, options.post / 100))
    with console.status(f"firing {options.hits} hits"):
        outcome, acknowledged = await fire(options.url, events, options.connections)
    with console.status("waiting for the rows"):
        client = deployment.bigquery_client(options.project, options.bigquery)
        await asyncio.to_thread(_look, client, options, started, acknowledged, outcome)
    output.show(options, asdict(outcome))
    return 1 if outcome.lost or outcome.duplicated else 0


def make(count: int, bad: float, post: float) -> Iterator[Event]:
    """Events like a shop's, each with an id of its own; exactly `bad` of them, rounded, are refused by the schema."""
    now = time.time_ns() // 1000
    spoiled = set(random.sample(range(count), round(count * bad)))
    for number in range(count):
        parameters = {
            "event_id": identity.uuid7(now),
            "tenant": f"shop-{number % 7}",
            "user_id": f"user-{random.randrange(100_000)}",  # noqa: S311 - load, not secrets
            "type": random.choice(_TYPES),  # noqa: S311
            "url": f"https://shop.example.com/products/{random.randrange(10_000)}?from=mail",  # noqa: S311
            "note": "café au lait",
        }
        if number in spoiled:
            parameters |= _BAD[number % len(_BAD)]
        is_post = random.random() < post  # noqa: S311
        yield Event(parameters["event_id"], parameters, is_post, number in spoiled)


async def fire(url: str, events: Iterable[Event], connections: int) -> tuple[LoadReport, set[str]]:
    """Send every event once, from so many connections at a time; the ids of those answered 200 or 204."""
    outcome, acknowledged, waiting = LoadReport(), set[str](), iter(events)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections), timeout=timeout) as http:

        async def one_connection() -> None:
            for event in waiting:
                if await _send(http, url, event):
                    acknowledged.add(event.id)
                else:
                    outcome.refused += 1

        begin = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(one_connection())
        outcome.seconds = round(time.perf_counter() - begin, 3)
    outcome.acknowledged = len(acknowledged)
    outcome.hits_per_s = round(len(acknowledged) / outcome.seconds)
    return outcome, acknowledged


async def _send(http: aiohttp.ClientSession, url: str, event: Event) -> bool:
    try:
        if event.post:
            async with http.post(url + "/events", json=event.parameters) as reply:
                return reply.status == 204
        async with http.get(f"{url}/pixel.gif?{urlencode(event.parameters)}") as reply:
            await reply.read()
            return reply.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False  # nobody said it is safe


def _look(
    client: bigquery.Client, options: argparse.Namespace, started: float, acknowledged: set[str], outcome: LoadReport
) -> None:
    """Ask both views until every acknowledged id is there, or the wait is over."""
    begin = time.monotonic()
    while True:
        rows, rejects = (_ids(client, options, view, started) for view in ("events", "rejects"))
        found = Counter(one for one in [*rows, *rejects] if one in acknowledged)
        outcome.rows, outcome.rejects = (sum(one in acknowledged for one in ids) for ids in (rows, rejects))
        outcome.lost = len(acknowledged) - len(found)
        outcome.duplicated = sum(found.values()) - len(found)
        outcome.visible_after_s = round(time.monotonic() - begin, 3)
        if not outcome.lost or outcome.visible_after_s > options.wait:
            return
        time.sleep(0.2)


def _ids(client: bigquery.Client, options: argparse.Namespace, view: str, started: float) -> list[str]:
    since = datetime.fromtimestamp(started - 1, UTC)
    sql = f"""SELECT event_id FROM `{options.project}.{options.dataset}.{view}`
        WHERE day >= @day AND received_at >= @since"""  # noqa: S608 - names of the operator's own
    parameters = [
        bigquery.ScalarQueryParameter("day", "DATE", since.date()),
        bigquery.ScalarQueryParameter("since", "TIMESTAMP", since),
    ]
    job = client.query(sql, job_config=bigquery.QueryJobConfig(query_parameters=parameters))
    return [row["event_id"] for row in job.result()]
