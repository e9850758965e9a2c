from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor.enrich import utm
from services.processor.enrich.utm import NOTHING, Utm

PAGE = "https://shop.example.com/?utm_source=page&utm_medium=e%2Dmail&gclid=G1&utm_term=a+b#utm_id=no"


@pytest.mark.parametrize(
    ("parameters", "headers", "found"),
    [
        ({}, {}, NOTHING),
        ({"utm_source": "news", "utm_id": "7"}, {}, Utm(source="news", id="7")),
        (
            {"utm_medium": "m", "utm_campaign": "c", "utm_term": "t", "utm_content": "x"},
            {},
            Utm(medium="m", campaign="c", term="t", content="x"),
        ),
        ({"utm_source": 7, "utm_medium": True, "utm_term": [1], "utm_campaign": None}, {}, Utm("7", "true")),
        ({"utm_source": ""}, {}, NOTHING),
        ({"fbclid": "F", "msclkid": "M"}, {}, Utm(click_id="F", click_id_name="fbclid")),
        ({"gclid": "", "msclkid": "M"}, {}, Utm(click_id="M", click_id_name="msclkid")),
        ({"url": PAGE}, {}, Utm("page", "e-mail", None, "a b", None, None, "G1", "gclid")),
        ({}, {"referer": PAGE}, Utm("page", "e-mail", None, "a b", None, None, "G1", "gclid")),
        ({"url": "https://x/?a=1"}, {"referer": PAGE}, NOTHING),
        ({"url": 7}, {"referer": "https://x/?utm_source=a"}, Utm("a")),
        ({"utm_source": "own"}, {"referer": PAGE}, Utm("own")),
        ({"url": "https://x/?utm_source=first&utm_source=second"}, {}, Utm("first")),
    ],
)
def test_where_a_campaign_is_read(parameters: dict[str, Any], headers: dict[str, str], found: Utm) -> None:
    assert utm.read(headers, parameters) == found


ANY = (
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text())
)


@given(st.dictionaries(st.sampled_from(["utm_source", "gclid", "url", "utm_term"]) | st.text(), ANY), st.text())
def test_no_value_raises(parameters: dict[str, Any], page: str) -> None:
    found = utm.read({"referer": page}, parameters)
    assert all(value is None or (isinstance(value, str) and value) for value in found)
    assert (found.click_id is None) == (found.click_id_name is None)
