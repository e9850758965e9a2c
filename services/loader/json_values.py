"""The values of an Arrow column as JSON values."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_json_values(values: pa.Array) -> list[Any]:
    """One per row.

    TIMESTAMP becomes RFC 3339 in UTC, DATE YYYY-MM-DD, NUMERIC text; a time outside the calendar becomes its number as
    text. JSON stays text: it may be what BigQuery refused, and would be refused again inside the hit.
    """
    kind = values.type
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
