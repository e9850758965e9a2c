"""Makes typed values of what clients send: exactly what is written here is accepted, the rest is refused with a reason.

| type | accepted as text (white space around it is ignored) | accepted as JSON |
| --- | --- | --- |
| STRING | any text, kept as it is | a string; a number or boolean as its text |
| INT64 | digits with an optional sign, within 64 bits | an integer |
| FLOAT64 | a decimal number with an optional exponent, finite | a number |
| BOOL | true false 1 0 yes no on off, in any case | a boolean; 1 or 0 |
| TIMESTAMP | RFC 3339 with `Z` or an offset; Unix time of 10 digits (s, 6 decimals at most), 13 (ms), 16 (µs) | same |
| DATE | YYYY-MM-DD | same |
| NUMERIC | a decimal number, at most 29 digits before the point and 9 after | a number |
| JSON | JSON, nested 490 levels at most | any value |

An empty text and a JSON null are no value at all. Nothing is rounded, cut or guessed: a time without a zone, a
fraction for an integer, a tenth decimal are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Any

import msgspec

from services.shared import nesting

WRONG_TYPE = "wrong_type"
OUT_OF_RANGE = "out_of_range"

_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NUMERIC = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_UNIX_SCALE = {10: 1_000_000, 13: 1_000, 16: 1}  # microseconds by the number of digits
_UNIX_FRACTION = re.compile(r"[0-9]{10}\.[0-9]{1,6}")
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})"
)
_NO_ZONE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.]+)?")
_LOST_PLUS = re.compile(r".*[0-9] [0-9]{2}:?[0-9]{2}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BOOLS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_KINDS = {bool: "a boolean", int: "a number", Decimal: "a number", dict: "an object", list: "an array", str: "a text"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_INT64_DIGITS = 19
_BILLIONTH = Decimal("1e-9")
_NUMERIC_CONTEXT = Context(prec=60)

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Invalid(Exception):
    """A value that is not what its column wants: a reason of the fixed set, and words for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def decode_json(text: str | bytes) -> Any:
    """JSON with numbers kept exact: integers of any size, the others as Decimal. Raises Invalid."""
    try:
        found = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Invalid(WRONG_TYPE, f"not JSON: {error}") from error
    except InvalidOperation as error:
        raise Invalid(WRONG_TYPE, "JSON with a number beyond any decimal") from error
    except RecursionError as error:
        raise Invalid(WRONG_TYPE, "JSON nested too deeply") from error
    if nesting.too_deep(text if isinstance(text, bytes) else text.encode()):
        raise Invalid(WRONG_TYPE, "JSON nested too deeply")
    return found


def encode_json(value: Any) -> str:
    """The JSON text of what `decode_json` gave."""
    return _encoder.encode(value).decode()


def string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return str(value)
    raise Invalid(WRONG_TYPE, f"{_kind(value)} is no STRING; a JSON column takes it")


def int64(value: Any) -> int:
    if isinstance(value, str):
        text = value.strip()
        if not _INTEGER.fullmatch(text):
            raise Invalid(WRONG_TYPE, "not a whole number")
        if len(text.lstrip("+-0")) > _INT64_DIGITS:
            raise Invalid(OUT_OF_RANGE, "more than 64 bits")
        value = int(text)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid(WRONG_TYPE, f"{_kind(value)} is not a whole number")
    if not -(2**63) <= value < 2**63:
        raise Invalid(OUT_OF_RANGE, "more than 64 bits")
    return value


def float64(value: Any) -> float:
    if isinstance(value, str):
        value = value.strip()
        if not _FLOAT.fullmatch(value):
            raise Invalid(WRONG_TYPE, "not a decimal number")
    elif not isinstance(value, (int, Decimal)) or isinstance(value, bool):
        raise Invalid(WRONG_TYPE, f"{_kind(value)} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number in (float("inf"), float("-inf")):
        raise Invalid(OUT_OF_RANGE, "larger than a FLOAT64 can be")
    return number


def boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    if text not in _BOOLS:
        raise Invalid(WRONG_TYPE, f"none of {', '.join(_BOOLS)}")
    return _BOOLS[text]


def timestamp(value: Any) -> int:
    """Microseconds since 1970, UTC."""
    text = value.strip() if isinstance(value, str) else str(value) if _is_number(value) else ""
    if text.isascii() and text.isdigit() and (scale := _UNIX_SCALE.get(len(text))):
        return int(text) * scale
    if _UNIX_FRACTION.fullmatch(text):
        seconds, _, decimals = text.partition(".")
        return int(seconds) * 1_000_000 + int(decimals.ljust(6, "0"))
    match = _RFC3339.fullmatch(text)
    if match is None:
        if _LOST_PLUS.fullmatch(text):
            raise Invalid(WRONG_TYPE, "a + in a query string means a space: write the offset's + as %2B")
        if _NO_ZONE.fullmatch(text):
            raise Invalid(WRONG_TYPE, "a time without a zone: add Z or an offset such as +02:00")
        raise Invalid(WRONG_TYPE, "neither RFC 3339 nor Unix time of 10, 13 or 16 digits")
    fraction = (match[7] or "").ljust(6, "0")
    if fraction[6:].strip("0"):
        raise Invalid(OUT_OF_RANGE, "finer than a microsecond")
    zone = match[8]
    offset = timedelta()
    if zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        if hours > 23 or minutes > 59:
            raise Invalid(OUT_OF_RANGE, "no such offset")
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
    try:
        moment = datetime(*map(int, match.groups()[:6]), int(fraction[:6]), tzinfo=UTC) - offset  # type: ignore[misc, arg-type]
    except (ValueError, OverflowError) as error:
        raise Invalid(OUT_OF_RANGE, f"no such time: {error}") from error
    return (moment - _EPOCH) // _MICROSECOND


def day(value: Any) -> int:
    """Days since 1970."""
    text = value.strip() if isinstance(value, str) else ""
    if not _DATE.fullmatch(text):
        raise Invalid(WRONG_TYPE, "not a date written YYYY-MM-DD")
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_DAY
    except ValueError as error:
        raise Invalid(OUT_OF_RANGE, f"no such day: {error}") from error


def numeric(value: Any) -> Decimal:
    """A Decimal of scale 9."""
    if isinstance(value, str):
        value = value.strip()
        if not _NUMERIC.fullmatch(value):
            raise Invalid(WRONG_TYPE, "not a decimal number without exponent")
    elif not _is_number(value):
        raise Invalid(WRONG_TYPE, f"{_kind(value)} is not a number")
    number = Decimal(value)
    if number and number.adjusted() > 28:
        raise Invalid(OUT_OF_RANGE, "more than 29 digits before the point")
    try:
        exact = number.quantize(_BILLIONTH, context=_NUMERIC_CONTEXT)
    except InvalidOperation as error:
        raise Invalid(OUT_OF_RANGE, "not a NUMERIC") from error
    if exact != number:
        raise Invalid(OUT_OF_RANGE, "more than 9 digits after the point")
    return exact


def json_text(value: Any) -> str:
    """The JSON text of a value of a JSON body."""
    return encode_json(value)


def json_from_text(value: Any) -> str:
    """A text that must be JSON already, as in a query string."""
    decode_json(value)
    return str(value)


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "STRING": string,
    "INT64": int64,
    "FLOAT64": float64,
    "BOOL": boolean,
    "TIMESTAMP": timestamp,
    "DATE": day,
    "NUMERIC": numeric,
    "JSON": json_text,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        Decimal: "a number",
        dict: "an object",
        list: "an array",
        str: "a text",
    }
    return names.get(type(value), type(value).__name__)
