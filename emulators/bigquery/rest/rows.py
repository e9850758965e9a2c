"""Rows as the REST API writes them: {"f": [{"v": …}]}, every value a string, null or a list."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from emulators.bigquery.errors import invalid_query
from emulators.bigquery.nested_types import element, is_array, is_struct, label, leaves, members

Encode = Callable[[Any], Any]


def encode(rows: pa.Table, types: Sequence[str], *, int64_timestamps: bool) -> list[dict[str, Any]]:
    """All rows of an Arrow table whose columns have these BigQuery types."""
    columns = [_column(column, type_, int64_timestamps) for column, type_ in zip(rows.columns, types, strict=True)]
    if not columns:
        return [{"f": []} for _ in range(rows.num_rows)]
    return [{"f": [{"v": value} for value in row]} for row in zip(*columns, strict=True)]


def _column(column: pa.ChunkedArray, type_: str, int64_timestamps: bool) -> list[Any]:
    # Timestamps as integers: Python's own would be slow and need a time zone's data.
    plain = _plain(column.type) if "TIMESTAMP" in leaves(type_) else column.type
    values: list[Any] = (column if plain == column.type else column.cast(plain)).to_pylist()
    if type_ in ("STRING", "JSON"):
        return values
    one = encoder(type_, int64_timestamps)
    if is_array(type_):
        return [one(value) for value in values]
    return [None if value is None else one(value) for value in values]


def _plain(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        return pa.int64()
    if pa.types.is_list(type_):
        return pa.list_(_plain(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(_plain(field.type)) for field in type_])
    return type_


def _array(type_: str, int64_timestamps: bool) -> Encode:
    """BigQuery keeps no difference between a NULL array and an empty one, and no NULL in arrays."""
    one = encoder(element(type_), int64_timestamps)

    def encode_items(items: list[Any] | None) -> list[dict[str, Any]]:
        if items is not None and any(item is None for item in items):
            raise invalid_query("Array cannot have a null element; error in writing field")
        return [{"v": one(item)} for item in items or []]

    return encode_items


def _struct(type_: str, int64_timestamps: bool) -> Encode:
    parts = [
        (label(place, name), encoder(member, int64_timestamps), is_array(member))
        for place, (name, member) in enumerate(members(type_))
    ]

    def encode_fields(value: dict[str, Any]) -> dict[str, Any]:
        given = ((value[name], one, repeated) for name, one, repeated in parts)
        return {"f": [{"v": one(item) if item is not None or repeated else None} for item, one, repeated in given]}

    return encode_fields


def encoder(type_: str, int64_timestamps: bool) -> Encode:
    """From the Python value of one cell to its JSON value."""
    if is_array(type_):
        return _array(type_, int64_timestamps)
    if is_struct(type_):
        return _struct(type_, int64_timestamps)
    encoders: dict[str, Encode] = {
        "BYTES": lambda value: base64.b64encode(value).decode(),
        "FLOAT64": _float,
        "NUMERIC": _numeric,
        "BOOL": lambda value: "true" if value else "false",
        "DATE": lambda value: str(value.isoformat()),
        "DATETIME": lambda value: str(value.isoformat()),
        "TIME": lambda value: str(value.isoformat()),
        "TIMESTAMP": str if int64_timestamps else _seconds,
    }
    return encoders.get(type_, str)


def _float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _numeric(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _seconds(micros: int) -> str:
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    return f"{sign}{micros // 1_000_000}.{micros % 1_000_000:06d}"
