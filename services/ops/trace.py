"""Where one event is, and when it passed: its rows, its conflicts, rejects and dead letters. Changes nothing.

What is on a collector's disk or in a subscription cannot be looked at from here: an event that is nowhere is reported
as such, with where to look next. Dead letters that were read are redelivered after the subscription's backoff.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

from google.cloud import bigquery

from services.ops import dead_letter, dead_letter_queue, deployment, option, output
from services.ops.dead_letter import DeadLetter
from services.ops.dead_letter_queue import DeadLetterQueue
from services.provision import view
from services.shared import hit, identity, schema_file
from services.shared.schema import CONFLICTS, LOG_SUFFIX, REJECTS, Schema, Table

_DAYS = timedelta(days=7)  # how far back an event is looked for whose id does not say when it was made
_SKEW = timedelta(days=1)  # a clock that is wrong, or midnight
_MOST = 10_000  # events of a dead letter looked at; a pack has a thousand
_NOWHERE = (
    "in no table and no dead letter: on a collector's disk (see pixelpipe_collector_spool_hits), on its way in Pub/Sub "
    "(see `ops ledger`), or never acknowledged"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("event_id", help="the client's own, or the one the collector gave")
    output.add_json(parser)
    parser.add_argument(
        "--since",
        type=option.day,
        metavar="DAY",
        help="look from this day on; else from the day before the id was made, or for a week where it does not say",
    )
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    dead_letter_queue.add_options(parser)


async def run(options: argparse.Namespace) -> int:
    """Print one JSON object; the exit code is 1 for an event that is nowhere."""
    schema = schema_file.load(options.schema)
    client = deployment.bigquery_client(options.project)
    made = _made_at(options.event_id)
    first = options.since or (made or datetime.now(UTC)).date() - (_SKEW if made else _DAYS)
    found: dict[str, Any] = {
        "event_id": options.event_id,
        "state": "nowhere",
        "made_at": made.isoformat() if made else None,
        "looked_since": first.isoformat(),
    }
    dataset = f"{options.project}.{options.dataset}"
    with output.working("looking"):
        found["rows"] = await asyncio.to_thread(_rows, client, dataset, schema, options.event_id, first)
        found["conflicts"] = await asyncio.to_thread(_conflicts, client, dataset, options.event_id, first)
        found["rejects"] = await asyncio.to_thread(_rejects, client, dataset, schema, options.event_id, first)
        async with DeadLetterQueue(options.project, options.subscription, wait=options.wait) as queue:
            found["dead"] = [
                one.summary() async for one in queue.messages() if await asyncio.to_thread(holds, one, options.event_id)
            ]
            if queue.full:
                print("trace: as many dead letters as fit are held; there may be more", file=sys.stderr)
    for state, where in (("loaded", "rows"), ("rejected", "rejects"), ("dead", "dead")):
        if found[where]:
            found["state"] = state
            break
    else:
        found["note"] = _NOWHERE
    output.show(options, found, indent=2)
    return 0 if found["state"] != "nowhere" else 1


def holds(one: DeadLetter, event_id: str) -> bool:
    """Whether an event of a dead letter has this id, as far as the letter can be read."""
    content = dead_letter.read(one, _MOST)
    for event in content.get("events", ()):
        if one.attributes.get("schema") in (hit.SCHEMA, None):
            # The client's own id is a parameter, which only the processor would have read.
            said = " ".join(str(event.get(name, "")) for name in ("query", "body", "text"))
            if event.get("id") == event_id or event_id in said:
                return True
        elif event_id in event.values():
            return True
    return event_id in content.get("excerpt", "")


def _made_at(event_id: str) -> datetime | None:
    milliseconds = identity.time_of(event_id)
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _rows(client: Any, dataset: str, schema: Schema, event_id: str, first: date) -> list[dict[str, Any]]:
    """One entry per table and day: how many rows the event has, and how often the view shows it."""
    found = []
    for table in schema.tables.values():
        if table.name == REJECTS:
            continue
        day, event = (view.source_column(table, source) for source in ("event.day", "event.id"))
        where = f"WHERE `{day}` >= @first AND `{event}` = @event_id"
        received = _column(table, "hit.received_at")
        sql = (
            f"SELECT `{day}` AS day, COUNT(*) AS written, MIN({received}) AS first, MAX({received}) AS last,\n"  # noqa: S608
            f"  (SELECT COUNT(*) FROM `{dataset}.{table.name}` {where}) AS shown\n"
            f"FROM `{dataset}.{table.name}{LOG_SUFFIX}` {where}\nGROUP BY 1 ORDER BY 1"
        )
        found += [
            {
                "table": table.name,
                "day": row["day"],
                "received_at": row["first"],
                **({"received_again_at": row["last"]} if row["last"] != row["first"] else {}),
                "written": row["written"],
                "shown": row["shown"],
            }
            for row in _ask(client, sql, event_id, first)
        ]
    return found


def _conflicts(client: Any, dataset: str, event_id: str, first: date) -> list[dict[str, Any]]:
    """Each row with this id that compaction moved, since another event of the same key is shown."""
    names = ("table", "day", "received_at", "moved_at")
    sql = (
        f"SELECT {', '.join(f'`{name}`' for name in names)} FROM `{dataset}.{CONFLICTS}`\n"  # noqa: S608
        "WHERE `day` >= @first AND `event_id` = @event_id ORDER BY 3"
    )
    return [{name: row[name] for name in names} for row in _ask(client, sql, event_id, first)]


def _rejects(client: Any, dataset: str, schema: Schema, event_id: str, first: date) -> list[dict[str, Any]]:
    """Each reject of the event with what its table says of it."""
    table = schema.tables[REJECTS]
    day, event = (view.source_column(table, source) for source in ("event.day", "event.id"))
    wanted = {
        "received_at": "hit.received_at",
        **{name: f"reject.{name}" for name in ("stage", "table", "reason", "column", "value", "detail")},
    }
    chosen = ", ".join(f"{_column(table, source)} AS `{name}_`" for name, source in wanted.items())
    sql = (
        f"SELECT {chosen} FROM `{dataset}.{table.name}`\n"  # noqa: S608
        f"WHERE `{day}` >= @first AND `{event}` = @event_id ORDER BY 1"
    )
    return [{name: row[f"{name}_"] for name in wanted} for row in _ask(client, sql, event_id, first)]


def _column(table: Table, source: str) -> str:
    """The column that a source fills, quoted; NULL where the schema file has none."""
    column = table.column_from(source)
    return "NULL" if column is None else f"`{column.name}`"


def _ask(client: Any, sql: str, event_id: str, first: date) -> list[Any]:
    parameters = [
        bigquery.ScalarQueryParameter("event_id", "STRING", event_id),
        bigquery.ScalarQueryParameter("first", "DATE", first),
    ]
    config = bigquery.QueryJobConfig(query_parameters=parameters)
    return list(client.query_and_wait(sql, job_config=config, wait_timeout=deployment.TIMEOUT))
