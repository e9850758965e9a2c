"""Rows into a table: Arrow batches checked as BigQuery checks them, then inserted as they are.

Every way in passes here: the Storage Write API, load jobs. An append is all or nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from services.local.bigquery.catalog import Table
from services.local.bigquery.columns import ARROW, Column, quote
from services.local.bigquery.store import first_line
from services.local.bigquery.writer import Connection

MAX_ROW_ERRORS = 10_000  # reported for one append; an append has at most some hundred thousand rows
TIMESTAMP_FIRST = -62_135_596_800_000_000  # 0001-01-01 00:00:00 UTC, µs
TIMESTAMP_LAST = 253_402_300_799_999_999  # 9999-12-31 23:59:59.999999 UTC, µs
DATE_FIRST, DATE_LAST = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, days since 1970
PARTITION_PAST = dt.timedelta(days=5 * 365 + 1)
PARTITION_FUTURE = dt.timedelta(days=366)
SAME = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}

_json = msgspec.json.Decoder(msgspec.Raw)


class SchemaMismatch(Exception):
    """The batch as a whole does not fit the table: an unknown column, a wrong type, a missing REQUIRED column."""


class ExtraFields(SchemaMismatch):
    """It has a column that the table has not."""


class TableGone(Exception):
    """The table was dropped, or replaced by another of its name, since the append was accepted."""


@dataclass(frozen=True)
class RowError:
    index: int
    message: str


class BadRows(Exception):
    """Some rows cannot be written, so none was."""

    def __init__(self, errors: list[RowError]) -> None:
        super().__init__(f"{len(errors)} rows cannot be written; the first, row {errors[0].index}: {errors[0].message}")
        self.errors = errors


def check_schema(table: Table, schema: pa.Schema) -> None:
    """Raise `SchemaMismatch` unless batches of this Arrow schema can go into the table."""
    seen: set[str] = set()
    for arrow in schema:
        column = table.column(arrow.name)
        if column is None:
            raise ExtraFields(f"Input schema has more fields than BigQuery schema, extra fields: '{arrow.name}'")
        if column.name in seen:
            raise SchemaMismatch(f"Input schema names the field '{arrow.name}' twice")
        seen.add(column.name)
        if SAME.get(arrow.type, arrow.type) != ARROW[column.type]:
            raise SchemaMismatch(
                f"Field '{column.name}' has BigQuery type {column.type}, which takes Arrow type "
                f"{ARROW[column.type]}, and was sent as {arrow.type}"
            )
    for column in table.columns:
        if column.required and column.name not in seen:
            raise SchemaMismatch(f"The required field '{column.name}' is missing in the input schema")


def check_rows(table: Table, batch: pa.RecordBatch, today: dt.date, *, bounded: bool = True) -> None:
    """Raise `BadRows` naming every row BigQuery would refuse. `bounded` checks the partition column's window too."""
    errors: list[RowError] = []
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        column = table.column(name)
        if column is None:
            raise SchemaMismatch(f"no such field: {name}")
        errors += _column_errors(column, values)
        if bounded and table.partition is not None and column.name.lower() == table.partition.lower():
            errors += _partition_errors(column, values, today)
    if errors:
        first = {error.index: error for error in sorted(errors, key=lambda error: -error.index)}
        raise BadRows(sorted(first.values(), key=lambda error: error.index)[:MAX_ROW_ERRORS])


def check_rows_of(table: Table, rows: pa.Table, today: dt.date) -> None:
    """The same for rows of a file, which may lie in any partition; indices count through the whole file."""
    start = 0
    for batch in rows.to_batches():
        try:
            check_rows(table, batch, today, bounded=False)
        except BadRows as bad:
            raise BadRows([RowError(error.index + start, error.message) for error in bad.errors]) from bad
        start += batch.num_rows


def _where(mask: pa.Array, message: str) -> Iterator[RowError]:
    for index in pc.indices_nonzero(mask.fill_null(False)).to_pylist():
        yield RowError(index, message)


def _column_errors(column: Column, values: pa.Array) -> Iterator[RowError]:
    if column.required and values.null_count:
        yield from _where(values.is_null(), f"Required field {column.name} cannot be null")
    if column.type == "TIMESTAMP":
        yield from _range_errors(values.cast(pa.int64()), TIMESTAMP_FIRST, TIMESTAMP_LAST, column)
    elif column.type == "DATE":
        yield from _range_errors(values.cast(pa.int32()), DATE_FIRST, DATE_LAST, column)
    elif column.type == "NUMERIC":
        yield from _numeric_errors(column, values)
    elif column.type == "JSON":
        yield from _json_errors(column, values)


def _range_errors(numbers: pa.Array, first: int, last: int, column: Column) -> Iterator[RowError]:
    outside = pc.or_(pc.less(numbers, first), pc.greater(numbers, last))
    yield from _where(outside, f"Field {column.name}: value is out of the range of {column.type}")


def _numeric_errors(column: Column, values: pa.Array) -> Iterator[RowError]:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        for index in range(len(values)):
            try:
                values.slice(index, 1).validate(full=True)
            except pa.ArrowInvalid:
                yield RowError(index, f"Field {column.name}: value is out of the range of NUMERIC")


def _json_errors(column: Column, values: pa.Array) -> Iterator[RowError]:
    for index, text in enumerate(values.cast(pa.large_binary()).to_pylist()):
        if text is None:
            continue
        try:
            _json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            yield RowError(index, f"Field {column.name}: value is not valid JSON: {error}")


def _partition_errors(column: Column, values: pa.Array, today: dt.date) -> Iterator[RowError]:
    first, last = today - PARTITION_PAST, today + PARTITION_FUTURE
    days = values.cast(pa.timestamp("us")).cast(pa.date32(), safe=False) if column.type == "TIMESTAMP" else values
    outside = pc.or_(pc.less(days, pa.scalar(first)), pc.greater(days, pa.scalar(last)))
    message = (
        f"The value of partition column {column.name} is outside the allowed bounds: "
        f"at most 5 years in the past and 1 year in the future"
    )
    yield from _where(outside, message)


def insert(connection: Connection, table: Table, batch: pa.RecordBatch | pa.Table) -> None:
    """Insert checked rows. Runs on the writer thread; `TableGone` when the table is no longer there."""
    columns = ", ".join(quote(column.name) for name in batch.schema.names if (column := table.column(name)))
    given = ", ".join(quote(name) for name in batch.schema.names)
    connection.register("incoming", batch)
    try:
        connection.execute(f"INSERT INTO {table.rows} ({columns}) SELECT {given} FROM incoming")  # noqa: S608 - quoted
    except duckdb.CatalogException as error:
        raise TableGone(table.title) from error
    except duckdb.ConversionException as error:
        raise SchemaMismatch(first_line(error)) from error
    finally:
        connection.unregister("incoming")


def insert_all(table: Table, connection: Connection, batches: list[pa.RecordBatch]) -> None:
    """Insert batches of one schema, each checked, as one statement."""
    insert(connection, table, batches[0] if len(batches) == 1 else pa.Table.from_batches(batches))


def decode(schema: pa.Schema, data: bytes) -> pa.RecordBatch:
    """One record batch from IPC bytes; `SchemaMismatch` when they are not one, or lie about their content."""
    try:
        batch = pa.ipc.read_record_batch(pa.py_buffer(data), schema)
        for values in batch.columns:
            if not pa.types.is_decimal(values.type):  # decimals out of range are row errors, told apart later
                values.validate(full=True)
            else:
                values.validate()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SchemaMismatch(f"The serialized record batch cannot be read: {error}") from error
    return batch


def decode_schema(data: bytes) -> pa.Schema:
    try:
        return pa.ipc.read_schema(pa.py_buffer(data))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SchemaMismatch(f"The serialized Arrow schema cannot be read: {error}") from error
