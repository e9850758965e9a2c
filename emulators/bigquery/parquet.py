"""Parquet files to Arrow columns of a table's types, without ever losing part of a value."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from emulators.bigquery import nested_rows
from emulators.bigquery.nested_types import array_of, arrow_type, is_array, is_nested
from emulators.bigquery.table_schema import Column, of_type, record


class BadFile(Exception):
    """The file cannot be read, or its columns do not fit the table."""


def read(data: bytes) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(data), use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadFile(f"the Parquet file cannot be read: {error}") from error


def described(table: pa.Table, *, lists: bool) -> tuple[Column, ...]:
    """The columns BigQuery would make of the file; `BadFile` for types it has no equal of here.

    `lists` is parquetOptions.enableListInference: whether a list is a REPEATED field.
    """
    return tuple(_column(field, lists) for field in table.schema)


def _column(field: pa.Field, lists: bool) -> Column:
    kind = field.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if not lists:
            raise BadFile(
                f"column {field.name} is a list: the local BigQuery emulator loads lists with "
                "parquetOptions.enableListInference only"
            )
        item = _column(pa.field(field.name, kind.value_type), lists)
        if is_array(item.type):
            raise BadFile(f"column {field.name} is a list of lists, which no column can be")
        return record(field.name, item.fields, "REPEATED") if item.fields else of_type(field.name, array_of(item.type))
    if pa.types.is_struct(kind):
        if not kind.num_fields:
            raise BadFile(f"column {field.name} is a struct without fields")
        mode = "NULLABLE" if field.nullable else "REQUIRED"
        return record(field.name, tuple(_column(inner, lists) for inner in kind), mode)
    return Column(field.name, _type(field), not field.nullable)


def _type(field: pa.Field) -> str:
    kind = field.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return "STRING"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "BYTES"
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return "INT64"
    if pa.types.is_floating(kind):
        return "FLOAT64"
    if pa.types.is_boolean(kind):
        return "BOOL"
    if kind == pa.date32():
        return "DATE"
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return "TIMESTAMP"
    if pa.types.is_decimal128(kind) and kind.scale <= 9 and kind.precision - kind.scale <= 29:
        return "NUMERIC"
    raise BadFile(f"column {field.name} has the type {kind}, which no column here can have")


def fitted(table: pa.Table, columns: tuple[Column, ...], *, ignore_unknown: bool, lists: bool) -> pa.Table:
    """The file's columns as the table's types, in the table's order; `BadFile` when they do not fit."""
    named = {column.name.lower(): column for column in columns}
    given: dict[str, pa.ChunkedArray] = {}
    for field, values in zip(table.schema, table.columns, strict=True):
        column = named.get(field.name.lower())
        if column is None:
            if ignore_unknown:
                continue
            raise BadFile(f"Provided Schema does not match Table. Cannot add fields (field: {field.name})")
        if column.name in given:
            raise BadFile(f"column {column.name} is in the file twice")
        given[column.name] = (
            _nested(field, column, values, lists) if is_nested(column.type) else _converted(field, column, values)
        )
    for column in columns:
        if column.required and column.name not in given:
            raise BadFile(f"Required field {column.name} is missing in the file")
    kept = [column for column in columns if column.name in given]
    return pa.table([given[column.name] for column in kept], names=[column.name for column in kept])


def _nested(field: pa.Field, column: Column, values: pa.ChunkedArray, lists: bool) -> pa.ChunkedArray:
    """A list or a struct as the column has it."""
    _column(field, lists)
    try:
        plain = values.cast(_widened(field.type))
    except pa.ArrowException as error:
        raise BadFile(f"column {column.name} does not fit {column.type}: {error}") from error
    if (reason := nested_rows.mismatch(column, plain.type, column.name)) is not None:
        raise BadFile(reason)
    chunks = [nested_rows.conformed(column, chunk) for chunk in plain.chunks]
    return pa.chunked_array(chunks, arrow_type(column.type))


def _widened(kind: pa.DataType) -> pa.DataType:
    """The Arrow type of what BigQuery makes of a Parquet type."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_widened(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_widened(field.type)) for field in kind])
    return arrow_type(_type(pa.field("", kind)))


def _converted(field: pa.Field, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    found = _type(field)
    if column.type == "JSON":
        raise BadFile(f"Unsupported field type: JSON (field: {column.name}); BigQuery reads it from CSV, Avro or JSON")
    alike = {("INT64", "FLOAT64"), ("INT64", "NUMERIC")}
    if found != column.type and (found, column.type) not in alike:
        raise BadFile(f"Field {column.name} has changed type from {column.type} to {found}")
    try:
        return values.cast(arrow_type(column.type))
    except pa.ArrowException as error:
        raise BadFile(f"column {column.name} does not fit {column.type}: {error}") from error
