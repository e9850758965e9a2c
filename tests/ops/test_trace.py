from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, date, datetime
from typing import Any

import pytest
from msgspec import Raw

from services.ops.__main__ import main
from services.shared import hit, identity, resource_names
from services.shared.hit import Hit
from tests.ops import schemas
from tests.ops.conftest import DEAD_SUBSCRIPTION, WAIT, Pipeline
from tests.ops.test_dead import PACK, POISON, a_row, bury, forwarded_by_pubsub

MADE = datetime(2026, 3, 1, 11, 59, tzinfo=UTC)
ID = identity.uuid7(int(MADE.timestamp() * 1e6))


def trace(pipeline: Pipeline, event_id: str, *arguments: str, code: int = 0) -> dict[str, Any]:
    out, err = io.StringIO(), io.StringIO()
    command = ["trace", event_id, "--subscription", DEAD_SUBSCRIPTION, *WAIT, *arguments]
    schema = ["--project", pipeline.project, "--schema", str(pipeline.file)]
    with redirect_stdout(out), redirect_stderr(err):
        found = main([*command, *schema])
    assert found == code, err.getvalue()
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_an_event_that_was_written_twice_is_shown_once(pipeline: Pipeline) -> None:
    pipeline.load("events", [schemas.row(ID), schemas.row(ID, seconds=5), schemas.row("another")])
    found = trace(pipeline, ID)
    assert (found["state"], found["made_at"]) == ("loaded", MADE.isoformat())
    (row,) = found["rows"]
    assert (row["table"], row["day"], row["written"], row["shown"]) == ("events", "2026-03-01", 2, 1)
    assert row["received_at"].startswith("2026-03-01 12:00:00")
    assert row["received_again_at"].startswith("2026-03-01 12:00:05")
    assert found["rejects"] == found["dead"] == []


def test_an_event_whose_key_another_has_is_found_among_the_conflicts(pipeline: Pipeline) -> None:
    pipeline.load("events", [schemas.row(ID, n=1), schemas.row(ID, n=2, seconds=5)])
    assert trace(pipeline, ID)["conflicts"] == []
    pipeline.ops("compact", "--date", "2026-03-01", "--table", "events")
    found = trace(pipeline, ID)
    assert (found["state"], found["rows"][0]["written"], found["rows"][0]["shown"]) == ("loaded", 1, 1)
    (one,) = found["conflicts"]
    assert (one["table"], one["day"]) == ("events", "2026-03-01")
    assert one["received_at"].startswith("2026-03-01 12:00:05")
    assert one["moved_at"]


def test_a_reject_says_why(pipeline: Pipeline) -> None:
    reject = {"stage": "processor", "table": "events", "reason": "wrong_type", "detail": "no number", "hit": "{}"}
    pipeline.load("rejects", [schemas.row(ID, **reject)])
    found = trace(pipeline, ID)
    assert found["state"] == "rejected"
    (one,) = found["rejects"]
    assert (one["stage"], one["table"], one["reason"]) == ("processor", "events", "wrong_type")
    assert one["column"] is None  # this schema file keeps none
    pipeline.load("events", [schemas.row(ID)])  # replayed
    found = trace(pipeline, ID)
    assert found["state"] == "loaded" and len(found["rejects"]) == len(found["rows"]) == 1


@pytest.mark.slow
def test_dead_letters_are_opened_and_stay(pipeline: Pipeline) -> None:
    ours = hit.encode(Hit(ID, 1, "GET", "/pixel.gif", "user_id=ada"))
    theirs = hit.encode(Hit(identity.uuid7(1), 1, "GET", "/pixel.gif", "user_id=bob&event_id=order-17"))
    form = hit.encode(Hit(identity.uuid7(2), 1, "POST", "/events", text="user_id=eve&event_id=order-19"))
    data, attributes = hit.pack([ours, theirs, form], PACK)
    given_up = pipeline.bury(data, {**attributes, **forwarded_by_pubsub(resource_names.HITS_SUBSCRIPTION)})
    rows = bury(pipeline, a_row(pipeline, event_id="order-18"), "schema is newer", resource_names.ROWS_SUBSCRIPTION)
    bury(pipeline, (b"no zstd", {"schema": "hit/1"}), POISON, resource_names.HITS_SUBSCRIPTION)
    for event_id, letter in ((ID, given_up), ("order-17", given_up), ("order-19", given_up), ("order-18", rows)):
        found = trace(pipeline, event_id)
        assert found["state"] == "dead"
        assert [one["id"] for one in found["dead"]] == [letter]
    assert found["dead"][0]["reason"] == "schema is newer"
    pipeline.left(3)


def test_an_event_that_is_nowhere_is_told_where_it_may_be(pipeline: Pipeline) -> None:
    found = trace(pipeline, identity.uuid7(int(MADE.timestamp() * 1e6)), code=1)
    assert found["state"] == "nowhere" and "spool" in found["note"]
    assert found["looked_since"] == "2026-02-28"


def test_an_id_that_does_not_say_its_day_is_looked_for_since_a_day(pipeline: Pipeline) -> None:
    pipeline.load("events", [schemas.row("order-17")])
    assert trace(pipeline, "order-17", code=1)["made_at"] is None
    assert trace(pipeline, "order-17", "--since", "2026-03-01")["state"] == "loaded"
    with pytest.raises(SystemExit):
        trace(pipeline, "order-17", "--since", "yesterday")


def test_the_id_of_a_hit_finds_the_reject_that_holds_it(pipeline: Pipeline) -> None:
    held = {"id": ID, "query": "event_id=order-17"}
    reject = {"stage": "processor", "table": "events", "reason": "wrong_type", "detail": "no number", "hit": held}
    pipeline.load("rejects", [schemas.row("order-17", day=date(2026, 2, 26), **reject)])  # of an event that waited
    found = trace(pipeline, ID)
    assert (found["state"], found["event_id"], found["hit_id"]) == ("rejected", "order-17", ID)
    assert [one["reason"] for one in found["rejects"]] == ["wrong_type"]
    pipeline.load("events", [schemas.row("order-17", day=date(2026, 2, 26))])  # replayed
    assert trace(pipeline, ID)["state"] == "loaded"


def test_the_id_of_a_hit_leads_to_what_was_received_with_it(pipeline: Pipeline) -> None:
    at = (MADE - schemas.NOON).total_seconds()
    others = [schemas.row(identity.uuid7(int(MADE.timestamp() * 1e6)), seconds=at), schemas.row("late", seconds=at + 1)]
    pipeline.load("events", [schemas.row("order-17", seconds=at + 0.0005, n=1), *others])
    found = trace(pipeline, ID, code=1)
    assert found["state"] == "nowhere" and "received_then" in found["note"]
    assert [(one["table"], one["event_id"]) for one in found["received_then"]] == [("events", "order-17")]


@pytest.mark.slow
def test_a_dead_letter_is_found_by_an_id_however_it_was_written(pipeline: Pipeline) -> None:
    queries = ("event_id=a%2Fb", "event_id=shared")
    lines = [hit.encode(Hit(identity.uuid7(1), 1, "GET", "/pixel.gif", query)) for query in queries]
    posted = hit.encode(Hit(identity.uuid7(1), 1, "POST", "/events", body=Raw(b'{"event_id":"q\\"x"}')))
    letter = bury(pipeline, hit.pack([*lines, posted], PACK), POISON, resource_names.HITS_SUBSCRIPTION)
    for event_id in ("a/b", "shared#3", 'q"x'):
        assert [one["id"] for one in trace(pipeline, event_id)["dead"]] == [letter]
    pipeline.left(1)


def test_an_id_of_the_year_10889_is_nowhere(pipeline: Pipeline) -> None:
    found = trace(pipeline, "ffffffff-ffff-7fff-bfff-ffffffffffff", code=1)
    assert (found["state"], found["made_at"]) == ("nowhere", None)
