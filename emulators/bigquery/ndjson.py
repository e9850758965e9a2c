"""Newline-delimited JSON to Arrow columns, each value parsed as its column's type, never through a float."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
import zlib
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

import msgspec
import pyarrow as pa

from emulators.bigquery.nested_rows import item_of
from emulators.bigquery.nested_types import arrow_type, is_array
from emulators.bigquery.table_schema import Column

MAX_LINE = 100 * 1024 * 1024  # bytes, BigQuery's limit for a row of JSON
MAX_SECONDS = 2**63 // 1_000_000  # what a TIMESTAMP's 64 bits of microseconds hold
MAX_UNPACKED = 512 * 1024 * 1024  # bytes of a file that came as gzip
_GZIP = b"\x1f\x8b"
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
INTEGER = re.compile(r"[+-]?\d{1,19}")
DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
CLOCK = re.compile(r"\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?")
CIVIL = re.compile(rf"\d{{4}}-\d{{2}}-\d{{2}}(?:[ Tt]{CLOCK.pattern})?")
TIMESTAMP = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[ Tt](\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,6}))?)?"
    r"\s*(?:Z|z|UTC|([+-])(\d{1,2})(?::(\d{2}))?)?"
)
FLOATS = {"nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"}

_exact = Context(prec=100, rounding=ROUND_HALF_UP)
_row = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder()


class BadLine(Exception):
    """A line that is not a row of the table; `row` counts from 1."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(f"Row {row}: {message}")


def read(data: bytes, columns: tuple[Column, ...], *, ignore_unknown: bool) -> pa.Table:
    """All rows, with every column of the table; raises `BadLine` for the first that is wrong."""
    known = {column.name.lower(): index for index, column in enumerate(columns)}
    readers = [_reader(column, ignore_unknown) for column in columns]
    values: list[list[Any]] = [[] for _ in columns]
    for number, line in _lines(data):
        try:
            given = _row.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadLine(number, f"this is not a JSON object: {error}") from error
        row: list[Any] = [[] if is_array(column.type) else None for column in columns]
        for name, raw in given.items():
            index = known.get(name.lower())
            if index is None:
                if ignore_unknown:
                    continue
                raise BadLine(number, f"No such field: {name}.")
            value = _value(number, columns[index], readers[index], bytes(raw))
            row[index] = [] if value is None and is_array(columns[index].type) else value
        for column, value, held in zip(columns, row, values, strict=True):
            if value is None and column.required:
                raise BadLine(number, f"Missing required field: {column.name}.")
            held.append(value)
    arrays = [pa.array(held, arrow_type(column.type)) for column, held in zip(columns, values, strict=True)]
    return pa.table(arrays, names=[column.name for column in columns])


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    if data.startswith(_GZIP):
        data = _unpacked(data)
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            if len(line) > MAX_LINE:
                raise BadLine(number, f"the line is longer than {MAX_LINE} bytes")
            yield number, line


def _unpacked(data: bytes) -> bytes:
    """The contents of a gzip file, which BigQuery recognizes by its first bytes."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        found = unpacker.decompress(data, MAX_UNPACKED)
    except zlib.error as error:
        raise BadLine(1, f"the gzip file cannot be read: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise BadLine(1, f"the gzip file is cut short, has a second part, or unpacks to over {MAX_UNPACKED} bytes")
    return found


def _value(number: int, column: Column, reader: Callable[[bytes], Any], raw: bytes) -> Any:
    if raw.strip() == b"null":
        return None
    try:
        return reader(raw)
    except (ValueError, OverflowError, InvalidOperation, binascii.Error, RecursionError) as error:
        shown = raw[:100].decode(errors="replace")
        raise BadLine(
            number, f"Could not convert value {shown} of field {column.name} to {column.type}: {error}"
        ) from None


def _reader(column: Column, ignore_unknown: bool) -> Callable[[bytes], Any]:
    """From the JSON text of a value, which is not null, to what Arrow takes for the column."""
    if is_array(column.type):
        one = _reader(item_of(column), ignore_unknown)
        return lambda raw: [_item(item, one) for item in _items.decode(raw)]
    if column.fields:
        parts = {field.name.lower(): (field, _reader(field, ignore_unknown)) for field in column.fields}
        return lambda raw: _record(column, parts, _row.decode(raw), ignore_unknown)
    return READERS[column.type]


def _item(raw: msgspec.Raw, one: Callable[[bytes], Any]) -> Any:
    if bytes(raw).strip() == b"null":
        raise ValueError("an array cannot have a null element")
    return one(bytes(raw))


def _record(
    column: Column,
    parts: dict[str, tuple[Column, Callable[[bytes], Any]]],
    given: dict[str, msgspec.Raw],
    ignore_unknown: bool,
) -> dict[str, Any]:
    found: dict[str, Any] = {field.name: [] if is_array(field.type) else None for field, _ in parts.values()}
    for name, raw in given.items():
        if name.lower() not in parts:
            if ignore_unknown:
                continue
            raise ValueError(f"No such field: {column.name}.{name}.")
        field, reader = parts[name.lower()]
        if bytes(raw).strip() != b"null":
            found[field.name] = reader(bytes(raw))
    for field, _ in parts.values():
        if field.required and found[field.name] is None:
            raise ValueError(f"Missing required field: {column.name}.{field.name}.")
    return found


def scalar(raw: bytes) -> str:
    """The text of a string, a number or a boolean; numbers as they were written."""
    text = raw.strip()
    if text.startswith(b'"'):
        return str(_any.decode(text))
    if text[:1] in b"{[":
        raise ValueError("an object or array where a single value is expected")
    _any.decode(text)
    return text.decode()


def _integer(raw: bytes) -> int:
    text = scalar(raw)
    if not INTEGER.fullmatch(text):
        raise ValueError("not an integer")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError("out of the range of INT64")
    return value


def _float(raw: bytes) -> float:
    text = scalar(raw)
    value = float(text) if "_" not in text else float("x")
    if value in (float("inf"), float("-inf")) and text.strip().lower() not in FLOATS:
        raise ValueError("out of the range of FLOAT64")
    return value


def _numeric(raw: bytes) -> Decimal:
    text = scalar(raw)
    value = Decimal(text) if "_" not in text else Decimal("nan")
    if not value.is_finite():
        raise ValueError("not a number")
    rounded = value.quantize(Decimal("1e-9"), context=_exact)
    if abs(rounded) >= Decimal(10) ** 29:
        raise ValueError("out of the range of NUMERIC")
    return rounded


def _boolean(raw: bytes) -> bool:
    text = scalar(raw).lower()
    if text not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text == "true"


def _date(raw: bytes) -> dt.date:
    matched = DATE.fullmatch(scalar(raw))
    if matched is None:
        raise ValueError("a date is written YYYY-MM-DD")
    return dt.date(*(int(part) for part in matched.groups()))


def _timestamp(raw: bytes) -> int:
    """Microseconds since 1970. Whole numbers are seconds, as BigQuery takes them."""
    text = scalar(raw)
    if INTEGER.fullmatch(text):
        if abs(int(text)) > MAX_SECONDS:
            raise ValueError("out of the range of TIMESTAMP")
        return int(text) * 1_000_000
    matched = TIMESTAMP.fullmatch(text)
    if matched is None:
        raise ValueError("a timestamp is written YYYY-MM-DD HH:MM:SS.ffffff and a zone, or as whole seconds")
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = matched.groups()
    moment = dt.datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=dt.UTC
    )
    offset = int(zone_hours or 0) * 3600 + int(zone_minutes or 0) * 60
    seconds = (moment - EPOCH) // dt.timedelta(seconds=1) - (-offset if sign == "-" else offset)
    return seconds * 1_000_000 + int((fraction or "0").ljust(6, "0"))


def _civil(raw: bytes) -> dt.datetime:
    text = scalar(raw)
    if CIVIL.fullmatch(text) is None:
        raise ValueError("a datetime is written YYYY-MM-DD HH:MM:SS.ffffff, without a zone")
    return dt.datetime.fromisoformat(text)


def _clock(raw: bytes) -> dt.time:
    text = scalar(raw)
    if CLOCK.fullmatch(text) is None:
        raise ValueError("a time is written HH:MM:SS.ffffff")
    return dt.time.fromisoformat(text)


def _json(raw: bytes) -> str:
    _any.decode(raw)
    return raw.strip().decode()


def _bytes(raw: bytes) -> bytes:
    return base64.b64decode(scalar(raw), validate=True)


READERS: dict[str, Callable[[bytes], Any]] = {
    "STRING": scalar,
    "BYTES": _bytes,
    "INT64": _integer,
    "FLOAT64": _float,
    "NUMERIC": _numeric,
    "BOOL": _boolean,
    "DATE": _date,
    "DATETIME": _civil,
    "TIME": _clock,
    "TIMESTAMP": _timestamp,
    "JSON": _json,
}
