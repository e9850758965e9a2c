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


STRIPES = {"type_from": "body.type", "id_from": "body.id"}
GITHUBS = {"type_from": "header.x-github-event", "id_from": "header.x-github-delivery"}
HEADERS = {"x-github-event": "issues", "x-github-delivery": "d-1"}


@pytest.mark.parametrize(
    ("via", "body", "fields", "found"),
    [
        (
            "hook.stripe",
            STRIPE,
            STRIPES,
            {
                "event_id": "stripe#evt_1Q",
                "type": "charge.succeeded",
                "properties": {**STRIPE, "data": {"object": {"amount": 1250, "rate": Decimal("0.5")}}},
            },
        ),
        ("hook.github", GITHUB, GITHUBS, {"event_id": "github#d-1", "type": "issues", "properties": GITHUB}),
        ("hook.github", GITHUB, {"type_from": "body.issue.title"}, {"type": "A 🙂", "properties": GITHUB}),
        ("hook.github", GITHUB, {"type_from": "body.issue.none", "id_from": "body.issue"}, {"properties": GITHUB}),
        ("hook.github", GITHUB, {"type_from": 5, "id_from": "header."}, {"properties": GITHUB}),
        ("hook.a", {"id": 7}, STRIPES, {"event_id": "a#7", "properties": {"id": 7}}),
        ("hook.a", {"id": True, "type": ""}, STRIPES, {"properties": {"id": True, "type": ""}}),
        ("hook.a", {"user_id": "u", "event_time": "t"}, {}, {"properties": {"user_id": "u", "event_time": "t"}}),
        ("hook.a", {}, None, {}),
        ("hook.a", [1, "b"], STRIPES, {"properties": {"data": [1, "b"]}}),
        ("hook.a", b"null", STRIPES, {"properties": {"data": None}}),
    ],
)
def test_json(via: str, body: Any, fields: Any, found: dict[str, Any]) -> None:
    wanted = {"anonymous_id": via, "type": via, **found}
    assert hook.read(hit(via, body, envelope=fields, headers=HEADERS)) == wanted


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "type=paid&id=o-1&a=1&a=2",
            {
                "event_id": "x#o-1",
                "type": "paid",
                "properties": {"type": "paid", "id": "o-1", "a": "1", "repeated": {"a": ["2"]}},
            },
        ),
        (urlencode({"payload": json.dumps(GITHUB)}), {"properties": GITHUB}),
        ("payload={&a=1", {"properties": {"payload": "{", "a": "1"}}),
        ("payload={", {"properties": {"payload": "{"}}),
        ("hello", {"properties": {"data": "hello"}}),
    ],
)
def test_text(text: str, found: dict[str, Any]) -> None:
    wanted = {"anonymous_id": "hook.x", "type": "hook.x", **found}
    assert hook.read(hit("hook.x", text=text, envelope=STRIPES)) == wanted


def test_a_query_string_may_hold_a_secret_and_is_not_kept() -> None:
    assert "s3cret" not in repr(hook.read(hit("hook.x", {"a": 1}, query="token=s3cret")))


@pytest.mark.parametrize("fields", [{}, {"text": "  "}, {"body": b"{"}, {"body": b"\xff"}])
def test_what_holds_nothing_is_refused(fields: Any) -> None:
    with pytest.raises(Unreadable):
        hook.read(hit("hook.x", **fields))
