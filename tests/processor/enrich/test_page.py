from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor import url
from services.processor.enrich import page, tracking_parameters, utm
from services.processor.enrich.page import NOTHING, Page


def _read(address: Any, referer: str = "") -> Page:
    return page.read({"referer": referer}, {"url": address})


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("https://Shop.Example.com", ("shop.example.com", "/", "https://Shop.Example.com")),
        ("https://shop.example.com/a/b?", ("shop.example.com", "/a/b", "https://shop.example.com/a/b")),
        ("https://shop.example.com/a%20b?x=1", ("shop.example.com", "/a%20b", "https://shop.example.com/a%20b?x=1")),
        ("https://e.com?gclid=1", ("e.com", "/", "https://e.com")),
        ("https://e.com/?b=2&UTM_Source=x&a=1&fbclid=y&_hsenc=z&pk_kwd", ("e.com", "/", "https://e.com/?b=2&a=1")),
        ("https://e.com/?q=utm_source&gclid_=1", ("e.com", "/", "https://e.com/?q=utm_source&gclid_=1")),
        ("https://e.com/p#/route?gclid=1", ("e.com", "/p", "https://e.com/p#/route?gclid=1")),
        ("https://e.com/p?a#part:~:text=shoes", ("e.com", "/p", "https://e.com/p?a#part")),
        ("https://e.com/p#:~:text=shoes", ("e.com", "/p", "https://e.com/p")),
        (" https://e.com/é ", ("e.com", "/é", "https://e.com/é")),
        ("/relative?a", NOTHING),
        ("about:blank", NOTHING),
        ("https://", NOTHING),
        ("https://e.com/" + "a" * url.MAX_LENGTH, NOTHING),
        (7, NOTHING),
        (["https://e.com"], NOTHING),
    ],
)
def test_the_parts_of_a_page(address: Any, found: tuple[Any, ...]) -> None:
    assert _read(address) == found


def test_the_page_is_the_parameter_before_the_header() -> None:
    assert _read("https://a.com/x", "https://b.com/y").host == "a.com"
    for missing in (None, "", 7):
        assert _read(missing, "https://b.com/y").host == "b.com"


def test_all_that_names_a_campaign_is_a_trackers_parameter() -> None:
    assert all(map(tracking_parameters.is_tracking, (*tracking_parameters.UTM, *tracking_parameters.CLICK_IDS)))
    for name in (*tracking_parameters.UTM, *tracking_parameters.CLICK_IDS):
        address = f"https://e.com/?a=1&{name}=x"
        assert utm.read({}, {"url": address}) != utm.NOTHING
        assert _read(address).clean == "https://e.com/?a=1"


@given(st.text() | st.text("https:/?&#=.utm_ae\ud800").map(lambda text: "https://e.com/" + text))
def test_no_address_raises_and_cleaning_twice_changes_nothing(text: str) -> None:
    found = _read(text)
    if found.clean is not None:
        found.clean.encode()
        assert _read(found.clean).clean == found.clean
        assert len(found.clean) <= len(text)
