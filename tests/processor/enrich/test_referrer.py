from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor import url
from services.processor.enrich import data_file, referrer
from services.processor.enrich.referrer import NONE, NOTHING, Referrer


def _read(address: Any, page: str = "https://shop.example.com/cart") -> Referrer:
    return referrer.read({"referer": page}, {"referrer": address})


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("", NONE),
        ("  ", NONE),
        ("https://www.google.com/", ("www.google.com", "search", "Google", None)),
        ("https://www.google.co.uk/search?q=red+shoes&hl=en", ("www.google.co.uk", "search", "Google", "red shoes")),
        ("https://google.evil.com/", ("google.evil.com", "other", None, None)),
        ("https://docs.google.com/document", ("docs.google.com", "other", None, None)),
        ("https://mail.google.com/", ("mail.google.com", "email", "Gmail", None)),
        ("android-app://com.google.android.gm/", ("com.google.android.gm", "email", "Gmail", None)),
        ("https://uk.search.yahoo.com/search?p=caf%C3%A9", ("uk.search.yahoo.com", "search", "Yahoo", "café")),
        ("https://yandex.ru/search/?text=a%20b#q=c", ("yandex.ru", "search", "Yandex", "a b")),
        ("https://duckduckgo.com/?q=", ("duckduckgo.com", "search", "DuckDuckGo", None)),
        ("https://l.facebook.com/l.php?q=1", ("l.facebook.com", "social", "Facebook", None)),
        ("https://t.co/abc", ("t.co", "social", "X", None)),
        ("https://not.co/abc", ("not.co", "other", None, None)),
        ("https://evilfacebook.com/", ("evilfacebook.com", "other", None, None)),
        ("https://chatgpt.com/", ("chatgpt.com", "chatbot", "ChatGPT", None)),
        ("https://www.perplexity.ai/search?q=1", ("www.perplexity.ai", "chatbot", "Perplexity", None)),
        ("https://grok.com/", ("grok.com", "chatbot", "Grok", None)),
        ("https://www.googleadservices.com/pagead/aclk", ("www.googleadservices.com", "paid", "Google Ads", None)),
        ("https://an.yandex.ru/count", ("an.yandex.ru", "paid", "Yandex Direct", None)),
        ("https://SHOP.example.com:8443/a", ("shop.example.com", "internal", None, None)),
        ("https://www.shop.example.com/a", ("www.shop.example.com", "internal", None, None)),
        ("https://example.com/", ("example.com", "internal", None, None)),
        ("https://otherexample.com/", ("otherexample.com", "other", None, None)),
        ("https://me:pw@blog.example.net./x?y", ("blog.example.net", "other", None, None)),
        ("http://[::1]:80/", ("[::1]", "other", None, None)),
        ("not an address", NOTHING),
        ("/relative", NOTHING),
        ("https://", NOTHING),
        ("about:blank", NOTHING),
        (None, NOTHING),
        (7, NOTHING),
        (["https://t.co"], NOTHING),
    ],
)
def test_what_a_referrer_tells(address: Any, found: tuple[Any, ...]) -> None:
    assert _read(address) == found


def test_no_parameter_tells_nothing() -> None:
    assert referrer.read({"referer": "https://www.google.com/"}, {}) == NOTHING


def test_the_page_is_the_parameter_url_before_the_header() -> None:
    given_page = {"referrer": "https://a.example/x", "url": "https://a.example/y"}
    assert referrer.read({"referer": "https://b.example/"}, given_page).medium == "internal"
    assert referrer.read({}, {"referrer": "https://a.example/x"}).medium == "other"


def test_a_term_and_an_address_are_cut() -> None:
    term = _read("https://www.google.com/search?q=" + "x" * 5_000).term
    assert term == "x" * referrer.MAX_TERM
    assert _read("https://www.google.com/?a=" + "x" * url.MAX_LENGTH + "&q=late").term is None
    assert (
        _read("https://" + "a" * 100_000 + ".com/").host is None or len(_read("https://" + "a" * 100_000).host) <= 253
    )


@given(st.text() | st.text().map("https://www.google.com/".__add__) | st.text().map("https://".__add__), st.text())
def test_no_text_raises(address: str, page: str) -> None:
    found = _read(address, page)
    assert found.medium in ("search", "social", "email", "chatbot", "internal", "direct", "other", None)
    assert found.host is None or 0 < len(found.host) <= 300


def test_the_file_names_each_site_once_and_as_it_is_looked_up() -> None:
    file = data_file.load(referrer.FILE)
    assert list(file) == ["as_of", *referrer.MEDIA_OF_SITES]
    for medium in referrer.MEDIA_OF_SITES:
        assert list(file[medium]) == sorted(file[medium]), medium
    sites = [site for medium in referrer.MEDIA_OF_SITES for sites in file[medium].values() for site in sites]
    assert sorted(sites) == sorted(set(sites))
    for medium in referrer.MEDIA_OF_SITES:
        for name, named in file[medium].items():
            for site in named:
                assert _read(f"https://{site}/", "https://nowhere.test/")[:3] == (site, medium, name)
