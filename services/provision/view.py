"""The SQL of the view that counts every event once. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.shared.schema import Table


def sql(table: Table, project: str, dataset: str, columns: Sequence[str]) -> str:
    """One row for each day and event id, the one received first, with `columns` in their order.

    Both are in the PARTITION BY, so that BigQuery pushes a filter on the day down to the log table and reads only
    those partitions. The columns are named, not `*`: BigQuery keeps the columns of a view as they were when its SQL was
    last written, so a new column must change the SQL to show up in consoles and drivers.

    Two rows of one id received in the same microsecond are one hit delivered twice, or one id used twice in one
    request; the clustering columns decide then. More columns would decide more, but every query pays for each column
    named here: these add about half to what `COUNT(*)` reads, all of them would multiply it by ten.
    """
    day, event_id, received_at = (source_column(table, name) for name in ("event.day", "event.id", "hit.received_at"))
    order = [received_at, *(name for name in table.cluster if name not in (day, event_id, received_at))]
    listed = ",\n".join(f"  {_quoted(name)}" for name in columns)
    return (
        f"SELECT\n{listed}\n"
        f"FROM `{project}.{dataset}.{table.log_name}`\n"
        "QUALIFY ROW_NUMBER() OVER (\n"
        f"  PARTITION BY {_quoted(day)}, {_quoted(event_id)}\n"
        f"  ORDER BY {', '.join(_quoted(name) for name in order)}\n"
        ") = 1"
    )


def source_column(table: Table, source: str) -> str:
    """The name of the column filled from `source` alone; the schema file is refused without one."""
    for column in table.columns:
        if [str(item) for item in column.sources] == [source]:
            return column.name
    raise ValueError(f"table {table.name}: no column comes from {source} alone")


def problem(table: Table) -> str | None:
    """Why nobody could query the view; None if one can."""
    day = source_column(table, "event.day")
    if table.require_partition_filter and table.partition != day:
        return (
            f"require_partition_filter goes with `partition: {day}`: the view counts by {day}, so a filter on "
            f"{table.partition} would not reach the table, and every query of the view would be refused"
        )
    return None


def _quoted(name: str) -> str:
    return f"`{name}`"
