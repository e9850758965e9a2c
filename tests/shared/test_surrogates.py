from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.shared import surrogates
from tests.growth import assert_linear

ESCAPES = [r"\ud83d", r"\uDE00", r"\ude00", r"\uD83D", r"\\", r"\"", r"\n", r"\u00e9", r"\uE000", r"ud83d", r"é", r"x"]
UNITS = st.lists(st.sampled_from(ESCAPES)).map("".join)
HALVES = st.characters(categories=["Cs"])
ANY = st.text(HALVES | st.characters() | st.sampled_from("\ud83d\ude00\U0001f600\ud7ff\ue000"))


def _escaped_slowly(text: str) -> str:
    """One step for each escape."""
    found, at = [], 0
    while at < len(text):
        if text[at] != "\\":
            found.append(text[at])
            at += 1
            continue
        pair = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..").match(text, at)
        half = re.compile(r"\\u[dD][89a-fA-F]..").match(text, at)
        length = 12 if pair else 6 if half else 2
        found.append("\\ufffd" if half and not pair else text[at : at + length])
        at += length
    return "".join(found)


@given(UNITS)
@example("\\\\ud83d")
@example("\\\\\\ud83d")
@example("\\ud83d\\\\ude00")
@example("\\ud83d\\ud83d\\ude00\\ude00")
def test_a_half_that_is_escaped_is_replaced_and_a_pair_kept(text: str) -> None:
    repaired = surrogates.replace_escaped(text.encode()).decode()
    assert repaired == _escaped_slowly(text)
    value = json.loads(f'"{repaired}"')
    value.encode()  # there is no half left
    assert value == json.loads(f'"{text}"').encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(ANY)
@example("\ud83d\ude00")
@example("\ude00\ud83d")
@example("\ud83d\ud83d\ude00")
def test_pairs_that_are_encoded_as_two_are_joined(text: str) -> None:
    # Python's "replace" makes one U+FFFD of a half that is followed by no other, as is done here.
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert surrogates.join_encoded(text.encode("utf-8", "surrogatepass")).decode() == expected


@given(st.binary())
def test_what_holds_no_surrogates_stays_as_it_is(data: bytes) -> None:
    if re.search(rb"\xed[\xa0-\xbf][\x80-\xbf]", data) is None:
        assert surrogates.join_encoded(data) is data or surrogates.join_encoded(data) == data
    text = data.decode(errors="replace").encode()
    if re.search(rb"\\u[dD]", text) is None:
        assert surrogates.replace_escaped(text) is text


def test_korean_is_kept() -> None:
    text = "한국어 텍스트 ퟿".encode()
    assert b"\xed" in text
    assert surrogates.join_encoded(text) == text


ENCODED, ESCAPED = surrogates.join_encoded, surrogates.replace_escaped


@pytest.mark.parametrize(
    ("repair", "one", "repaired"),
    [
        (ENCODED, "\ud83d\ude00".encode("utf-8", "surrogatepass"), "😀".encode()),
        (ENCODED, "\ud83d".encode("utf-8", "surrogatepass"), "\ufffd".encode()),
        (ESCAPED, rb"\ud83d", rb"\ufffd"),
    ],
)
def test_only_so_many_are_repaired(repair: Callable[[bytes], bytes], one: bytes, repaired: bytes) -> None:
    assert repair(one * surrogates.MOST) == repaired * surrogates.MOST
    with pytest.raises(surrogates.TooMany, match="over 50000 characters are"):
        repair(one * (surrogates.MOST + 1))


def test_the_work_is_linear() -> None:
    assert_linear(surrogates.join_encoded, b"\xed\xa0\xbd", b"\xed\xb8\x80", refused=surrogates.TooMany)
    assert_linear(surrogates.replace_escaped, rb"\ud83d", rb"\ude00", refused=surrogates.TooMany)
