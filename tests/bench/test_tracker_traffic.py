"""The bench compares the same events: sent in three ways they become the same rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from services.processor.parse import Parser
from services.processor.table_batches import Batcher
from services.shared import hit
from tests.bench import tracker_traffic
from tests.bench.tracker_traffic import NATIVE, SEGMENT, SNOWPLOW, Kind
from tests.processor.test_protocols import SCHEMA

ALIKE = ("event_id", "user_id", "anonymous_id", "type", "url")


def _rows(kind: Kind, events: int) -> list[dict[str, Any]]:
    batcher = Batcher(SCHEMA, Parser(SCHEMA))
    found = []
    for pack in kind.packs(events, events * tracker_traffic.POSTS):
        hits = hit.unpack(*pack)
        made = batcher.make(hits, hits[0].at)
        assert made.batches.keys() == {"events"}, made.rejects
        batch: pa.RecordBatch = made.batches["events"]
        found += batch.to_pylist()
    return found


@pytest.mark.parametrize(("kind", "events"), [pytest.param(SEGMENT, 100, marks=pytest.mark.slow), (SNOWPLOW, 10)])
def test_an_event_is_the_same_however_it_is_sent(kind: Kind, events: int) -> None:
    native, theirs = _rows(NATIVE, events), _rows(kind, events)
    assert len(native) == len(theirs) == events * tracker_traffic.POSTS
    for one, other in zip(native, theirs, strict=True):
        assert [one[name] for name in ALIKE] == [other[name] for name in ALIKE]
        assert None not in [other[name] for name in (*ALIKE, "event_time")]
