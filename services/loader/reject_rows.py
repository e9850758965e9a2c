"""Turns rows that BigQuery refuses into rows of `rejects`, whatever columns the schema file gives that table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from services.loader.json_values import to_json_values
from services.shared import rows
from services.shared.schema import Column, Source, Table

STAGE = "loader"
MAX_DETAIL = 1_024  # characters
MAX_HIT_BYTES = 1_000_000  # of the JSON of one row; a longer one has its texts cut
CUT = 256  # characters such a text keeps


def build(batch: pa.RecordBatch, table: Table, rejects: Table, reason: str, details: Sequence[str]) -> pa.RecordBatch:
    """One row of `rejects` for each row of `batch`, a batch of `table`; `details` says what is wrong with each.

    A column is filled by its sources: `reject.*` from here, any other from the row's own column of that source where
    `table` has one of the same type; where this schema file does not know the table, and `table` has no columns, from
    the row's own column of the same name. What has no value is NULL, also where the column is REQUIRED: BigQuery then
    refuses the row, and the loader gives up its pack.
    """
    found = {name: to_json_values(batch.column(name)) for name in batch.schema.names}
    facts: dict[str, list[str | None]] = {
        "stage": [STAGE] * batch.num_rows,
        "table": [table.name] * batch.num_rows,
        "reason": [reason] * batch.num_rows,
        "detail": [detail[:MAX_DETAIL] for detail in details],
        "hit": [_object({name: found[name][row] for name in found}) for row in range(batch.num_rows)],
    }
    schema = rows.arrow_schema(rejects)
    arrays = [_fill(column, schema.field(column.name).type, batch, table, facts) for column in rejects.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _fill(
    column: Column, kind: pa.DataType, batch: pa.RecordBatch, table: Table, facts: dict[str, list[str | None]]
) -> pa.Array:
    found = []
    for source in column.sources:
        if source.namespace != "reject":
            found.append(_own(column, source, kind, batch, table))
        elif source.name in facts:
            found.append(pa.array(facts[source.name], kind))
    return pc.coalesce(*(values for values in found if values is not None), pa.nulls(batch.num_rows, kind))


def _own(filled: Column, source: Source, kind: pa.DataType, batch: pa.RecordBatch, table: Table) -> pa.Array | None:
    column = table.column_from(str(source)) if table.columns else filled
    if column is None or column.name not in batch.schema.names:
        return None
    values = batch.column(column.name)
    return values if values.type == kind else None


def _object(row: dict[str, Any]) -> str:
    text = msgspec.json.encode({name: value for name, value in row.items() if value is not None})
    if len(text) > MAX_HIT_BYTES:
        cut = {name: value[:CUT] if isinstance(value, str) else value for name, value in row.items()}
        text = msgspec.json.encode({name: value for name, value in cut.items() if value is not None})
    return text.decode()
