"""`table$__PARTITIONS_SUMMARY__`: the partitions of a table as rows, which Python's `list_partitions` reads."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from emulators.bigquery.catalog import Table
from emulators.bigquery.errors import invalid
from emulators.bigquery.sql.expr import text
from emulators.bigquery.table_schema import Column, quote
from emulators.bigquery.writer import Connection

SUFFIX = "$__PARTITIONS_SUMMARY__"
COLUMNS = tuple(Column(name, "STRING") for name in ("project_id", "dataset_id", "table_id", "partition_id"))


def resource(table: Table) -> dict[str, Any]:
    """The summary as the REST API shows a table; ApiError 400 for a table without partitions."""
    if table.partition is None:
        raise invalid(f"Cannot read partition information from a table that is not partitioned: {table.title}")
    reference = {"projectId": table.project, "datasetId": table.dataset, "tableId": table.name + SUFFIX}
    return {
        "kind": "bigquery#table",
        "etag": table.etag,
        "id": table.title + SUFFIX,
        "tableReference": reference,
        "type": "TABLE",
        "location": "US",
        "schema": {"fields": [column.resource() for column in COLUMNS]},
    }


def read(connection: Connection, table: Table) -> pa.Table:
    """One row a partition, in their order."""
    day = f"coalesce(strftime({quote(table.partition or '')}, '%Y%m%d'), '__NULL__')"
    place = ", ".join(f"{text(part)} AS {column.name}" for part, column in zip(table.key, COLUMNS, strict=False))
    sql = f"SELECT {place}, {day} AS partition_id FROM {table.rows} GROUP BY ALL ORDER BY partition_id"  # noqa: S608
    return connection.sql(sql).to_arrow_table()
