"""Rows as the REST API writes them: {"f": [{"v": …}]}, every value a string, null or a list."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from services.local.bigquery.errors import invalid_query
from services.local.bigquery.sql.expr import element, is_array

Encode = Callable[[Any], str]


def encode(rows: pa.Table, types: Sequence[str], *, int64_timestamps: bool) -> list[dict[str, Any]]:
    """All rows of an Arrow table whose columns have these BigQuery types."""
    columns = [_column(column, type_, int64_timestamps) for column, type_ in zip(rows.columns, types, strict=True)]
    if not columns:
        return [{"f": []} for _ in range(rows.num_rows)]
    return [{"f": [{"v": value} for value in row]} for row in zip(*columns, strict=True)]


def _column(column: pa.ChunkedArray, type_: str, int64_timestamps: bool) -> list[Any]:
    if is_array(type_):
        one = encoder(element(type_), int64_timestamps)
        inner = _plain(element(type_))
        return [_array(items, one) for items in _cast_lists(column, inner)]
    plain = _plain(type_)
    values: list[Any] = (column.cast(plain) if plain is not None else column).to_pylist()
    if type_ in ("STRING", "JSON"):
        return values
    one = encoder(type_, int64_timestamps)
    return [None if value is None else one(value) for value in values]


def _plain(type_: str) -> pa.DataType | None:
    """Timestamps as integers: Python's own would be slow and need a time zone's data."""
    return pa.int64() if type_ == "TIMESTAMP" else None


def _cast_lists(column: pa.ChunkedArray, inner: pa.DataType | None) -> list[Any]:
    return list((column if inner is None else column.cast(pa.list_(inner))).to_pylist())


def _array(items: list[Any] | None, one: Encode) -> list[dict[str, str]]:
    """BigQuery keeps no difference between a NULL array and an empty one, and no NULL in arrays."""
    if items is not None and any(item is None for item in items):
        raise invalid_query("Array cannot have a null element; error in writing field")
    return [{"v": one(item)} for item in items or []]


def encoder(type_: str, int64_timestamps: bool) -> Encode:
    """From the Python value of one cell to its text."""
    encoders: dict[str, Encode] = {
        "BYTES": lambda value: base64.b64encode(value).decode(),
        "FLOAT64": _float,
        "NUMERIC": _numeric,
        "BOOL": lambda value: "true" if value else "false",
        "DATE": lambda value: str(value.isoformat()),
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
