from __future__ import annotations

from urllib.parse import quote, quote_plus, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.processor import query


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("a=1&b=2", [("a", "1"), ("b", "2")]),
        ("a=1&a=2", [("a", "1"), ("a", "2")]),
        ("a&b=&=c", [("a", ""), ("b", ""), ("", "c")]),
        ("&&a=1&", [("a", "1")]),
        ("a=b=c", [("a", "b=c")]),
        ("a+b=c+d", [("a b", "c d")]),
        ("a=%2B%26%3D", [("a", "+&=")]),
        ("caf%C3%A9=na%C3%AFve", [("café", "naïve")]),
        ("a=caf%E9", [("a", "café")]),
        ("a=caf%E9%20au", [("a", "café au")]),
        ("a=%FF%FE&b=%C3%A9", [("a", "ÿþ"), ("b", "é")]),
        ("a=%zz&b=100%", [("a", "%zz"), ("b", "100%")]),
        ("a=%25", [("a", "%")]),
        ("a=%2525", [("a", "%25")]),
        ("a=%EF%BF%BD", [("a", "\ufffd")]),
        ("a=1;b=2", [("a", "1;b=2")]),
        ("a=1#b=2", [("a", "1#b=2")]),
        ("a=é", [("a", "é")]),
        ("a=%00", [("a", "\0")]),
    ],
)
def test_queries_are_read_as_written(text: str, pairs: list[tuple[str, str]]) -> None:
    assert query.pairs(text) == pairs


# What people and machines write: plain text, percent signs in any state, separators.
TEXT = st.text(st.sampled_from("abxuN{}\\\n%&=+#;?/é\u20ac\U0001f388 0123456789ABCDEFcCeE"), max_size=30)


def _plainly(part: str) -> str:
    return query.text(unquote_to_bytes(part.replace("+", " ")))


@given(TEXT)
@example("%C3")
@example("%C3%28=%")
@example("a%3Db=c%26d")
@example("a=\\x41%41\\&b=\\%5C\\u0041\\")
@example("é%C3%A9=\n%0A\\\n")
def test_the_fast_way_and_the_plain_way_agree(text: str) -> None:
    parts = [part.partition("=") for part in text.split("&") if part]
    assert query.pairs(text) == [(_plainly(name), _plainly(value)) for name, _, value in parts]


UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(UNICODE, UNICODE), max_size=8))
def test_what_is_quoted_comes_back(pairs: list[tuple[str, str]]) -> None:
    for quoted in (quote, quote_plus):
        text = "&".join(f"{quoted(name, safe='')}={quoted(value, safe='')}" for name, value in pairs)
        assert query.pairs(text) == pairs


@given(st.text())
def test_no_text_raises(text: str) -> None:
    for name, value in query.pairs(text):
        (name + value).encode()
