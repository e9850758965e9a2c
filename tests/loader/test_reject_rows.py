"""Every row that Arrow can hold becomes a row of `rejects` that BigQuery takes."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa

from services.loader import reject_rows
from services.shared import rows, schema_file
from tests.loader.rows_made import EVENTS, REJECTS, batch, event, events

EVERY_TYPE = """
tables:
  things:
    partition: day
    columns:
      day:     {type: DATE, mode: REQUIRED, from: event.day}
      id:      {type: STRING, mode: REQUIRED, from: event.id}
      at:      {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      text:    {type: STRING, from: param.text}
      whole:   {type: INT64, from: param.whole}
      real:    {type: FLOAT64, from: param.real}
      flag:    {type: BOOL, from: param.flag}
      when:    {type: TIMESTAMP, from: param.when}
      date:    {type: DATE, from: param.date}
      money:   {type: NUMERIC, from: param.money}
      rest:    {type: JSON, from: param.*}
  rejects:
    partition: seen_on
    columns:
      reason:  {type: STRING, mode: REQUIRED, from: reject.reason}
      seen_on: {type: DATE, mode: REQUIRED, from: event.day}
      key:     {type: STRING, mode: REQUIRED, from: event.id}
      at:      {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      label:   {type: STRING, from: [reject.column, param.text, reject.table]}
      amount:  {type: NUMERIC, from: param.money}
      whole:   {type: STRING, from: param.whole}
      agent:   {type: STRING, from: header.user-agent}
      original: {type: JSON, from: reject.hit}
"""
OTHER = schema_file.parse(EVERY_TYPE)
THINGS = OTHER.tables["things"]
FULL = {
    "day": date(2026, 3, 1),
    "id": "a",
    "at": datetime(2026, 3, 1, 12, 0, 0, 123456, UTC),
    "text": 'quo"te',
    "whole": 2**63 - 1,
    "real": 0.1,
    "flag": True,
    "when": datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
    "date": date(1, 1, 1),
    "money": Decimal("1.500000000"),
    "rest": '{"a": [1,',
}


def test_a_row_of_the_default_rejects_table_says_what_was_wrong() -> None:
    sent = events(0, 2)
    made = reject_rows.build(sent, EVENTS, REJECTS, "bigquery", ["first", "second" * 1_000])
    assert made.schema == rows.arrow_schema(REJECTS)
    first, second = made.to_pylist()
    row = sent.to_pylist()[0]
    assert {name: first[name] for name in ("day", "event_id", "received_at")} == {
        name: row[name] for name in ("day", "event_id", "received_at")
    }
    assert (first["stage"], first["table"], first["reason"], first["detail"]) == (
        "loader",
        "events",
        "bigquery",
        "first",
    )
    assert first["column"] is None and first["value"] is None
    assert len(second["detail"]) == reject_rows.MAX_DETAIL
    assert json.loads(first["hit"])["user_id"] == "user-0"


def test_every_type_has_a_form_in_json() -> None:
    made = reject_rows.build(batch([FULL], THINGS), THINGS, OTHER.rejects, "bigquery", ["no"])
    assert json.loads(made.to_pylist()[0]["original"]) == {
        "day": "2026-03-01",
        "id": "a",
        "at": "2026-03-01T12:00:00.123456Z",
        "text": 'quo"te',
        "whole": 2**63 - 1,
        "real": 0.1,
        "flag": True,
        "when": "1969-12-31T23:59:59Z",
        "date": "0001-01-01",
        "money": "1.500000000",
        "rest": '{"a": [1,',  # text, since it may be what was refused
    }


def test_values_that_no_calendar_or_json_has_are_kept_as_text() -> None:
    sent = batch([FULL, FULL], THINGS)
    wild = {
        "when": pa.array([2**63 - 1, -(2**63)]).cast(pa.timestamp("us", tz="UTC")),
        "date": pa.array([2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32()),
        "real": pa.array([float("nan"), float("-inf")]),
    }
    arrays = [wild.get(name, sent.column(name)) for name in sent.schema.names]
    made = reject_rows.build(
        pa.RecordBatch.from_arrays(arrays, schema=sent.schema), THINGS, OTHER.rejects, "bigquery", ["no", "no"]
    )
    first, second = (json.loads(row["original"]) for row in made.to_pylist())
    assert (first["when"], first["date"], first["real"]) == (str(2**63 - 1), str(2**31 - 1), "nan")
    assert (second["when"], second["date"], second["real"]) == (str(-(2**63)), str(-(2**31)), "-inf")


def test_a_rejects_table_of_other_columns_is_filled_by_their_sources() -> None:
    sent = batch([FULL, {**FULL, "id": "b", "text": None}], THINGS)
    made = reject_rows.build(sent, THINGS, OTHER.rejects, "bigquery", ["no", "no"]).to_pylist()
    assert [row["key"] for row in made] == ["a", "b"]
    assert [row["seen_on"] for row in made] == [FULL["day"]] * 2
    assert [row["label"] for row in made] == ['quo"te', "things"]  # the first source that has a value
    assert [row["amount"] for row in made] == [FULL["money"]] * 2
    assert [row["whole"] for row in made] == [None] * 2  # of another type in the table
    assert [row["agent"] for row in made] == [None] * 2  # the table has no such column


def test_columns_an_older_batch_lacks_are_left_out() -> None:
    sent = batch([FULL], THINGS).select(["day", "id", "at"])
    made = reject_rows.build(sent, THINGS, OTHER.rejects, "bigquery", ["no"]).to_pylist()
    assert set(json.loads(made[0]["original"])) == {"day", "id", "at"}
    assert made[0]["amount"] is None


def test_a_hit_that_is_too_long_has_its_texts_cut() -> None:
    sent = batch([event(0, url="x" * 2_000_000)])
    [made] = reject_rows.build(sent, EVENTS, REJECTS, "too_large", ["too large"]).to_pylist()
    assert len(made["hit"]) < 2_000
    assert json.loads(made["hit"])["url"] == "x" * reject_rows.CUT
