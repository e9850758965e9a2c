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

import structlog
from google.api_core import exceptions
from google.cloud import bigquery

from services.ops import compact_sql, deployment, option, output
from services.ops import sweep as sweeps
from services.ops.compact_report import Report
from services.ops.compact_sql import Statements
from services.ops.deployment import CommandRefused
from services.ops.sweep import State, Sweep
from services.provision import view
from services.shared import log, schema_file
from services.shared.schema import CONFLICTS, LOG_SUFFIX, MARK, Schema, Table

QUERY_SECONDS = 1_800.0  # one statement on one day of one table may take
# BigQuery takes changes of rows that the Storage Write API has just appended, but of rows from elsewhere only after
# up to 90 minutes; by then the retries of a normal day have arrived too.
CLOSED_HOURS = 6.0
# An event's day is at most seven days before its receipt (services.processor.event_day): later is what waited.
SETTLED_DAYS = 7.0


@dataclass(frozen=True)
class Counts:
    """Rows of one day, and how many events they are by the key of the view."""

    rows: int
    events: int
    unmarked: int  # those that the view does not show of a settled day


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
    parser.add_argument(
        "--date", type=_day, help="this day alone, UTC: YYYY-MM-DD or yesterday (all closed days that changed)"
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
    parser.add_argument(
        "--settled-after",
        type=option.number(0),
        default=SETTLED_DAYS,
        metavar="DAYS",
        help="how long a day must be closed until the view only shows the rows that were compacted (%(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="count the duplicates, and change nothing")
    output.add_json(parser, "log lines as JSON, also on a terminal")


def _day(text: str) -> date:
    if text == "yesterday":
        return datetime.now(UTC).date() - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither YYYY-MM-DD nor yesterday") from None


async def run(options: argparse.Namespace) -> int:
    """One JSON log line a day and table, and one for all; on a terminal tables of the same.

    The exit code is 1 if a table was refused or failed.
    """
    if not output.for_people(options):
        log.start("ops")
        return await asyncio.to_thread(_run, options)
    with output.working("compacting") as say:
        report = Report(say)
        structlog.configure(processors=[report])
        code = await asyncio.to_thread(_run, options)
    if report.result:
        output.show(options, report.result)
    return code


def _run(options: argparse.Namespace) -> int:
    line = log.get("ops.compact")
    run = Run(options, datetime.now(UTC))
    chosen = {} if options.date is None else {"day": options.date.isoformat()}
    try:
        if options.date is not None:
            check_closed(options.date, run.now, run.closed_after)
        schema = schema_file.load(options.schema)
        tables = _tables(options, schema)
        client = deployment.bigquery_client(options.project)
    except CommandRefused as error:
        line.error("refused", **chosen, reason=str(error))
        return 1
    for table in tables:
        sweep = Sweep(client, options.project, options.dataset, schema, table)
        run.table(table, Compactor(client, options.project, options.dataset), sweep)
    line.info(
        "done",
        **chosen,
        dry_run=options.dry_run,
        removed=run.sums("removed"),
        conflicts=run.sums("conflicts"),
        duplicates=run.sums("duplicates"),
        failed=run.failed,
    )
    return 1 if run.failed else 0


class Run:
    """One run of the command, table by table: what fails in one does not touch the others."""

    def __init__(self, options: argparse.Namespace, now: datetime) -> None:
        self._options, self.now = options, now
        self.closed_after = timedelta(hours=options.closed_after)
        self._settled = last_closed(now, self.closed_after + timedelta(days=options.settled_after))
        self._done: dict[str, list[Compaction]] = {}
        self.failed: list[str] = []

    def table(self, table: Table, compactor: Compactor, sweep: Sweep) -> None:
        """Compact one day of the table, or all that are due."""
        line = log.get("ops.compact")
        try:
            if (day := self._options.date) is not None:
                self._day(compactor, table, day, settled=day <= max(self._settled, sweep.state().watermark))
            else:
                self._sweep(compactor, table, sweep)
        except (CommandRefused, exceptions.GoogleAPIError) as error:
            self._fail(table)
            where = {} if day is None else {"day": day.isoformat()}
            line.error("not compacted", table=table.name, **where, reason=deployment.one_line(error))
        if table.expire_days and not self._options.dry_run and table.name in self._done:
            try:
                expired = compactor.expire_conflicts(table, self.now.date() - timedelta(days=table.expire_days))
            except (CommandRefused, exceptions.GoogleAPIError) as error:
                self._fail(table)
                line.error("old conflicts not deleted", table=table.name, reason=deployment.one_line(error))
            else:
                line.info("old conflicts deleted", table=table.name, expired=expired)

    def sums(self, name: str) -> dict[str, int]:
        return {table: sum(getattr(one, name) for one in days) for table, days in self._done.items()}

    def _sweep(self, compactor: Compactor, table: Table, sweep: Sweep) -> None:
        line = log.get("ops.compact")
        state, modified = sweep.state(), sweep.modified()
        closed = last_closed(self.now, self.closed_after)
        due = sweeps.due(modified, state, closed, self._settled)
        self._done[table.name] = []
        failed = []
        for day in due:
            try:
                self._day(compactor, table, day, settled=day <= max(self._settled, state.watermark))
            except (CommandRefused, exceptions.GoogleAPIError) as error:
                failed.append(day)
                self._fail(table)
                line.error("not compacted", table=table.name, day=day.isoformat(), reason=deployment.one_line(error))
        if self._options.dry_run:
            return
        before = min([*failed, self._settled + timedelta(days=1)])
        whole = [day for day in modified if day < before and view.has_history(table)]
        left = State(max([state.watermark, *whole]), None if failed else sweeps.since(closed))
        sweep.leave(left)
        shown = None if left.watermark == view.NO_DAY else left.watermark.isoformat()
        line.info("swept", table=table.name, days=len(due), failed=len(failed), watermark=shown)

    def _day(self, compactor: Compactor, table: Table, day: date, *, settled: bool) -> None:
        outcome = compactor.compact(table, day, dry_run=self._options.dry_run, settled=settled)
        self._done.setdefault(table.name, []).append(outcome)
        line = log.get("ops.compact")
        line.info("counted" if self._options.dry_run else "compacted", day=day.isoformat(), **asdict(outcome))

    def _fail(self, table: Table) -> None:
        if table.name not in self.failed:
            self.failed.append(table.name)


def _tables(options: argparse.Namespace, schema: Schema) -> Sequence[Table]:
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

    def compact(self, table: Table, day: date, *, dry_run: bool, settled: bool = False) -> Compaction:
        """Of a day that is `settled`, what the view shows is marked. Raises CommandRefused
        for a table not partitioned by day, or whose rows BigQuery will not change yet.

        It may be killed at any moment, and run again: a row is deleted only once it is in the conflicts or has a copy.
        """
        statements = Statements(table, self._project, self._dataset, self._columns(table), day)
        if settled and view.has_history(table) and MARK not in statements.columns:
            raise CommandRefused(f"{table.log_name} has no column {MARK}; run the provisioner of this release first")
        before, read = self._count(statements)
        outcome = Compaction(table.name, before.rows, 0, 0, before.rows - before.events, read)
        if before.rows > before.events or (settled and before.unmarked and not dry_run):
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
        move = self._ask(statements.move()) if before.rows > before.events else None
        try:
            remove = self._ask(statements.remove())
        except exceptions.BadRequest as error:
            if "streaming buffer" in str(error):
                raise CommandRefused(
                    "rows of this day are still in the streaming buffer; try again in 90 minutes"
                ) from error
            raise
        changed, jobs = remove.dml_stats, [remove, *([move] if move else [])]
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
            conflicts=int(move.num_dml_affected_rows or 0) if move else 0,
            duplicates=after.rows - after.events,
            bytes_processed=outcome.bytes_processed + read + sum(map(_bytes_processed, jobs)),
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
        return Counts(row["found"], row["events"], row["unmarked"]), _bytes_processed(job)

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
