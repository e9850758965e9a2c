from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.processor.convert import MAX_VALUE
from services.processor.parse import REASONS, Parser, Reject, Row
from services.shared import identity, rows, schema_file
from services.shared.hit import Hit
from tests.processor.parsing import DAY, NOW, WIDE, a_hit, reject_of, row_of
from tests.schemas import SCHEMA


def test_the_well_known_example() -> None:
    headers = {"user-agent": "Mozilla/5.0", "referer": "https://shop.example.com/cart"}
    query = "user_id=507f&order_id=608a&type=click&tenant=acme&event_time=2024-10-03T22:00:00Z&note=caf%C3%A9"
    one = a_hit(query, headers=headers, ip="203.0.113.77")
    assert row_of(one) == {
        "table": "events",
        "day": 20_000,
        "event_id": one.id,
        "received_at": NOW,
        "event_time": 1_727_992_800_000_000,
        "tenant": "acme",
        "user_id": "507f",
        "type": "click",
        "order_id": "608a",
        "url": "https://shop.example.com/cart",
        "referrer": None,
        "ip": "203.0.113.77",
        "user_agent": "Mozilla/5.0",
        "params": '{"note":"café"}',
    }


def test_a_posted_object_is_read_like_a_query() -> None:
    row = row_of(a_hit("tenant=acme", {"user_id": 7, "event": "buy", "price": 1.5, "items": [{"sku": "a"}]}))
    assert (row["user_id"], row["type"], row["tenant"]) == ("7", "buy", "acme")
    assert json.loads(row["params"]) == {"price": 1.5, "items": [{"sku": "a"}]}


@pytest.mark.parametrize(
    ("query", "body", "user", "params"),
    [
        ("user_id=a&user_id=b", None, "a", {"user_id": "b"}),
        ("user_id=a&user_id=b&user_id=c", None, "a", {"user_id": ["b", "c"]}),
        ("user_id=a&x=1&x=2", None, "a", {"x": ["1", "2"]}),
        ("user_id=a&x=", None, "a", {"x": ""}),
        ("user_id=a&x", None, "a", {"x": ""}),
        ("user_id=b", {"user_id": "a"}, "a", {"user_id": "b"}),
        ("user_id=a", {"user_id": None}, None, None),
        ("user_id=a&=1", None, "a", {"": "1"}),
        ("user_id=a&type=x&event=y", None, "a", {"event": "y"}),
        ("user_id=a&event_id=e", None, "a", None),
    ],
)
def test_no_value_is_lost(query: str, body: Any, user: str | None, params: Any) -> None:
    result = Parser(SCHEMA).parse(a_hit(query, body), NOW)
    if user is None:
        assert isinstance(result, Reject)
        return
    row = row_of(a_hit(query, body))
    assert row["user_id"] == user
    assert (None if row["params"] is None else json.loads(row["params"])) == params


@pytest.mark.parametrize(
    ("query", "column", "value"),
    [
        ("n=42", "n", 42),
        ("f=1.5", "f", 1.5),
        ("b=yes", "b", True),
        ("d=1970-01-02", "d", 1),
        ("j=%7B%22a%22%3A1%7D", "j", '{"a":1}'),
        ("n=42", "n_again", "42"),
        ("n=", "n", None),
        ("", "n", None),
        ("z=1", "rest", '{"z":"1"}'),
        ("n=1", "rest", None),
    ],
)
def test_values_get_the_type_of_their_column(query: str, column: str, value: Any) -> None:
    assert row_of(a_hit(query), schema_file.parse(WIDE))[column] == value


def test_the_first_table_whose_conditions_hold_takes_the_hit() -> None:
    tables = schema_file.parse(WIDE)
    assert row_of(a_hit("type=click&x=1"), tables)["table"] == "clicks"
    assert row_of(a_hit("type=view&x=1"), tables)["table"] == "events"
    assert row_of(a_hit("", {"type": "tap"}, headers={"x-position": "3"}), tables)["x"] == 3


def test_an_unlisted_tenant_gets_no_table() -> None:
    n = "      n: {type: INT64, from: param.n, on_error: reject}\n"
    text = WIDE.replace("  events:", '  "events_{tenant}":\n    tenants: [acme]')
    text = text.replace(n, n + "      tenant: {type: STRING, from: param.tenant}\n", 1)
    tables = schema_file.parse(text)
    assert row_of(a_hit("tenant=acme"), tables)["table"] == "events_acme"
    assert reject_of(a_hit("tenant=evil"), tables).reason == "no_table"
    assert reject_of(a_hit(""), tables).reason == "no_table"


@pytest.mark.parametrize(
    ("one", "reason", "column", "value"),
    [
        (a_hit("type=click"), "missing", "user_id", None),
        (a_hit("user_id="), "missing", "user_id", None),
        (a_hit("user_id=1&event_time=2026-01-01"), "wrong_type", "event_time", "2026-01-01"),
        (a_hit("user_id=1&ts=2026-02-30T00:00:00Z"), "out_of_range", "event_time", "2026-02-30T00:00:00Z"),
        (a_hit("", {"user_id": {"a": 1}}), "wrong_type", "user_id", '{"a":1}'),
        (a_hit("user_id=1&ts=" + "9" * 1000), "wrong_type", "event_time", "9" * MAX_VALUE),
        (a_hit("", {"user_id": "1", "event_id": [1]}), "wrong_type", "event_id", None),
        (a_hit("", [1]), "bad_body", None, None),
        (a_hit("", b"{"), "bad_body", None, None),
        (a_hit("", b"\xff"), "bad_body", None, None),
        (a_hit("", b'{"user_id":"u","x":1e9999999999999999999}'), "bad_body", None, None),
        (a_hit("user_id=1", at=1), "out_of_range", None, "1"),
        (a_hit("user_id=1", at=NOW + 400 * DAY), "out_of_range", None, str(NOW + 400 * DAY)),
    ],
)
def test_a_refused_hit_says_why(one: Hit, reason: str, column: str | None, value: str | None) -> None:
    reject = reject_of(one)
    assert (reject.reason, reject.column, reject.value) == (reason, column, value)
    assert reject.detail


def test_a_row_of_rejects_holds_the_whole_hit() -> None:
    one = a_hit("type=click&event_id=mine", headers={"user-agent": "x"}, ip="1.2.3.4")
    parser = Parser(SCHEMA)
    reject = parser.parse(one, NOW)
    assert isinstance(reject, Reject)
    names = [column.name for column in SCHEMA.rejects.columns]
    row = dict(zip(names, parser.reject_row(one, reject, NOW).values, strict=True))
    assert (row["event_id"], row["stage"], row["table"], row["reason"]) == ("mine", "processor", "events", "missing")
    assert msgspec.json.decode(row["hit"], type=Hit) == one


def test_a_users_own_column_of_rejects_never_stops_a_reject() -> None:
    tables = schema_file.parse(WIDE)
    parser = Parser(tables)
    one = a_hit("n=many")
    reject = parser.parse(one, NOW)
    assert isinstance(reject, Reject)
    row = parser.reject_row(one, reject, NOW)
    assert row.values[-1] == 0
    pa.array(row.values[:1], pa.date32())


BY_TIME = WIDE.replace("  events:\n    partition: day", "  events:\n    partition: t", 1).replace(
    "  t: {type: TIMESTAMP,", "  t: {type: TIMESTAMP, mode: REQUIRED,"
)
BY_DAY = WIDE.replace("  events:\n    partition: day", "  events:\n    partition: d", 1).replace(
    "  d: {type: DATE,", "  d: {type: DATE, mode: REQUIRED,"
)


@pytest.mark.parametrize(
    ("text", "query", "column"),
    [
        (BY_TIME, "t=2019-10-06T02:00:00Z", None),
        (BY_TIME, "t=2025-10-04T00:00:00Z", None),
        (BY_TIME, "t=2019-10-06T00:00:00Z", "t"),
        (BY_TIME, "t=2025-10-04T02:00:00Z", "t"),
        (BY_TIME, "t=9999-12-31T23:59:59.999999Z", "t"),
        (BY_TIME, "t=0001-01-01T00:00:00Z", "t"),
        (BY_DAY, "d=2019-10-06", None),
        (BY_DAY, "d=2025-10-04", None),
        (BY_DAY, "d=2019-10-05", "d"),
        (BY_DAY, "d=2025-10-05", "d"),
        (BY_DAY, "d=9999-12-31", "d"),
        (WIDE, "d=9999-12-31&t=0001-01-01T00:00:00Z", None),
    ],
)
def test_a_row_that_no_partition_takes_is_a_reject_that_says_so(text: str, query: str, column: str | None) -> None:
    result = Parser(schema_file.parse(text)).parse(a_hit(query), NOW)  # on 2024-10-04
    if column is None:
        assert isinstance(result, Row)
        return
    assert isinstance(result, Reject)
    assert (result.reason, result.table, result.column, result.value) == ("out_of_range", "events", column, query[2:])
    assert "partitioned by it" in result.detail


@pytest.mark.parametrize("partition", ["received_at", "t"])
@pytest.mark.parametrize("at", [1, NOW, NOW + 400 * DAY])
def test_a_row_of_rejects_is_in_a_partition_that_takes_it(partition: str, at: int) -> None:
    text = WIDE.replace("  rejects:\n    partition: day", f"  rejects:\n    partition: {partition}")
    tables = schema_file.parse(text + "      t: {type: TIMESTAMP, mode: REQUIRED, from: param.t}\n")
    parser = Parser(tables)
    one = a_hit("n=many&t=9999-12-31T00:00:00Z", at=at)
    reject = parser.parse(one, NOW)
    assert isinstance(reject, Reject)
    names = [column.name for column in tables.rejects.columns]
    row = dict(zip(names, parser.reject_row(one, reject, NOW).values, strict=True))
    assert (row["day"], row[partition]) == (20_000, NOW)


def test_the_status_of_a_log_entry_fills_a_column_and_chooses_a_table() -> None:
    path = "      path: {type: STRING, from: hit.path}\n"
    text = WIDE.replace(path, path + "      status: {type: INT64, from: hit.status}\n", 1)
    tables = schema_file.parse(text.replace("when: {param.type: [click, tap]}", 'when: {hit.status: ["304"]}'))
    assert (row_of(a_hit(status=200), tables)["status"], row_of(a_hit(), tables)["status"]) == (200, None)
    assert row_of(a_hit("x=1", status=304), tables)["table"] == "clicks"


@pytest.mark.parametrize(
    ("id_age", "days_back"),
    [
        (0, 0),
        (3_600_000_000 - 1000, 0),
        (3_600_000_000 + 1000, 1),
        (7 * DAY - 1000, 7),
        (7 * DAY + 1000, 0),
        (-1000, 0),
    ],
)
def test_the_id_decides_the_day_within_seven_days(id_age: int, days_back: int) -> None:
    row = row_of(a_hit("user_id=1&event_id=" + identity.uuid7(NOW - id_age)))
    assert row["day"] == 20_000 - days_back


def test_an_id_that_is_not_a_uuid7_counts_on_the_day_of_receipt() -> None:
    row = row_of(a_hit("user_id=1&event_id=order-7"))
    assert (row["event_id"], row["day"]) == ("order-7", 20_000)


def test_the_id_of_a_request_makes_no_one_event_of_its_events() -> None:
    def row(index: int, query: str = "user_id=1&event_id=order-7", **posted: Any) -> dict[str, Any]:
        return row_of(a_hit(query, {"n": 1, **posted}, index=index))

    assert [row(index)["event_id"] for index in range(3)] == ["order-7", "order-7#1", "order-7#2"]
    assert row(2, event_id="mine")["event_id"] == "mine"
    assert json.loads(row(1)["params"]) == {"n": 1}
    made_yesterday = f"user_id=1&event_id={identity.uuid7(NOW - DAY)}"
    assert {row(index, made_yesterday)["day"] for index in range(3)} == {20_000 - 1}


def test_days_are_utc() -> None:
    assert date.fromordinal(date(1970, 1, 1).toordinal() + 20_000) == datetime.fromtimestamp(NOW / 1e6, UTC).date()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.sampled_from(["user_id", "type", "event_id", "n", "f", "b", "t", "d", "m", "j", "x", "tenant", "event_time"])
VALUES = TEXT | st.sampled_from(["1", "1.5", "true", "2026-01-01T00:00:00Z", "2026-01-01", "{}", "", "%zz", "-0"])
QUERIES = st.lists(st.tuples(NAMES | TEXT, VALUES), max_size=8).map(lambda p: "&".join(f"{n}={v}" for n, v in p)) | TEXT
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXT, inner, max_size=4),
    max_leaves=10,
)
HITS = st.builds(
    lambda query, body, at, headers, id: a_hit(query, body, at=at, headers=headers, id=id, ip="::1"),
    QUERIES,
    st.none() | st.dictionaries(NAMES | TEXT, JSON, max_size=5) | JSON | st.binary(min_size=1, max_size=20),
    st.integers(NOW - 10 * DAY, NOW) | st.integers(-(2**62), 2**62),
    st.dictionaries(st.sampled_from(["user-agent", "referer", "x-position"]), TEXT, max_size=3),
    TEXT | st.just(identity.uuid7(NOW)),
)


SCHEMAS = {"default": SCHEMA, "wide": schema_file.parse(WIDE)}
PARSERS = {name: Parser(tables) for name, tables in SCHEMAS.items()}


@settings(max_examples=80, deadline=None)
@given(HITS, st.sampled_from(sorted(SCHEMAS)))
def test_every_hit_comes_out_once_as_a_row_arrow_takes(one: Hit, which: str) -> None:
    tables, parser = SCHEMAS[which], PARSERS[which]
    result = parser.parse(one, NOW)
    if isinstance(result, Reject):
        assert result.reason in REASONS
        result = parser.reject_row(one, result, NOW)
        assert result.table == "rejects"
    arrow = rows.arrow_schema(tables.tables[result.table])
    arrays = [pa.array([value], field.type) for value, field in zip(result.values, arrow, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=arrow)
    batch.validate(full=True)
    for column, array in zip(tables.tables[result.table].columns, arrays, strict=True):
        assert not (column.required and array.null_count), column.name
        if column.type == "JSON" and not array.null_count:
            json.loads(array[0].as_py())
