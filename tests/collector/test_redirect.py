"""Where a click may go, and all the ways in which links try to go elsewhere."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.redirect import MAX_TARGET, Redirects, check_host, sign
from tests.growth import assert_linear

LISTED = Redirects(["shop.example.com", "*.example.org"])
SIGNED = Redirects([], [b"old", b"new"])


def _asked(to: str) -> str:
    return f"type=click&to={quote(to, safe='')}"


@pytest.mark.parametrize(
    "to",
    [
        "https://shop.example.com",
        "http://shop.example.com:8443/a?b=c&d=%20#e",
        "https://SHOP.example.com/",
        "https://a.example.org/x",
        "https://a.b.example.org?x",
    ],
)
def test_a_listed_host(to: str) -> None:
    assert LISTED.target(_asked(to)) == to
    assert LISTED.target(f"to={to.replace('#', '%23').replace('&', '%26').replace('%20', '%2520')}") == to


@pytest.mark.parametrize(
    "to",
    [
        "",
        "/relative",
        "//shop.example.com",
        "https:shop.example.com",
        "https:/shop.example.com",
        "https:///shop.example.com",
        "https://example.org",
        "https://xexample.org",
        "https://shop.example.com.evil.example",
        "https://evil.example?https://shop.example.com",
        "https://evil.example#shop.example.com",
        "https://evil.example\\@shop.example.com",
        "https://shop.example.com@evil.example",
        "https://user:pass@shop.example.com",
        "https://shop.example.com\\.evil.example",
        "https://shop.example.com%2eevil.example",
        "https://shop.example.com\r\nSet-Cookie: a=b",
        "https://shop.example.com/\n",
        "https://shop.example.com/a b",
        "https://shop.example.com/\0",
        " https://shop.example.com",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://shop.example.com",
        "https://shop．example.com",
        "https://shop.example.com:port/",
        "https://[::1]/",
        "https://shop.example.com/" + "a" * MAX_TARGET,
    ],
)
def test_nowhere_else(to: str) -> None:
    assert LISTED.target(_asked(to)) is None


def test_the_list_is_empty_by_default() -> None:
    assert Redirects([]).target(_asked("https://shop.example.com")) is None
    assert (
        Redirects([]).target(_asked("https://shop.example.com") + f"&sig={sign(b'', b'https://shop.example.com')}")
        is None
    )


@pytest.mark.parametrize("key", [b"old", b"new"])
def test_what_is_signed_may_go_anywhere(key: bytes) -> None:
    to = "https://anywhere.example/a?b=ü"
    signature = sign(key, to.encode())
    assert SIGNED.target(_asked(to) + f"&sig={signature}") == "https://anywhere.example/a?b=%C3%BC"
    assert SIGNED.target(_asked(to) + f"&sig={signature.upper()}") is not None
    for wrong in (signature[:-1], "", "x", sign(b"other", to.encode()), signature + "0"):
        assert SIGNED.target(_asked(to) + f"&sig={wrong}") is None
    assert SIGNED.target(_asked(to + "/") + f"&sig={signature}") is None


@pytest.mark.parametrize("query", ["to=\udcff", "to=https://shop.example.com/\udcff", "to=a&sig=\udcff"])
def test_a_raw_byte_that_is_not_utf8_leads_nowhere_or_stays_a_byte(query: str) -> None:
    """aiohttp hands on such a byte as half a character."""
    assert LISTED.target(query) in (None, "https://shop.example.com/%FF")
    assert SIGNED.target(query) is None


def test_the_first_of_two_counts() -> None:
    assert LISTED.target(_asked("https://evil.example") + "&" + _asked("https://shop.example.com")) is None


@given(st.sampled_from(["{}", "https://{}", "https://shop.example.com{}", "https://{}.example.org/"]), st.text())
def test_every_target_is_one_that_is_allowed(form: str, text: str) -> None:
    found = LISTED.target("to=" + quote(form.format(text).encode("utf-8", "surrogatepass"), safe=""))
    if found is not None:
        place = urlsplit(found)
        host = place.hostname or ""
        assert host == "shop.example.com" or host.endswith(".example.org")
        assert found.isascii()
        assert found.isprintable()
        assert place.username is None
        assert " " not in found


def test_work_grows_with_the_query() -> None:
    assert_linear(LISTED.target, "to=https://shop.example.com/", "&sig=0")


@pytest.mark.parametrize("host", ["example.com", "*.Example.com", "a-b.example.com"])
def test_hosts_that_are_taken(host: str) -> None:
    assert check_host(host) == host.lower()


@pytest.mark.parametrize(
    "host", ["", "*", "*.", "com", "*.com", "a..b", "https://a.b", "a.b/", "a.b:80", "*.*.b", "-a.b"]
)
def test_hosts_that_are_refused(host: str) -> None:
    with pytest.raises(ValueError, match="use host names such as"):
        check_host(host)
