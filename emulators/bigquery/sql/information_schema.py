"""INFORMATION_SCHEMA views of a dataset, made from the catalog when they are asked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from emulators.bigquery.catalog import WRITTEN, Table
from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.nested_types import DUCKDB
from emulators.bigquery.sql.expr import text
from emulators.bigquery.sql.scope import Output, Relation, Scope
from emulators.bigquery.table_schema import FIXED_WIDTHS, quote, variable_width

Value = str | int | dt.datetime | None
PLACE = {"table_catalog": "STRING", "table_schema": "STRING", "table_name": "STRING"}
VIEWS = {
    "TABLES": PLACE | {"table_type": "STRING", "is_insertable_into": "STRING", "creation_time": "TIMESTAMP"},
    "COLUMNS": PLACE
    | {
        "column_name": "STRING",
        "ordinal_position": "INT64",
        "is_nullable": "STRING",
        "data_type": "STRING",
        "is_partitioning_column": "STRING",
        "clustering_ordinal_position": "INT64",
    },
    "VIEWS": PLACE | {"view_definition": "STRING", "use_standard_sql": "STRING"},
    "PARTITIONS": PLACE
    | {
        "partition_id": "STRING",
        "total_rows": "INT64",
        "total_logical_bytes": "INT64",
        "last_modified_time": "TIMESTAMP",
        "storage_tier": "STRING",
    },
}


def relation(view: str, project: str, dataset: str, scope: Scope) -> Relation:
    """The view as a query; ApiError when the emulator has no such view or there is no such dataset."""
    context = scope.context
    if view not in VIEWS:
        raise unsupported(f"INFORMATION_SCHEMA.{view}")
    if not dataset:
        if context.default is None:
            raise invalid_query(f"INFORMATION_SCHEMA.{view} must be qualified with a dataset")
        project, dataset = context.default
    project = project or context.project
    context.catalog.dataset(project, dataset)
    tables = list(context.catalog.tables_of(project, dataset))
    columns = VIEWS[view]
    outputs = tuple(Output(name, context.column(), type_) for name, type_ in columns.items())
    if view == "PARTITIONS":
        parts = [_partitions(table, outputs) for table in tables if table.view is None]
    else:
        rows = {"TABLES": _tables, "COLUMNS": _columns, "VIEWS": _views}[view](tables)
        parts = [_row(row, outputs) for row in rows]
    if not parts:
        empty = ", ".join(f"CAST(NULL AS {DUCKDB[output.type]}) AS {output.sql}" for output in outputs)
        parts = [f"SELECT {empty} WHERE FALSE"]
    return Relation(" UNION ALL ".join(parts), outputs)


def _row(values: Iterable[Value], outputs: tuple[Output, ...]) -> str:
    listed = ", ".join(
        f"CAST({_literal(value)} AS {DUCKDB[output.type]}) AS {output.sql}"
        for value, output in zip(values, outputs, strict=True)
    )
    return f"SELECT {listed}"


def _literal(value: Value) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, dt.datetime):
        return f"'{value:%Y-%m-%d %H:%M:%S.%f}+00'"
    return str(value) if isinstance(value, int) else text(value)


def _moment(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


def _tables(tables: list[Table]) -> Iterable[tuple[Value, ...]]:
    for table in tables:
        created = _moment(table.created)
        kind = "BASE TABLE" if table.view is None else "VIEW"
        yield (*table.key, kind, "YES" if table.view is None else "NO", created)


def _columns(tables: list[Table]) -> Iterable[tuple[Value, ...]]:
    for table in tables:
        for position, column in enumerate(table.columns, start=1):
            place = table.clustering.index(column.name) + 1 if column.name in table.clustering else None
            yield (
                *table.key,
                column.name,
                position,
                "NO" if column.required else "YES",
                column.type,
                "YES" if column.name == table.partition else "NO",
                place,
            )


def _views(tables: list[Table]) -> Iterable[tuple[Value, ...]]:
    for table in tables:
        if table.view is not None:
            yield (*table.key, table.view, "YES")


def _partitions(table: Table, outputs: tuple[Output, ...]) -> str:
    """One row a partition that has rows, last modified with the newest of them: deletions do not show."""
    where, group = "NULL", ""
    if table.partition is not None:
        where = f"coalesce(strftime({quote(table.partition)}, '%Y%m%d'), '__NULL__')"
        group = f" GROUP BY {where}"
    fixed = sum(FIXED_WIDTHS.get(column.type, 0) for column in table.columns)
    width = variable_width(table.columns)
    values = (
        *map(text, table.key),
        where,
        "count(*)",
        f"CAST(count(*) * {fixed} + coalesce(sum({width or 0}), 0) AS BIGINT)",
        f"coalesce(max({WRITTEN}), CAST({_literal(_moment(table.modified))} AS {DUCKDB['TIMESTAMP']}))",
        f"CASE WHEN max({WRITTEN}) < now() - INTERVAL 90 DAY THEN 'LONG_TERM' ELSE 'ACTIVE' END",
    )
    listed = ", ".join(f"{value} AS {output.sql}" for value, output in zip(values, outputs, strict=True))
    return f"SELECT {listed} FROM {table.rows}{group}"  # noqa: S608 - generated
