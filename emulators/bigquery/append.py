"""Rows into a table: Arrow batches checked as BigQuery checks them, then inserted as they are.

Every way in passes here: the Storage Write API, load jobs. An append is all or nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from emulators.bigquery import nested_rows
from emulators.bigquery.catalog import Table
from emulators.bigquery.nested_types import is_nested
from emulators.bigquery.store import first_line
from emulators.bigquery.table_schema import Column, quote
from emulators.bigquery.writer import Connection

MAX_ROW_ERRORS = 10_000  # reported for one append; an append has at most some hundred thousand rows
TIMESTAMP_FIRST = -62_135_596_800_000_000  # 0001-01-01 00:00:00 UTC, µs
TIMESTAMP_LAST = 253_402_300_799_999_999  # 9999-12-31 23:59:59.999999 UTC, µs
DATE_FIRST, DATE_LAST = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, days since 1970
PARTITION_PAST = dt.timedelta(days=5 * 365 + 1)
PARTITION_FUTURE = dt.timedelta(days=366)

UNREADABLE = (pa.ArrowException, OSError, ValueError, EOFError, TypeError, OverflowError)  # what pyarrow raises

_json = msgspec.json.Decoder(msgspec.Raw)


class SchemaMismatch(Exception):
    """The batch as a whole does not fit the table: an unknown column, a wrong type, a missing REQUIRED column."""


class ExtraFields(SchemaMismatch):
    """The batch has a column that the table lacks."""


class TableGone(Exception):
    """The table was dropped or recreated after the append was accepted."""


@dataclass(frozen=True)
class RowError:
    index: int
    message: str


class BadRows(Exception):
    """Some rows are invalid, so none was written."""

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
        if (reason := nested_rows.mismatch(column, arrow.type, column.name)) is not None:
            raise SchemaMismatch(reason)
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
        if is_nested(column.type):
            errors += [RowError(*found) for found in _nested_errors(column, values)]
        else:
            errors += _column_errors(column, values)
        if bounded and table.partition is not None and column.name.lower() == table.partition.lower():
            errors += _partition_errors(column, values, today)
    if errors:
        first = {error.index: error for error in sorted(errors, key=lambda error: -error.index)}
        raise BadRows(sorted(first.values(), key=lambda error: error.index)[:MAX_ROW_ERRORS])


def conformed(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Checked rows in their stored form; for flat tables that is the form they came in."""
    if not table.nested:
        return batch
    columns = [table.column(name) for name in batch.schema.names]
    arrays = [
        nested_rows.conformed(column, values) if column is not None and is_nested(column.type) else values
        for column, values in zip(columns, batch.columns, strict=True)
    ]
    return pa.record_batch(arrays, names=batch.schema.names)


def stored_rows(columns: tuple[Column, ...], rows: pa.Table) -> pa.Table:
    """The rows of a query under the names of these columns; `BadRows` for an array that a table cannot keep."""
    found: list[pa.ChunkedArray] = []
    for column, values in zip(columns, rows.columns, strict=True):
        if not is_nested(column.type):
            found.append(values)
            continue
        whole = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
        errors = [RowError(*one) for one in _nested_errors(column, whole)]
        if errors:
            raise BadRows(errors[:MAX_ROW_ERRORS])
        found.append(pa.chunked_array([nested_rows.conformed(column, whole)]))
    return pa.table(found, names=[column.name for column in columns])


def _nested_errors(column: Column, values: pa.Array) -> Iterator[tuple[int, str]]:
    def check(inner: Column, part: pa.Array) -> Iterator[tuple[int, str]]:
        return ((error.index, error.message) for error in _column_errors(inner, part))

    if column.required and values.null_count:
        yield from ((error.index, error.message) for error in _missing(column, values))
    yield from nested_rows.errors(column, values, check)


def check_rows_of(table: Table, rows: pa.Table, today: dt.date) -> None:
    """Like `check_rows`, for rows of a file, which may be in any partition; indices count through the whole file."""
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
        yield from _missing(column, values)
    if column.type == "TIMESTAMP":
        yield from _range_errors(values.cast(pa.int64()), TIMESTAMP_FIRST, TIMESTAMP_LAST, column)
    elif column.type == "DATE":
        yield from _range_errors(values.cast(pa.int32()), DATE_FIRST, DATE_LAST, column)
    elif column.type == "NUMERIC":
        yield from _numeric_errors(column, values)
    elif column.type == "JSON":
        yield from _json_errors(column, values)


def _missing(column: Column, values: pa.Array) -> Iterator[RowError]:
    return _where(values.is_null(), f"Required field {column.name} cannot be null")


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
    """Insert checked rows. Runs on the writer thread; `TableGone` if the table no longer exists."""
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
        # What failed has aborted the transaction, which forgets the name too and refuses to be asked.
        with suppress(duckdb.TransactionException):
            connection.unregister("incoming")


def insert_all(table: Table, connection: Connection, batches: list[pa.RecordBatch]) -> None:
    """Insert batches of one schema, each checked, as one statement."""
    insert(connection, table, batches[0] if len(batches) == 1 else pa.Table.from_batches(batches))


def decode(schema: pa.Schema, data: bytes) -> pa.RecordBatch:
    """One record batch from IPC bytes; `SchemaMismatch` when they are not one, or misdescribe their content."""
    try:
        batch = pa.ipc.read_record_batch(pa.py_buffer(data), schema)
        for values in batch.columns:
            nested_rows.validate(values)
    except UNREADABLE as error:
        raise SchemaMismatch(f"The serialized record batch cannot be read: {error}") from error
    return batch


def decode_schema(data: bytes) -> pa.Schema:
    """An Arrow schema from IPC bytes; `SchemaMismatch` when they are not one."""
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(data))
        _check_names(schema)
        return schema
    except UNREADABLE as error:
        raise SchemaMismatch(f"The serialized Arrow schema cannot be read: {error}") from error


def _check_names(fields: Iterable[pa.Field]) -> None:
    """Names are decoded only when they are read: UnicodeDecodeError for one that is not UTF-8."""
    for field in fields:
        _ = field.name
        _check_names([field.type.field(place) for place in range(field.type.num_fields)])
