"""Converts what clients send to typed values. Only what the table lists is accepted; the rest is refused with a reason.

| type | accepted as text (surrounding white space is ignored) | accepted as JSON |
| --- | --- | --- |
| STRING | any text, kept as is | a string; a number or boolean as its text |
| INT64 | digits with an optional sign, within 64 bits | an integer |
| FLOAT64 | a decimal number with an optional exponent, finite | a number |
| BOOL | true false 1 0 yes no on off, in any case | a boolean; 1 or 0 |
| TIMESTAMP | RFC 3339 with `Z` or an offset; Unix time of 10 digits (s), 13 (ms) or 16 (µs) before the point | same |
| DATE | YYYY-MM-DD | same |
| DATETIME | YYYY-MM-DD and HH:MM:SS, with `T` or a space between, without a zone | same |
| TIME | HH:MM, HH:MM:SS or HH:MM:SS.ffffff | same |
| NUMERIC | a decimal number with an optional exponent, at most 29 digits before the point | a number |
| BIGNUMERIC | the same, at most 38 digits before the point | a number |
| BYTES | base64 of either alphabet, padded or not | a string of it |
| JSON | JSON, nested 490 levels at most | any value |

An empty text and a JSON null count as no value. Two things are made to fit, since machines write more digits than
BigQuery keeps: digits finer than a microsecond are dropped, and a NUMERIC is rounded to 9 decimals, a BIGNUMERIC to 38,
half away from zero, like BigQuery's own CAST. Nothing else is rounded, cut or guessed: a time without a zone and a
fraction for an integer are refused.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

import msgspec

from services.shared import json_depth, surrogates

WRONG_TYPE = "wrong_type"
OUT_OF_RANGE = "out_of_range"
MAX_VALUE = 256  # characters of a refused value kept beside its reason; the whole hit is kept too

_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_UNIX_FRACTION = re.compile(r"([0-9]{10}|[0-9]{13}|[0-9]{16})\.([0-9]+)")
_UNIX_SCALE = {10: 1_000_000, 13: 1_000, 16: 1}  # microseconds by the number of digits before the point
_LONGEST_TIME = 100  # characters
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})"
)
_NO_ZONE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.]+)?")
_NO_SIGN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+ [0-9]{2}:?[0-9]{2}")
# JavaScript writes +010013-01-01T00:00:00.000Z for the year 10013, and -000001-… for 2 BC.
_FAR_YEAR = re.compile(r"(?:-[0-9]{4,}|\+?0*[1-9][0-9]{4,})-[0-9]{2}-[0-9]{2}(?:[Tt ].*)?")
_FAR = "outside the years 1 to 9999, which are all that BigQuery can hold"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BOOLS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_KINDS = {bool: "a boolean", int: "a number", Decimal: "a number", dict: "an object", list: "an array"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_INT64_DIGITS = 19
_TOO_MANY_DIGITS = "an integer of more than 4,300 digits"  # which Python neither reads nor writes
UNITS = {"NUMERIC": Decimal("1e-9"), "BIGNUMERIC": Decimal("1e-38")}  # the finest that each type keeps
_NUMERIC = Context(prec=38, rounding=ROUND_HALF_UP)  # half away from zero; more digits are an InvalidOperation
WIDE = Context(prec=76, rounding=ROUND_HALF_UP)
_CIVIL = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,100}))?)?")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,100}))?)?")

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Invalid(Exception):
    """A value that does not fit its column: a reason of the fixed set, and an explanation for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def decode_json(text: str | bytes) -> Any:
    """JSON with numbers kept exact: integers of any size, the others as Decimal. Raises Invalid."""
    try:
        found = _decoder.decode(text)
    except msgspec.ValidationError as error:  # the only thing an untyped decoder refuses
        raise Invalid(OUT_OF_RANGE, _TOO_MANY_DIGITS) from error
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Invalid(WRONG_TYPE, f"not JSON: {error}") from error
    except InvalidOperation as error:
        raise Invalid(WRONG_TYPE, "JSON with a number beyond any decimal") from error
    except RecursionError as error:
        raise Invalid(WRONG_TYPE, "JSON nested too deeply") from error
    if json_depth.too_deep(text if isinstance(text, bytes) else text.encode()):
        raise Invalid(WRONG_TYPE, "JSON nested too deeply")
    return found


def shown(value: Any) -> str | None:
    """A value that was refused, as text, cut to MAX_VALUE characters; None for no value."""
    if value is None:
        return None
    try:
        return (value if isinstance(value, str) else encode_json(value))[:MAX_VALUE]
    except Invalid as error:
        return error.detail


def encode_json(value: Any) -> str:
    """The JSON text of what `decode_json` returned. Raises Invalid for an integer too large for it to have returned."""
    try:
        return _encoder.encode(value).decode()
    except ValueError as error:
        raise Invalid(OUT_OF_RANGE, _TOO_MANY_DIGITS) from error


def string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        try:
            return str(value)
        except ValueError as error:
            raise Invalid(OUT_OF_RANGE, _TOO_MANY_DIGITS) from error
    raise Invalid(WRONG_TYPE, f"{kind(value)} is not a STRING; use a JSON column")


def int64(value: Any) -> int:
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, str):
        text = value.strip()
        if not _INTEGER.fullmatch(text):
            raise Invalid(WRONG_TYPE, "not a whole number")
        # Python counts zeros in front, and reads at most 4,300 digits.
        digits = text.lstrip("+-0") or "0"
        if len(digits) > _INT64_DIGITS:
            raise Invalid(OUT_OF_RANGE, "more than 64 bits")
        value = -int(digits) if text[0] == "-" else int(digits)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid(WRONG_TYPE, f"{kind(value)} is not a whole number")
    if not -(2**63) <= value < 2**63:
        raise Invalid(OUT_OF_RANGE, "more than 64 bits")
    return value


def float64(value: Any) -> float:
    if isinstance(value, str):
        value = value.strip()
        if not _FLOAT.fullmatch(value):
            raise Invalid(WRONG_TYPE, "not a decimal number")
    elif not isinstance(value, (int, Decimal)) or isinstance(value, bool):
        raise Invalid(WRONG_TYPE, f"{kind(value)} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number in (float("inf"), float("-inf")):
        raise Invalid(OUT_OF_RANGE, "larger than a FLOAT64 can be")
    return number


def boolean(value: Any) -> bool:
    if isinstance(value, str):
        found = _BOOLS.get(value.strip().lower())
        if found is not None:
            return found
    elif isinstance(value, int) and 0 <= value <= 1:  # True and False too
        return bool(value)
    raise Invalid(WRONG_TYPE, f"none of {', '.join(_BOOLS)}")


def timestamp(value: Any) -> int:
    """Microseconds since 1970, UTC; anything finer is dropped."""
    text = value.strip() if isinstance(value, str) else _unix_text(value)
    if (scale := _UNIX_SCALE.get(len(text))) and text.isascii() and text.isdigit():
        return int(text) * scale
    if len(text) > _LONGEST_TIME:
        raise Invalid(WRONG_TYPE, f"longer than {_LONGEST_TIME} characters, so not a time")
    if match := _UNIX_FRACTION.fullmatch(text):
        scale = _UNIX_SCALE[len(match[1])]
        kept = len(str(scale)) - 1  # decimals down to a microsecond
        return int(match[1]) * scale + int(match[2][:kept].ljust(kept, "0") or "0")
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise _not_a_time(text)
    zone = match[8]
    offset = timedelta()
    if zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        if hours > 23 or minutes > 59:
            raise Invalid(OUT_OF_RANGE, "no such offset")
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
    microseconds = int((match[7] or "")[:6].ljust(6, "0"))
    try:
        moment = datetime(*map(int, match.groups()[:6]), microseconds, tzinfo=UTC) - offset  # type: ignore[misc, arg-type]
    except (ValueError, OverflowError) as error:
        raise Invalid(OUT_OF_RANGE, f"no such time: {error}") from error
    return (moment - _EPOCH) // _MICROSECOND


def _unix_text(value: Any) -> str:
    """A number as text without an exponent, if it may be a Unix time: as text 1e999999999 has a billion digits."""
    if not _is_number(value) or not 10**9 <= value < 10**16:
        return ""
    return str(value) if isinstance(value, int) else f"{value:f}"[:_LONGEST_TIME]


def _not_a_time(text: str) -> Invalid:
    if _NO_ZONE.fullmatch(text):
        return Invalid(WRONG_TYPE, "a time without a zone: add Z or an offset such as +02:00")
    if _NO_SIGN.fullmatch(text):
        return Invalid(WRONG_TYPE, "an offset without a sign: write +02:00, and in a query string %2B02:00")
    if _FAR_YEAR.fullmatch(text):
        return Invalid(OUT_OF_RANGE, _FAR)
    return Invalid(WRONG_TYPE, "neither RFC 3339 nor Unix time of 10, 13 or 16 digits")


def day(value: Any) -> int:
    """Days since 1970."""
    text = value.strip() if isinstance(value, str) else ""
    if not _DATE.fullmatch(text):
        if len(text) <= _LONGEST_TIME and _FAR_YEAR.fullmatch(text):
            raise Invalid(OUT_OF_RANGE, _FAR)
        raise Invalid(WRONG_TYPE, "not a date written YYYY-MM-DD")
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_DAY
    except ValueError as error:
        raise Invalid(OUT_OF_RANGE, f"no such day: {error}") from error


def civil(value: Any) -> int:
    """Microseconds since 1970-01-01 00:00 of the same clock, for a DATETIME."""
    text = value.strip() if isinstance(value, str) else ""
    match = _CIVIL.fullmatch(text)
    if match is None:
        if len(text) <= _LONGEST_TIME and _RFC3339.fullmatch(text):
            raise Invalid(WRONG_TYPE, "a DATETIME has no zone; use a TIMESTAMP column, or send it without one")
        raise Invalid(WRONG_TYPE, "not a date and time written YYYY-MM-DD HH:MM:SS")
    return _microseconds(match)


def _microseconds(match: re.Match[str]) -> int:
    fraction = int((match[7] or "")[:6].ljust(6, "0"))
    try:
        moment = datetime(*(int(part or 0) for part in match.groups()[:6]), fraction, tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError as error:
        raise Invalid(OUT_OF_RANGE, f"no such time: {error}") from error
    return (moment - _EPOCH) // _MICROSECOND


def with_zone(text: str, zone: tzinfo) -> str:
    """A date, or a date and time without a zone, in UTC if it is of that zone's clocks; any other text as it is.

    Of the two times of an hour that clocks repeat it is the first; in one that they skip, what they would have shown.
    """
    match = _CIVIL.fullmatch(text.strip())
    if match is None:
        return text
    try:
        return (_EPOCH + timedelta(microseconds=_microseconds(match))).replace(tzinfo=zone).astimezone(UTC).isoformat()
    except OverflowError as error:
        raise Invalid(OUT_OF_RANGE, _FAR) from error


def time_of_day(value: Any) -> int:
    """Microseconds since midnight."""
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise Invalid(WRONG_TYPE, "not a time of day written HH:MM:SS")
    hours, minutes, seconds = (int(part or 0) for part in match.groups()[:3])
    if hours > 23 or minutes > 59 or seconds > 59:
        raise Invalid(OUT_OF_RANGE, "no such time of day")
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + int((match[4] or "")[:6].ljust(6, "0"))


def octets(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Invalid(WRONG_TYPE, f"{kind(value)} is not base64")
    text = value.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError as error:
        raise Invalid(WRONG_TYPE, "not base64") from error


def bignumeric(value: Any) -> Decimal:
    """A Decimal of scale 38, rounded half away from zero."""
    return _decimal(value, UNITS["BIGNUMERIC"], WIDE, 38)


def numeric(value: Any) -> Decimal:
    """A Decimal of scale 9, rounded half away from zero."""
    return _decimal(value, UNITS["NUMERIC"], _NUMERIC, 29)


def _decimal(value: Any, unit: Decimal, context: Context, digits: int) -> Decimal:
    if type(value) is Decimal:
        pass
    elif isinstance(value, str):
        value = value.strip()
        if not _FLOAT.fullmatch(value):
            raise Invalid(WRONG_TYPE, "not a decimal number")
    elif not _is_number(value):
        raise Invalid(WRONG_TYPE, f"{kind(value)} is not a number")
    try:  # arguments by name would take twice as long
        return (value if type(value) is Decimal else Decimal(value)).quantize(unit, None, context)
    except InvalidOperation as error:
        raise Invalid(OUT_OF_RANGE, f"more than {digits} digits before the point, or too large an exponent") from error


def json_from_text(value: str) -> str:
    """The JSON that a text is already, as in a query string; half a character becomes U+FFFD, as in a posted body."""
    try:
        decode_json(value)
    except Invalid as error:
        try:
            repaired = surrogates.replace_escaped(value.encode("utf-8", "surrogatepass"))
        except surrogates.TooMany as too_many:
            raise Invalid(WRONG_TYPE, str(too_many)) from error
        decode_json(repaired)
        return repaired.decode()
    return value


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "STRING": string,
    "INT64": int64,
    "FLOAT64": float64,
    "BOOL": boolean,
    "TIMESTAMP": timestamp,
    "DATE": day,
    "DATETIME": civil,
    "TIME": time_of_day,
    "NUMERIC": numeric,
    "BIGNUMERIC": bignumeric,
    "BYTES": octets,
    "JSON": encode_json,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)
