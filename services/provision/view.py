"""The SQL of the view that counts every event once. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.shared.schema import Table


def sql(table: Table, project: str, dataset: str, columns: Sequence[str], where: str = "") -> str:
    """One row for each key, the one received first, with `columns` in their order; `where` chooses rows before that.
    After them come the table's expressions; one takes the place of a column of its name that the file had once.

    The columns are named, not `*`: BigQuery keeps the columns of a view as they were when its SQL was last written, so
    a new column must change the SQL to show up in consoles and drivers.
    """
    partition, order = window(table)
    chosen = f"WHERE {where}\n" if where else ""
    computed = {column.name.lower() for column in table.expressions}
    items = [quoted(name) for name in columns if name.lower() not in computed]
    items += [f"(\n{column.expression}\n  ) AS {quoted(column.name)}" for column in table.expressions]
    listed = ",\n".join(f"  {item}" for item in items)
    return (
        f"SELECT\n{listed}\n"
        f"FROM `{project}.{dataset}.{table.log_name}`\n"
        f"{chosen}"
        "QUALIFY ROW_NUMBER() OVER (\n"
        f"  {partition}\n"
        f"  {order}\n"
        ") = 1"
    )


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
