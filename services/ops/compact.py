"""Leaves one row of each event of a closed day: the row the view shows stays, its copies go, what differs is moved.

The log tables may hold an event more than once, since everything is delivered at least once. The views count it once
all the same; compaction saves what the copies cost in storage and in every query. A row of the same key whose content
differs is another event that the view does not show: it goes to the table `conflicts`, so nothing is destroyed.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from services.ops import compact_sql, deployment, option
from services.ops.compact_sql import Statements
from services.ops.deployment import CommandRefused
from services.provision import view
from services.shared import log, schema_file
from services.shared.schema import CONFLICTS, LOG_SUFFIX, Table

QUERY_SECONDS = 1_800.0  # one statement on one day of one table may take
# BigQuery takes changes of rows that the Storage Write API has just appended, but of rows from elsewhere only after
# up to 90 minutes; by then the retries of a normal day have arrived too.
CLOSED_HOURS = 6.0


@dataclass(frozen=True)
class Counts:
    """Rows of one day, and how many events they are by the key of the view."""

    rows: int
    events: int


@dataclass(frozen=True)
class Compaction:
    """What became of one table: `rows` are left after `removed` went. With --dry-run none went."""

    table: str
    rows: int
    removed: int  # those among the conflicts included
    conflicts: int  # events that went to the table of conflicts, or would go there
    duplicates: int  # rows beyond one an event that are there now: of a dry run, or appended meanwhile
    bytes_processed: int


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    parser.add_argument("--date", type=_day, help="the day, UTC: YYYY-MM-DD or yesterday (the last one closed)")
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
    now = datetime.now(UTC)
    after = timedelta(hours=options.closed_after)
    day: date = options.date or last_closed(now, after)
    failed: list[str] = []
    done: list[Compaction] = []
    try:
        check_closed(day, now, after)
        tables = _tables(options)
        compactor = Compactor(deployment.bigquery_client(options.project), options.project, options.dataset)
    except CommandRefused as error:
        line.error("refused", day=day.isoformat(), reason=str(error))
        return 1
    for table in tables:
        try:
            outcome = compactor.compact(table, day, dry_run=options.dry_run)
        except (CommandRefused, exceptions.GoogleAPIError) as error:
            # The other tables are not affected.
            failed.append(table.name)
            line.error("not compacted", table=table.name, day=day.isoformat(), reason=_one_line(error))
            continue
        done.append(outcome)
        line.info("counted" if options.dry_run else "compacted", day=day.isoformat(), **asdict(outcome))
        if table.expire_days and not options.dry_run:
            try:
                expired = compactor.expire_conflicts(table, now.date() - timedelta(days=table.expire_days))
            except (CommandRefused, exceptions.GoogleAPIError) as error:
                failed.append(table.name)
                line.error("old conflicts not deleted", table=table.name, reason=_one_line(error))
            else:
                line.info("old conflicts deleted", table=table.name, expired=expired)
    line.info(
        "done",
        day=day.isoformat(),
        dry_run=options.dry_run,
        removed={one.table: one.removed for one in done},
        conflicts={one.table: one.conflicts for one in done},
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
            raise CommandRefused(f"the schema file has no table {name!r}; it has {', '.join(schema.tables)}")
    return [schema.tables[name] for name in dict.fromkeys(options.table)]


def last_closed(now: datetime, after: timedelta) -> date:
    """The latest day that is over, in UTC, since `after`."""
    return (now - after).date() - timedelta(days=1)


def check_closed(day: date, now: datetime, after: timedelta) -> None:
    """Raise CommandRefused for a day that is not over, in UTC, since `after`."""
    over = datetime.combine(day, time(), UTC) + timedelta(days=1)
    if now < over:
        raise CommandRefused(
            f"{day} is not over: its events still arrive; compact it from {over + after:%Y-%m-%d %H:%M} UTC"
        )
    if now < over + after:
        raise CommandRefused(
            f"{day} is over for less than {after}: its last events may still arrive; wait, or --closed-after"
        )


class Compactor:
    """Compacts days of the log tables of one dataset."""

    def __init__(self, client: Any, project: str, dataset: str) -> None:
        self._client, self._project, self._dataset = client, project, dataset

    def compact(self, table: Table, day: date, *, dry_run: bool) -> Compaction:
        """Raises CommandRefused for a table not partitioned by day, or whose rows BigQuery will not change yet.

        It may be killed at any moment, and run again: a row is deleted only once it is in the conflicts or has a copy.
        """
        statements = Statements(table, self._project, self._dataset, self._columns(table), day)
        before, read = self._count(statements)
        outcome = Compaction(table.name, before.rows, 0, 0, before.rows - before.events, read)
        if before.rows > before.events:
            self._check_conflicts()
            outcome = self._look(statements, outcome) if dry_run else self._change(statements, before, outcome)
        return outcome

    def expire_conflicts(self, table: Table, last: date) -> int:
        """Delete the table's conflicts up to that day; how many. Raises CommandRefused where there is no such table."""
        self._check_conflicts()
        job = self._ask(compact_sql.expire(table, self._project, self._dataset, last))
        return int(job.num_dml_affected_rows or 0)

    def _look(self, statements: Statements, outcome: Compaction) -> Compaction:
        job = self._ask(statements.count_conflicts())
        (row,) = job.result(timeout=QUERY_SECONDS)
        return replace(
            outcome, conflicts=row["conflicts"], bytes_processed=outcome.bytes_processed + _bytes_processed(job)
        )

    def _change(self, statements: Statements, before: Counts, outcome: Compaction) -> Compaction:
        move = self._ask(statements.move())
        try:
            remove = self._ask(statements.remove())
        except exceptions.BadRequest as error:
            if "streaming buffer" in str(error):
                raise CommandRefused(
                    "rows of this day are still in the streaming buffer; try again in 90 minutes"
                ) from error
            raise
        changed = remove.dml_stats
        after, read = self._count(statements)
        if changed is None or after.events < before.events:
            restore = f"`{statements.table.log_name}` FOR SYSTEM_TIME AS OF '{remove.created}'"
            raise CommandRefused(
                f"{before.events} events before and {after.events} after ({changed}): this must not happen; the rows "
                f"as they were are in {restore}, for seven days"
            )
        return replace(
            outcome,
            rows=after.rows,
            removed=changed.deleted_row_count - changed.inserted_row_count,
            conflicts=int(move.num_dml_affected_rows or 0),
            duplicates=after.rows - after.events,
            bytes_processed=outcome.bytes_processed + read + _bytes_processed(move) + _bytes_processed(remove),
        )

    def _columns(self, table: Table) -> list[str]:
        """All columns of the log table, also those the schema file has lost: a copied row must be whole."""
        found = self._client.get_table(f"{self._project}.{self._dataset}.{table.log_name}", timeout=deployment.TIMEOUT)
        day = view.source_column(table, "event.day")
        partitioning = found.time_partitioning
        if partitioning is None or (partitioning.type_, partitioning.field) != ("DAY", day):
            raise CommandRefused(
                f"{table.log_name} is not partitioned by {day}: one day of it is spread over all partitions"
            )
        return [field.name for field in found.schema]

    def _check_conflicts(self) -> None:
        name = f"{self._project}.{self._dataset}.{CONFLICTS}{LOG_SUFFIX}"
        try:
            self._client.get_table(name, timeout=deployment.TIMEOUT)
        except exceptions.NotFound:
            raise CommandRefused(f"there is no table {name} yet; run the provisioner of this release") from None

    def _count(self, statements: Statements) -> tuple[Counts, int]:
        job = self._ask(statements.count())
        (row,) = job.result(timeout=QUERY_SECONDS)
        return Counts(row["found"], row["events"]), _bytes_processed(job)

    def _ask(self, sql: str) -> Any:
        """A finished job."""
        # A cached answer would count the rows as they were before.
        job = self._client.query(
            sql, job_config=bigquery.QueryJobConfig(use_query_cache=False), timeout=deployment.TIMEOUT
        )
        job.result(timeout=QUERY_SECONDS)
        return job


def _bytes_processed(job: Any) -> int:
    return int(job.total_bytes_processed or 0)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
