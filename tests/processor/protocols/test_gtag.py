from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from services.processor.enrich import client_hints
from services.processor.enrich.client_hints import Hints
from services.processor.protocols import Unreadable, gtag
from tests.processor.protocols.hits import hit

SHARED = {
    "v": "2",
    "tid": "G-ABC1234567",
    "_p": "1764439190000",
    "gcs": "G111",
    "gcd": "13l3l3l3l1l1",
    "cid": "1234567890.1764439000",
    "ul": "en-gb",
    "sr": "1280x720",
    "sid": "1764439000",
    "sct": "1",
    "seg": "1",
    "dl": "https://shop.example/done?x=1",
    "dr": "https://shop.example/cart",
    "dt": "Done 🙂",
}
READ = {
    "anonymous_id": "1234567890.1764439000",
    "session_id": "1764439000",
    "url": "https://shop.example/done?x=1",
    "referrer": "https://shop.example/cart",
    "title": "Done 🙂",
    "consent": "G111",
    **{name: SHARED[name] for name in ("v", "tid", "_p", "gcd", "ul", "sr", "sct", "seg")},
}
LINE = {
    "en": "purchase",
    "_s": "2",
    "uid": "u-1",
    "cu": "EUR",
    "_et": "1200",
    "ep.transaction_id": "o-1",
    "ep.number": "12",
    "epn.value": "99.8",
    "epn.tax": "no number",
    "up.plan": "gold",
    "upn.age": "7",
    "pr2": "idSKU-2~nmSock",
    "pr1": "idSKU-1~nmShoe 🙂~pr49.9~qt2~vared~k0size~v042~lp0",
}
BOUGHT = {
    "type": "purchase",
    "user_id": "u-1",
    "_s": "2",
    "properties": {
        "transaction_id": "o-1",
        "number": "12",
        "value": Decimal("99.8"),
        "tax": "no number",
        "currency": "EUR",
        "engagement_time_msec": 1200,
        "items": [
            {
                "item_id": "SKU-1",
                "item_name": "Shoe 🙂",
                "price": Decimal("49.9"),
                "quantity": 2,
                "item_variant": "red",
                "size": "42",
                "index": 0,
            },
            {"item_id": "SKU-2", "item_name": "Sock"},
        ],
    },
    "context": {"user_properties": {"plan": "gold", "age": 7}},
    **READ,
}


def _read(query: dict[str, str], text: str = "") -> dict[str, Any]:
    return gtag.read(hit("gtag", query=urlencode(query), text=text))


def test_a_page_view_in_the_query() -> None:
    assert _read({**SHARED, "en": "page_view"}) == {"type": "page_view", **READ}


@pytest.mark.parametrize("end", ["", "\r", "\n"])
def test_an_order_of_one_line_of_a_body(end: str) -> None:
    assert _read(SHARED, urlencode(LINE) + end) == BOUGHT
    assert _read({**SHARED, **LINE}) == BOUGHT


def test_a_line_comes_before_what_is_shared_and_both_are_kept() -> None:
    found = _read({"en": "a", "dt": "Old", "uid": "u", "sct": "1"}, "en=b&dt=New&sct=2&_s=3")
    assert found == {
        "type": "b",
        "title": "New",
        "user_id": "u",
        "sct": "2",
        "_s": "3",
        "en": "a",
        "dt": "Old",
        "gtag": {"sct": "1"},
    }


def test_two_of_one_name_do_not_hide_each_other() -> None:
    query = {"en": "a", "ep.x": "1", "epn.x": "2", "ep.currency": "EUR", "cu": "USD", "ep.items": "i", "pr1": "idA"}
    assert _read(query) == {
        "type": "a",
        "properties": {"x": "1", "currency": "EUR", "items": "i"},
        "epn.x": "2",
        "cu": "USD",
        "pr1": "idA",
    }


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("idA", {"item_id": "A"}),
        ("", {}),
        ("~", {}),
        ("idA~~B~nmC", {"item_id": "A~B", "item_name": "C"}),
        ("idA~x", {"item_id": "A", "more": ["x"]}),
        ("idA~idB", {"item_id": "A", "more": ["idB"]}),
        ("xyz", {"xy": "z"}),
        ("vared~v0x", {"item_variant": "red", "v0": "x"}),
        ("k0size~v042~k1a~v1b", {"size": "42", "a": "b"}),
        ("k10size~v1042", {"size": "42"}),
        ("k0size~nmA", {"item_name": "A", "more": ["k0size"]}),
        ("k0size", {"more": ["k0size"]}),
        ("k0a~k1b~v1c", {"b": "c", "more": ["k0a"]}),
        ("idA~k0item_id~v0B", {"item_id": "A", "more": ["k0item_id~v0B"]}),
        ("pr1e9~qtmany", {"price": "1e9", "quantity": "many"}),
        ("nm%41", {"item_name": "%41"}),
        ("nm\0", {"item_name": "\0"}),
    ],
)
def test_items(text: str, item: dict[str, Any]) -> None:
    found = gtag.read(hit("gtag", query=f"en=a&pr1={quote(text)}"))
    assert found["properties"] == {"items": [item]}


def test_items_are_in_the_order_of_their_numbers() -> None:
    found = _read({"en": "a", "pr10": "idJ", "pr9": "idI", "pr1": "idA", "pr1000": "idX", "promo": "p"})
    assert [item["item_id"] for item in found["properties"]["items"]] == ["A", "I", "J"]
    assert (found["pr1000"], found["promo"]) == ("idX", "p")


def test_a_line_that_was_too_large_is_refused_even_where_the_query_names_an_event() -> None:
    too_large = {"uncut": "too large", "bytes": 300_000, "text": "ep.a=1"}
    with pytest.raises(Unreadable, match="the line is too large"):
        gtag.read(hit("gtag", too_large, query="en=purchase&cid=1"))


@pytest.mark.parametrize("text", ["", "en", "en=", "ep.a=1", "=", "{}"])
def test_what_has_no_name_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        _read(SHARED, text)


# As Chrome on Windows sends it: the names of brands are encoded twice.
HINTS = {
    "uaa": "x86",
    "uab": "64",
    "uafvl": "Google%20Chrome;140.0.7339.16|Not%3DA%3FBrand;24.0.0.0|Chromium;140.0.7339.16",
    "uamb": "0",
    "uam": "",
    "uap": "Windows",
    "uapv": "15.0.0",
    "uaw": "0",
}


def test_client_hints_are_read_as_the_browser_says_them() -> None:
    found = gtag.read(hit("gtag", query=urlencode({**SHARED, **HINTS, "en": "page_view"})))
    assert found["context"]["userAgentData"] == {
        "fullVersionList": [
            {"brand": "Google Chrome", "version": "140.0.7339.16"},
            {"brand": "Not=A?Brand", "version": "24.0.0.0"},
            {"brand": "Chromium", "version": "140.0.7339.16"},
        ],
        "platform": "Windows",
        "platformVersion": "15.0.0",
        "architecture": "x86",
        "bitness": "64",
        "mobile": False,
        "wow64": False,
    }
    assert not found.keys() & HINTS.keys()
    assert client_hints.read({}, found) == Hints("Chrome", "140.0.7339.16", False, "Windows", "11", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("uafvl", "Chrome"), ("uafvl", "Chrome;x"), ("uafvl", "|".join(["a;1"] * 40)), ("uamb", "maybe"), ("uaw", "2")],
)
def test_hints_of_another_form_stay_what_they_are(name: str, value: str) -> None:
    found = gtag.read(hit("gtag", query=urlencode({"en": "a", name: value})))
    assert found[name] == value and "context" not in found
