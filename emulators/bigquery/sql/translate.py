"""One GoogleSQL query to one DuckDB query, with what is known of it before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from emulators.bigquery import table_schema
from emulators.bigquery.catalog import Table
from emulators.bigquery.errors import invalid_query

# Imported for the handlers that they register with the compiler.
from emulators.bigquery.sql import (  # noqa: F401
    columns,
    expression,
    function_calls,
    json_values,
    literals,
    nested,
    net,
    select,
    set_operation,
    structs,
    subqueries,
)
from emulators.bigquery.sql.compiler import query
from emulators.bigquery.sql.scope import Context, Output, Relation, Scope
from emulators.bigquery.sql.sources import named


@dataclass(frozen=True)
class ScanPlan:
    """What one reading of a table costs: the rows its probe leaves, times the columns read."""

    table: Table
    columns: tuple[str, ...]
    probe: str | None  # a DuckDB condition on the partition column


@dataclass(frozen=True)
class Query:
    sql: str
    outputs: tuple[Output, ...]
    scans: tuple[ScanPlan, ...]
    tables: tuple[Table, ...]

    def schema(self) -> list[dict[str, Any]]:
        """The result's columns as the REST API spells them."""
        return [table_schema.of_type(output.name or "", output.type).resource() for output in self.outputs]


def translate(statement: exp.Expression, context: Context) -> Query:
    """The whole query; ApiError invalidQuery for what is wrong, not known, or lacks a partition filter."""
    try:
        return finish(query(statement, Scope(context)), context)
    except RecursionError:
        raise invalid_query("Query is nested too deeply") from None


def finish(relation: Relation, context: Context) -> Query:
    outputs = tuple(named(relation.outputs))
    listed = ", ".join(f"{nested.shown(output.sql, output.type)} AS c{index}" for index, output in enumerate(outputs))
    reads = context.reads.union(*(output.reads for output in outputs))
    check_partition_filters(context)
    sql = f"SELECT {listed} FROM ({relation.sql})"  # noqa: S608
    return Query(sql, outputs, plans(context, reads), tuple(context.tables.values()))


def plans(context: Context, reads: set[tuple[int, str]]) -> tuple[ScanPlan, ...]:
    return tuple(
        ScanPlan(
            scan.table,
            tuple(sorted(column for at, column in reads if at == number)),
            " AND ".join(scan.probes) if scan.probes else None,
        )
        for number, scan in enumerate(context.scans)
    )


def check_partition_filters(context: Context) -> None:
    """Every reading of a table that requires it must have a condition that picks partitions."""
    if not context.filters_required:
        return  # a view is defined without a filter; those who query it bring one
    for scan in context.scans:
        table = scan.table
        if table.require_filter and not scan.probes:
            raise invalid_query(
                f"Cannot query over table '{table.project}.{table.dataset}.{table.name}' without a filter over "
                f"column(s) '{table.partition}' that can be used for partition elimination"
            )
