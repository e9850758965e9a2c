from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import nesting


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
    assert nesting.too_deep(text) is deep


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\a'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[]{}"\\'), inner, max_size=3),
)


@given(VALUES, st.integers(min_value=480, max_value=495))
def test_it_agrees_with_a_walk_through_the_value(value: Any, around: int) -> None:
    text = b"[" * around + json.dumps(value).encode() + b"]" * around
    assert nesting.too_deep(text) is (around + _levels(value) > nesting.DEEPEST)


def _levels(value: Any) -> int:
    inner = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else None
    return 0 if inner is None else 1 + max(map(_levels, inner), default=0)
