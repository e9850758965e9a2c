"""Another engine beside the loader, as docs/scale.md says: by its readers and its SQL."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from services.shared import hit, identity, resource_names, rows
from services.shared.hit import Hit
from tests.ops import schemas
from tests.ops.conftest import Pipeline
from tests.process import ROOT
from tests.scale.test_document import reader

TEXT = (ROOT / "docs" / "scale.md").read_text()
ENGINE = "pixelpipe-rows-engine"
EVENTS = 5


def compared(pipeline: Pipeline) -> tuple[int, int]:
    """By the SQL of the document: events that one has written, and those that both have."""
    (sql,) = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
    (found,) = pipeline.rows(sql)
    return found["from_one_only"], found["from_both"]


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """As an engine's connector has it: times as text, JSON as such."""
    found: dict[str, Any] = json.loads(json.dumps(row, default=str))
    return {**found, "params": found["params"] and json.loads(found["params"])}


def test_an_engine_that_stores_the_same_rows_doubles_nothing(bare: Pipeline) -> None:
    columns = ("tenant: {type: STRING, from: param.tenant}", "type: {type: STRING, from: param.type}")
    bare.provision(schemas.text(*columns))
    topics = bare.topics
    topics.subscribe(resource_names.ROWS_TOPIC, ENGINE, deadline=600)
    now = time.time_ns() // 1000
    sent = [
        Hit(identity.uuid7(now + n), now, "GET", "/pixel.gif", f"tenant=shop&type=view&n={n}", {}, "")
        for n in range(EVENTS)
    ]
    with bare.services("processor", "loader"):
        topics.publish(resource_names.HITS_TOPIC, *hit.pack([hit.encode(one) for one in sent], identity.uuid7(now)))
        bare.until("SELECT COUNT(*) FROM pixelpipe.events", EVENTS)
        assert compared(bare) == (EVENTS, 0)
        messages = topics.pull(ENGINE, 1)
        read = [found for one in messages for found in reader()["rows"](one.data, one.attributes)]
        assert [table for table, _ in read] == ["events"] * EVENTS
        keys = {reader()["key"](row) for _, row in read}
        assert {(tenant, kind) for _, tenant, kind, _ in keys} == {("shop", "view")} and len(keys) == EVENTS

        bare.load("events", [as_json(row) for _, row in read])  # by a connector of its own
        assert compared(bare) == (0, EVENTS)
        for one in messages:  # and by way of the loader
            again = rows.pack(rows.unpack(one.data, one.attributes), "events", identity.uuid7(now))
            topics.publish(resource_names.ROWS_TOPIC, *again)
        bare.until("SELECT COUNT(*) FROM pixelpipe.events_log", 3 * EVENTS)
        assert bare.number("SELECT COUNT(*) FROM pixelpipe.events") == EVENTS
