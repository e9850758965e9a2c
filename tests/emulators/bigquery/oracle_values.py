"""Values and types between Python and the protobufs of GoogleSQL's local service."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Context, Decimal
from typing import Any

from emulators.bigquery.nested_types import members

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def type_of(name: str) -> Any:
    from zetasql.wasi._pb2.zetasql.public import type_pb2

    if name.startswith("ARRAY<"):
        return type_pb2.TypeProto(
            type_kind=type_pb2.TYPE_ARRAY, array_type=type_pb2.ArrayTypeProto(element_type=type_of(name[6:-1]))
        )
    if name.startswith("STRUCT<"):
        fields = [
            type_pb2.StructFieldProto(field_name=field, field_type=type_of(type_)) for field, type_ in members(name)
        ]
        return type_pb2.TypeProto(type_kind=type_pb2.TYPE_STRUCT, struct_type=type_pb2.StructTypeProto(field=fields))
    kind = {"FLOAT64": "DOUBLE"}.get(name, name)
    return type_pb2.TypeProto(type_kind=type_pb2.TypeKind.Value(f"TYPE_{kind}"))


def encode(type_: str, value: Any) -> Any:
    from zetasql.wasi._pb2.zetasql.public import value_pb2

    found = value_pb2.ValueProto()
    if value is None:
        return found
    match type_:
        case "DATE":
            found.date_value = (value - EPOCH.date()).days
        case "TIMESTAMP":
            micros = (value - EPOCH) // dt.timedelta(microseconds=1)
            found.timestamp_value.seconds, rest = divmod(micros, 1_000_000)
            found.timestamp_value.nanos = rest * 1000
        case "NUMERIC":
            scaled = int(value.scaleb(9, Context(prec=60)))
            found.numeric_value = scaled.to_bytes(scaled.bit_length() // 8 + 1, "little", signed=True)
        case "DATETIME":
            found.datetime_value.bit_field_datetime_seconds = _packed(value.date()) << 17 | _packed(value.time())
            found.datetime_value.nanos = value.microsecond * 1000
        case "TIME":
            found.time_value = _packed(value) << 30 | value.microsecond * 1000
        case "JSON":
            found.json_value = value
        case "FLOAT64":
            found.double_value = value
        case _:
            setattr(found, f"{type_.lower()}_value", value)
    return found


def decode(type_: Any, cell: Any) -> Any:
    kind = cell.WhichOneof("value")
    if kind is None:
        return None
    value = getattr(cell, kind)
    match kind:
        case "array_value":
            return [decode(type_.array_type.element_type, item) for item in value.element]
        case "struct_value":
            fields = zip(type_.struct_type.field, value.field, strict=True)
            return {field.field_name: decode(field.field_type, item) for field, item in fields}
        case "date_value":
            return EPOCH.date() + dt.timedelta(days=value)
        case "timestamp_value":
            return EPOCH + dt.timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
        case "numeric_value":
            whole = int.from_bytes(value, "little", signed=True)
            return Decimal(whole).scaleb(-9, Context(prec=60))
        case "datetime_value":
            packed = value.bit_field_datetime_seconds
            day = dt.date(packed >> 26, packed >> 22 & 15, packed >> 17 & 31)
            return dt.datetime.combine(day, _time(packed, value.nanos))
        case "time_value":
            return _time(value >> 30, value & (1 << 30) - 1)
        case "json_value":
            return json.loads(value)
    return value


def _packed(value: dt.date | dt.time) -> int:
    """A day or a time to the second in the bits of googlesql/public/civil_time.h."""
    if isinstance(value, dt.date):
        return value.year << 9 | value.month << 5 | value.day
    return value.hour << 12 | value.minute << 6 | value.second


def _time(packed: int, nanos: int) -> dt.time:
    return dt.time(packed >> 12 & 31, packed >> 6 & 63, packed & 63, nanos // 1000)
