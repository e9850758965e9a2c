"""A small schema file with a column of each type, and the rows of its tables as JSON has them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBER = "n: {type: INT64, from: param.n, on_error: reject}"
REJECTS = """
  rejects:
    partition: day
    cluster: [reason, table]
    columns:
      day: {type: DATE, mode: REQUIRED, from: event.day}
      event_id: {type: STRING, mode: REQUIRED, from: event.id}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      stage: {type: STRING, mode: REQUIRED, from: reject.stage}
      table: {type: STRING, from: reject.table}
      reason: {type: STRING, mode: REQUIRED, from: reject.reason}
      detail: {type: STRING, from: reject.detail}
      hit: {type: JSON, from: reject.hit}
"""
LEAN_REJECTS = """
  rejects:
    partition: day
    columns:
      day: {type: DATE, mode: REQUIRED, from: event.day}
      id: {type: STRING, mode: REQUIRED, from: event.id}
      at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      why: {type: STRING, mode: REQUIRED, from: reject.reason}
      hit: {type: JSON, from: reject.hit}
"""


def text(*columns: str, number: str = NUMBER, table: str = "partition: day", rejects: str = REJECTS) -> str:
    """The file; `columns` come on top of its own, `table` are more settings of the table `events`."""
    own = "".join(
        f"\n      {column}"
        for column in (
            "day: {type: DATE, mode: REQUIRED, from: event.day}",
            "event_id: {type: STRING, mode: REQUIRED, from: event.id}",
            "received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}",
            "user_id: {type: STRING, from: param.user_id}",
            number,
            *columns,
            "params: {type: JSON, from: param.*}",
        )
    )
    settings = "".join(f"\n    {line}" for line in ("cluster: [user_id, n]", *table.splitlines()))
    return f"tables:\n  events:{settings}\n    columns:{own}\n{rejects}views: none\n"


def row(event_id: str, *, day: date = DAY, seconds: float = 0, **values: Any) -> dict[str, Any]:
    """A row of `events`."""
    received_at = NOON + timedelta(seconds=seconds)
    return {"day": day.isoformat(), "event_id": event_id, "received_at": received_at.isoformat(), **values}
