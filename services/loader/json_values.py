"""The values of an Arrow column as JSON values."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_json_values(values: pa.Array) -> list[Any]:
    """One per row.

    TIMESTAMP becomes RFC 3339 in UTC, DATETIME the same without a zone, DATE YYYY-MM-DD, TIME HH:MM:SS, NUMERIC text,
    BYTES base64; a time outside the calendar becomes its number as text. A STRUCT is an object, a REPEATED column a
    list. JSON stays text: it may be what BigQuery refused, and would be refused again inside the hit.
    """
    kind = values.type
    if pa.types.is_list(kind):
        inner = to_json_values(values.flatten())
        return list(_grouped(inner, pc.list_value_length(values).fill_null(0).to_pylist()))
    if pa.types.is_struct(kind):
        parts = {field.name: to_json_values(part) for field, part in zip(kind, values.flatten(), strict=True)}
        there = values.is_valid().to_pylist()
        return [
            {name: part[index] for name, part in parts.items()} if there[index] else None
            for index in range(len(values))
        ]
    if pa.types.is_binary(kind):
        return [None if value is None else b64encode(value).decode() for value in values.to_pylist()]
    if pa.types.is_time64(kind):
        return [None if value is None else value.isoformat() for value in values.to_pylist()]
    if pa.types.is_timestamp(kind) and kind.tz is None:
        microseconds = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return [None if value is None else _timestamp(value).removesuffix("Z") for value in microseconds.to_pylist()]
    if pa.types.is_timestamp(kind):
        microseconds = values.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.int64())
        return [None if value is None else _timestamp(value) for value in microseconds.to_pylist()]
    if pa.types.is_date32(kind):
        return [None if value is None else _date(value) for value in values.cast(pa.int32()).to_pylist()]
    if pa.types.is_decimal(kind):
        return [None if value is None else f"{value:f}" for value in values.to_pylist()]
    if pa.types.is_floating(kind):
        return [_number(value) for value in values.to_pylist()]
    if pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return list(values.to_pylist())
    # A type of a newer processor, whose values may have no JSON form.
    return [None if value is None else str(value) for value in values.to_pylist()]


def _grouped(values: list[Any], lengths: list[int]) -> Iterator[list[Any]]:
    start = 0
    for length in lengths:
        yield values[start : start + length]
        start += length


def _timestamp(microseconds: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return str(microseconds)


def _date(days: int) -> str:
    try:
        return date.fromordinal(_EPOCH.toordinal() + days).isoformat()
    except (OverflowError, ValueError):
        return str(days)


def _number(value: float | None) -> float | str | None:
    return value if value is None or value - value == 0 else str(value)  # JSON has no NaN or infinity
