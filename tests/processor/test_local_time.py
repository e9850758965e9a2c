"""Date and hour of an event by the clocks of a zone: those that GoogleSQL and the zone database say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from services.ops import compact_sql
from services.processor.parse import Row
from services.shared import schema_file
from tests.emulators.bigquery import oracle
from tests.processor.parsing import NOW, a_hit
from tests.processor.test_columns import parser
from tests.schemas import REST, a_file

EPOCH, DAY_0 = datetime(1970, 1, 1, tzinfo=UTC), date(1970, 1, 1)
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati", "America/Los_Angeles")
COLUMNS = "".join(
    f"      {part}_{index}: {{type: {kind}, from: event.{part}, time_zone: {zone}}}\n"
    for index, zone in enumerate(ZONES)
    for part, kind in (("date", "DATE"), ("hour", "INT64"))
)
PARSER = parser(COLUMNS)


def read(query: str = "", body: Any = None, at: int = NOW) -> list[Any]:
    row = PARSER.parse(a_hit(query, body, at), at)
    assert isinstance(row, Row), row
    return row.values[3 : 3 + 2 * len(ZONES)]


# Around the ends of summer time in Europe and America, a new year, and a leap day.
MOMENTS = (
    "2025-03-30T00:59:59Z", "2025-03-30T01:00:00Z", "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z",
    "2025-11-02T08:30:00Z", "2025-11-02T09:30:00Z", "2024-12-31T23:59:59.999999Z", "2024-02-29T12:00:00+14:00",
    "1969-07-20T20:17:40Z",
)  # fmt: skip


@pytest.mark.parametrize("moment", MOMENTS)
def test_they_are_what_googlesql_extracts(moment: str) -> None:
    parts = ", ".join(f"DATE(t, '{zone}'), EXTRACT(HOUR FROM t AT TIME ZONE '{zone}')" for zone in ZONES)
    (wanted,) = oracle.oracle().evaluate(f"SELECT {parts} FROM (SELECT TIMESTAMP '{moment}' AS t)")
    found = read(body={"event_time": moment})
    assert [DAY_0 + timedelta(days=one) if index % 2 == 0 else one for index, one in enumerate(found)] == list(wanted)


def test_without_a_time_of_the_client_they_are_those_of_the_receipt() -> None:
    at = int((datetime(2026, 11, 1, 23, 30, tzinfo=UTC) - EPOCH).total_seconds()) * 1_000_000
    for query in ("", "event_time=yesterday", "event_time="):
        assert read(query, at=at)[:4] == [20_758, 23, 20_759, 0]


def test_a_clock_that_was_corrected_counts_as_corrected() -> None:
    # Sent at 12:00 by a clock that is two hours ahead, of what happened an hour before.
    at = int((datetime(2026, 3, 1, 10, tzinfo=UTC) - EPOCH).total_seconds()) * 1_000_000
    assert read("event_time=2026-03-01T11:00:00Z&sent_at=2026-03-01T12:00:00Z", at=at)[1] == 9


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_at_the_ends_of_time_there_is_no_other_zone(moment: str) -> None:
    found = read(body={"event_time": moment})
    assert found[0] is not None and None in found  # it depends on the side of UTC that a zone is on


def test_compaction_takes_no_resent_event_for_another_one_because_of_the_hour() -> None:
    table = schema_file.parse(a_file(COLUMNS + REST)).tables["events"]
    assert all(compact_sql.is_transport(column, table) for column in table.columns[3 : 3 + 2 * len(ZONES)])
