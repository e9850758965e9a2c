from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from services.processor.protocols import Unreadable, form
from tests.processor.protocols.hits import hit

FIELDS = {
    "event_id": "e-1",
    "user_id": "u-1",
    "type": "left 🙂",
    "url": "https://shop.example/?x=1",
    "event_time": "2025-11-29T17:59:58Z",
    "total": "12.5",
    "note": "",
}


@pytest.mark.parametrize(
    ("text", "query", "found"),
    [
        (urlencode(FIELDS), "", FIELDS),
        ("type=a&b=1&b=2&c", "d=3&b=4", {"type": "a", "b": ["1", "2", "4"], "c": "", "d": "3"}),
        ("type=a&type=b", "type=c", {"type": "a", "form": {"type": ["b", "c"]}}),
        ("type=&user_id=&type=b", "", {"type": "b"}),
        ("a=1", "user_id=u", {"a": "1", "user_id": "u"}),
        ('properties={"a":[1]}&context={}', "", {"properties": {"a": [1]}}),
        ("properties=text&context=[1]", "", {"form": {"properties": ["text"], "context": ["[1]"]}}),
        ('properties={"a":1}&properties=b', "", {"properties": {"a": 1}, "form": {"properties": ["b"]}}),
        ("form=1&__proto__=2&=3", "", {"form": {"form": "1"}, "__proto__": "2", "": "3"}),
        ("a=%F0%9F%99%82+b%zz", "", {"a": "🙂 b%zz"}),
    ],
)
def test_forms(text: str, query: str, found: dict[str, Any]) -> None:
    assert form.read(hit("form", text=text, query=query)) == found


@pytest.mark.parametrize("text", ["", "&", "&&&"])
def test_an_empty_form_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        form.read(hit("form", text=text, query="user_id=u"))
