from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor import convert
from services.processor.convert import OUT_OF_RANGE, WRONG_TYPE, Invalid

US = 1_000_000
NEW_YEAR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * US

ACCEPTED: list[tuple[str, Any, Any]] = [
    ("STRING", "", ""),
    ("STRING", " kept as it is ", " kept as it is "),
    ("STRING", 12, "12"),
    ("STRING", True, "true"),
    ("STRING", Decimal("1.10"), "1.10"),
    ("INT64", "42", 42),
    ("INT64", "-9223372036854775808", -(2**63)),
    ("INT64", "+9223372036854775807", 2**63 - 1),
    ("INT64", " 007 ", 7),
    ("INT64", "0" * 50 + "1", 1),
    ("INT64", "0" * 5000 + "1", 1),
    ("INT64", "-" + "0" * 5000 + "1", -1),
    ("INT64", "0" * 5000, 0),
    ("INT64", 2**53 + 1, 2**53 + 1),
    ("FLOAT64", "1.5", 1.5),
    ("FLOAT64", "-.5e-3", -0.0005),
    ("FLOAT64", "1.", 1.0),
    ("FLOAT64", 3, 3.0),
    ("FLOAT64", Decimal("2.5"), 2.5),
    ("BOOL", "TRUE", True),
    ("BOOL", "0", False),
    ("BOOL", "on", True),
    ("BOOL", "No", False),
    ("BOOL", False, False),
    ("BOOL", 1, True),
    ("TIMESTAMP", "2026-01-01T00:00:00Z", NEW_YEAR),
    ("TIMESTAMP", "2026-01-01t00:00:00.5z", NEW_YEAR + 500_000),
    ("TIMESTAMP", "2026-01-01 02:00:00+02:00", NEW_YEAR),
    ("TIMESTAMP", "2025-12-31T18:30:00-0530", NEW_YEAR),
    ("TIMESTAMP", "2026-01-01T00:00:00.123456000Z", NEW_YEAR + 123_456),
    ("TIMESTAMP", "2026-01-01T00:00:00.1234567Z", NEW_YEAR + 123_456),  # .NET
    ("TIMESTAMP", "2026-01-01T00:00:00.123456999+00:00", NEW_YEAR + 123_456),  # Java
    ("TIMESTAMP", "2026-01-01T00:00:00." + "9" * 50 + "Z", NEW_YEAR + 999_999),
    ("TIMESTAMP", "1969-12-31T23:59:59.9999999Z", -1),
    ("TIMESTAMP", "1767225600", NEW_YEAR),
    ("TIMESTAMP", "1767225600.25", NEW_YEAR + 250_000),
    ("TIMESTAMP", "1767225600.1234567", NEW_YEAR + 123_456),  # Python's time.time()
    ("TIMESTAMP", "1767225600.1234569999999", NEW_YEAR + 123_456),
    ("TIMESTAMP", "1767225600123", NEW_YEAR + 123_000),
    ("TIMESTAMP", "1767225600123.4567", NEW_YEAR + 123_456),  # performance.timeOrigin
    ("TIMESTAMP", "1767225600123456.789", NEW_YEAR + 123_456),
    ("TIMESTAMP", "1767225600123456", NEW_YEAR + 123_456),
    ("TIMESTAMP", 1767225600, NEW_YEAR),
    ("TIMESTAMP", Decimal("1767225600.123456"), NEW_YEAR + 123_456),
    ("TIMESTAMP", Decimal("1767225600.1234567"), NEW_YEAR + 123_456),
    ("TIMESTAMP", Decimal("1767225600123.9999"), NEW_YEAR + 123_999),
    ("TIMESTAMP", Decimal("1.7672256E+9"), NEW_YEAR),
    ("TIMESTAMP", Decimal("1.767225600123E+12"), NEW_YEAR + 123_000),
    ("TIMESTAMP", "0001-01-01T00:00:00Z", -62_135_596_800 * US),
    ("TIMESTAMP", "9999-12-31T23:59:59.999999Z", 253_402_300_800 * US - 1),
    ("DATE", "1970-01-02", 1),
    ("DATE", "2024-02-29", 19782),
    ("NUMERIC", "1.10", Decimal("1.100000000")),
    ("NUMERIC", "-.000000001", Decimal("-0.000000001")),
    ("NUMERIC", "9" * 29 + "." + "9" * 9, Decimal("9" * 29 + "." + "9" * 9)),
    ("NUMERIC", "1.0000000000000", Decimal(1)),
    ("NUMERIC", "3.3000000000000003", Decimal("3.300000000")),
    ("NUMERIC", "0.0000000005", Decimal("0.000000001")),
    ("NUMERIC", "-0.0000000005", Decimal("-0.000000001")),
    ("NUMERIC", "0.0000000015", Decimal("0.000000002")),
    ("NUMERIC", "0.0000000025", Decimal("0.000000003")),
    ("NUMERIC", "0.00000000049999", Decimal("0.000000000")),
    ("NUMERIC", "5.551115123125783e-17", Decimal("0.000000000")),
    ("NUMERIC", "1e5", Decimal(100_000)),
    ("NUMERIC", "-1.5E-8", Decimal("-0.000000015")),
    ("NUMERIC", "9" * 29 + "." + "9" * 9 + "4", Decimal("9" * 29 + "." + "9" * 9)),
    ("NUMERIC", "0." + "1" * 5000, Decimal("0.111111111")),
    ("NUMERIC", Decimal("3.3000000000000003"), Decimal("3.300000000")),
    ("NUMERIC", Decimal("1E-7"), Decimal("0.000000100")),
    ("NUMERIC", Decimal("1E-999999"), Decimal("0.000000000")),
    ("NUMERIC", 12, Decimal(12)),
    ("NUMERIC", Decimal("1E+5"), Decimal(100_000)),
    ("JSON", {"a": Decimal("1.10"), "b": [None, 2**70]}, '{"a":1.10,"b":[null,1180591620717411303424]}'),
    ("JSON", "text", '"text"'),
]


@pytest.mark.parametrize(("kind", "value", "wanted"), ACCEPTED)
def test_what_is_accepted(kind: str, value: Any, wanted: Any) -> None:
    got = convert.CONVERTERS[kind](value)
    assert (got, type(got)) == (wanted, type(wanted))


REFUSED: list[tuple[str, Any, str, str]] = [
    ("STRING", {"a": 1}, WRONG_TYPE, "an object is not a STRING"),
    ("STRING", [1], WRONG_TYPE, "an array is not a STRING"),
    ("INT64", "1.0", WRONG_TYPE, "not a whole number"),
    ("INT64", "1e3", WRONG_TYPE, "not a whole number"),
    ("INT64", "1_000", WRONG_TYPE, "not a whole number"),
    ("INT64", "٣", WRONG_TYPE, "not a whole number"),
    ("INT64", "0x10", WRONG_TYPE, "not a whole number"),
    ("INT64", Decimal("1.0"), WRONG_TYPE, "a number is not a whole number"),
    ("INT64", True, WRONG_TYPE, "a boolean"),
    ("INT64", "9223372036854775808", OUT_OF_RANGE, "more than 64 bits"),
    ("INT64", "9" * 5000, OUT_OF_RANGE, "more than 64 bits"),
    ("INT64", 2**63, OUT_OF_RANGE, "more than 64 bits"),
    ("FLOAT64", "nan", WRONG_TYPE, "not a decimal number"),
    ("FLOAT64", "inf", WRONG_TYPE, "not a decimal number"),
    ("FLOAT64", "1,5", WRONG_TYPE, "not a decimal number"),
    ("FLOAT64", "1e999", OUT_OF_RANGE, "larger than a FLOAT64"),
    ("FLOAT64", 10**400, OUT_OF_RANGE, "larger than a FLOAT64"),
    ("FLOAT64", Decimal("1e999"), OUT_OF_RANGE, "larger than a FLOAT64"),
    ("FLOAT64", True, WRONG_TYPE, "a boolean is not a number"),
    ("BOOL", "maybe", WRONG_TYPE, "none of true, 1"),
    ("BOOL", 2, WRONG_TYPE, "none of"),
    ("BOOL", [], WRONG_TYPE, "none of"),
    ("TIMESTAMP", "2026-01-01T00:00:00", WRONG_TYPE, "a time without a zone"),
    ("TIMESTAMP", "2026-01-01", WRONG_TYPE, "a time without a zone"),
    ("TIMESTAMP", "2026-01-01 02:00", WRONG_TYPE, "a time without a zone"),
    ("TIMESTAMP", "2026-01-01 02:00:00", WRONG_TYPE, "a time without a zone"),
    ("TIMESTAMP", "2026-01-01T02:00:00 02:00", WRONG_TYPE, "an offset without a sign: write +02:00"),
    ("TIMESTAMP", "2026-01-01 02:00:00.5 0200", WRONG_TYPE, "an offset without a sign: write +02:00"),
    ("TIMESTAMP", "yesterday", WRONG_TYPE, "neither RFC 3339 nor Unix time"),
    ("TIMESTAMP", "١" * 10, WRONG_TYPE, "neither RFC 3339 nor Unix time"),
    ("TIMESTAMP", "²" * 13, WRONG_TYPE, "neither RFC 3339 nor Unix time"),
    ("TIMESTAMP", "1767225600.", WRONG_TYPE, "neither RFC 3339 nor Unix time"),
    ("TIMESTAMP", "17672256", WRONG_TYPE, "neither RFC 3339 nor Unix time"),
    ("TIMESTAMP", "1767225600." + "1" * 100, WRONG_TYPE, "longer than 100 characters"),
    ("TIMESTAMP", Decimal("1E+999999999"), WRONG_TYPE, "neither RFC 3339 nor Unix time"),
    ("TIMESTAMP", Decimal("1E-999999999"), WRONG_TYPE, "neither RFC 3339 nor Unix time"),
    ("TIMESTAMP", Decimal("0E-999999999"), WRONG_TYPE, "neither RFC 3339 nor Unix time"),
    ("TIMESTAMP", -1767225600, WRONG_TYPE, "neither RFC 3339 nor Unix time"),
    ("TIMESTAMP", "10013-01-01T00:00:00Z", OUT_OF_RANGE, "outside the years 1 to 9999"),
    ("TIMESTAMP", "+010013-01-01T00:00:00.000Z", OUT_OF_RANGE, "outside the years 1 to 9999"),
    ("TIMESTAMP", "-000001-01-01T00:00:00.000Z", OUT_OF_RANGE, "outside the years 1 to 9999"),
    ("TIMESTAMP", "9999-12-31T23:59:59-00:01", OUT_OF_RANGE, "no such time"),
    ("TIMESTAMP", "2026-02-30T00:00:00Z", OUT_OF_RANGE, "no such time"),
    ("TIMESTAMP", "2026-01-01T24:00:00Z", OUT_OF_RANGE, "no such time"),
    ("TIMESTAMP", "2026-01-01T00:00:60Z", OUT_OF_RANGE, "no such time"),
    ("TIMESTAMP", "2026-01-01T00:00:00+24:00", OUT_OF_RANGE, "no such offset"),
    ("TIMESTAMP", "0001-01-01T00:00:00+01:00", OUT_OF_RANGE, "no such time"),
    ("TIMESTAMP", "0000-01-01T00:00:00Z", OUT_OF_RANGE, "no such time"),
    ("TIMESTAMP", True, WRONG_TYPE, "neither"),
    ("DATE", "2026-1-1", WRONG_TYPE, "YYYY-MM-DD"),
    ("DATE", "2026-02-30", OUT_OF_RANGE, "no such day"),
    ("DATE", "0000-01-01", OUT_OF_RANGE, "no such day"),
    ("DATE", "10013-01-01", OUT_OF_RANGE, "outside the years 1 to 9999"),
    ("DATE", 20260101, WRONG_TYPE, "YYYY-MM-DD"),
    ("NUMERIC", "1,5", WRONG_TYPE, "not a decimal number"),
    ("NUMERIC", "1e", WRONG_TYPE, "not a decimal number"),
    ("NUMERIC", "NaN", WRONG_TYPE, "not a decimal number"),
    ("NUMERIC", "9" * 29 + ".9999999995", OUT_OF_RANGE, "more than 29 digits"),
    ("NUMERIC", "1e29", OUT_OF_RANGE, "more than 29 digits"),
    ("NUMERIC", "1e" + "9" * 30, OUT_OF_RANGE, "too large an exponent"),
    ("NUMERIC", "1" + "0" * 29, OUT_OF_RANGE, "more than 29 digits"),
    ("NUMERIC", Decimal("1E+999999"), OUT_OF_RANGE, "more than 29 digits"),
    ("NUMERIC", False, WRONG_TYPE, "a boolean is not a number"),
]


@pytest.mark.parametrize(("kind", "value", "reason", "words"), REFUSED)
def test_what_is_refused_and_why(kind: str, value: Any, reason: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        convert.CONVERTERS[kind](value)
    assert caught.value.reason == reason
    assert words in caught.value.detail


# What neither Python nor a NUMERIC can hold, as JSON may say it: such numbers have a billion digits, or no text.
LIMITS = [
    10**5000,
    -(10**4299),
    *(Decimal(f"{digits}E{sign}999999999") for digits in ("0", "1", "-1") for sign in "+-"),
    Decimal("1." + "9" * 5000),
    Decimal("9" * 5000),
    [[]],
    {"": {}},
    "0" * 5000 + "1",
    "-" + "9" * 5000,
    "1e" + "9" * 5000,
    "0." + "0" * 5000 + "1",
    " " * 5000,
    "2026-01-01T00:00:00." + "9" * 5000 + "Z",
    "[" * 400 + "]" * 400,
    "\ud800",
    "\0",
    "",
    None,
]


@pytest.mark.parametrize("kind", convert.CONVERTERS)
def test_the_limits_of_the_language_are_no_limits_here(kind: str) -> None:
    for converter in {convert.CONVERTERS[kind], convert.json_from_text if kind == "JSON" else convert.CONVERTERS[kind]}:
        for value in LIMITS:
            if converter is convert.json_from_text and not isinstance(value, str):
                continue
            with suppress(Invalid):
                assert converter(value) is not None


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 4299).map(lambda digits: 10**digits)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(convert.CONVERTERS)), ANY_JSON | st.text())
def test_a_value_is_converted_or_refused_and_nothing_else(kind: str, value: Any) -> None:
    try:
        got = convert.CONVERTERS[kind](value)
    except Invalid as error:
        refusal = error
    else:
        assert got is not None
        return
    assert refusal.reason in (WRONG_TYPE, OUT_OF_RANGE)
    assert refusal.detail


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_survive_text(number: int) -> None:
    assert convert.int64(str(number)) == number


@given(st.datetimes(timezones=st.timezones()))
def test_times_survive_text_with_their_zone(moment: datetime) -> None:
    offset = moment.utcoffset()
    if offset is None or offset.total_seconds() % 60 or not 1 < moment.year < 9999:
        return
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert convert.timestamp(moment.isoformat()) == _us(moment, epoch)


def _us(moment: datetime, epoch: datetime) -> int:
    delta = moment - epoch
    return (delta.days * 86_400 + delta.seconds) * US + delta.microseconds


@given(st.decimals(min_value=-(10**28), max_value=10**28, places=9))
def test_numerics_survive_text_exactly(number: Decimal) -> None:
    assert convert.numeric(f"{number:f}") == number


@given(ANY_JSON)
def test_json_survives_exactly(value: Any) -> None:
    text = convert.encode_json(value)
    assert convert.decode_json(text) == value
    assert convert.json_from_text(text) == text


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        (r'"a\ud83d"', r'"a\ufffd"'),
        (r'{"\ude00": ["\ud83d\ude00", "\\ud83d"]}', r'{"\ufffd": ["\ud83d\ude00", "\\ud83d"]}'),
        (r'"é\uD83D"', r'"é\ufffd"'),
    ],
)
def test_half_a_character_in_json_of_a_query_string_is_replaced_as_in_a_body(text: str, repaired: str) -> None:
    assert convert.json_from_text(text) == repaired


def test_json_with_too_many_halves_is_refused() -> None:
    with pytest.raises(Invalid, match="cut in half"):
        convert.json_from_text('"' + r"\ud83d" * 60_000 + '"')


@pytest.mark.parametrize("text", ["{", "nope", "NaN", "{'a':1}", "[" * 100_000, "[" * 491 + "]" * 491, '"\ud800"'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        convert.json_from_text(text)
