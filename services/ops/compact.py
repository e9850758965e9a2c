"""Removes the physical duplicates of a closed day: the row the view shows stays, its copies go.

The log tables may hold an event more than once, since everything is delivered at least once. The views count it once
all the same; compaction saves what the copies cost in storage and in every query.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from services.ops import deployment, option
from services.ops.deployment import Refused
from services.provision import view
from services.shared import log, schema_file
from services.shared.schema import Table

QUERY_SECONDS = 1_800.0  # one statement on one day of one table may take
# BigQuery takes changes of rows that the Storage Write API has just appended, but of rows from elsewhere only after
# up to 90 minutes; by then the retries of a normal day have arrived too.
CLOSED_HOURS = 6.0


@dataclass(frozen=True)
class Counts:
    """Rows of one day, and how many events they are."""

    rows: int
    events: int


@dataclass(frozen=True)
class Outcome:
    """What became of one table: `rows` are left after `removed` went. With --dry-run none went."""

    table: str
    rows: int
    removed: int
    duplicates: int  # rows beyond one an event that are there now: of a dry run, or appended meanwhile
    bytes_processed: int


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    parser.add_argument(
        "--date", type=_day, default="yesterday", help="the day, UTC: YYYY-MM-DD or yesterday (%(default)s)"
    )
    parser.add_argument(
        "--table", action="append", metavar="NAME", help="a table of the schema file; may be repeated (all of them)"
    )
    parser.add_argument(
        "--closed-after",
        type=option.number(0),
        default=CLOSED_HOURS,
        metavar="HOURS",
        help="how long a day must be over (%(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="count the duplicates, and change nothing")


def _day(text: str) -> date:
    if text == "yesterday":
        return datetime.now(UTC).date() - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither YYYY-MM-DD nor yesterday") from None


async def run(options: argparse.Namespace) -> int:
    """One JSON log line a table, and one for all. The exit code is 1 if a table was refused or failed."""
    log.start("ops")
    return await asyncio.to_thread(_run, options)


def _run(options: argparse.Namespace) -> int:
    line = log.get("ops.compact")
    day: date = options.date
    failed: list[str] = []
    done: list[Outcome] = []
    try:
        check_closed(day, datetime.now(UTC), timedelta(hours=options.closed_after))
        tables = _tables(options)
        compactor = Compactor(deployment.bigquery_client(options.project), options.project, options.dataset)
    except Refused as error:
        line.error("refused", day=day.isoformat(), reason=str(error))
        return 1
    for table in tables:
        try:
            outcome = compactor.compact(table, day, dry_run=options.dry_run)
        except (Refused, exceptions.GoogleAPIError) as error:
            # The others are none the worse for it.
            failed.append(table.name)
            line.error("not compacted", table=table.name, day=day.isoformat(), reason=_one_line(error))
        else:
            done.append(outcome)
            line.info("counted" if options.dry_run else "compacted", day=day.isoformat(), **asdict(outcome))
    line.info(
        "done",
        day=day.isoformat(),
        dry_run=options.dry_run,
        removed={one.table: one.removed for one in done},
        duplicates={one.table: one.duplicates for one in done},
        failed=failed,
    )
    return 1 if failed else 0


def _tables(options: argparse.Namespace) -> Sequence[Table]:
    schema = schema_file.load(options.schema)
    if options.table is None:
        return list(schema.tables.values())
    for name in options.table:
        if name not in schema.tables:
            raise Refused(f"the schema file has no table {name!r}; it has {', '.join(schema.tables)}")
    return [schema.tables[name] for name in dict.fromkeys(options.table)]


def check_closed(day: date, now: datetime, after: timedelta) -> None:
    """Raise Refused for a day that is not over, in UTC, since `after`."""
    over = datetime.combine(day, time(), UTC) + timedelta(days=1)
    if now < over:
        raise Refused(f"{day} is not over: its events still arrive; compact it from {over + after:%Y-%m-%d %H:%M} UTC")
    if now < over + after:
        raise Refused(f"{day} is over for less than {after}: its last events may still arrive; wait, or --closed-after")


class Compactor:
    """Compacts days of the log tables of one dataset."""

    def __init__(self, client: Any, project: str, dataset: str) -> None:
        self._client, self._project, self._dataset = client, project, dataset

    def compact(self, table: Table, day: date, *, dry_run: bool) -> Outcome:
        """Raises Refused for a table whose days are no partitions, and where BigQuery will not change its rows yet."""
        columns = self._columns(table)
        before, read = self._count(table, day)
        if dry_run or before.rows == before.events:
            return Outcome(table.name, before.rows, 0, before.rows - before.events, read)
        sql = merge(table, self._project, self._dataset, columns, day)
        try:
            job = self._ask(sql)
        except exceptions.BadRequest as error:
            if "streaming buffer" in str(error):
                raise Refused("rows of this day are still in the streaming buffer; try again in 90 minutes") from error
            raise
        changed = job.dml_stats
        after, again = self._count(table, day)
        if changed is None or after.events < before.events:
            raise Refused(
                f"{before.events} events before and {after.events} after ({changed}): this must not happen; the rows "
                f"as they were are in `{table.log_name}` FOR SYSTEM_TIME AS OF '{job.created}', for seven days"
            )
        removed = changed.deleted_row_count - changed.inserted_row_count
        return Outcome(
            table.name, after.rows, removed, after.rows - after.events, read + again + int(job.total_bytes_processed)
        )

    def _columns(self, table: Table) -> list[str]:
        """All columns of the log table, also those the schema file has lost: a copied row must be whole."""
        name = f"{self._project}.{self._dataset}.{table.log_name}"
        found = self._client.get_table(name, timeout=deployment.TIMEOUT)
        day = view.source_column(table, "event.day")
        partitioning = found.time_partitioning
        if partitioning is None or (partitioning.type_, partitioning.field) != ("DAY", day):
            raise Refused(f"{table.log_name} is not partitioned by {day}: one day of it is spread over all partitions")
        return [field.name for field in found.schema]

    def _count(self, table: Table, day: date) -> tuple[Counts, int]:
        event_id = view.source_column(table, "event.id")
        job = self._ask(
            f"SELECT COUNT(*) AS found, COUNT(DISTINCT `{event_id}`) AS events\n"
            f"FROM `{self._project}.{self._dataset}.{table.log_name}`\n"
            f"WHERE `{view.source_column(table, 'event.day')}` = DATE '{day}'"
        )
        (row,) = job.result(timeout=QUERY_SECONDS)
        return Counts(row["found"], row["events"]), int(job.total_bytes_processed or 0)

    def _ask(self, sql: str) -> Any:
        """A finished job."""
        # A cached answer would count the rows as they were before.
        job = self._client.query(
            sql, job_config=bigquery.QueryJobConfig(use_query_cache=False), timeout=deployment.TIMEOUT
        )
        job.result(timeout=QUERY_SECONDS)
        return job


def merge(table: Table, project: str, dataset: str, columns: Sequence[str], day: date) -> str:
    """The one statement that replaces all copies of each event of `day` that has several by the one the view shows.

    BigQuery has no row ids, so of two rows that are the same in everything one alone cannot be deleted: all go, and
    one is written again. The source gives two rows an event: the first copy, which joins nothing and is inserted, and
    the second, which joins and deletes every copy there was. One statement is one transaction on one snapshot: rows
    appended meanwhile are neither read nor touched, and a statement that is cut off changes nothing. Replacing the
    partition with a query's result (WRITE_TRUNCATE) would be atomic too, but drops what is appended while it runs.

    The constant day on both sides keeps BigQuery to that partition, for what is read and for what is billed.
    """
    log_table = f"`{project}.{dataset}.{table.log_name}`"
    day_column, event_id = (view.source_column(table, source) for source in ("event.day", "event.id"))
    number = "copy_number"
    while number in {name.lower() for name in columns}:
        number += "_"
    listed = ", ".join(f"`{name}`" for name in columns)
    copies = ", ".join(f"copies.`{name}`" for name in columns)
    return (
        f"MERGE {log_table} AS logged\n"  # noqa: S608 - names of the schema file and BigQuery's own
        "USING (\n"
        f"  SELECT {listed}, {_rank(table, project, dataset)} AS {number}\n"
        f"  FROM {log_table}\n"
        f"  WHERE `{day_column}` = DATE '{day}'\n"
        f"  QUALIFY COUNT(*) OVER (PARTITION BY `{day_column}`, `{event_id}`) > 1 AND {number} <= 2\n"
        ") AS copies\n"
        f"ON logged.`{day_column}` = DATE '{day}' AND copies.{number} = 2"
        f" AND logged.`{event_id}` = copies.`{event_id}`\n"
        "WHEN MATCHED THEN DELETE\n"
        f"WHEN NOT MATCHED AND copies.{number} = 1 THEN INSERT ({listed}) VALUES ({copies})"
    )


def _rank(table: Table, project: str, dataset: str) -> str:
    """The window of the view itself, so that the row it shows is number 1 here by definition."""
    _, found, rank = view.sql(table, project, dataset, ["*"]).partition("\nQUALIFY ")
    if not found or not rank.endswith(" = 1"):
        raise ValueError("the view does not choose its rows by QUALIFY … = 1")
    return " ".join(rank.removesuffix(" = 1").split())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
