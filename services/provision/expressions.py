"""Asks BigQuery whether it takes the expressions of a schema file, before anything is made of them."""

from __future__ import annotations

from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from services.provision import schema_evolution
from services.provision.resource import CALL
from services.provision.view import quoted
from services.shared.schema import STRUCT, Column, Table


def problems(client: Any, table: Table) -> list[str]:
    """What is wrong with each expression of the table, by BigQuery's own words; nothing is read, and nothing costs."""
    found = []
    for column in table.expressions:
        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        try:
            job = client.query(question(table, column), job_config=config, **CALL)
        except exceptions.BadRequest as error:
            found.append(f"column {column.name}: expression: {_said(error)}")
            continue
        kind = schema_evolution.type_name(job.schema[0])
        if kind != column.type:
            found.append(
                f"column {column.name}: expression: it gives {kind}, and the schema file says {column.type}; write "
                f"`type: {kind}`, or CAST(… AS {column.type})"
            )
    return found


def question(table: Table, column: Column) -> str:
    """A query of the expression over one row of nothing but the table's columns; the table need not be there yet.

    A column stands beside it, so that no expression of many rows is one.
    """
    columns = ", ".join(f"CAST(NULL AS {sql_type(one)}) AS {quoted(one.name)}" for one in table.columns)
    beside = quoted(table.columns[0].name)
    chosen = f"(\n{column.expression}\n) AS {quoted(column.name)}, {beside}"
    return f"SELECT {chosen}\nFROM (SELECT {columns})"


def sql_type(column: Column) -> str:
    kind = column.type
    if kind == STRUCT:
        kind = f"STRUCT<{', '.join(f'{quoted(field.name)} {sql_type(field)}' for field in column.fields)}>"
    return f"ARRAY<{kind}>" if column.repeated else kind


def _said(error: exceptions.BadRequest) -> str:
    """The first line of BigQuery's own message, without the request's address."""
    for one in error.errors or ():
        if isinstance(one, dict) and one.get("message"):
            return str(one["message"]).splitlines()[0]
    return str(error.message).splitlines()[0]
