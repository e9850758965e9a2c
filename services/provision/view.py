"""The SQL of the view that counts every event once. Pure.

A day that no row is expected for any more is *settled*: compaction has marked the rows that the view shows, one for
each key, and moved the view's *watermark* to that day. Up to the watermark the view is the marked rows, and only after
it does it look for duplicates, so history costs what the table costs, and one byte a row for the mark. A row that is
appended to a settled day has no mark: until compaction has compared it with the others it is not shown, nor counted
twice.

The watermark is a constant in the view's SQL, since BigQuery picks partitions by constants alone: with the watermark in
a table, every query would read both halves of the view.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from services.shared.schema import MARK, PROVISIONED, Column, Source, Table

NO_DAY = date.min  # the watermark of a view that has no settled days
MARK_COLUMN = Column(
    MARK,
    "BOOL",
    (Source("compact", "shown"),),
    description="TRUE in the row of its key that compaction left, NULL in those appended since; no column of the view",
)
_WATERMARK = re.compile(r"(?<=^WHERE )(`\w+` (?:<=|>) DATE )'([0-9]{4}-[0-9]{2}-[0-9]{2})'", re.MULTILINE)


def sql(table: Table, project: str, dataset: str, columns: Sequence[str], where: str = "") -> str:
    """One row for each key, the one received first, with `columns` in their order; `where` chooses rows before that.
    After them come the table's expressions; one takes the place of a column of its name that the file had once.

    The columns are named, not `*`: BigQuery keeps the columns of a view as they were when its SQL was last written, so
    a new column must change the SQL to show up in consoles and drivers.
    """
    partition, order = window(table)
    computed = {column.name.lower() for column in table.expressions}
    items = [quoted(name) for name in columns if name.lower() not in computed]
    items += [f"(\n{column.expression}\n  ) AS {quoted(column.name)}" for column in table.expressions]
    listed = ",\n".join(f"  {item}" for item in items)
    rows = f"SELECT\n{listed}\nFROM `{project}.{dataset}.{table.log_name}`\n"
    once = f"QUALIFY ROW_NUMBER() OVER (\n  {partition}\n  {order}\n) = 1"
    if not has_history(table):
        chosen = f"WHERE {where}\n" if where else ""
        return f"{rows}{chosen}{once}"
    day, also = quoted(source_column(table, "event.day")), f" AND {where}" if where else ""
    return (
        f"{rows}WHERE {day} <= DATE '{NO_DAY}' AND {quoted(MARK)}{also}\n"
        "UNION ALL\n"
        f"{rows}WHERE {day} > DATE '{NO_DAY}'{also}\n{once}"
    )


def has_history(table: Table) -> bool:
    """Whether days of the table can be settled: it must be partitioned by day, to be compacted.

    The view of a table that requires a partition filter names none itself, or queries without one would not be refused.
    """
    day = table.column_from("event.day")
    return (
        day is not None
        and table.partition == day.name
        and not table.require_partition_filter
        and table.name not in PROVISIONED
    )


def watermark(text: str) -> date | None:
    """The last settled day of a view, NO_DAY if there is none; None of a view that cannot have any."""
    found = {day for _, day in _WATERMARK.findall(text)}
    return date.fromisoformat(found.pop()) if len(found) == 1 else None


def settled(text: str, day: date) -> str:
    """The view's SQL with another watermark."""
    return _WATERMARK.sub(rf"\1'{day}'", text)


def counts_by(text: str, table: Table) -> bool:
    """Whether the view has the key of the table: what is settled by one key is not settled by another."""
    return f"  {window(table)[0]}\n" in text


def window(table: Table) -> tuple[str, str]:
    """The PARTITION BY and the ORDER BY that number the rows of one key; the view shows number 1.

    The day is in the key, so BigQuery pushes a filter on it down to the log table and reads only those partitions.
    NULL counts as a value: events without a tenant are those of one tenant.

    Rows of one key received in the same microsecond are one hit delivered twice, or one key used twice in one request;
    the clustering columns decide then. More columns would decide more, but every query pays for each column named
    here: these add about half to what `COUNT(*)` reads, all of them would multiply it by ten.
    """
    key = table.key
    received_at = source_column(table, "hit.received_at")
    order = [received_at, *(name for name in table.cluster if name not in (*key, received_at))]
    return f"PARTITION BY {', '.join(map(quoted, key))}", f"ORDER BY {', '.join(map(quoted, order))}"


def source_column(table: Table, source: str) -> str:
    """The name of the column filled from `source` alone; the schema file is refused without one."""
    return table.filled_by(source).name


def problem(table: Table) -> str | None:
    """Why nobody could query the view; None if one can."""
    day = source_column(table, "event.day")
    if table.require_partition_filter and table.partition != day:
        return (
            f"require_partition_filter goes with `partition: {day}`: the view counts by {day}, so a filter on "
            f"{table.partition} would not reach the table, and every query of the view would be refused"
        )
    return None


def quoted(name: str) -> str:
    return f"`{name}`"
