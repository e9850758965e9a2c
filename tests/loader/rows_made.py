"""Packs of the tables in tests/schema.yaml, as the processor makes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from services.shared import rows, schema
from tests.schemas import SCHEMA

EVENTS, REJECTS = SCHEMA.tables["events"], SCHEMA.rejects


def event(number: int, **values: Any) -> dict[str, Any]:
    """One row of `events`; its id tells its number."""
    now = datetime.now(UTC)
    return {
        "day": date(now.year, now.month, now.day),
        "event_id": f"event-{number:06}",
        "received_at": now,
        "user_id": f"user-{number % 7}",
        "type": "view",
        "params": '{"n":%d}' % number,  # noqa: UP031
        **values,
    }


def batch(values: Sequence[dict[str, Any]], table: schema.Table = EVENTS) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(values), schema=rows.arrow_schema(table))


def events(first: int, count: int) -> pa.RecordBatch:
    return batch([event(number) for number in range(first, first + count)])


def numbers(found: Sequence[dict[str, Any]]) -> list[int]:
    """The numbers of events, sorted."""
    return sorted(int(row["event_id"].removeprefix("event-")) for row in found)
