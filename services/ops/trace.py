"""Where one event is: its rows, its conflicts, rejects and dead letters, each with its time. Changes nothing.

It takes the event's id, and the id of the hit, as dead letters and rejects hold it. A row keeps the id of its hit only
where the event has none of its own: for others, what was received in that millisecond is listed.

What is on a collector's disk or in a subscription cannot be looked at from here: an event that is nowhere is reported
as such, with where to look next. Dead letters that were read are redelivered after the subscription's backoff.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote, quote_plus

from google.cloud import bigquery

from services.ops import dead_letter, dead_letter_queue, deployment, option, output
from services.ops.dead_letter import DeadLetter
from services.ops.dead_letter_queue import DeadLetterQueue
from services.provision import view
from services.shared import hit, identity, schema_file
from services.shared.schema import CONFLICTS, REJECTS, Schema, Table

_DAYS = timedelta(days=7)  # how far back an event is looked for whose id does not say when it was made
_SKEW = timedelta(days=1)  # a clock that is wrong, or midnight
_WITHIN = timedelta(milliseconds=2)  # a hit's id and its receipt; items of one body are a microsecond apart
_MOST_THEN = 20
_MOST = 10_000  # events of a dead letter looked at; a pack has a thousand
_NOWHERE = (
    "in no table and no dead letter: on a collector's disk (see pixelpipe_collector_spool_hits), on its way in Pub/Sub "
    "(see `pixelpipe ledger`), or never acknowledged"
)
_HIT = (
    "if it is the id of a hit, its event has one of its own, and is among `received_then`, what was received in that "
    "moment; else it is "
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("event_id", help="the client's own, or the one the collector gave; of a hit, too")
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
    stored = _Stored(client, f"{options.project}.{options.dataset}", schema)
    found: dict[str, Any] = {
        "event_id": options.event_id,
        "state": "nowhere",
        "made_at": made.isoformat() if made else None,
        "looked_since": first.isoformat(),
    }
    with output.working("looking"):
        found |= await asyncio.to_thread(stored.of_event, options.event_id, first)
        async with DeadLetterQueue(options.project, options.subscription, wait=options.wait) as queue:
            found["dead"] = [
                one.summary() async for one in queue.messages() if await asyncio.to_thread(holds, one, options.event_id)
            ]
            if queue.full:
                print("trace: as many dead letters as fit are held; there may be more", file=sys.stderr)
        if made is not None and not (found["rows"] or found["rejects"] or found["dead"]):
            found |= await asyncio.to_thread(stored.of_hit, options.event_id, made, options.since)
    for state, where in (("loaded", "rows"), ("rejected", "rejects"), ("dead", "dead")):
        if found[where]:
            found["state"] = state
            break
    else:
        found["note"] = (_HIT if found.get("received_then") else "") + _NOWHERE
    output.show(options, found, indent=2)
    return 0 if found["state"] != "nowhere" else 1


def holds(one: DeadLetter, event_id: str) -> bool:
    """Whether an event of a dead letter has this id, as far as the letter can be read."""
    content = dead_letter.read(one, _MOST)
    sent = re.sub(r"#[0-9]+$", "", event_id)  # the processor numbers an id that several items share
    forms = {sent, quote(sent, safe=""), quote_plus(sent), json.dumps(sent)[1:-1]}
    for event in content.get("events", ()):
        if one.attributes.get("schema") in (hit.SCHEMA, None):
            # The client's own id is a parameter, which only the processor would have read.
            said = " ".join(str(event.get(name, "")) for name in ("query", "body", "text"))
            if event.get("id") == event_id or any(form in said for form in forms):
                return True
        elif event_id in event.values():
            return True
    return event_id in content.get("excerpt", "")


def _made_at(event_id: str) -> datetime | None:
    milliseconds = identity.time_of(event_id)
    try:
        return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
    except ValueError:  # in the year 10000, or later
        return None


class _Stored:
    """What the tables of one dataset say of an event."""

    def __init__(self, client: Any, dataset: str, schema: Schema) -> None:
        self._client, self._dataset, self._schema = client, dataset, schema

    def of_event(self, event_id: str, first: date) -> dict[str, Any]:
        """By its id: `rows`, `conflicts` and `rejects`, of that day and later."""
        return {
            "rows": self._rows(event_id, first),
            "conflicts": self._conflicts(event_id, first),
            "rejects": self._rejects(event_id, first),
        }

    def of_hit(self, hit_id: str, made: datetime, since: date | None) -> dict[str, Any]:
        """The same by the id of a hit, if a reject holds it; else `received_then`: what was received when the hit was.

        An event's day is at most seven days before its receipt.
        """
        first, last = since or (made - _DAYS).date(), (made + _SKEW).date()
        if (event_id := self._rejected(hit_id, first, last)) is not None:
            return {"event_id": event_id, "hit_id": hit_id, **self.of_event(event_id, first)}
        return {"received_then": self._received(made, first, last)}

    def _rows(self, event_id: str, first: date) -> list[dict[str, Any]]:
        """One entry per table and day: how many rows the event has, and how often the view shows it."""
        found = []
        for table in self._tables():
            day, event = _key(table)
            where = f"WHERE `{day}` >= @first AND `{event}` = @event_id"
            received = _column(table, "hit.received_at")
            sql = (
                f"SELECT `{day}` AS day, COUNT(*) AS written, MIN({received}) AS first, MAX({received}) AS last,\n"  # noqa: S608
                f"  (SELECT COUNT(*) FROM `{self._dataset}.{table.name}` {where}) AS shown\n"
                f"FROM `{self._dataset}.{table.log_name}` {where}\nGROUP BY 1 ORDER BY 1"
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
                for row in self._ask(sql, event_id=event_id, first=first)
            ]
        return found

    def _conflicts(self, event_id: str, first: date) -> list[dict[str, Any]]:
        """Each row with this id that compaction moved, since another event of the same key is shown."""
        names = ("table", "day", "received_at", "moved_at")
        sql = (
            f"SELECT {', '.join(f'`{name}`' for name in names)} FROM `{self._dataset}.{CONFLICTS}`\n"  # noqa: S608
            "WHERE `day` >= @first AND `event_id` = @event_id ORDER BY 3"
        )
        return [{name: row[name] for name in names} for row in self._ask(sql, event_id=event_id, first=first)]

    def _rejects(self, event_id: str, first: date) -> list[dict[str, Any]]:
        """Each reject of the event with what its table says of it."""
        table = self._schema.rejects
        day, event = _key(table)
        wanted = {
            "received_at": "hit.received_at",
            **{name: f"reject.{name}" for name in ("stage", "table", "reason", "column", "value", "detail")},
        }
        chosen = ", ".join(f"{_column(table, source)} AS `{name}_`" for name, source in wanted.items())
        sql = (
            f"SELECT {chosen} FROM `{self._dataset}.{table.name}`\n"  # noqa: S608
            f"WHERE `{day}` >= @first AND `{event}` = @event_id ORDER BY 1"
        )
        rows = self._ask(sql, event_id=event_id, first=first)
        return [{name: row[f"{name}_"] for name in wanted} for row in rows]

    def _rejected(self, hit_id: str, first: date, last: date) -> str | None:
        """The id of the event whose reject holds this hit."""
        table = self._schema.rejects
        day, event = _key(table)
        sql = (
            f"SELECT `{event}` FROM `{self._dataset}.{table.name}` WHERE `{day}` BETWEEN @first AND @last\n"  # noqa: S608
            f"  AND JSON_VALUE({_column(table, 'reject.hit')}, '$.id') = @hit_id LIMIT 1"
        )
        if table.column_from("reject.hit") is None:
            return None
        return next((str(row[0]) for row in self._ask(sql, hit_id=hit_id, first=first, last=last)), None)

    def _received(self, made: datetime, first: date, last: date) -> list[dict[str, Any]]:
        """Events with an id of their own that were received when a hit's id was made."""
        found = []
        for table in self._tables():
            day, event = _key(table)
            received = _column(table, "hit.received_at")
            sql = (
                f"SELECT DISTINCT `{event}` AS event_id, {received} AS received_at\n"
                f"FROM `{self._dataset}.{table.log_name}` WHERE `{day}` BETWEEN @first AND @last\n"
                f"  AND {received} >= @made AND {received} < @until ORDER BY 2, 1"
            )
            if received != "NULL":
                rows = self._ask(sql, made=made, until=made + _WITHIN, first=first, last=last)
                found += [{"table": table.name, **row} for row in rows if not _is_of_hit(row["event_id"], made)]
        return found[:_MOST_THEN]

    def _tables(self) -> list[Table]:
        return [table for table in self._schema.tables.values() if table.name != REJECTS]

    def _ask(self, sql: str, **values: str | date) -> list[Any]:
        parameters = [bigquery.ScalarQueryParameter(name, _TYPES[type(value)], value) for name, value in values.items()]
        config = bigquery.QueryJobConfig(query_parameters=parameters)
        return list(self._client.query_and_wait(sql, job_config=config, wait_timeout=deployment.TIMEOUT))


_TYPES: dict[type, str] = {str: "STRING", date: "DATE", datetime: "TIMESTAMP"}


def _is_of_hit(event_id: str, made: datetime) -> bool:
    """Whether an event's id may be that of its hit, so of no other."""
    at = _made_at(event_id)
    return at is not None and abs(at - made) < _WITHIN


def _key(table: Table) -> tuple[str, str]:
    return view.source_column(table, "event.day"), view.source_column(table, "event.id")


def _column(table: Table, source: str) -> str:
    """The column that a source fills, quoted; NULL where the schema file has none."""
    column = table.column_from(source)
    return "NULL" if column is None else f"`{column.name}`"
