from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor.enrich import geo
from services.processor.enrich.geo import NOTHING, Geo


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("US,USCA,Mountain View", Geo("US", "US-CA", "Mountain View")),
        ("us, usca , Mountain View", Geo("US", "US-CA", "Mountain View")),
        ("US,Mountain View", Geo("US", None, "Mountain View")),
        ("GB,GBENG,London", Geo("GB", "GB-ENG", "London")),
        ("DE,,", Geo("DE")),
        ("DE,DEBE,", Geo("DE", "DE-BE")),
        ("CH,,Zurich", Geo("CH", None, "Zurich")),
        ("ZZ,,", NOTHING),
        ("", NOTHING),
        (",,", NOTHING),
        ("US", NOTHING),
        ("Germany,Berlin", NOTHING),
        ("U1,x", NOTHING),
        ("US,<script>,x", Geo("US", None, "x")),
    ],
)
def test_what_the_header_tells(header: str, found: Geo) -> None:
    assert geo.read({"x-client-geo-location": header}, {}) == found


def test_no_header_tells_nothing() -> None:
    assert geo.read({"user-agent": "US,x"}, {}) == NOTHING


@given(st.text() | st.text().map("US,".__add__))
def test_no_text_raises_and_what_is_told_is_short(header: str) -> None:
    for value in geo.read({"x-client-geo-location": header}, {}):
        assert value is None or 0 < len(value) <= geo.MAX_LENGTH


def test_a_long_header_is_cut() -> None:
    assert geo.read({"x-client-geo-location": "US,USCA," + "x" * 100_000}, {}).city == "x" * (geo.MAX_LENGTH - 8)
