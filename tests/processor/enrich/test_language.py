from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor.enrich import language


def _read(text: str) -> str | None:
    return language.read({"accept-language": text}, {}).code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("de", "de"),
        ("de-CH,de;q=0.9,en;q=0.8", "de"),
        ("en;q=0.5, FR-fr;q=0.8 , de;q=0.1", "fr"),
        ("zh-Hant-TW", "zh"),
        ("gsw,de", "gsw"),
        ("*,en;q=0.5", "en"),
        ("en;q=0", None),
        ("en;q=1.9,de", "en"),
        ("*", None),
        ("x", None),
        ("english", None),
        (",;,q=1", None),
        ("de;q=", None),
    ],
)
def test_the_language_with_the_highest_weight_is_preferred(text: str, code: str | None) -> None:
    assert _read(text) == code


def test_no_header_tells_nothing() -> None:
    assert language.read({}, {}) == language.read({"accept-language": ""}, {}) == language.NOTHING


@given(st.text() | st.text("de-,;q=.01 "))
def test_no_header_raises(text: str) -> None:
    code = _read(text)
    assert code is None or (code.isascii() and code.isalpha() and 2 <= len(code) <= 3)
