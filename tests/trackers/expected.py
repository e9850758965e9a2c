"""What a tracker's event has to be as a row."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

# What the tests track: a whole number, a fraction, a nested object, an accent and an emoji.
DATA: Mapping[str, Any] = {
    "total": 12.5,
    "count": 3,
    "nested": {"sku": "é-1", "deep": {"sizes": [38, 40]}},
    "note": "🙂 ok",
}
# Between the call and what the row says it was; retries take longer than this, or are shorter than the clock is exact.
NEAR = dt.timedelta(seconds=4)

Row = Mapping[str, Any]


def types(rows: Sequence[Row]) -> Counter[str]:
    return Counter(row["type"] for row in rows)


def has(*wanted: str) -> Any:
    """Whether rows have all these types, for `Pipeline.until`."""
    return lambda rows: set(wanted) <= types(rows).keys()


def one(rows: Sequence[Row], type_: str) -> Row:
    found = [row for row in rows if row["type"] == type_]
    assert len(found) == 1, f"{len(found)} rows are {type_}, of {types(rows)}"
    return found[0]


def check_unique(rows: Sequence[Row], tracked: Collection[str]) -> None:
    """Nothing that was tracked counts twice, and no id does."""
    assert {name: count for name, count in types(rows).items() if name in tracked and count > 1} == {}
    assert len({row["event_id"] for row in rows}) == len(rows)


def check_properties(row: Row, wanted: Mapping[str, Any]) -> None:
    """Those that were tracked, exactly: what trackers add of their own lies beside them."""
    assert {name: row["params"]["properties"].get(name) for name in wanted} == wanted


def check_time(row: Row, called_at: dt.datetime, said: str = "", sent_at: dt.datetime | None = None) -> None:
    """The client's time; `said` is what it sent, in which the time must be unless it is empty.

    Of a program that takes a while to call, `sent_at` is when its first request came.
    """
    latest = called_at if sent_at is None else sent_at
    assert called_at - NEAR < row["event_time"] < latest + NEAR, (row["type"], row["event_time"], called_at, latest)
    assert row["received_at"] >= called_at
    if said and (raw := row["params"].get("client_event_time")) is not None:
        assert json.dumps(raw).strip('"') in said


def check_id(row: Row, said: str) -> None:
    """The client's own id, as it was sent."""
    assert row["event_id"] in said, f"{row['type']} has the id {row['event_id']}, which was not sent"
