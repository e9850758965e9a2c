from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from services.processor.protocols import Unreadable, hook
from tests.processor.protocols.hits import hit

STRIPE = {
    "id": "evt_1Q",
    "object": "event",
    "type": "charge.succeeded",
    "created": 1764439200,
    "data": {"object": {"amount": 1250, "rate": 0.5}},
}
GITHUB = {"action": "opened", "issue": {"title": "A 🙂"}, "repository": {"full_name": "a/b"}}


@pytest.mark.parametrize(
    ("via", "body", "found"),
    [
        (
            "hook.stripe",
            STRIPE,
            {
                "event_id": "stripe#evt_1Q",
                "type": "charge.succeeded",
                "properties": {**STRIPE, "data": {"object": {"amount": 1250, "rate": Decimal("0.5")}}},
            },
        ),
        ("hook.github", GITHUB, {"type": "hook.github", "properties": GITHUB}),
        (
            "hook.a",
            {"type": 5, "event": "b", "id": 7},
            {"event_id": "a#7", "type": "b", "properties": {"type": 5, "event": "b", "id": 7}},
        ),
        ("hook.a.b", {"id": True}, {"type": "hook.a.b", "properties": {"id": True}}),
        ("hook.a", {"id": {"x": 1}, "type": ""}, {"type": "hook.a", "properties": {"id": {"x": 1}, "type": ""}}),
        (
            "hook.a",
            {"user_id": "u", "event_time": "t"},
            {"type": "hook.a", "properties": {"user_id": "u", "event_time": "t"}},
        ),
        ("hook.a", {}, {"type": "hook.a"}),
        ("hook.a", [1, "b"], {"type": "hook.a", "properties": {"data": [1, "b"]}}),
        ("hook.a", b"null", {"type": "hook.a", "properties": {"data": None}}),
        ("hook", {"a": 1}, {"type": "hook", "properties": {"a": 1}}),
    ],
)
def test_json(via: str, body: Any, found: dict[str, Any]) -> None:
    assert hook.read(hit(via, body)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "event=paid&id=o-1&a=1&a=2",
            {
                "event_id": "x#o-1",
                "type": "paid",
                "properties": {"event": "paid", "id": "o-1", "a": "1", "repeated": {"a": ["2"]}},
            },
        ),
        (urlencode({"payload": json.dumps(GITHUB)}), {"type": "hook.x", "properties": GITHUB}),
        ("payload={&a=1", {"type": "hook.x", "properties": {"payload": "{", "a": "1"}}),
        ("payload={", {"type": "hook.x", "properties": {"payload": "{"}}),
        ("hello", {"type": "hook.x", "properties": {"data": "hello"}}),
    ],
)
def test_text(text: str, found: dict[str, Any]) -> None:
    assert hook.read(hit("hook.x", text=text)) == found


def test_a_query_string_may_hold_a_secret_and_is_not_kept() -> None:
    assert "s3cret" not in repr(hook.read(hit("hook.x", {"a": 1}, query="token=s3cret")))


@pytest.mark.parametrize("fields", [{}, {"text": "  "}, {"body": b"{"}, {"body": b"\xff"}])
def test_what_holds_nothing_is_refused(fields: Any) -> None:
    with pytest.raises(Unreadable):
        hook.read(hit("hook.x", **fields))
