from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor.protocols import Unreadable, reading
from tests.growth import assert_linear
from tests.processor.protocols.hits import AT, JSON, NOW, hit

S = 1_000_000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1.50}', {"a": Decimal("1.50")}),
        (r'"\ud83d\ude42"', "🙂"),
        (r'"cut \ud83d"', "cut \ufffd"),
        (r'"\ude42\ud83d\ud83d\ude42"', "\ufffd\ufffd🙂"),
        (r'"\\ud83d \ud83d"', r"\ud83d " + "\ufffd"),
        (b'"\xed\xa0\xbd\xed\xb9\x82"', "🙂"),
        (b'"\xed\xa0\xbd cut"', "\ufffd cut"),
    ],
)
def test_json_of_trackers(text: str | bytes, value: Any) -> None:
    assert reading.from_json(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "{", "nan", '"', r'"\ud83d', b"\xff", b'"\xe9"', "1" * 5000, "[" * 600 + "]" * 600, "1e99999999999999999999"],
)
def test_what_is_not_json_is_unreadable(text: str | bytes) -> None:
    with pytest.raises(Unreadable):
        reading.from_json(text)


@given(JSON)
def test_base64_of_both_alphabets_with_padding_and_without(value: Any) -> None:
    data = json.dumps(value).encode()
    plain, url = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    expected = reading.from_json(data)
    for text in (plain, plain.rstrip("="), url, url.rstrip("="), plain.replace("+", " "), f"{url}\n"):
        assert reading.from_base64(text) == expected


@pytest.mark.parametrize("text", [base64.b64encode(b"e30=").decode(), "e", "e3?0", "e30é", "\ud83d", "===", "4pyT"])
def test_broken_base64_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        reading.from_base64(text)


@pytest.mark.parametrize(
    ("value", "unit", "moment"),
    [
        ("2025-11-29T18:00:00Z", 1, AT),
        ("2025-11-29T20:00:00.000+02:00", 1, AT),
        (" 2025-11-29t18:00:00.0000009Z ", 1, AT),
        ("0001-01-01T00:00:00Z", 1, -62_135_596_800 * S),
        ("9999-12-31T23:59:59.999999Z", 1, 253_402_300_800 * S - 1),
        ("2025-11-29T24:00:01Z", 1, None),
        ("2025-11-29T18:00:00+01:00Z", 1, None),
        ("xxxxxxxxxxTZ", 1, None),
        ("1764439200000", 1, AT),
        (1764439200000, 1, AT),
        (Decimal("1764439200.25"), 1, AT + 250_000),
        ("1764439200", reading.MILLISECONDS, AT),
        (str(AT), 1, AT),
        ("86400000", reading.MILLISECONDS, 86_400 * S),
        (0, reading.SECONDS, 0),
        ("-1.5", reading.SECONDS, -1_500_000),
        (Decimal("1e-999999"), reading.SECONDS, 0),
        ("999999999999999", reading.MILLISECONDS, None),
        (10**300, 1, None),
        (Decimal("1e999999"), 1, None),
        ("yesterday", 1, None),
        ("2025-11-29T18:00:00", 1, None),
        ("2025-02-30T18:00:00Z", 1, None),
        ("1" * 100_000, 1, None),
        (True, 1, None),
        (None, 1, None),
        ([1764439200000], 1, None),
    ],
)
def test_times_as_trackers_write_them(value: Any, unit: int, moment: int | None) -> None:
    assert reading.moment(value, unit) == moment


@pytest.mark.parametrize(
    ("happened", "sent", "found"),
    [
        (None, None, {}),
        (None, 1764439200000, {"sent_at": NOW}),
        ("1764439200000", None, {"event_time": NOW}),
        ("soon", "1764439200000", {"event_time": "soon", "sent_at": NOW}),
        ("1764439200000", "now", {"event_time": NOW, "sent_at": "now"}),
        # A clock that is right, and one that stands at 1970: two seconds passed before it was sent.
        (
            "1764439197000",
            "1764439199000",
            {
                "event_time": "2025-11-29T17:59:58.000000Z",
                "sent_at": "2025-11-29T17:59:59.000000Z",
                "client_event_time": "1764439197000",
            },
        ),
        (
            "1000",
            "3000",
            {
                "event_time": "2025-11-29T17:59:58.000000Z",
                "sent_at": "1970-01-01T00:00:03.000000Z",
                "client_event_time": "1000",
            },
        ),
        ("2025-11-29T18:00:00Z", "2025-11-29T18:00:00Z", {"event_time": NOW, "sent_at": NOW}),
        (
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            {"event_time": "0001-01-01T00:00:00.000000Z", "sent_at": "9999-12-31T23:59:59.000000Z"},
        ),
    ],
)
def test_the_clients_clock_is_corrected_where_both_times_are_known(happened: Any, sent: Any, found: Any) -> None:
    assert reading.times(AT, happened, sent) == found


EVER = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)


@given(EVER, EVER, EVER)
def test_a_corrected_time_can_be_written_and_read(received: int, happened: int, sent: int) -> None:
    found = reading.corrected(received, happened, sent)
    if found is not None:
        assert received - found == sent - happened
        assert reading.moment(reading.iso(found)) == found


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ("", {}),
        ("a=1&b=%C3%A9+x&c", {"a": "1", "b": "é x", "c": ""}),
        ("a=1&a=2&a=3", {"a": "1", "repeated": {"a": ["2", "3"]}}),
        ("repeated=x", {"repeated": {"repeated": ["x"]}}),
    ],
)
def test_the_fields_of_a_form(form: str, found: Any) -> None:
    assert reading.fields(form) == found


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("-0.25", Decimal("-0.25")), ("007", "007"), ("1e5", "1e5"), ("9" * 19, "9" * 19), (3, 3)],
)
def test_only_a_text_that_is_a_number_becomes_one(text: Any, value: Any) -> None:
    assert reading.number(text) == value


@pytest.mark.parametrize("envelope", [None, [], "x", b"{", {"a": 1}])
def test_an_envelope_that_cannot_be_read_is_none(envelope: Any) -> None:
    assert reading.envelope(hit("x", {}, envelope=envelope)) == (envelope if isinstance(envelope, dict) else {})


def test_nothing_hides_a_canonical_name() -> None:
    found = reading.event(
        "x",
        {"type": "a", "url": None, "user_id": "", "context": {}, "own": 1},
        {"type": "b", "own": 1, "x": 2, "url": "u", "more": 3},
        {"type": "c", "more": 4},
    )
    assert found == {"type": "a", "own": 1, "more": 3, "x": {"type": ["b", "c"], "x": 2, "url": "u", "more": 4}}


def test_what_is_nested_deeply_comes_through() -> None:
    def deep(text: str) -> Any:
        return reading.from_json("[" * 480 + text + "]" * 480)

    found = reading.event("x", {}, {"a": deep("1")}, {"a": deep("2")}, {"a": deep("1")})
    assert found == {"a": deep("1"), "x": {"a": deep("2")}}


@pytest.mark.slow
def test_time_is_linear() -> None:
    assert_linear(reading.from_json, r'{"a":"', r"\ud83d", '"}', refused=Unreadable)
    assert_linear(reading.from_base64, "eyJhIjoi", "w6kifQ==", refused=Unreadable)
    assert_linear(reading.moment, "2025-11-29T", "18:00:00Z")
    assert_linear(reading.moment, "17644", "39200.5")
    assert_linear(reading.number, "17", ".5")
    assert_linear(reading.fields, "a=1&", "b=%C3%A9")
