"""Hits of other trackers become rows and rejects, by the columns that native events fill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from services.processor.parse import BAD_BODY, MISSING, Parser
from services.shared import guard, identity, schema_file
from services.shared import hit as wire
from services.shared.hit import Hit
from tests.processor.parsing import reject_of, row_of
from tests.schemas import a_file

NOW = 1_764_439_200_000_000  # 2025-11-29T18:00:00Z
COLUMNS = """\
      event_time: {type: TIMESTAMP, from: param.event_time}
      user_id: {type: STRING, from: param.user_id}
      anonymous_id: {type: STRING, from: param.anonymous_id}
      type: {type: STRING, from: param.type}
      url: {type: STRING, from: param.url}
      protocol: {type: STRING, from: hit.protocol}
      params: {type: JSON, from: param.*}
"""
SCHEMA = schema_file.parse(a_file(COLUMNS, "    require_any: [user_id, anonymous_id]\n"))
PARSER = Parser(SCHEMA)
BROWSER = {"user-agent": "Mozilla/5.0"}


def _raw(value: Any) -> msgspec.Raw:
    return wire.NO_BODY if value is None else msgspec.Raw(json.dumps(value).encode())


def _hit(
    via: str = "", body: Any = None, query: str = "", text: str = "", envelope: Any = None,
    headers: Mapping[str, str] = BROWSER, id: str = "",
) -> Hit:  # fmt: skip
    return Hit(
        id=id or identity.uuid7(NOW, b"0123456789"), at=NOW, method="POST", path="/", query=query, text=text, via=via,
        body=_raw(body), envelope=_raw(envelope), headers=dict(headers), ip="203.0.113.0",
    )  # fmt: skip


def _row(one: Hit) -> dict[str, Any]:
    return row_of(one, SCHEMA, NOW)


SENT = "2025-11-29T18:00:10Z"  # by a clock that is ten seconds ahead
HAPPENED = "2025-11-29T17:59:00Z"
TRACK = {"type": "track", "event": "Order", "messageId": "m", "userId": "ada", "timestamp": HAPPENED,
         "properties": {"total": 4.5}}  # fmt: skip
CASES = {
    "rudderstack": _hit("rudderstack.track", {**TRACK, "sentAt": SENT}),
    "jitsu": _hit("jitsu.track", {**TRACK, "sentAt": SENT}),
    "segment": _hit("segment", TRACK, envelope={"sentAt": SENT, "writeKey": "k"}),
    "posthog": _hit(
        "posthog",
        {"event": "Order", "uuid": "m", "timestamp": HAPPENED,
         "properties": {"distinct_id": "ada", "$device_id": "d", "total": 4.5}},
        envelope={"sent_at": SENT, "api_key": "k"},
    ),
    "amplitude": _hit(
        "amplitude",
        {"event_type": "Order", "insert_id": "m", "event_id": 7, "user_id": "ada", "time": 1_764_439_140_000,
         "event_properties": {"total": 4.5}},
        envelope={"client_upload_time": SENT, "api_key": "k"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_event_fills_the_columns_of_everybody(name: str) -> None:
    row = _row(CASES[name])
    assert (row["event_id"], row["user_id"], row["type"], row["protocol"]) == ("m", "ada", "Order", name)
    assert row["event_time"] == NOW - 70_000_000  # 17:58:50 by our clock
    assert json.loads(row["params"])["properties"]["total"] == 4.5


def test_a_native_event_says_when_it_was_sent_and_has_its_clock_corrected() -> None:
    for one in (
        _hit(query=f"user_id=ada&event_time={HAPPENED}&sent_at={SENT}"),
        _hit(body={"user_id": "ada", "event_time": HAPPENED, "sent_at": SENT}),
    ):
        row = _row(one)
        assert (row["event_time"], row["protocol"]) == (NOW - 70_000_000, "native")
        assert json.loads(row["params"])["client_event_time"] == HAPPENED
    right = _row(_hit(query=f"user_id=ada&event_time={HAPPENED}&sent_at=2025-11-29T18:00:00Z"))
    assert (right["event_time"], json.loads(right["params"])) == (NOW - 60_000_000, {"sent_at": "2025-11-29T18:00:00Z"})


def test_a_retry_over_midnight_has_the_day_of_the_event() -> None:
    late = "2025-11-28T23:59:59Z"
    item = {"type": "track", "event": "Order", "messageId": "m", "userId": "ada", "timestamp": late}
    for sent in ("2025-11-29T00:00:01Z", "2025-11-29T17:59:59Z"):
        assert _row(_hit("segment", item, envelope={"sentAt": sent}))["day"] == NOW // 86_400_000_000 - 1


def _left_out(via: str) -> Hit:
    """A hit whose body the collector did not keep."""
    return msgspec.structs.replace(_hit(via), body=msgspec.Raw(guard.TOO_MUCH))


@pytest.mark.parametrize(
    ("one", "detail"),
    [
        (_hit("segment", 42), "the item is not a JSON object"),
        (_hit("segment", None, text="nonsense"), "the item is not JSON"),
        (
            _hit("segment", None, text="{", envelope={"uncut": "not JSON", "bytes": 1}),
            "the body cannot be cut into items: not JSON",
        ),
        (
            _hit("matomo", None, query="idsite=1&rec=1", envelope={"uncut": "too large", "bytes": 20_000_000}),
            "the body cannot be cut into items: too large",
        ),
        (_left_out("segment"), f"its values were not kept: {guard.TOO_MUCH_SAID}"),
        (_hit("matomo", None, text=guard.TOO_MUCH.decode()), f"its values were not kept: {guard.TOO_MUCH_SAID}"),
        (_hit("someday.new", {}), "this processor does not know the protocol"),
    ],
)
def test_what_is_no_event_of_its_protocol_is_a_reject_with_the_whole_hit(one: Hit, detail: str) -> None:
    found = reject_of(one, SCHEMA, NOW)
    assert (found.reason, found.detail) == (BAD_BODY, detail)
    row = PARSER.reject_row(one, found, NOW)
    kept = json.loads(row.values[-1])
    assert kept["via"] == one.via
    assert kept.get("text", "") == one.text


def test_a_form_of_our_own_is_parameters_before_the_query_string() -> None:
    row = _row(_hit(text="user_id=ada&type=view&tag=a&tag=b", query="type=x&user_id=y"))
    assert (row["user_id"], row["type"], row["protocol"]) == ("ada", "view", "native")
    assert json.loads(row["params"]) == {"tag": ["a", "b"], "type": "x", "user_id": "y"}


def test_an_event_that_names_nobody_is_a_reject() -> None:
    found = reject_of(_hit(query="type=view"), SCHEMA, NOW)
    assert (found.reason, found.detail, found.table) == (MISSING, "no value in any of user_id, anonymous_id", "events")
    assert _row(_hit(query="anonymous_id=a"))["anonymous_id"] == "a"


@pytest.mark.parametrize(
    ("via", "body"),
    [("plausible", {"n": "pageview", "u": "https://a.example/", "d": "a.example"}),
     ("umami", {"type": "event", "payload": {"website": "w", "url": "/"}})],
)  # fmt: skip
def test_trackers_without_a_visitor_get_one_for_the_day(via: str, body: Any) -> None:
    visitor = _row(_hit(via, body))["anonymous_id"]
    assert visitor.startswith("day-")
    assert _row(_hit(via, body))["anonymous_id"] == visitor
    assert _row(_hit(via, body, headers={"user-agent": "another"}))["anonymous_id"] != visitor
