from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.shared import json_depth
from tests.growth import assert_linear


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        (b"[" * 490 + b"]" * 490, False),
        (b"[" * 491 + b"]" * 491, True),
        (b'{"a":' * 490 + b"1" + b"}" * 490, False),
        (b'{"a":' * 491 + b"1" + b"}" * 491, True),
        (b"[" + b"[]," * 1000 + b"[]]", False),
        (b'"' + b"[" * 1000 + b'"', False),
        (b'["\\"' + b"[" * 1000 + b'"]', False),
        (b'["\\\\",' + b"[" * 490 + b"]" * 491, True),
        (b"{}\n" * 1000, False),
    ],
)
def test_levels_are_counted_and_texts_are_not(text: bytes, deep: bool) -> None:
    assert json_depth.too_deep(text) is deep


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\a'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[]{}"\\'), inner, max_size=3),
)


@given(VALUES, st.integers(min_value=480, max_value=495))
def test_it_agrees_with_a_walk_through_the_value(value: Any, around: int) -> None:
    text = b"[" * around + json.dumps(value).encode() + b"]" * around
    assert json_depth.too_deep(text) is (around + _levels(value) > json_depth.DEEPEST)


TEXTS = st.lists(st.sampled_from(["[", "{", "[[", "]", "}", '"', '\\"', "\\\\", "\\n", ",", "é"]), max_size=60).map(
    "".join
)


STARTS = ["", "x", '"', "[", "[[[]]]", "\\\\", '\\"']


@given(TEXTS, st.integers(0, 6), st.sampled_from([0, 16_370, 16_384, 32_760]), st.sampled_from(STARTS))
@example("[", 0, 16_384, '\\"')
@example("[", 0, 32_760, "\\\\")
def test_the_place_is_that_of_a_walk_through_the_text(text: str, deepest: int, length: int, fill: str) -> None:
    """Wherever the places are where the text is cut to be looked at."""
    start = fill * (length // len(fill)) if fill else ""
    whole = f'"{start}"{text}' if "\\" in fill else start + text
    expected = _first_too_deep(whole, deepest)
    found = json_depth.first_too_deep(whole.encode(), deepest)
    assert found == (None if expected is None else len(whole[:expected].encode()))


def _first_too_deep(text: str, deepest: int) -> int | None:
    """One step for each character."""
    depth, quoted, at = 0, False, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == '"':
            quoted = not quoted
        elif not quoted and text[at] in "[{":
            depth += 1
            if depth > deepest:
                return at
        elif not quoted and text[at] in "]}":
            depth -= 1
        at += 1
    return None


def test_the_work_is_linear() -> None:
    deep = b"[" * json_depth.DEEPEST
    assert_linear(json_depth.too_deep, deep, b"]" * json_depth.DEEPEST)
    assert_linear(json_depth.too_deep, deep + b'"', b'"' + b"[" * json_depth.DEEPEST)


def test_asking_whether_costs_no_walk_to_where() -> None:
    """Each of a batch's items is asked, and none needs the place: finding it stalled the event loop for 0.2 s."""

    def cpu(levels: int) -> float:
        item = b"[" + b"[" * (levels - 1) + b"]" * (levels - 1) + b",[]]"  # more brackets than levels are allowed
        began = time.thread_time()
        for _ in range(200):
            json_depth.too_deep(item)
        return time.thread_time() - began

    fits, too_deep = (min(cpu(levels) for _ in range(5)) for levels in (json_depth.DEEPEST, json_depth.DEEPEST + 1))
    assert too_deep < 4 * fits


def _levels(value: Any) -> int:
    inner = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else None
    return 0 if inner is None else 1 + max(map(_levels, inner), default=0)
