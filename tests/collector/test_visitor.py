from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.visitor import NOBODY, Visitor, Visitors
from services.shared.privacy import MAX_COOKIE_DAYS, Cookie
from tests.growth import assert_linear

DAY = 20_700
NOW = DAY * 86_400_000_000 + 1
PAGE = "https://www.example.com"
COOKIE = Cookie(origins=(PAGE, "*.shop.example.com", "http://localhost:8000"), domain="example.com")
KNOWN = "A" * 21 + "w"


def _visitors(**changes: Any) -> Visitors:
    numbers = count(1)
    return Visitors(dataclasses.replace(COOKIE, **changes), lambda size: next(numbers).to_bytes(size, "big"))


def _see(
    cookies: Sequence[str] = (),
    visitors: Visitors | None = None,
    *,
    host: str = "c.example.com",
    origin: str = PAGE,
    referer: str = "",
    day: int = DAY,
    opted_out: bool = False,
) -> Visitor:
    now = NOW + (day - DAY) * 86_400_000_000
    visitors = visitors or _visitors()
    return visitors.see(cookies=cookies, host=host, origin=origin, referer=referer, now=now, opted_out=opted_out)


def test_a_new_visitor_gets_a_cookie_that_scripts_cannot_read() -> None:
    found = _see()
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", found.id)
    assert found.set_cookie == (
        f"pp_visitor=v1.{found.id}.20700; Max-Age={395 * 86_400}; Path=/; Domain=example.com; Secure; HttpOnly;"
        " SameSite=Lax"
    )
    assert _see(visitors=Visitors(COOKIE)).id != _see(visitors=Visitors(COOKIE)).id


def test_without_a_domain_the_cookie_is_of_the_host_alone() -> None:
    found = _see(visitors=_visitors(domain="", same_site="Strict", name="__Host-v", days=30), host="10.0.0.1:8080")
    assert found.set_cookie == (
        f"__Host-v=v1.{found.id}.20700; Max-Age={30 * 86_400}; Path=/; Secure; HttpOnly; SameSite=Strict"
    )


def test_a_known_visitor_is_recognized_and_the_cookie_is_not_renewed() -> None:
    assert _see([f"a=1; pp_visitor=v1.{KNOWN}.20310; b=2"]) == Visitor(KNOWN)
    assert _see(["a=1", f"pp_visitor=v1.{KNOWN}.20700"]) == Visitor(KNOWN)
    assert _see([f"a=1,pp_visitor=v1.{KNOWN}.20700,b=2"]) == Visitor(KNOWN)  # as a proxy may join lines


def test_what_was_sent_is_recognized() -> None:
    first = _see()
    assert _see([first.set_cookie.partition(";")[0]], day=DAY + 394) == Visitor(first.id)


@pytest.mark.parametrize("days", [1, 30, MAX_COOKIE_DAYS])
@pytest.mark.parametrize("renew", [False, True])
def test_age_counts_from_the_first_issue(days: int, renew: bool) -> None:
    visitors = _visitors(days=days, renew=renew)
    old = [f"pp_visitor=v1.{KNOWN}.{DAY - days:05}"]
    found = _see(old, visitors)
    assert found.id != KNOWN
    assert f"{found.id}.{DAY}; Max-Age={days * 86_400};" in found.set_cookie
    last = [f"pp_visitor=v1.{KNOWN}.{DAY - days + 1:05}"]
    assert _see(last, visitors).id == KNOWN


def test_where_it_is_said_a_cookie_is_renewed_once_a_day() -> None:
    visitors = _visitors(renew=True)
    found = _see([f"pp_visitor=v1.{KNOWN}.20600"], visitors)
    assert found.id == KNOWN
    assert f"=v1.{KNOWN}.20700; Max-Age={395 * 86_400};" in found.set_cookie
    assert _see([f"pp_visitor=v1.{KNOWN}.20700"], visitors) == Visitor(KNOWN)


def test_under_an_opt_out_a_cookie_is_neither_set_nor_read_and_one_that_is_there_is_deleted() -> None:
    assert _see(opted_out=True) == NOBODY
    assert _see(["a=1; xpp_visitor=1"], opted_out=True) == NOBODY
    deleted = Visitor("", "pp_visitor=; Max-Age=0; Path=/; Domain=example.com; Secure; HttpOnly; SameSite=Lax")
    for value in (f"v1.{KNOWN}.20700", "junk", ""):
        assert _see([f"a=1; pp_visitor={value}"], opted_out=True) == deleted
    assert _see([f"pp_visitor=v1.{KNOWN}.20700"], opted_out=True, origin="https://other.example") == deleted
    assert _see([f"pp_visitor=v1.{KNOWN}.20700"], opted_out=True, host="c.other.example") == NOBODY


@pytest.mark.parametrize(
    ("origin", "referer", "listed"),
    [
        (PAGE, "", True),
        (PAGE + ":443", "", True),
        ("HTTPS://WWW.Example.com", "", True),
        ("", PAGE + "/a/b?c=https://x.example/#d", True),
        ("", PAGE, True),
        ("https://a.shop.example.com", "", True),
        ("https://a.b.shop.example.com", "", True),
        ("http://localhost:8000", "", True),
        ("", "", False),
        ("null", "", False),
        ("null", PAGE, False),
        ("https://other.example", PAGE, False),
        ("", "https://other.example/?" + PAGE, False),
        ("", "https://user@www.example.com/", False),
        ("", "https://www.example.com@other.example/", False),
        ("http://www.example.com", "", False),
        ("https://www.example.com:8443", "", False),
        ("https://shop.example.com", "", False),
        ("https://xshop.example.com", "", False),
        ("https://a.shop.example.com.other.example", "", False),
        ("http://a.shop.example.com", "", False),
        ("https://a.shop.example.com:8443", "", False),
        ("http://localhost", "", False),
        ("www.example.com", "", False),
        ("https://[::1", "", False),
        ("https://", "", False),
        ("android-app://com.example", "", False),
    ],
)
def test_only_pages_of_listed_origins_get_one(origin: str, referer: str, listed: bool) -> None:
    assert bool(_see(origin=origin, referer=referer).set_cookie) is listed
    known = _see([f"pp_visitor=v1.{KNOWN}.20700"], origin=origin, referer=referer)
    assert known == (Visitor(KNOWN) if listed else NOBODY)


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("c.example.com", True),
        ("example.com", True),
        ("C.Example.COM:8080", True),
        ("c.example.com.", True),
        ("", False),
        ("example.org", False),
        ("badexample.com", False),
        ("example.com.other.example", False),
        ("10.0.0.1", False),
        ("[::1]:80", False),
    ],
)
def test_only_a_host_below_the_domain_sets_it(host: str, ours: bool) -> None:
    assert bool(_see(host=host).id) is ours


@pytest.mark.parametrize(
    "value",
    [
        "",
        "v1",
        f"v2.{KNOWN}.20700",
        f"V1.{KNOWN}.20700",
        f"v1.{KNOWN}x.20700",
        f"v1.{KNOWN[1:]}.20700",
        f"v1.{KNOWN}.20702",
        f"v1.{KNOWN}.99999",
        f"v1.{KNOWN}.00000",
        f"v1.{KNOWN}.+0700",
        f"v1.{KNOWN}.２０７００",
        f"v1.{KNOWN}.20700.1",
        f'"v1.{KNOWN}.20700"',
        f"v1.{KNOWN}.20700\r\nSet-Cookie: a=b",
        f"v1.{KNOWN}.20700\n",
        f"v1.{KNOWN[:-1]}\r.20700",
        f"v1.{KNOWN[:-1]}é.20700",
        f"v1.{KNOWN[:-1]}\udcff.20700",
        "v1." + "A" * 8_192 + ".20700",
        "v1." * 2_700,
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_value_that_is_not_ours_is_replaced(value: str) -> None:
    fresh = _see()
    assert _see([f"pp_visitor={value}"]) == fresh
    assert "\r" not in fresh.set_cookie and "\n" not in fresh.set_cookie


def test_of_several_the_first_good_one_counts() -> None:
    other = "B" * 21 + "w"
    assert _see([f"pp_visitor=v1.{KNOWN}.20700; pp_visitor=v1.{other}.20600"]) == Visitor(KNOWN)
    assert _see([f"pp_visitor=junk; pp_visitor=v1.{KNOWN}.20000; pp_visitor=v1.{other}.20600"]) == Visitor(other)


def test_a_name_is_no_pattern() -> None:
    visitors = _visitors(name="a.b")
    assert _see([f"axb=v1.{KNOWN}.20700"], visitors).id != KNOWN
    assert _see([f"a.b=v1.{KNOWN}.20700"], visitors).id == KNOWN


@given(st.lists(st.text(), max_size=3), st.text(), st.text(), st.text(), st.booleans())
def test_any_headers_are_read(cookies: list[str], host: str, origin: str, referer: str, opted_out: bool) -> None:
    for given_host, given_origin in ((host, origin), ("c.example.com", origin), ("c.example.com", "")):
        found = _see(cookies, host=given_host, origin=given_origin, referer=referer, opted_out=opted_out)
        assert found.set_cookie.isprintable()
        assert found.set_cookie.isascii()
    if not opted_out:
        sent = [f"{text}; pp_visitor=v1.{KNOWN}.20700; {text}" for text in cookies] or [f"pp_visitor=v1.{KNOWN}.20700"]
        assert _see(sent).id == KNOWN


@pytest.mark.slow
def test_time_grows_with_the_input_and_nothing_else() -> None:
    visitors = _visitors()
    assert_linear(lambda text: _see([text], visitors), "a=1; pp_visitor=v1.", KNOWN, ".20700; b=2")
    assert_linear(lambda text: _see([text], visitors, opted_out=True), "a=1; pp_visitor", "=v1.", "; b=2")
    assert_linear(
        lambda text: _see([], visitors, host=text, origin="", referer=text), "https://www.", "example", ".com/x"
    )
